// Sessions and channels over a simulated link: greeting, messages, transfers, closing. What a
// hostile peer gets: hostile_peer_test.cc.
#include "dataplane/session.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/unit/dataplane/session_fixture.h"

namespace farport {
namespace {

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

// What goes the other way tells of what came: an acknowledgement of its own is for when nothing
// does.
TEST_F(SessionTest, SteadyTrafficAcknowledgesItself) {
  start();
  Ends ends = open_channel(1);
  ends.driver->on_completed = [&](Transfer& back) { ends.driver->port->release(back); };
  const auto before = a_.session->counters().frames_sent;
  constexpr int kTransfers = 500;
  for (int i = 0; i < kTransfers; ++i) {
    submit(ends, 0x81, TransferType::bulk, 64);
    run();
    ASSERT_TRUE(ends.device->complete_next(0x81));
    run();
    loop_.advance(1'000'000);
    run();
  }
  EXPECT_LE(a_.session->counters().frames_sent - before, kTransfers + 2u);
  loop_.advance(60'000'000);
  run();
  EXPECT_EQ(b_.session->counters().frames_unacknowledged, 0u);
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

// A detach while the session was paused waited for the peer's last word, which cannot come.
TEST_F(SessionTest, ADroppedDriverIsGoneWhilePausedAndTheDeviceIsFreedByTheResume) {
  start();
  Ends ends = open_channel(1);
  submit(ends, 0x01, TransferType::bulk, 300'000);
  submit(ends, 0x82, TransferType::interrupt, 8);
  loop_.flush();
  a_.link->arrive();
  cut();
  ends.driver->hold_stop = true;
  ends.channel->close({ErrorCode::failed, "detached"});
  ends.channel->drop_driver();
  run();
  EXPECT_EQ(a_.drivers_gone, 0) << "it has not stopped yet";
  ends.driver->finish_stop();
  run();
  EXPECT_EQ(a_.drivers_gone, 1);
  EXPECT_EQ(ends.channel->driver(), nullptr);
  EXPECT_TRUE(a_.channels_closed.empty()) << "the peer may still refer to it";
  EXPECT_TRUE(b_.channels_closed.empty());
  resume();
  run();
  EXPECT_EQ(a_.channels_closed.size(), 1u);
  ASSERT_EQ(b_.channels_closed.size(), 1u);
  EXPECT_EQ(b_.channels_closed[0].message, "detached");
  EXPECT_EQ(a_.drivers_gone, 1);
}

TEST_F(SessionTest, ADroppedDriversDeviceIsFreedWhenNobodyResumes) {
  start();
  Ends ends = open_channel(1);
  run();
  cut();
  ends.channel->close({ErrorCode::failed, "detached"});
  ends.channel->drop_driver();
  run();
  EXPECT_EQ(a_.drivers_gone, 1);
  loop_.advance(31'000'000'000);
  run();
  EXPECT_TRUE(a_.closed && b_.closed);
  EXPECT_EQ(a_.channels_closed.size(), 1u);
  EXPECT_EQ(b_.channels_closed.size(), 1u);
}

// Before its driver was made, there is nothing to wait for.
TEST_F(SessionTest, AChannelWithoutADriverIsDroppedAtOnce) {
  start();
  DriverChannel* const channel = a_.session->add_driver_channel(1, a_);
  cut();
  channel->close({ErrorCode::failed, "detached"});
  channel->drop_driver();
  run();
  EXPECT_EQ(a_.drivers_gone, 1);
  resume();
  run();
  EXPECT_EQ(a_.channels_closed.size(), 1u);
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

}  // namespace
}  // namespace farport
