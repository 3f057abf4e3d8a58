// Endpoint zero of emulated devices: descriptors that hold together, standard requests, refusals.
#include "tests/unit/devices/emulated/emulated_fixture.h"

namespace farport {
namespace {

enum : uint8_t { device_in = 0x80, interface_in = 0x81, endpoint_in = 0x82 };
enum : uint8_t { device_out = 0x00, interface_out = 0x01, endpoint_out = 0x02 };

std::vector<uint8_t> moved(const Transfer& transfer) {
  const auto bytes = transfer.moved();
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  return {data, data + bytes.size()};
}

class UsbControlTest : public EmulatedFixture {
 protected:
  EmulatedSourceSink& source_sink(UsbSpeed speed = UsbSpeed::high) {
    EmulatedDeviceSettings settings{.name = "SS0", .kind = EmulatedKind::source_sink};
    settings.speed = speed;
    source_sink_ = std::make_unique<EmulatedSourceSink>(settings);
    source_sink_->start_on(clock_, events_);
    return *source_sink_;
  }
  std::vector<uint8_t> descriptor(uint8_t type, uint8_t index = 0, uint16_t length = 1024) {
    Transfer& transfer = control(*source_sink_, device_in, usb::get_descriptor,
                                 static_cast<uint16_t>(type << 8 | index), 0, length);
    EXPECT_EQ(transfer.status, TransferStatus::ok) << int{type};
    return moved(transfer);
  }
  TransferStatus request(uint8_t type, uint8_t request, uint16_t value, uint16_t index,
                         uint16_t length = 0) {
    return control(*source_sink_, type, request, value, index, length).status;
  }
  uint8_t byte_of(uint8_t type, uint8_t request, uint16_t index = 0) {
    Transfer& transfer = control(*source_sink_, type, request, 0, index, 1);
    EXPECT_EQ(transfer.actual, 1u);
    return static_cast<uint8_t>(transfer.data()[0]);
  }
  uint16_t status_of(uint8_t recipient, uint16_t index) {
    Transfer& transfer = control(*source_sink_, recipient, usb::get_status, 0, index, 2);
    EXPECT_EQ(transfer.status, TransferStatus::ok);
    return static_cast<uint16_t>(moved(transfer)[0] | moved(transfer)[1] << 8);
  }

