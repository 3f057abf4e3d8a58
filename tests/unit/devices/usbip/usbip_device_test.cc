// An imported device against a server played by the test: a good one, then wicked ones.
#include "devices/usbip/usbip_device.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "devices/usbip/iso_packets.h"
#include "tests/unit/devices/usbip/usbip_peer.h"
#include "tests/unit/fake_device.h"

namespace farport::usbip {
namespace {

using test::Data;
using test::patience_ns;
using test::pattern;
using test::Peer;

class UsbipDeviceTest : public testing::Test {
 protected:
  UsbipDeviceTest() { device_.start(*worker_, events_); }
  ~UsbipDeviceTest() override {
    if (events_.stopped == 0) device_.stop();
    EXPECT_TRUE(until([&] { return events_.stopped == 1; }));
    EXPECT_EQ(worker_->buffers().bytes_in_use(), 0u);
  }

  bool until(const std::function<bool()>& done) { return worker_->run_until(done, patience_ns); }
  bool came_back(Transfer& transfer) {
    return until([&] { return events_.has(transfer); }) && events_.count(transfer) == 1;
  }
  Transfer& submit(TransferType type, uint8_t endpoint, uint32_t length, uint16_t packets = 0) {
    Transfer& transfer = transfers_.make(type, endpoint, length, packets);
    device_.submit(transfer);
    return transfer;
  }
  Transfer& control(std::array<uint8_t, 8> setup, uint32_t length) {
    Transfer& transfer = transfers_.make(TransferType::control, setup[0] & 0x80, length);
    transfer.setup = setup;
    device_.submit(transfer);
    return transfer;
  }
  // SET_INTERFACE 1 to alternate setting 1, where the isochronous endpoints are.
  void choose_isochronous() {
    Transfer& transfer = control({0x01, 11, 1, 0, 1, 0, 0, 0}, 0);
    server_.send(Reply{.seqnum = server_.receive_request().seqnum});
    EXPECT_TRUE(came_back(transfer));
  }
  // The server did something that cannot be: the device is gone, with everything in flight.
  void expect_gone(Transfer& transfer) {
    EXPECT_TRUE(until([&] { return events_.unplug_reasons.size() == 1; }));
    EXPECT_EQ(events_.count(transfer), 1);
    EXPECT_EQ(transfer.status, TransferStatus::unplugged);
    Transfer& later = submit(TransferType::bulk, 0x81, 10);
    EXPECT_EQ(events_.count(later), 1);
    EXPECT_EQ(later.status, TransferStatus::unplugged);
  }

