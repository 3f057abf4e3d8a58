#include "devices/usb/descriptors.h"

#include <gtest/gtest.h>

#include <random>

#include "devices/usb/endpoint_table.h"
#include "devices/usb/requests.h"
#include "tests/unit/devices/usb/descriptor_builder.h"

namespace farport::usb {
namespace {

using test::Bytes;
using test::ConfigurationBuilder;

TEST(DescriptorRange, YieldsEachDescriptorInTurn) {
  const Bytes bytes{3, 0x21, 7, 2, 0x22, 4, 0x05, 1, 2};
  std::vector<size_t> sizes;
  std::vector<uint8_t> types;
  for (const Descriptor descriptor : DescriptorRange(bytes)) {
    sizes.push_back(descriptor.bytes.size());
    types.push_back(descriptor.type);
  }
  EXPECT_EQ(sizes, (std::vector<size_t>{3, 2, 4}));
  EXPECT_EQ(types, (std::vector<uint8_t>{0x21, 0x22, 0x05}));
}

TEST(DescriptorRange, EndsAtTheFirstImpossibleLength) {
  const struct {
    Bytes bytes;
    long count;
  } cases[] = {
      {{}, 0},
      {{2}, 0},                         // not even a header
      {{0, 4}, 0},                      // would never end
      {{1, 4, 1, 4}, 0},                // shorter than its header
      {{9, 4, 0}, 0},                   // past the end
      {{2, 9, 0, 4, 2, 9}, 1},          // a good one, then bLength 0
      {{2, 9, 2, 9, 255, 9, 1, 1}, 2},  // two good ones, then past the end
  };
  for (const auto& test : cases) {
    const DescriptorRange range(test.bytes);
    EXPECT_EQ(std::distance(range.begin(), range.end()), test.count);
  }
}

TEST(ParseDevice, ReadsTheFieldsAndRefusesShortOnes) {
  const Bytes bytes = test::device_descriptor(0x0627, 0x0001, 9, 2);
  const auto device = parse_device(bytes);
  ASSERT_TRUE(device);
  EXPECT_EQ(device->vendor, 0x0627);
  EXPECT_EQ(device->product, 0x0001);
  EXPECT_EQ(device->device_class, class_code::hub);
  EXPECT_EQ(device->usb_version, 0x0200);
  EXPECT_EQ(device->max_packet_0, 64);
  EXPECT_EQ(device->configuration_count, 2);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(parse_device(std::span(bytes).first(size))) << size;
  }
  Bytes wrong = bytes;
  wrong[1] = 2;
  EXPECT_FALSE(parse_device(wrong));
  wrong = bytes;
  wrong[0] = 17;
  EXPECT_FALSE(parse_device(wrong));
}

TEST(ParseConfiguration, FindsEndpointsByInterfaceAndAlternate) {
  const Bytes bytes = ConfigurationBuilder(3)
                          .interface(0, 0, 0x01, 0x02)
                          .interface(0, 1, 0x01, 0x02)
                          .raw({7, 0x24, 1, 1, 1, 1, 0})  // class-specific: skipped
                          .endpoint(0x83, 0x05, 196, 4)   // asynchronous isochronous
                          .interface(2, 0, 0x03)
                          .endpoint(0x81, 3, 8, 10)
                          .build();
  const auto configuration = parse_configuration(bytes);
  ASSERT_TRUE(configuration);
  EXPECT_FALSE(configuration->damaged);
  EXPECT_EQ(configuration->value, 3);
  EXPECT_EQ(configuration->interface_numbers(), (std::vector<uint8_t>{0, 2}));
  EXPECT_EQ(find_endpoint(*configuration, 0, 0, 0x83), nullptr);
  const Endpoint* iso = find_endpoint(*configuration, 0, 1, 0x83);
  ASSERT_NE(iso, nullptr);
  EXPECT_EQ(iso->type, TransferType::isochronous);
  EXPECT_EQ(iso->max_packet_bytes(), 196u);
  EXPECT_EQ(iso->interval_raw, 4);
  const Endpoint* interrupt = find_endpoint(*configuration, 2, 0, 0x81);
  ASSERT_NE(interrupt, nullptr);
  EXPECT_EQ(interrupt->type, TransferType::interrupt);
  EXPECT_EQ(find_endpoint(*configuration, 1, 0, 0x81), nullptr);
}

TEST(ParseConfiguration, ReadsCompanions) {
  const auto configuration = parse_configuration(ConfigurationBuilder()
                                                     .interface(0, 0)
                                                     .endpoint(0x81, 1, 1024, 1)
                                                     .companion(15, 0x82, 1)
                                                     .iso_companion(98304)
                                                     .endpoint(0x02, 2, 1024)
                                                     .companion(3, 0x1f, 0)
                                                     .build());
  ASSERT_TRUE(configuration);
  EXPECT_FALSE(configuration->damaged);
  const Endpoint* iso = find_endpoint(*configuration, 0, 0, 0x81);
  EXPECT_EQ(iso->burst, 15);
  EXPECT_EQ(iso->mult, 2);
  EXPECT_EQ(iso->packets_interval(UsbSpeed::super), 48u);
  EXPECT_EQ(iso->bytes_interval(UsbSpeed::super_plus), 98304u);
  const Endpoint* bulk = find_endpoint(*configuration, 0, 0, 0x02);
  EXPECT_EQ(bulk->burst, 3);
  EXPECT_EQ(bulk->mult, 0);  // those bits count streams there
  EXPECT_EQ(bulk->packets_interval(UsbSpeed::super), 1u);
}

TEST(ParseConfiguration, LeavesOutWhatIsDamagedAndKeepsTheRest) {
  const struct {
    const char* what;
    Bytes bytes;
    size_t interfaces, endpoints;
  } cases[] = {
      {"endpoint before any interface",
       ConfigurationBuilder().endpoint(0x81, 2, 64).interface(0, 0).endpoint(0x82, 2, 64).build(),
       1, 1},
      {"endpoint descriptor of 6 bytes",
       ConfigurationBuilder()
           .interface(0, 0)
           .raw({6, 5, 0x81, 2, 64, 0})
           .endpoint(2, 2, 64)
           .build(),
       1, 1},
      {"interface descriptor of 8 bytes, and its endpoint",
       ConfigurationBuilder().raw({8, 4, 0, 0, 1, 8, 6, 0x50}).endpoint(0x81, 2, 64).build(), 0, 0},
      {"interface number 32", ConfigurationBuilder().interface(32, 0).endpoint(1, 2, 64).build(), 0,
       0},
      {"the same setting twice",
       ConfigurationBuilder()
           .interface(0, 0)
           .endpoint(1, 2, 64)
           .interface(0, 0)
           .endpoint(2, 2, 8)
           .build(),
       1, 1},
      {"the same endpoint twice",
       ConfigurationBuilder().interface(0, 0).endpoint(0x81, 2, 64).endpoint(0x81, 3, 8).build(), 1,
       1},
      {"endpoint 0", ConfigurationBuilder().interface(0, 0).endpoint(0x80, 2, 64).build(), 1, 0},
      {"a companion of nothing",
       ConfigurationBuilder().interface(0, 0).companion(1, 0, 0).endpoint(1, 2, 64).build(), 1, 1},
      {"a burst of 16 packets too many",
       ConfigurationBuilder().interface(0, 0).endpoint(1, 2, 64).companion(16, 0, 0).build(), 1, 1},
      {"an iso companion of 7 bytes",
       ConfigurationBuilder()
           .interface(0, 0)
           .endpoint(1, 1, 64)
           .raw({7, 0x31, 0, 0, 1, 0, 0})
           .build(),
       1, 1},
      {"bLength 0 in the middle",
       ConfigurationBuilder()
           .interface(0, 0)
           .endpoint(1, 2, 64)
           .raw({0, 5})
           .endpoint(2, 2, 64)
           .build(),
       1, 1},
      {"a configuration inside",
       ConfigurationBuilder()
           .interface(0, 0)
           .raw({9, 2, 9, 0, 0, 1, 0, 0, 0})
           .endpoint(1, 2, 8)
           .build(),
       1, 1},
  };
  for (const auto& test : cases) {
    const auto configuration = parse_configuration(test.bytes);
    ASSERT_TRUE(configuration) << test.what;
    EXPECT_TRUE(configuration->damaged) << test.what;
    EXPECT_EQ(configuration->interfaces.size(), test.interfaces) << test.what;
    size_t endpoints = 0;
    for (const auto& interface : configuration->interfaces) endpoints += interface.endpoints.size();
    EXPECT_EQ(endpoints, test.endpoints) << test.what;
  }
}

TEST(ParseConfiguration, DoesNotBelieveTotalLength) {
  const Bytes good = test::storage_configuration();
  Bytes longer = good;  // says more than there is
  longer[2] = 0xff;
  longer[3] = 0xff;
  auto configuration = parse_configuration(longer);
  ASSERT_TRUE(configuration);
  EXPECT_TRUE(configuration->damaged);
  EXPECT_NE(find_endpoint(*configuration, 0, 0, 0x02), nullptr);

  Bytes shorter = good;  // says less: the last endpoint is not part of it
  shorter[2] = static_cast<uint8_t>(good.size() - 7);
  configuration = parse_configuration(shorter);
  ASSERT_TRUE(configuration);
  EXPECT_NE(find_endpoint(*configuration, 0, 0, 0x81), nullptr);
  EXPECT_EQ(find_endpoint(*configuration, 0, 0, 0x02), nullptr);

  Bytes none = good;
  none[2] = 0;
  configuration = parse_configuration(none);
  ASSERT_TRUE(configuration);
  EXPECT_TRUE(configuration->damaged);
  EXPECT_TRUE(configuration->interfaces.empty());
}

TEST(ParseConfiguration, RefusesLessThanItsOwnHeader) {
  const Bytes good = test::storage_configuration();
  for (size_t size = 0; size < 9; ++size) {
    EXPECT_FALSE(parse_configuration(std::span(good).first(size))) << size;
  }
  Bytes wrong = good;
  wrong[0] = 8;
  EXPECT_FALSE(parse_configuration(wrong));
  wrong = good;
  wrong[1] = 7;  // other-speed configuration
  EXPECT_FALSE(parse_configuration(wrong));
}

// Whatever a device says, what comes out keeps its promises. Bytes are copied to the end of a heap
// block of their own size, so that a read past it is seen by a sanitizer.
// True when the configuration could be read.
bool check_promises(std::span<const uint8_t> bytes, UsbSpeed speed) {
  const Bytes exact(bytes.begin(), bytes.end());
  const auto configuration = parse_configuration(exact);
  if (!configuration) return false;
  EXPECT_LE(configuration->interfaces.size(), exact.size() / 9);
  for (const Interface& interface : configuration->interfaces) {
    EXPECT_LT(interface.number, 32);
    EXPECT_LE(interface.endpoints.size(), 30u);
    EXPECT_EQ(configuration->find(interface.number, interface.alternate), &interface);
    for (const Endpoint& endpoint : interface.endpoints) {
      EXPECT_NE(endpoint.address & 0x0f, 0);
      EXPECT_EQ(endpoint.address & 0x70, 0);
      EXPECT_EQ(
          find_endpoint(*configuration, interface.number, interface.alternate, endpoint.address),
          &endpoint);
      EXPECT_GE(endpoint.interval_microframes(speed), 1u);
      EXPECT_GE(endpoint.packets_interval(speed), 1u);
      EXPECT_LE(endpoint.packets_interval(speed), 48u);
    }
  }
  return true;
}

TEST(ParseConfiguration, SurvivesAnyBytes) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const Bytes seeds[] = {test::storage_configuration(), ConfigurationBuilder()
                                                            .interface(0, 0, 0x0e)
                                                            .interface(0, 1, 0x0e)
                                                            .endpoint(0x81, 1, 0x1400, 1)
                                                            .companion(15, 2, 48)
                                                            .iso_companion(98304)
                                                            .interface(1, 0, 3)
                                                            .endpoint(0x82, 3, 8, 255)
                                                            .build()};
  int readable = 0;
  for (int round = 0; round < 20000; ++round) {
    Bytes bytes = seeds[round % 2];
    const int changes = 1 + static_cast<int>(random() % 6);
    for (int change = 0; change < changes && !bytes.empty(); ++change) {
      const size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<uint8_t>(random());
          break;
        case 1:
          bytes.resize(at);
          break;
        case 2:
          bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                       static_cast<uint8_t>(random()));
          break;
        default:
          bytes[at] = 0;
          break;
      }
    }
    readable += check_promises(bytes, static_cast<UsbSpeed>(random() % 6));
    if (HasFailure()) return;
  }
  EXPECT_GT(readable, 5000);  // or it tested little
}

