#include "control/daemon/peer_message.h"

#include <gtest/gtest.h>

#include "dataplane/limits.h"

namespace farport::peer {
namespace {

using nlohmann::json;

DeviceInfo disk() {
  DeviceInfo info;
  info.name = "usb:1d6b:0104:A1";
  info.aliases = {"usb:1d6b:0104", "usb:port:1-2"};
  info.description = "a disk";
  info.speed = UsbSpeed::high;
  info.vendor = 0x1d6b;
  info.product = 0x0104;
  info.serial_number = "A1";
  info.port_path = "1-2";
  info.bus = 1;
  info.address = 7;
  info.configuration_value = 1;
  info.device_descriptor.assign(18, 0xab);
  info.configurations = {{9, 2, 32, 0}, {1, 2, 3}};
  return info;
}

TEST(PeerMessage, ADeviceCrossesWithItsDescriptors) {
  const DeviceInfo info = disk();
  const auto back = decode_info(*parse(dump(encode_info(info, true))));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->name, info.name);
  EXPECT_EQ(back->aliases, info.aliases);
  EXPECT_EQ(back->speed, info.speed);
  EXPECT_EQ(back->vendor, info.vendor);
  EXPECT_EQ(back->bus, info.bus);
  EXPECT_EQ(back->address, info.address);
  EXPECT_EQ(back->configuration_value, info.configuration_value);
  EXPECT_EQ(back->device_descriptor, info.device_descriptor);
  EXPECT_EQ(back->configurations, info.configurations);
  EXPECT_TRUE(decode_info(encode_info(info, false))->device_descriptor.empty());
}

TEST(PeerMessage, AnEntryCrossesWithItsHolder) {
  DeviceEntry entry;
  entry.info = disk();
  entry.source = "usb";
  entry.nominal_bytes_s = 53'248'000;
  entry.allowed = true;
  entry.reason = "by the rule at line 3";
  entry.holder = Holder{"beta", "build", "ann", 1769860800123};
  const auto back = decode_entries({{"devices", json::array({encode_entry(entry)})}}, "alpha");
  ASSERT_TRUE(back) << back.error().message;
  ASSERT_EQ(back->size(), 1u);
  EXPECT_EQ(back->at(0).host, "alpha");
  EXPECT_EQ(back->at(0).nominal_bytes_s, entry.nominal_bytes_s);
  ASSERT_TRUE(back->at(0).holder);
  EXPECT_EQ(back->at(0).holder->vm, "build");
  EXPECT_EQ(back->at(0).holder->since_unix_ms, 1769860800123);
}

// A device's strings may be anything; the message that holds them must still arrive.
TEST(PeerMessage, StringsOfADeviceDoNotBreakTheMessage) {
  DeviceInfo info = disk();
  info.description = "bad \xff\xfe bytes,\na bell \x07 and \x1b[2J";
  info.serial_number = std::string(3000, 'x');
  const auto back = decode_info(*parse(dump(encode_info(info, true))));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->description.find('\n'), std::string::npos);
  EXPECT_EQ(back->description.find('\x1b'), std::string::npos);
}