  std::unique_ptr<EmulatedSourceSink> source_sink_;
};

// Walks a configuration: lengths add up, endpoints are counted, companions follow at super speed.
void check_configuration(const std::vector<uint8_t>& bytes, uint8_t type, bool super) {
  ASSERT_GE(bytes.size(), 9u);
  EXPECT_EQ(bytes[1], type);
  EXPECT_EQ(bytes[2] | bytes[3] << 8, static_cast<int>(bytes.size()));
  int endpoints_left = 0;
  bool companion_due = false;
  for (size_t at = bytes[0]; at < bytes.size(); at += bytes[at]) {
    ASSERT_GE(bytes[at], 2);
    ASSERT_LE(at + bytes[at], bytes.size());
    if (companion_due) {
      EXPECT_EQ(bytes[at + 1], usb::descriptor_endpoint_companion);
      companion_due = false;
      continue;
    }
    if (bytes[at + 1] == usb::descriptor_interface) {
      EXPECT_EQ(endpoints_left, 0);
      endpoints_left = bytes[at + 4];
    } else {
      EXPECT_EQ(bytes[at + 1], usb::descriptor_endpoint);
      --endpoints_left;
      companion_due = super;
    }
  }
  EXPECT_EQ(endpoints_left, 0);
}

class DescriptorTest : public UsbControlTest, public testing::WithParamInterface<UsbSpeed> {};

TEST_P(DescriptorTest, HoldTogether) {
  const UsbSpeed speed = GetParam();
  const bool super = speed == UsbSpeed::super;
  EmulatedSourceSink& device = source_sink(speed);
  const auto bytes = descriptor(usb::descriptor_device);
  ASSERT_EQ(bytes.size(), 18u);
  EXPECT_EQ(bytes, device.info().device_descriptor);
  EXPECT_EQ(bytes[3], super ? 3 : 2);
  EXPECT_EQ(bytes[7], super ? 9 : 64);
  EXPECT_EQ(bytes[8] | bytes[9] << 8, 0x0525);
  const auto configuration = descriptor(usb::descriptor_configuration);
  EXPECT_EQ(configuration, device.info().configurations.at(0));
  check_configuration(configuration, usb::descriptor_configuration, super);
}

TEST_P(DescriptorTest, TruncatedToWhatIsAsked) {
  source_sink(GetParam());
  const auto whole = descriptor(usb::descriptor_configuration);
  const auto head = descriptor(usb::descriptor_configuration, 0, 9);
  EXPECT_EQ(head, std::vector<uint8_t>(whole.begin(), whole.begin() + 9));
}

TEST_P(DescriptorTest, OtherSpeedsAreForHighSpeedAndCapabilitiesForSuper) {
  const UsbSpeed speed = GetParam();
  source_sink(speed);
  const auto status = [this](uint8_t type) {
    return request(device_in, usb::get_descriptor, static_cast<uint16_t>(type << 8), 0, 255);
  };
  const auto expected = [](bool has) { return has ? TransferStatus::ok : TransferStatus::stall; };
  EXPECT_EQ(status(usb::descriptor_device_qualifier), expected(speed == UsbSpeed::high));
  EXPECT_EQ(status(usb::descriptor_other_speed), expected(speed == UsbSpeed::high));
  EXPECT_EQ(status(usb::descriptor_bos), expected(speed == UsbSpeed::super));
  EXPECT_EQ(status(0x22), TransferStatus::stall);
  if (speed == UsbSpeed::high) {
    check_configuration(descriptor(usb::descriptor_other_speed), usb::descriptor_other_speed,
                        false);
    EXPECT_EQ(descriptor(usb::descriptor_device_qualifier).size(), 10u);
  }
  if (speed == UsbSpeed::super) {
    const auto bos = descriptor(usb::descriptor_bos);
    EXPECT_EQ(bos[2] | bos[3] << 8, static_cast<int>(bos.size()));
    EXPECT_EQ(bos[4], 2);
  }
}

INSTANTIATE_TEST_SUITE_P(Speeds, DescriptorTest,
                         testing::Values(UsbSpeed::full, UsbSpeed::high, UsbSpeed::super));

TEST_F(UsbControlTest, StringsAreUnicode) {
  source_sink();
  EXPECT_EQ(descriptor(usb::descriptor_string, 0), (std::vector<uint8_t>{4, 3, 0x09, 0x04}));
  EXPECT_EQ(descriptor(usb::descriptor_string, 3),
            (std::vector<uint8_t>{8, 3, 'S', 0, 'S', 0, '0', 0}));
  EXPECT_EQ(request(device_in, usb::get_descriptor, 0x0304, 0, 255), TransferStatus::stall);
}

TEST_F(UsbControlTest, DefaultSettingHasNoLargeInterruptAndNoIsochronousEndpoint) {
  // USB 2.0, 5.6.3 and 5.7.3.
  source_sink();
  const auto bytes = descriptor(usb::descriptor_configuration);
  for (size_t at = 18; at < bytes.size() && bytes[at + 1] == usb::descriptor_endpoint;
       at += bytes[at]) {
    const int type = bytes[at + 3] & 3;
    EXPECT_NE(type, 1);
    EXPECT_LE(type == 3 ? bytes[at + 4] | bytes[at + 5] << 8 : 0, 64);
  }
}

TEST_F(UsbControlTest, Configuration) {
  source_sink();
  EXPECT_EQ(byte_of(device_in, usb::get_configuration), 1);
  EXPECT_EQ(request(device_out, usb::set_configuration, 2, 0), TransferStatus::stall);
  EXPECT_EQ(request(device_out, usb::set_configuration, 0, 0), TransferStatus::ok);
  EXPECT_EQ(byte_of(device_in, usb::get_configuration), 0);
  // Unconfigured, there are neither endpoints nor interfaces.
  Transfer& bulk = transfers_.make(TransferType::bulk, 0x81, 64);
  EXPECT_EQ(run(*source_sink_, bulk).status, TransferStatus::invalid);
  EXPECT_EQ(request(interface_in, usb::get_interface, 0, 0, 1), TransferStatus::stall);
  EXPECT_EQ(request(endpoint_out, usb::clear_feature, 0, 0x81), TransferStatus::stall);
  EXPECT_EQ(request(device_out, usb::set_configuration, 1, 0), TransferStatus::ok);
  Transfer& again = transfers_.make(TransferType::bulk, 0x81, 64);
  EXPECT_EQ(run(*source_sink_, again).status, TransferStatus::ok);
}

TEST_F(UsbControlTest, AlternateSettings) {
  source_sink();
  Transfer& before = transfers_.make(TransferType::isochronous, 0x83, 1024, 1);
  EXPECT_EQ(run(*source_sink_, before).status, TransferStatus::invalid);
  EXPECT_EQ(request(interface_out, usb::set_interface, 1, 0), TransferStatus::ok);
  EXPECT_EQ(byte_of(interface_in, usb::get_interface), 1);
  Transfer& after = transfers_.make(TransferType::isochronous, 0x83, 1024, 1);
  run(*source_sink_, after);
  EXPECT_FALSE(done(after));
  EXPECT_EQ(request(interface_out, usb::set_interface, 2, 0), TransferStatus::stall);
  EXPECT_EQ(request(interface_out, usb::set_interface, 0, 1), TransferStatus::stall);
  // What was under way on an endpoint that goes comes back.
  EXPECT_EQ(request(interface_out, usb::set_interface, 0, 0), TransferStatus::ok);
  EXPECT_EQ(after.status, TransferStatus::cancelled);
  EXPECT_TRUE(done(after));
}

TEST_F(UsbControlTest, HaltIsSetReportedAndCleared) {
  source_sink();
  EXPECT_EQ(status_of(endpoint_in, 0x81), 0);
  EXPECT_EQ(request(endpoint_out, usb::set_feature, 0, 0x81), TransferStatus::ok);
  EXPECT_EQ(status_of(endpoint_in, 0x81), 1);
  Transfer& bulk = transfers_.make(TransferType::bulk, 0x81, 64);
  EXPECT_EQ(run(*source_sink_, bulk).status, TransferStatus::stall);
  EXPECT_EQ(status_of(endpoint_in, 0x01), 0);
  EXPECT_EQ(request(endpoint_out, usb::clear_feature, 0, 0x81), TransferStatus::ok);
  EXPECT_EQ(status_of(endpoint_in, 0x81), 0);
  Transfer& again = transfers_.make(TransferType::bulk, 0x81, 64);
  EXPECT_EQ(run(*source_sink_, again).status, TransferStatus::ok);
}

TEST_F(UsbControlTest, SetConfigurationClearsHalts) {
  source_sink();
  request(endpoint_out, usb::set_feature, 0, 0x81);
  request(device_out, usb::set_configuration, 1, 0);
  EXPECT_EQ(status_of(endpoint_in, 0x81), 0);
}

TEST_F(UsbControlTest, PortResetKeepsTheConfiguration) {
  source_sink();
  request(endpoint_out, usb::set_feature, 0, 0x81);
  EXPECT_EQ(request(0x23, usb::set_feature, 4, 0), TransferStatus::ok);
  EXPECT_EQ(byte_of(device_in, usb::get_configuration), 1);
  EXPECT_EQ(status_of(endpoint_in, 0x81), 0);
}

struct Refused {
  uint8_t type, request;
  uint16_t value, index, length;
};

TEST_F(UsbControlTest, RefusesWhatItDoesNotDo) {
  source_sink();
  const Refused table[] = {
      {device_out, 7, 0x0100, 0, 0},                // SET_DESCRIPTOR
      {device_out, usb::set_feature, 1, 0, 0},      // remote wakeup
      {device_out, usb::set_feature, 2, 0x100, 0},  // test mode
      {device_out, usb::set_address, 128, 0, 0},
      {device_out, usb::set_sel, 0, 0, 0},             // of USB 3 only
      {endpoint_out, usb::clear_feature, 0, 0x84, 0},  // no such endpoint
      {endpoint_out, usb::clear_feature, 0, 0x181, 0},
      {endpoint_out, usb::clear_feature, 1, 0x81, 0},
      {endpoint_in, usb::get_status, 0, 0x05, 2},
      {interface_in, usb::get_status, 0, 1, 2},
      {0x83, usb::get_status, 0, 0, 2},  // recipient `other`
      {0xc0, 0x77, 0, 0, 4},             // unknown vendor request
      {0x21, 0xff, 0, 0, 0},             // a class request of a disk
  };
  for (const Refused& r : table) {
    EXPECT_EQ(request(r.type, r.request, r.value, r.index, r.length), TransferStatus::stall)
        << std::hex << int{r.type} << " " << int{r.request} << " " << r.value << " " << r.index;
  }
  EXPECT_EQ(request(device_out, usb::set_address, 5, 0), TransferStatus::ok);
  EXPECT_EQ(status_of(device_in, 0), 1);
  EXPECT_EQ(status_of(endpoint_in, 0), 0);
}

TEST_F(UsbControlTest, ControlTransferWithLessDataThanItSaysIsInvalid) {
  source_sink();
  Transfer& transfer = transfers_.make(TransferType::control, 0x00, 4);
  transfer.setup = {0x40, 0x5b, 0, 0, 0, 0, 8, 0};
  EXPECT_EQ(run(*source_sink_, transfer).status, TransferStatus::invalid);
}

TEST_F(UsbControlTest, ShortAnswerIsAnErrorWhenTheHostSaysSo) {
  source_sink();
  Transfer& transfer = transfers_.control(device_in, usb::get_descriptor, 0x0100, 0, 64);
  transfer.flags = transfer_flags::short_not_ok;
  EXPECT_EQ(run(*source_sink_, transfer).status, TransferStatus::short_read);
  EXPECT_EQ(transfer.actual, 18u);
}

TEST_F(UsbControlTest, VendorRequestsKeepData) {
  source_sink();
  const std::string text = "control data of usbtest";
  const auto data = std::as_bytes(std::span(text));
  const auto length = static_cast<uint16_t>(text.size());
  EXPECT_EQ(control(*source_sink_, 0x40, 0x5b, 0, 0, length, data).status, TransferStatus::ok);
  Transfer& back = control(*source_sink_, 0xc0, 0x5c, 0, 0, length);
  EXPECT_EQ(back.actual, text.size());
  EXPECT_TRUE(std::ranges::equal(back.moved(), data));
}

}  // namespace
}  // namespace farport
