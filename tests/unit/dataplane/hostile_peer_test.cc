// A peer that breaks the rules: its session ends with a reason, nothing else; and it gets nothing
// that is not its own.
#include <gtest/gtest.h>

#include "dataplane/session.h"
#include "tests/unit/dataplane/session_fixture.h"

namespace farport {
namespace {

struct HostileCase {
  const char* name;
  wire::FrameType type;
  uint64_t number;        // 0: unnumbered; else relative to the next: 1 is right
  uint64_t acknowledged;  // of A's frames
  std::vector<std::byte> rest;
  uint32_t body_bytes;
  const char* reason;
};

template <class Body>
std::vector<std::byte> bytes_of(const Body& body, size_t data_bytes = 0) {
  std::vector<std::byte> bytes(sizeof body + data_bytes);
  std::memcpy(bytes.data(), &body, sizeof body);
  return bytes;
}

class HostilePeer : public SessionTest, public testing::WithParamInterface<HostileCase> {};

TEST_P(HostilePeer, EndsItsOwnSessionWithAReason) {
  start();
  const HostileCase& hostile = GetParam();
  // A is the device end here, so that submits can be injected too: B has never sent a numbered
  // frame.
  auto device = std::make_unique<FakeDevice>();
  ASSERT_NE(a_.session->add_device_channel(2, std::move(device), 0, 1 << 20, a_), nullptr);
  wire::FrameHeader header{.bytes = static_cast<uint32_t>(hostile.rest.size()),
                           .type = static_cast<uint8_t>(hostile.type),
                           .body_bytes = static_cast<uint8_t>(hostile.body_bytes),
                           .flags = 0,
                           .number = hostile.number,
                           .acknowledged = hostile.acknowledged,
                           .channel = 2,
                           .transfer = 0};
  b_.link->inject(header, hostile.rest);
  run();
  EXPECT_TRUE(a_.closed);
  EXPECT_NE(a_.why.message.find(hostile.reason), std::string::npos) << a_.why.message;
}

wire::SubmitBody submit_body(uint32_t length, uint8_t endpoint, uint8_t type = 2,
                             uint16_t packets = 0) {
  wire::SubmitBody body{};
  body.length = length;
  body.endpoint = endpoint;
  body.type = type;
  body.packet_count = packets;
  return body;
}

wire::SubmitBody chained_body(uint8_t chain) {
  wire::SubmitBody body = submit_body(8, 0x81);
  body.chain = chain;
  return body;
}

INSTANTIATE_TEST_SUITE_P(
    Table, HostilePeer,
    testing::Values(
        HostileCase{
            "a gap in the numbers", wire::FrameType::cancel, 5, 0, {}, 0, "came after frame"},
        HostileCase{"an acknowledgement from the future",
                    wire::FrameType::acknowledge,
                    0,
                    99,
                    {},
                    0,
                    "acknowledges frame 99"},
        HostileCase{"a second hello", wire::FrameType::hello, 0, 0, bytes_of(wire::HelloBody{}),
                    sizeof(wire::HelloBody), "second hello"},
        HostileCase{"a transfer of 4 GiB", wire::FrameType::submit, 1, 0,
                    bytes_of(submit_body(0xffffffff, 0x01)), sizeof(wire::SubmitBody), "16 MiB"},
        HostileCase{"too many packets", wire::FrameType::submit, 1, 0,
                    bytes_of(submit_body(0, 0x81, 1, 1025)), sizeof(wire::SubmitBody), "1024"},
        HostileCase{"a transfer beyond its credit", wire::FrameType::submit, 1, 0,
                    bytes_of(submit_body(2 << 20, 0x01)), sizeof(wire::SubmitBody), "credit"},
        HostileCase{"an unknown transfer type", wire::FrameType::submit, 1, 0,
                    bytes_of(submit_body(8, 0x01, 9)), sizeof(wire::SubmitBody), "unknown type"},
        HostileCase{"a chain past the limit", wire::FrameType::submit, 1, 0,
                    bytes_of(chained_body(17)), sizeof(wire::SubmitBody), "chain"},
        HostileCase{"more data than the transfer has", wire::FrameType::submit, 1, 0,
                    bytes_of(submit_body(8, 0x01), 9), sizeof(wire::SubmitBody), "more bytes"},
        HostileCase{"data of no transfer", wire::FrameType::data, 1, 0,
                    bytes_of(wire::DataBody{.offset = 0}, 4), sizeof(wire::DataBody),
                    "not submitted"},
        HostileCase{"a completion to a device end", wire::FrameType::complete, 1, 0,
                    bytes_of(wire::CompleteBody{}), sizeof(wire::CompleteBody),
                    "only a device end"},
        HostileCase{"a message of an unknown kind", wire::FrameType::message, 1, 0,
                    bytes_of(wire::MessageBody{.id = 1, .kind = 9, .more = 0, .reserved = 0}),
                    sizeof(wire::MessageBody), "unknown kind"}),
    [](const auto& param) {
      std::string name = param.param.name;
      std::replace_if(name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
      return name;
    });

using HostilePeerOfADriver = SessionTest;

TEST_F(HostilePeerOfADriver, CompletionOfATransferThatIsNotInFlightEndsTheSession) {
  start();
  open_channel(1);
  run();
  b_.link->inject({.bytes = sizeof(wire::CompleteBody),
                   .type = static_cast<uint8_t>(wire::FrameType::complete),
                   .body_bytes = sizeof(wire::CompleteBody),
                   .flags = 0,
                   .number = 1,
                   .acknowledged = 0,
                   .channel = 1,
                   .transfer = 77},
                  bytes_of(wire::CompleteBody{}));
  run();
  EXPECT_TRUE(a_.closed);
  EXPECT_NE(a_.why.message.find("not in flight"), std::string::npos) << a_.why.message;
}

using PeerOfADevice = SessionTest;

// A peer that submits as IN what its setup packet says goes OUT would get what lay in the memory.
TEST_F(PeerOfADevice, AControlTransferGoesTheWayItsSetupPacketSays) {
  start();
  Ends ends = open_channel(1);
  ends.driver->on_completed = [&](Transfer& back) { ends.driver->port->release(back); };
  const auto control = [&](uint8_t endpoint, std::array<uint8_t, 8> setup, uint32_t length) {
    Transfer* transfer = make(ends, endpoint, TransferType::control, length);
    transfer->setup = setup;
    ends.driver->port->submit(*transfer);
    run();
  };
  control(0x80, {0x21, 0x20, 0, 0, 0, 0, 7, 0}, 7);
  control(0x00, {0xa1, 0x21, 0, 0, 0, 0, 0, 1}, 256);
  EXPECT_TRUE(ends.device->in_flight.empty());
  EXPECT_EQ(ends.driver->statuses,
            (std::vector<TransferStatus>{TransferStatus::invalid, TransferStatus::invalid}));
  control(0x80, {0xa1, 0x21, 0, 0, 0, 0, 7, 0}, 7);
  control(0x00, {0x21, 0x20, 0, 0, 0, 0, 7, 0}, 7);
  control(0x00, {0x80, 0x00, 0, 0, 0, 0, 0, 0}, 0);  // nothing moves either way
  EXPECT_EQ(ends.device->in_flight.size(), 3u);
  while (!ends.device->in_flight.empty()) {
    ends.device->complete(*ends.device->in_flight[0], TransferStatus::ok, 0);
  }
  run();
}

}  // namespace
}  // namespace farport
