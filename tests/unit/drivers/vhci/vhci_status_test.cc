#include "drivers/vhci/vhci_status.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace farport::vhci {
namespace {

// As Linux 6.1 wrote it, with one high-speed device attached.
constexpr std::string_view seen =
    "hub port sta spd dev      sockfd local_busid\n"
    "hs  0000 006 003 00017f50 000008 7-1\n"
    "hs  0001 004 000 00000000 000000 0-0\n"
    "ss  0015 004 000 00000000 000000 0-0\n"
    "ss  0016 005 005 00010002 000011 0-0\n";

TEST(VhciStatus, ReadsWhatTheKernelWrites) {
  const auto ports = parse_status(seen);
  ASSERT_TRUE(ports);
  EXPECT_EQ(*ports, (std::vector<Port>{{0, false, PortState::used, "7-1"},
                                       {1, false, PortState::free, "0-0"},
                                       {15, true, PortState::free, "0-0"},
                                       {16, true, PortState::not_assigned, "0-0"}}));
}

TEST(VhciStatus, ReadsAHeaderAlone) {
  const auto ports = parse_status("hub port sta spd dev      sockfd local_busid\n");
  ASSERT_TRUE(ports);
  EXPECT_TRUE(ports->empty());
}

TEST(VhciStatus, RefusesWhatItDoesNotKnow) {
  const std::string header = "hub port sta spd dev      sockfd local_busid\n";
  for (const std::string& text : {
           std::string(),
           std::string("prt sta spd bus dev socket           local_busid\n"),  // Linux 4.12
           header + "xs  0000 004 000 00000000 000000 0-0\n",
           header + "hs  00x0 004 000 00000000 000000 0-0\n",
           header + "hs  0000 003 000 00000000 000000 0-0\n",
           header + "hs  0000 008 000 00000000 000000 0-0\n",
           header + "hs  0000 004 000 00000000\n",
           header + "hs\n",
           header + "\n",
           header + "hs  99999999999 004 000 00000000 000000 0-0\n",
       }) {
    EXPECT_FALSE(parse_status(text)) << text;
  }
}

TEST(VhciStatus, TakesAFreePortOfTheRightHalf) {
  const auto ports = parse_status(seen).value();
  EXPECT_EQ(find_free_port(ports, false), 1u);
  EXPECT_EQ(find_free_port(ports, true), 15u);
  const uint32_t taken[] = {1, 15};
  EXPECT_EQ(find_free_port(ports, false, taken), std::nullopt);
  EXPECT_EQ(find_free_port(ports, true, taken), std::nullopt);
}

TEST(VhciStatus, OnlySuperSpeedNeedsTheOtherHalf) {
  EXPECT_FALSE(needs_super_speed(UsbSpeed::low));
  EXPECT_FALSE(needs_super_speed(UsbSpeed::full));
  EXPECT_FALSE(needs_super_speed(UsbSpeed::high));
  EXPECT_TRUE(needs_super_speed(UsbSpeed::super));
  EXPECT_TRUE(needs_super_speed(UsbSpeed::super_plus));
}

TEST(VhciStatus, ReadsAllControllers) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("farport-vhci-status-" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  std::ofstream(folder / "status") << seen;
  std::ofstream(folder / "status.1") << "hub port sta spd dev      sockfd local_busid\n"
                                        "hs  0030 004 000 00000000 000000 0-0\n";
  const auto ports = read_ports(folder);
  std::filesystem::remove_all(folder);
  ASSERT_TRUE(ports);
  ASSERT_EQ(ports->size(), 5u);
  EXPECT_EQ(ports->back().number, 30u);
}

TEST(VhciStatus, MissingModuleIsNamed) {
  const auto ports = read_ports("/nonexistent");
  ASSERT_FALSE(ports);
  EXPECT_EQ(ports.error().code, ErrorCode::not_found);
  EXPECT_NE(ports.error().message.find("modprobe vhci-hcd"), std::string::npos);
}

}  // namespace
}  // namespace farport::vhci
