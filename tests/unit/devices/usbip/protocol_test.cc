// The bytes of USB/IP, against examples written out by hand from the protocol's document, and by
// round trips.
#include "devices/usbip/protocol.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <random>

namespace farport::usbip {
namespace {

std::vector<uint8_t> bytes_of(std::span<const std::byte> bytes) {
  std::vector<uint8_t> result;
  for (const std::byte byte : bytes) result.push_back(std::to_integer<uint8_t>(byte));
  return result;
}

std::span<const std::byte, message_bytes> fixed(const Message& message) { return message; }

TEST(UsbipProtocol, SubmitIsBigEndianAsDocumented) {
  Message message;
  encode_request({.command = Command::submit,
                  .seqnum = 0x01020304,
                  .devid = 0x00010002,
                  .in = true,
                  .endpoint = 3,
                  .flags = 0x200,
                  .length = 0x00010000,
                  .start_frame = 7,
                  .packet_count = 0xffffffff,
                  .interval = 4,
                  .setup = {0x80, 6, 0, 1, 0, 0, 18, 0}},
                 message);
  const std::vector<uint8_t> expected = {
      0, 0, 0, 1, 1, 2, 3, 4, 0,    1,    0,    2,    0, 0, 0, 1, 0,    0, 0, 3, 0, 0, 2,  0,
      0, 1, 0, 0, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 4, 0x80, 6, 0, 1, 0, 0, 18, 0};
  EXPECT_EQ(bytes_of(message), expected);
}

TEST(UsbipProtocol, RepliesCarryNoDeviceDirectionOrEndpoint) {
  Message message;
  encode_reply({.command = Command::submit_reply, .seqnum = 5, .status = -EPIPE, .actual = 513},
               message);
  const std::vector<uint8_t> expected = {
      0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xe0,
      0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0,    0,    0};
  EXPECT_EQ(bytes_of(message), expected);
}

TEST(UsbipProtocol, UnlinkNamesTheRequest) {
  Message message;
  encode_request({.command = Command::unlink, .seqnum = 9, .devid = 1, .unlink_seqnum = 0x0a0b0c0d},
                 message);
  const auto bytes = bytes_of(message);
  EXPECT_EQ(std::vector<uint8_t>(bytes.begin() + 20, bytes.begin() + 24),
            (std::vector<uint8_t>{0x0a, 0x0b, 0x0c, 0x0d}));
  const auto request = decode_request(fixed(message));
  ASSERT_TRUE(request);
  EXPECT_EQ(request->command, Command::unlink);
  EXPECT_EQ(request->unlink_seqnum, 0x0a0b0c0du);
}

TEST(UsbipProtocol, RandomMessagesSurviveBothWays) {
  std::mt19937 random(1);
  for (int i = 0; i < 1000; ++i) {
    Request request{.seqnum = static_cast<uint32_t>(random()),
                    .devid = static_cast<uint32_t>(random()),
                    .in = random() % 2 == 0,
                    .endpoint = static_cast<uint8_t>(random() % 16),
                    .flags = static_cast<uint32_t>(random()),
                    .length = static_cast<uint32_t>(random()),
                    .start_frame = static_cast<uint32_t>(random()),
                    .packet_count = static_cast<uint32_t>(random()),
                    .interval = static_cast<uint32_t>(random())};
    for (uint8_t& byte : request.setup) byte = static_cast<uint8_t>(random());
    Message message;
    encode_request(request, message);
    ASSERT_EQ(decode_request(fixed(message)).value(), request);

    const Reply reply{.command = Command::submit_reply,
                      .seqnum = static_cast<uint32_t>(random()),
                      .status = static_cast<int32_t>(random()),
                      .actual = static_cast<uint32_t>(random()),
                      .start_frame = static_cast<uint32_t>(random()),
                      .packet_count = static_cast<uint32_t>(random()),
                      .error_count = static_cast<uint32_t>(random())};
    encode_reply(reply, message);
    ASSERT_EQ(decode_reply(fixed(message)).value(), reply);
  }
}

TEST(UsbipProtocol, WhatCannotBeFollowedIsAnError) {
  struct Case {
    uint32_t command, direction, endpoint;
    bool request_ok, reply_ok;
  };
  for (const Case& each : std::initializer_list<Case>{
           {1, 0, 0, true, false},
           {1, 1, 15, true, false},
           {1, 2, 0, false, false},
           {1, 0, 16, false, false},
           {1, 0, 0xffffffff, false, false},
           {2, 0, 0, true, false},
           {3, 0, 0, false, true},
           {4, 0, 0, false, true},
           {0, 0, 0, false, false},
           {5, 0, 0, false, false},
           {0x01000000, 0, 0, false, false},
       }) {
    wire::Submit submit{};
    submit.basic.command = each.command;
    submit.basic.direction = each.direction;
    submit.basic.endpoint = each.endpoint;
    const auto message = std::bit_cast<Message>(submit);
    EXPECT_EQ(decode_request(fixed(message)).has_value(), each.request_ok) << each.command;
    EXPECT_EQ(decode_reply(fixed(message)).has_value(), each.reply_ok) << each.command;
  }
}

TEST(UsbipProtocol, NoBytesMakeTheDecodersFall) {
  std::mt19937 random(2);
  for (int i = 0; i < 20000; ++i) {
    std::array<std::byte, 312> bytes;
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    bytes[3] = static_cast<std::byte>(random() % 6);
    (void)decode_request(std::span(bytes).first<message_bytes>());
    (void)decode_reply(std::span(bytes).first<message_bytes>());
    const auto device = decode_device(bytes);
    if (device) {
      EXPECT_LE(device->path.size(), 255u);
      EXPECT_LE(device->busid.size(), busid_length_max);
    }
  }
}

TEST(UsbipProtocol, DeviceFieldsWithoutAnEndAreRefused) {
  std::array<std::byte, 312> bytes{};
  EXPECT_TRUE(decode_device(bytes));
  std::memset(bytes.data() + 256, 'x', 32);
  EXPECT_FALSE(decode_device(bytes));
  std::memset(bytes.data() + 256, 0, 32);
  std::memset(bytes.data(), 'x', 256);
  EXPECT_FALSE(decode_device(bytes));
  EXPECT_FALSE(decode_busid(std::span(bytes).first<32>()));
}

TEST(UsbipProtocol, ImportReplySurvivesAndCutsLongText) {
  DeviceRecord device;
  device.path = std::string(300, 'p');
  device.busid = std::string(40, 'b');
  device.busnum = 1;
  device.devnum = 2;
  device.speed = 5;
  device.vendor = 0x1d6b;
  device.product = 0x0104;
  device.bcd_device = 0x0510;
  device.device_class = 1;
  device.subclass = 2;
  device.protocol = 3;
  device.configuration_value = 4;
  device.configurations = 5;
  device.interface_count = 6;
  const auto bytes = encode_import_reply(device);
  const OpHeader header = decode_op_header(std::span(bytes).first<8>());
  EXPECT_EQ(header.version, 0x0111);
  EXPECT_EQ(header.code, OpCode::reply_import);
  EXPECT_EQ(header.status, 0u);
  auto read = decode_device(std::span(bytes).subspan<8, 312>());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->path, std::string(255, 'p'));
  EXPECT_EQ(read->busid, std::string(31, 'b'));
  read->path = device.path;
  read->busid = device.busid;
  EXPECT_EQ(*read, device);
}

TEST(UsbipProtocol, ListSaysAsManyInterfacesAsFollow) {
  DeviceRecord device;
  device.interface_count = 9;  // a lie
  device.interfaces = {{8, 6, 80}, {3, 1, 2}};
  const auto bytes = encode_list_reply(std::vector{device, device});
  ASSERT_EQ(bytes.size(), 8 + 4 + 2 * (312 + 2 * 4u));
  const auto read = decode_device(std::span<const std::byte, 312>(bytes.data() + 12, 312));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->interface_count, 2);
  InterfaceRecord interface;
  decode_interface(std::span<const std::byte, 4>(bytes.data() + 12 + 312 + 4, 4), interface);
  EXPECT_EQ(interface, (InterfaceRecord{3, 1, 2}));
}