TEST(Endpoint, CountsIntervalsByTheSpeed) {
  const struct {
    TransferType type;
    UsbSpeed speed;
    uint8_t interval;
    uint32_t microframes;
  } cases[] = {
      {TransferType::interrupt, UsbSpeed::low, 10, 80},
      {TransferType::interrupt, UsbSpeed::low, 1, 80},  // low speed: at least 10 ms
      {TransferType::interrupt, UsbSpeed::full, 1, 8},
      {TransferType::interrupt, UsbSpeed::full, 255, 2040},
      {TransferType::interrupt, UsbSpeed::full, 0, 8},
      {TransferType::isochronous, UsbSpeed::full, 1, 8},
      {TransferType::isochronous, UsbSpeed::full, 4, 64},
      {TransferType::interrupt, UsbSpeed::high, 1, 1},
      {TransferType::interrupt, UsbSpeed::high, 16, 32768},
      {TransferType::interrupt, UsbSpeed::high, 255, 32768},
      {TransferType::isochronous, UsbSpeed::super, 4, 8},
  };
  for (const auto& test : cases) {
    Endpoint endpoint;
    endpoint.type = test.type;
    endpoint.interval_raw = test.interval;
    EXPECT_EQ(endpoint.interval_microframes(test.speed), test.microframes)
        << static_cast<int>(test.speed) << " " << int{test.interval};
  }
}

