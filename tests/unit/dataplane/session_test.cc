// Sessions and channels over a simulated link: greeting, messages, transfers, closing, and what a
// broken or hostile peer gets.
#include "dataplane/session.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/unit/dataplane/session_fixture.h"

namespace farport {
namespace {

class SessionTest : public SessionFixture {
 protected:
  Transfer* make(Ends& ends, uint8_t endpoint, TransferType type, uint32_t length,
                 uint16_t packets = 0) {
    Transfer* transfer = ends.driver->port->allocate(length, packets);
    if (transfer == nullptr) return nullptr;
    transfer->endpoint = endpoint;
    transfer->type = type;
    return transfer;
  }
  Transfer* submit(Ends& ends, uint8_t endpoint, TransferType type, uint32_t length) {
    Transfer* transfer = make(ends, endpoint, type, length);
    ends.driver->port->submit(*transfer);
    return transfer;
  }
};

TEST_F(SessionTest, CarriesMessagesOfAnySizeUpToTheLimit) {
  start();
  const std::string large(limits::message_bytes_max, 'x');
  a_.session->send_message(wire::MessageKind::request, 5, "{\"op\":\"devices\"}");
  a_.session->send_message(wire::MessageKind::request, 6, large);
  b_.session->send_message(wire::MessageKind::response, 5, "");
  run();
  ASSERT_EQ(b_.messages.size(), 2u);
  EXPECT_EQ(b_.messages[0].text, "{\"op\":\"devices\"}");
  EXPECT_EQ(b_.messages[1].id, 6u);
  EXPECT_EQ(b_.messages[1].text, large);
  ASSERT_EQ(a_.messages.size(), 1u);
  EXPECT_EQ(a_.messages[0].kind, wire::MessageKind::response);
}

TEST_F(SessionTest, CarriesBulkBothWays) {
  start();
  Ends ends = open_channel(1);
  for (const uint32_t length : {0u, 1u, 64u, 128u, 129u, 65536u, 65537u, 200'000u, 16u << 20}) {
    SCOPED_TRACE(length);
    std::vector<std::byte> pattern(length);
    for (uint32_t i = 0; i < length; ++i) pattern[i] = static_cast<std::byte>(i * 7 + i / 251);
    Transfer* out = make(ends, 0x01, TransferType::bulk, length);
    std::copy(pattern.begin(), pattern.end(), out->data().begin());
    ends.driver->port->submit(*out);
    run();
    ASSERT_EQ(ends.device->in_flight.size(), 1u);
    const auto taken = ends.device->in_flight[0]->data();
    EXPECT_TRUE(std::equal(taken.begin(), taken.end(), pattern.begin(), pattern.end()));
    ends.device->complete_next(0x01);
    std::vector<std::byte> back;
    ends.driver->on_completed = [&](Transfer& transfer) {
      back.assign(transfer.moved().begin(), transfer.moved().end());
      ends.driver->port->release(transfer);
    };
    run();
    submit(ends, 0x81, TransferType::bulk, length);
    run();
    ends.device->complete_next(0x81, pattern);
    run();
    EXPECT_TRUE(back == pattern);
  }
  EXPECT_EQ(ends.driver->statuses.size(), 18u);
}

TEST_F(SessionTest, CarriesSetupStatusAndShortReads) {
  start();
  Ends ends = open_channel(1);
  Transfer* control = make(ends, 0x80, TransferType::control, 255);
  control->setup = {0x80, 6, 0, 1, 0, 0, 255, 0};
  control->flags = transfer_flags::short_not_ok;
  ends.driver->port->submit(*control);
  run();
  ASSERT_EQ(ends.device->in_flight.size(), 1u);
  EXPECT_EQ(ends.device->in_flight[0]->setup[1], 6);
  EXPECT_EQ(ends.device->in_flight[0]->flags, transfer_flags::short_not_ok);
  EXPECT_EQ(ends.device->in_flight[0]->type, TransferType::control);
  uint32_t actual = 0;
  ends.driver->on_completed = [&](Transfer& transfer) {
    actual = transfer.actual;
    ends.driver->port->release(transfer);
  };
  const std::array<std::byte, 18> descriptor{};
  ends.device->complete_next(0x80, descriptor);
  run();
  EXPECT_EQ(actual, 18u);
  submit(ends, 0x01, TransferType::bulk, 10);
  run();
  ends.device->complete(*ends.device->in_flight[0], TransferStatus::stall, 3);
  run();
  EXPECT_EQ(actual, 3u);
  EXPECT_EQ(ends.driver->statuses.back(), TransferStatus::stall);
}

TEST_F(SessionTest, CarriesIsochronousPackets) {
  start();
  Ends ends = open_channel(1);
  Transfer* transfer = make(ends, 0x83, TransferType::isochronous, 3000, 3);
  for (IsoPacket& packet : transfer->packets()) packet = {1000, 0, 0, 0};
  ends.driver->port->submit(*transfer);
  run();
  ASSERT_EQ(ends.device->in_flight.size(), 1u);
  Transfer& at_device = *ends.device->in_flight[0];
  ASSERT_EQ(at_device.packet_count, 3);
  at_device.packets()[0].actual = 1000;
  at_device.packets()[2].actual = 500;
  std::fill_n(at_device.data().begin(), 1500, std::byte{0x5a});
  std::vector<uint32_t> actuals;
  bool data_right = false;
  ends.driver->on_completed = [&](Transfer& back) {
    for (const IsoPacket& packet : back.packets()) actuals.push_back(packet.actual);
    data_right = back.moved().size() == 1500 && back.moved()[1499] == std::byte{0x5a};
    ends.driver->port->release(back);
  };
  ends.device->complete(at_device, TransferStatus::ok, 1500);
  run();
  EXPECT_EQ(actuals, (std::vector<uint32_t>{1000, 0, 500}));
  EXPECT_TRUE(data_right);
}

TEST_F(SessionTest, RestingTransferCostsNoFrames) {
  start();
  Ends ends = open_channel(1);
  submit(ends, 0x82, TransferType::interrupt, 64);
  run();
  loop_.advance(30'000'000);  // the delayed acknowledgement
  run();
  const auto before = a_.session->counters().frames_sent;
  EXPECT_EQ(a_.session->counters().frames_unacknowledged, 0u);
  for (int i = 0; i < 100; ++i) {
    loop_.advance(1'000'000'000);
    run();
  }
  // One probe a second, whatever rests.
  EXPECT_LE(a_.session->counters().frames_sent - before, 210u);
  ends.device->complete_next(0x82, std::array<std::byte, 3>{});
  run();
  EXPECT_EQ(ends.driver->statuses.size(), 1u);
}

TEST_F(SessionTest, CancelReachesTheDeviceAndComesBackOnce) {
  start();
  Ends ends = open_channel(1);
  Transfer* resting = submit(ends, 0x82, TransferType::interrupt, 64);
  run();
  ends.driver->port->cancel(*resting);
  ends.driver->port->cancel(*resting);
  run();
  EXPECT_EQ(ends.device->cancelled.size(), 1u);
  ASSERT_EQ(ends.driver->statuses.size(), 1u);
  EXPECT_EQ(ends.driver->statuses[0], TransferStatus::cancelled);
}

TEST_F(SessionTest, CancelBeforeItLeavesNeverReachesTheDevice) {
  start();
  Ends ends = open_channel(1);
  Transfer* transfer = submit(ends, 0x01, TransferType::bulk, 100'000);
  ends.driver->port->cancel(*transfer);
  EXPECT_TRUE(ends.driver->statuses.empty()) << "a driver is not called back from inside cancel()";
  run();
  EXPECT_EQ(ends.driver->statuses, (std::vector{TransferStatus::cancelled}));
  EXPECT_TRUE(ends.device->in_flight.empty());
}

TEST_F(SessionTest, UnplugEndsTheChannelAndFreesTheDevice) {
  start();
  Ends ends = open_channel(1);
  submit(ends, 0x81, TransferType::bulk, 70'000);
  run();
  ends.device->unplug("cable pulled");
  run();
  ASSERT_EQ(a_.channels_closed.size(), 1u);
  EXPECT_EQ(a_.channels_closed[0].code, ErrorCode::not_found);
  EXPECT_EQ(a_.channels_closed[0].message, "cable pulled");
  EXPECT_EQ(b_.channels_closed.size(), 1u);
  EXPECT_FALSE(a_.closed || b_.closed);
  EXPECT_EQ(a_.session->channel_count(), 0u);
}

TEST_F(SessionTest, DetachWaitsUntilTheDeviceIsGivenBack) {
  start();
  Ends ends = open_channel(1);
  ends.device->hold_stop = true;
  submit(ends, 0x01, TransferType::bulk, 300'000);
  submit(ends, 0x81, TransferType::bulk, 300'000);
  loop_.flush();
  ends.channel->close({ErrorCode::failed, "detached"});
  run();
  EXPECT_EQ(ends.driver->statuses.size(), 2u);
  EXPECT_TRUE(a_.channels_closed.empty()) << "the device is still held";
  ends.device->finish_stop();
  run();
  EXPECT_EQ(a_.channels_closed.size(), 1u);
  EXPECT_EQ(b_.channels_closed.size(), 1u);
  EXPECT_EQ(b_.session->channel_count(), 0u);
  EXPECT_NE(open_channel(3).device_channel, nullptr);
  run();
}

TEST_F(SessionTest, CloseOfAChannelThatThePeerDoesNotHaveIsAnswered) {
  start();
  DriverChannel* opening = a_.session->add_driver_channel(1, a_);
  ASSERT_NE(opening, nullptr);
  run();
  opening->close({ErrorCode::denied, "refused by rule"});
  run();
  ASSERT_EQ(a_.channels_closed.size(), 1u);
  EXPECT_EQ(a_.channels_closed[0].code, ErrorCode::denied);
}

TEST_F(SessionTest, DriverThatCannotStartGivesTheDeviceBack) {
  start();
  DriverChannel* channel = a_.session->add_driver_channel(1, a_);
  b_.session->add_device_channel(1, std::make_unique<FakeDevice>(), 0, 1 << 20, b_);
  auto driver = std::make_unique<FakeDriver>();
  driver->start_error = Error{ErrorCode::busy, "no free port"};
  channel->start({}, 0, 1 << 20, std::move(driver));
  run();
  ASSERT_EQ(a_.channels_closed.size(), 1u);
  EXPECT_EQ(a_.channels_closed[0].message, "no free port");
  EXPECT_EQ(b_.channels_closed.size(), 1u);
}

TEST_F(SessionTest, NotResumedInTimeItUnplugsAndFreesEverything) {
  start();
  Ends ends = open_channel(1);
  submit(ends, 0x01, TransferType::bulk, 300'000);
  submit(ends, 0x82, TransferType::interrupt, 8);
  loop_.flush();
  a_.link->arrive();
  cut();
  run();
  EXPECT_TRUE(both_paused());
  EXPECT_TRUE(ends.driver->statuses.empty()) << "a pause is no error";
  loop_.advance(29'000'000'000);
  run();
  EXPECT_TRUE(both_paused());
  loop_.advance(2'000'000'000);
  run();
  EXPECT_TRUE(a_.closed && b_.closed);
  EXPECT_TRUE(a_.session->timed_out() && b_.session->timed_out());
  ASSERT_EQ(a_.channels_closed.size(), 1u);
  EXPECT_EQ(a_.channels_closed[0].code, ErrorCode::unreachable);
  EXPECT_EQ(b_.channels_closed.size(), 1u);
}

// A peer may cut the connection inside a submit and send another one in its place: memory was made
// for the first, and the second was written into it.
TEST_F(SessionTest, ASubmitThatWasCutOffMayComeAgainAsAnother) {
  start();
  Ends ends = open_channel(1);
  run();
  const auto submit_of = [](uint32_t length) {
    return std::pair{wire::FrameHeader{.bytes = uint32_t{sizeof(wire::SubmitBody)} + length,
                                       .type = static_cast<uint8_t>(wire::FrameType::submit),
                                       .body_bytes = sizeof(wire::SubmitBody),
                                       .flags = 0,
                                       .number = 1,
                                       .acknowledged = 0,
                                       .channel = 1,
                                       .transfer = 0x10007},
                     [length] {
                       wire::SubmitBody body{};
                       body.length = length;
                       body.endpoint = 0x01;
                       body.type = static_cast<uint8_t>(TransferType::bulk);
                       std::vector<std::byte> bytes(sizeof body + length, std::byte{7});
                       std::memcpy(bytes.data(), &body, sizeof body);
                       return bytes;
                     }()};
  };
  const auto first = submit_of(64);
  a_.link->inject(first.first, first.second);
  a_.link->arrive();  // its head: memory is made for 64 bytes
  cut();
  resume();
  const auto second = submit_of(60'000);
  a_.link->inject(second.first, second.second);
  run();
  ASSERT_EQ(ends.device->in_flight.size(), 1u);
  EXPECT_EQ(ends.device->in_flight[0]->length, 60'000u);
  EXPECT_EQ(ends.device->in_flight[0]->data().back(), std::byte{7});
}

TEST_F(SessionTest, APeerThatTakesNoAnswersIsLeft) {
  start();
  for (size_t i = 0; i <= limits::messages_kept_max && !a_.closed; ++i) {
    a_.session->send_message(wire::MessageKind::response, 1, "{}");
  }
  run();
  EXPECT_TRUE(a_.closed);
  EXPECT_NE(a_.why.message.find("does not take the answers"), std::string::npos) << a_.why.message;
}

// An operator asks what a session has compressed, and not what its present connection has.
TEST_F(SessionTest, CompressionIsCountedOverAllConnections) {
  start();
  a_.link->compressed = {
      .frames = 3, .bytes_before = 300, .bytes_after = 30, .frames_received = 1, .on = true};
  EXPECT_EQ(a_.session->compression().bytes_before, 300u);
  EXPECT_TRUE(a_.session->compression().on);
  cut();
  EXPECT_EQ(a_.session->compression().frames, 3u);
  EXPECT_FALSE(a_.session->compression().on) << "there is no connection to compress for";
  resume();
  a_.link->compressed = {.frames = 2, .bytes_before = 200, .bytes_after = 50, .on = true};
  const CompressionCounters all = a_.session->compression();
  EXPECT_EQ(all.frames, 5u);
  EXPECT_EQ(all.bytes_before, 500u);
  EXPECT_EQ(all.bytes_after, 80u);
  EXPECT_EQ(all.frames_received, 1u);
  EXPECT_TRUE(all.on);
}

// A path that lets a greeting through and nothing else would be resumed for ever.
TEST_F(SessionTest, ResumesThatBringNothingDoNotCount) {
  start();
  open_channel(1);
  run();
  for (int second = 0; second < 40 && !a_.closed; ++second) {
    if (second > 0 && both_paused()) resume();
    cut();
    loop_.advance(1'000'000'000);
    for (int i = 0; i < 4; ++i) loop_.flush();
  }
  run();
  EXPECT_TRUE(a_.closed);
  EXPECT_TRUE(a_.session->timed_out());
}

TEST_F(SessionTest, SilentPeerPausesTheSession) {
  start();
  for (int i = 0; i < 60 && a_.pauses == 0; ++i) {
    loop_.advance(200'000'000);
    loop_.flush();  // nothing arrives any more
  }
  EXPECT_EQ(a_.pauses, 1);
  EXPECT_EQ(a_.paused_by.code, ErrorCode::timed_out);
}

TEST_F(SessionTest, DeadNetworkPausesTheSessionWithinASecond) {
  start();
  open_channel(1);
  run();
  const uint64_t begin = loop_.now_ns();
  // A frame every 100 ms, until the network dies.
  while (a_.pauses == 0 && loop_.now_ns() - begin < 3'000'000'000) {
    a_.session->send_message(wire::MessageKind::notice, 0, "{}");
    loop_.advance(100'000'000);
    loop_.flush();
    if (a_.link != nullptr) a_.link->unanswered += 100'000'000;
  }
  EXPECT_EQ(a_.pauses, 1);
  EXPECT_LE(loop_.now_ns() - begin, 1'100'000'000u);
}

TEST_F(SessionTest, CreditHoldsBackWhatTheDeviceEndHasNoRoomFor) {
  start();
  const uint64_t credit = limits::serial_channel_credit_bytes;
  Ends ends = open_channel(1, credit);
  constexpr uint32_t length = 60'000;
  for (int i = 0; i < 50; ++i) submit(ends, 0x01, TransferType::serial, length);
  run();
  EXPECT_EQ(ends.device->in_flight.size(), credit / (length + limits::transfer_overhead_bytes));
  size_t done = 0;
  for (; done < 50 && ends.device->complete_next(0x01); ++done) run();
  EXPECT_EQ(done, 50u);
  EXPECT_EQ(ends.driver->statuses.size(), 50u);
}

TEST_F(SessionTest, OrderPerEndpointIsKept) {
  start();
  Ends ends = open_channel(1);
  std::vector<uint32_t> order;
  for (const uint32_t length : {200'000u, 31u, 64'000u, 13u, 100u, 70'000u}) {
    submit(ends, 0x02, TransferType::bulk, length);
    order.push_back(length);
  }
  run();
  std::vector<uint32_t> seen;
  for (Transfer* transfer : ends.device->in_flight) seen.push_back(transfer->length);
  EXPECT_EQ(seen, order);
}

TEST_F(SessionTest, SmallAndUrgentOvertakeBulkOfOtherEndpoints) {
  start();
  Ends ends = open_channel(1);
  submit(ends, 0x02, TransferType::bulk, 1 << 20);
  submit(ends, 0x81, TransferType::bulk, 1 << 20);  // a request: nothing but a head
  submit(ends, 0x00, TransferType::control, 8);
  submit(ends, 0x03, TransferType::interrupt, 8);
  run();
  std::vector<uint8_t> seen;
  for (Transfer* transfer : ends.device->in_flight) seen.push_back(transfer->endpoint);
  EXPECT_EQ(seen, (std::vector<uint8_t>{0x81, 0x00, 0x03, 0x02}));
}

TEST_F(SessionTest, TransferPastTheLimitIsNotAllocated) {
  start();
  Ends ends = open_channel(1);
  EXPECT_EQ(ends.driver->port->allocate(limits::transfer_bytes_max + 1, 0), nullptr);
  EXPECT_EQ(ends.driver->port->allocate(0xffffffffu, 0), nullptr);
  EXPECT_EQ(ends.driver->port->allocate(0, limits::iso_packets_max + 1), nullptr);
}

// --- a peer that breaks the rules: its session ends with a reason, nothing else ---

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

TEST_F(SessionTest, CompletionOfATransferThatIsNotInFlightEndsTheSession) {
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

}  // namespace
}  // namespace farport