TEST(PeerMessage, TextThatIsNoMessageIsAnError) {
  const std::string cases[] = {
      "",
      "x",
      "[]",
      "7",
      "{",
      "{\"op\":\"devices\"",
      "{\"op\":\"\xff\"}",
      std::string(100, '[') + std::string(100, ']'),
      "{\"a\":" + std::string(50'000, '{'),
      std::string(limits::message_bytes_max + 1, ' '),
  };
  for (const std::string& text : cases) {
    EXPECT_FALSE(parse(text)) << text.substr(0, 40);
  }
  // Brackets inside a string nest nothing.
  EXPECT_TRUE(parse(R"({"op": "[[[[[[[[[[[[[[[[[[[[[\"[[[[["})"));
}

TEST(PeerMessage, BadDevicesAreRefused) {
  const auto with = [](const char* key, json value) {
    json in = encode_info(disk(), true);
    in[key] = std::move(value);
    return in;
  };
  const json cases[] = {
      json::array(),
      with("kind", "teapot"),
      with("kind", 7),
      with("name", ""),
      with("name", std::string(300, 'n')),
      with("name", "a\nb"),
      with("aliases", "one"),
      with("aliases", json::array({1})),
      with("aliases", json(std::vector<std::string>(17, "a"))),
      with("speed", 6),
      with("speed", -1),
      with("speed", 3.5),
      with("vendor", 0x10000),
      with("bus", 256),
      with("device_descriptor", "12"),
      with("device_descriptor", std::string(38, 'a')),
      with("device_descriptor", std::string(36, 'g')),
      with("configurations", "09"),
      with("configurations", json::array({"0"})),
      with("configurations", json::array({"zz"})),
      with("configurations", json::array({5})),
      with("configurations", json(std::vector<std::string>(33, "00"))),
      with("configurations",
           json::array({std::string(2 * (limits::descriptor_bytes_max + 1), '0')})),
      with("configurations",
           json(std::vector<std::string>(5, std::string(2 * limits::descriptor_bytes_max, '0')))),
  };
  for (const json& one : cases) {
    const auto info = decode_info(one);
    EXPECT_FALSE(info) << dump(one).substr(0, 200);
  }
}

TEST(PeerMessage, AttachRequestsAreChecked) {
  const AttachMessage message{5, "usb:1:2", "build", "ann"};
  const auto back = decode_attach(encode_attach(message));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->channel, 5u);
  EXPECT_EQ(back->device, "usb:1:2");
  EXPECT_EQ(back->vm, "build");
  const json cases[] = {
      {{"device", "usb:1:2"}},
      {{"channel", 0}, {"device", "usb:1:2"}},
      {{"channel", -1}, {"device", "usb:1:2"}},
      {{"channel", 1ull << 32}, {"device", "usb:1:2"}},
      {{"channel", 1}},
      {{"channel", 1}, {"device", json::array()}},
      {{"channel", 1}, {"device", std::string(256, 'd')}},
      {{"channel", 1}, {"device", "usb:1:2"}, {"vm", 4}},
  };
  for (const json& one : cases) EXPECT_FALSE(decode_attach(one)) << dump(one);
}

TEST(PeerMessage, AnswersAreChecked) {
  AttachAnswer answer;
  answer.info = disk();
  answer.nominal_bytes_s = 7;
  answer.nominal_source = "descriptors";
  answer.credit_bytes = 1 << 20;
  const auto back = decode_answer(encode_answer(answer));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->nominal_source, "descriptors");
  EXPECT_EQ(back->credit_bytes, answer.credit_bytes);
  for (const char* missing : {"info", "nominal", "credit"}) {
    json one = encode_answer(answer);
    one.erase(missing);
    EXPECT_FALSE(decode_answer(one)) << missing;
  }
  json huge = encode_answer(answer);
  huge["credit"] = ~uint64_t{0};
  EXPECT_FALSE(decode_answer(huge));
}

TEST(PeerMessage, ResponsesCarryTheirErrors) {
  EXPECT_TRUE(check_response({{"ok", true}}));
  const auto denied = check_response(error_response({ErrorCode::denied, "no\nrule"}));
  ASSERT_FALSE(denied);
  EXPECT_EQ(denied.error().code, ErrorCode::denied);
  EXPECT_EQ(denied.error().message, "no rule");
  EXPECT_FALSE(check_response(json::object()));
  EXPECT_FALSE(check_response({{"ok", 1}}));
  EXPECT_FALSE(check_response({{"ok", false}, {"message", 3}}));
  const auto long_one = check_response(error_response({ErrorCode::busy, std::string(5000, 'm')}));
  ASSERT_FALSE(long_one);
  EXPECT_EQ(long_one.error().code, ErrorCode::busy);
}

}  // namespace
}  // namespace farport::peer