  std::unique_ptr<Worker> worker_ = std::move(Worker::create({}).value());
  TestTransfers transfers_;
  FakeDeviceEvents events_;
  Peer server_{*worker_};
  UsbipDevice device_{server_.ours(), test::test_device(), 0x00030004};
};

TEST_F(UsbipDeviceTest, BulkBothWays) {
  Transfer& out = submit(TransferType::bulk, 0x02, 70'000);
  const Request request = server_.receive_request();
  EXPECT_EQ(request.devid, 0x30004u);
  EXPECT_FALSE(request.in);
  EXPECT_EQ(request.endpoint, 2);
  EXPECT_EQ(request.length, 70'000u);
  EXPECT_EQ(request.packet_count, 0u);
  EXPECT_EQ(server_.receive(70'000), Data(70'000, std::byte{0xee}));
  Transfer& in = submit(TransferType::bulk, 0x81, 100'000);
  const Request second = server_.receive_request();
  EXPECT_TRUE(second.in);
  // Out of order: the one to the other endpoint is answered first.
  server_.send(Reply{.seqnum = second.seqnum, .actual = 90'000}, pattern(90'000));
  server_.send(Reply{.seqnum = request.seqnum, .actual = 70'000});
  ASSERT_TRUE(came_back(in));
  ASSERT_TRUE(came_back(out));
  EXPECT_EQ(in.actual, 90'000u);
  EXPECT_TRUE(std::equal(in.moved().begin(), in.moved().end(), pattern(90'000).begin()));
  EXPECT_EQ(out.actual, 70'000u);
}

TEST_F(UsbipDeviceTest, ControlGoesWithItsSetupPacket) {
  Transfer& transfer = control({0x80, 6, 0, 1, 0, 0, 18, 0}, 18);
  const Request request = server_.receive_request();
  EXPECT_EQ(request.setup, transfer.setup);
  EXPECT_TRUE(request.in);
  server_.send(Reply{.seqnum = request.seqnum, .status = -EPIPE});
  ASSERT_TRUE(came_back(transfer));
  EXPECT_EQ(transfer.status, TransferStatus::stall);
}

TEST_F(UsbipDeviceTest, InterruptCarriesItsInterval) {
  submit(TransferType::interrupt, 0x83, 8);
  EXPECT_EQ(server_.receive_request().interval, 10u);  // full speed: frames of 1 ms
}

// A stock server would drop the connection for each of these (FACTS.md, trap 6).
TEST_F(UsbipDeviceTest, WhatTheHostWouldRefuseIsNotSent) {
  EXPECT_EQ(submit(TransferType::bulk, 0x8a, 8).status, TransferStatus::invalid);
  EXPECT_EQ(submit(TransferType::interrupt, 0x81, 8).status, TransferStatus::invalid);
  EXPECT_EQ(submit(TransferType::isochronous, 0x84, 8, 1).status, TransferStatus::invalid);
  EXPECT_EQ(control({0x80, 6, 0, 1, 0, 0, 18, 0}, 4).status, TransferStatus::invalid);
  EXPECT_EQ(control({0x00, 5, 9, 0, 0, 0, 0, 0}, 0).status, TransferStatus::stall);  // SET_ADDRESS
  choose_isochronous();
  EXPECT_EQ(submit(TransferType::isochronous, 0x84, 202, 2).status, TransferStatus::invalid);
  EXPECT_TRUE(server_.silent());
}

TEST_F(UsbipDeviceTest, CancelledInTime) {
  Transfer& transfer = submit(TransferType::bulk, 0x81, 64);
  const Request request = server_.receive_request();
  device_.cancel(transfer);
  device_.cancel(transfer);
  const Request unlink = server_.receive_request();
  EXPECT_EQ(unlink.command, Command::unlink);
  EXPECT_EQ(unlink.unlink_seqnum, request.seqnum);
  server_.send(
      Reply{.command = Command::unlink_reply, .seqnum = unlink.seqnum, .status = -ECONNRESET});
  ASSERT_TRUE(came_back(transfer));
  EXPECT_EQ(transfer.status, TransferStatus::cancelled);
  EXPECT_TRUE(server_.silent());
}

TEST_F(UsbipDeviceTest, CancelledTooLateKeepsItsData) {
  Transfer& transfer = submit(TransferType::bulk, 0x81, 64);
  const Request request = server_.receive_request();
  device_.cancel(transfer);
  const Request unlink = server_.receive_request();
  server_.send(Reply{.seqnum = request.seqnum, .actual = 64}, pattern(64));
  server_.send(Reply{.command = Command::unlink_reply, .seqnum = unlink.seqnum});
  ASSERT_TRUE(came_back(transfer));
  EXPECT_EQ(transfer.status, TransferStatus::ok);
  EXPECT_EQ(transfer.actual, 64u);
  // The slot is free again and its next number is another one.
  submit(TransferType::bulk, 0x81, 64);
  EXPECT_NE(server_.receive_request().seqnum, request.seqnum);
}

TEST_F(UsbipDeviceTest, IsochronousPacketsComeBackPacked) {
  choose_isochronous();
  Transfer& transfer = submit(TransferType::isochronous, 0x84, 200, 2);
  const Request request = server_.receive_request();
  EXPECT_EQ(request.packet_count, 2u);
  EXPECT_EQ(request.interval, 1u);
  Data table = server_.receive(32);
  wire::IsoDescriptor descriptors[2];
  std::memcpy(descriptors, table.data(), 32);
  EXPECT_EQ(decode_iso(descriptors[1]).offset, 100u);
  descriptors[0] = encode_iso({0, 100, 30, 0});
  descriptors[1] = encode_iso({100, 100, 50, 0});
  Data payload = pattern(80);
  payload.resize(80 + 32);
  std::memcpy(payload.data() + 80, descriptors, 32);
  server_.send(Reply{.seqnum = request.seqnum, .actual = 80, .packet_count = 2}, payload);
  ASSERT_TRUE(came_back(transfer));
  EXPECT_EQ(transfer.status, TransferStatus::ok);
  EXPECT_EQ(transfer.actual, 80u);
  EXPECT_EQ(transfer.packets()[0].actual, 30u);
  EXPECT_EQ(transfer.packets()[1].actual, 50u);
}

TEST_F(UsbipDeviceTest, IsochronousOutSendsDataThenTable) {
  choose_isochronous();
  Transfer& transfer = submit(TransferType::isochronous, 0x05, 200, 2);
  const Request request = server_.receive_request();
  EXPECT_EQ(server_.receive(200), Data(200, std::byte{0xee}));
  EXPECT_EQ(server_.receive(32).size(), 32u);
  server_.send(Reply{.seqnum = request.seqnum, .status = -EINVAL});  // refused: without packets
  ASSERT_TRUE(came_back(transfer));
  EXPECT_EQ(transfer.status, TransferStatus::invalid);
}

TEST_F(UsbipDeviceTest, StopEndsWhatIsInFlight) {
  Transfer& transfer = submit(TransferType::bulk, 0x81, 64);
  Transfer& large = submit(TransferType::bulk, 0x02, 8 << 20);  // never read by the server
  server_.receive_request();
  device_.stop();
  ASSERT_TRUE(until([&] { return events_.stopped == 1; }));
  EXPECT_EQ(transfer.status, TransferStatus::cancelled);
  EXPECT_EQ(large.status, TransferStatus::cancelled);
  EXPECT_TRUE(events_.unplug_reasons.empty());
}

TEST_F(UsbipDeviceTest, LostConnectionIsAnUnplug) {
  Transfer& transfer = submit(TransferType::bulk, 0x81, 64);
  server_.receive_request();
  server_.close();
  expect_gone(transfer);
}

// --- wicked servers ---

TEST_F(UsbipDeviceTest, CutReplyIsAnUnplug) {
  Transfer& transfer = submit(TransferType::bulk, 0x81, 64);
  server_.send(Reply{.seqnum = server_.receive_request().seqnum, .actual = 64}, pattern(10));
  server_.close();
  expect_gone(transfer);
}

TEST_F(UsbipDeviceTest, ImpossibleRepliesUnplugTheDevice) {
  struct Case {
    const char* what;
    Reply reply;  // seqnum is added to the request's
  };
  const std::vector<Case> cases = {
      {"unknown number", {.seqnum = 2}},
      {"number of another generation", {.seqnum = 1u << 13}},
      {"more than asked for", {.actual = 65}},
      {"4 GiB", {.actual = 0xffffffff}},
      {"reply to a cancellation never made", {.command = Command::unlink_reply, .seqnum = 1}},
      {"cancellation under the request's number", {.command = Command::unlink_reply}},
  };
  for (const Case& each : cases) {
    FakeDeviceEvents events;
    Peer server(*worker_);
    UsbipDevice device(server.ours(), test::test_device(), 1);
    device.start(*worker_, events);
    Transfer& transfer = transfers_.make(TransferType::bulk, 0x81, 64);
    device.submit(transfer);
    Reply reply = each.reply;
    reply.seqnum += server.receive_request().seqnum;
    server.send(reply);
    EXPECT_TRUE(until([&] { return events.unplug_reasons.size() == 1; })) << each.what;
    EXPECT_EQ(events.count(transfer), 1) << each.what;
    EXPECT_EQ(transfer.status, TransferStatus::unplugged) << each.what;
    device.stop();
    EXPECT_TRUE(until([&] { return events.stopped == 1; }));
  }
}

TEST_F(UsbipDeviceTest, GarbageUnplugsTheDevice) {
  Transfer& transfer = submit(TransferType::bulk, 0x81, 64);
  server_.send(Data(48, std::byte{0x47}));
  expect_gone(transfer);
}

TEST_F(UsbipDeviceTest, AnsweringTwiceUnplugsTheDevice) {
  Transfer& transfer = submit(TransferType::bulk, 0x81, 64);
  Transfer& other = submit(TransferType::interrupt, 0x83, 8);
  const uint32_t seqnum = server_.receive_request().seqnum;
  server_.send(Reply{.seqnum = seqnum});
  ASSERT_TRUE(came_back(transfer));
  server_.send(Reply{.seqnum = seqnum});
  expect_gone(other);
}

TEST_F(UsbipDeviceTest, IsochronousPacketsThatDoNotAddUpUnplugTheDevice) {
  choose_isochronous();
  Transfer& transfer = submit(TransferType::isochronous, 0x84, 200, 2);
  const Request request = server_.receive_request();
  Data payload = pattern(80);
  payload.resize(80 + 32);  // packets of which none moved anything
  server_.send(Reply{.seqnum = request.seqnum, .actual = 80, .packet_count = 2}, payload);
  expect_gone(transfer);
}

TEST_F(UsbipDeviceTest, AnotherNumberOfPacketsUnplugsTheDevice) {
  choose_isochronous();
  Transfer& transfer = submit(TransferType::isochronous, 0x84, 200, 2);
  const Request request = server_.receive_request();
  server_.send(Reply{.seqnum = request.seqnum, .packet_count = 3}, Data(48));
  expect_gone(transfer);
}

}  // namespace
}  // namespace farport::usbip