TEST(UsbipProtocol, StatusesMapBothWays) {
  struct Case {
    TransferStatus status;
    int32_t error;
    TransferStatus back;
  };
  for (const Case& each : std::initializer_list<Case>{
           {TransferStatus::ok, 0, TransferStatus::ok},
           {TransferStatus::stall, -EPIPE, TransferStatus::stall},
           {TransferStatus::cancelled, -ECONNRESET, TransferStatus::cancelled},
           {TransferStatus::unplugged, -ESHUTDOWN, TransferStatus::unplugged},
           {TransferStatus::timed_out, -ETIMEDOUT, TransferStatus::timed_out},
           {TransferStatus::overflow, -EOVERFLOW, TransferStatus::overflow},
           {TransferStatus::short_read, -EREMOTEIO, TransferStatus::short_read},
           {TransferStatus::protocol, -EPROTO, TransferStatus::protocol},
           {TransferStatus::late, -EXDEV, TransferStatus::late},
           {TransferStatus::invalid, -EINVAL, TransferStatus::invalid},
           {TransferStatus::no_memory, -ENOMEM, TransferStatus::no_memory},
           {TransferStatus::link_lost, -ESHUTDOWN, TransferStatus::unplugged},
       }) {
    EXPECT_EQ(errno_of(each.status), each.error) << transfer_status_name(each.status);
    EXPECT_EQ(status_of(each.error), each.back) << each.error;
  }
  EXPECT_EQ(status_of(-ENODEV), TransferStatus::unplugged);
  EXPECT_EQ(status_of(-ENOENT), TransferStatus::cancelled);
  EXPECT_EQ(status_of(-EILSEQ), TransferStatus::protocol);
  EXPECT_EQ(status_of(17), TransferStatus::protocol);
  EXPECT_EQ(errno_of(static_cast<TransferStatus>(200)), -EPROTO);
}

TEST(UsbipProtocol, FlagsMapBothWays) {
  for (uint8_t flags = 0; flags < 8; ++flags) {
    EXPECT_EQ(transfer_flags_of(urb_flags_of(flags)), flags);
  }
  EXPECT_EQ(transfer_flags_of(~0u), 7);
}

TEST(UsbipProtocol, ServerStatusesSayWhatToDo) {
  EXPECT_EQ(op_status_error(2, "x").code, ErrorCode::busy);
  EXPECT_EQ(op_status_error(4, "x").code, ErrorCode::not_found);
  EXPECT_EQ(op_status_error(1, "x").code, ErrorCode::failed);
  EXPECT_NE(op_status_error(4, "x").message.find("usbip bind"), std::string::npos);
  EXPECT_NE(op_status_error(77, "x").message.find("77"), std::string::npos);
}

}  // namespace
}  // namespace farport::usbip