TEST(EndpointTable, FollowsConfigurationAndAlternates) {
  const DeviceInfo info = test::device_info(
      UsbSpeed::high, {ConfigurationBuilder(1)
                           .interface(0, 0)
                           .interface(0, 1)
                           .endpoint(0x81, 1, 1024, 1)
                           .interface(1, 0)
                           .endpoint(0x02, 2, 512)
                           .build(),
                       ConfigurationBuilder(2).interface(0, 0).endpoint(0x81, 3, 8, 4).build()});
  EndpointTable table(info);
  EXPECT_EQ(table.configuration_value(), 1);
  EXPECT_EQ(table.find(0x81), nullptr);
  EXPECT_EQ(table.type_of(0x02), TransferType::bulk);
  EXPECT_EQ(table.type_of(0x80), TransferType::control);
  EXPECT_EQ(table.interface_of(0x02), 1);
  EXPECT_EQ(table.interface_of(0x81), -1);

  table.observe({0x01, 0x0b, 1, 0, 0, 0, 0, 0});  // SET_INTERFACE 0, alternate 1
  EXPECT_EQ(table.type_of(0x81), TransferType::isochronous);
  EXPECT_EQ(table.alternate_of(0), 1);
  EXPECT_FALSE(table.set_interface(0, 2));
  EXPECT_FALSE(table.set_interface(200, 0));
  EXPECT_EQ(table.type_of(0x81), TransferType::isochronous);

  table.observe({0x00, 0x09, 2, 0, 0, 0, 0, 0});  // SET_CONFIGURATION 2
  EXPECT_EQ(table.type_of(0x81), TransferType::interrupt);
  EXPECT_EQ(table.find(0x02), nullptr);
  EXPECT_EQ(table.alternate_of(0), 0);

  EXPECT_TRUE(table.set_configuration(0));
  EXPECT_EQ(table.find(0x81), nullptr);
  EXPECT_FALSE(table.set_interface(0, 0));
  EXPECT_FALSE(table.set_configuration(9));

  EndpointTable moved(std::move(table));
  EXPECT_TRUE(moved.set_configuration(1));
  EXPECT_EQ(moved.type_of(0x02), TransferType::bulk);
}

TEST(Request, TellsWhatMustGoThroughTheHost) {
  const struct {
    std::array<uint8_t, 8> setup;
    bool address, configuration, interface, halt, reset;
  } cases[] = {
      {{0x00, 0x05, 7, 0, 0, 0, 0, 0}, true, false, false, false, false},
      {{0x00, 0x09, 1, 0, 0, 0, 0, 0}, false, true, false, false, false},
      {{0x01, 0x0b, 1, 0, 2, 0, 0, 0}, false, false, true, false, false},
      {{0x02, 0x01, 0, 0, 0x81, 0, 0, 0}, false, false, false, true, false},
      {{0x02, 0x01, 0, 0, 0x80, 0, 0, 0}, false, false, false, false, false},  // endpoint 0
      {{0x00, 0x01, 1, 0, 0, 0, 0, 0}, false, false, false, false, false},     // remote wakeup
      {{0x23, 0x03, 4, 0, 1, 0, 0, 0}, false, false, false, false, true},
      {{0x80, 0x06, 0, 1, 0, 0, 18, 0}, false, false, false, false, false},  // GET_DESCRIPTOR
      {{0x40, 0x09, 1, 0, 0, 0, 0, 0}, false, false, false, false, false},   // vendor request
  };
  for (const auto& test : cases) {
    const Request request(test.setup);
    EXPECT_EQ(request.is_set_address(), test.address);
    EXPECT_EQ(request.is_set_configuration(), test.configuration);
    EXPECT_EQ(request.is_set_interface(), test.interface);
    EXPECT_EQ(request.is_clear_halt(), test.halt);
    EXPECT_EQ(request.is_port_reset(), test.reset);
  }
}

}  // namespace
}  // namespace farport::usb
