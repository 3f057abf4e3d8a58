// The request engine against a scripted peer that behaves, or misbehaves, as a kernel could.
#include "drivers/usbip/urb_stream.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "devices/usbip/iso_packets.h"
#include "tests/unit/devices/usbip/usbip_peer.h"
#include "tests/unit/fake_driver.h"

namespace farport::usbip {
namespace {

using test::Data;
using test::patience_ns;
using test::pattern;
using test::Peer;

// A driver that is nothing but the engine.
class StreamDriver final : public Driver, public UrbStream::Events {
 public:
  StreamDriver(Worker& worker, FakePort& port) : stream(worker, port, *this), port_(port) {
    port.driver = this;
  }
  std::string_view name() const override { return "stream"; }
  std::string path() const override { return ""; }
  Result<void> start(Worker&, DriverPort&) override { return {}; }
  void completed(Transfer& transfer) override { stream.completed(transfer); }
  void unplugged(std::string_view) override { stream.unplugged(); }
  void stop() override { stream.finish(); }
  void stream_ended(std::string_view reason) override { ended.emplace_back(reason); }
  void stream_answered() override {
    ++answered;
    stream.close();
  }
  void stream_closed() override {
    ++closed;
    port_.driver_stopped();
  }

  UrbStream stream;
  std::vector<std::string> ended;
  int answered = 0, closed = 0;

 private:
  FakePort& port_;
};

class UrbStreamTest : public testing::Test {
 protected:
  UrbStreamTest() { driver_.stream.start(peer_.ours()); }
  ~UrbStreamTest() override {
    if (driver_.closed == 0) stop();
  }

  void stop() {
    driver_.stop();
    while (!port_.submitted.empty()) {
      port_.complete(*port_.submitted.front(), TransferStatus::cancelled, 0);
    }
    EXPECT_TRUE(until([&] { return driver_.closed == 1; }));
    EXPECT_EQ(port_.in_use(), 0u);
  }

  bool until(const std::function<bool()>& done) { return worker_->run_until(done, patience_ns); }

  // Waits for the next transfer on an endpoint.
  Transfer& submitted(uint8_t endpoint) {
    const bool came = until([&] { return port_.find(endpoint) != nullptr; });
    if (!came) throw std::runtime_error("no transfer was submitted");
    return *port_.find(endpoint);
  }
  void complete_in(Transfer& transfer, const Data& data,
                   TransferStatus status = TransferStatus::ok) {
    std::copy(data.begin(), data.end(), transfer.data().begin());
    port_.complete(transfer, status, static_cast<uint32_t>(data.size()));
  }
  // A control request without data that the device carries out.
  void control(std::array<uint8_t, 8> setup) {
    peer_.send(Request{.seqnum = 9000, .setup = setup});
    port_.complete(submitted(0), TransferStatus::ok, 0);
    EXPECT_EQ(peer_.receive_reply().status, 0);
  }
  static Data iso_table(std::initializer_list<IsoDescriptor> descriptors) {
    Data bytes;
    for (const auto& descriptor : descriptors) {
      const auto wire = encode_iso(descriptor);
      const auto* begin = reinterpret_cast<const std::byte*>(&wire);
      bytes.insert(bytes.end(), begin, begin + sizeof wire);
    }
    return bytes;
  }

  std::unique_ptr<Worker> worker_ = std::move(Worker::create({}).value());
  FakePort port_{test::test_device()};
  Peer peer_{*worker_};
  StreamDriver driver_{*worker_, port_};
};

TEST_F(UrbStreamTest, ControlInIsCarriedOut) {
  peer_.send(Request{.seqnum = 7,
                     .devid = 0x10002,
                     .in = true,
                     .length = 18,
                     .setup = {0x80, 6, 0, 1, 0, 0, 18, 0}});
  Transfer& transfer = submitted(0x80);
  EXPECT_EQ(transfer.type, TransferType::control);
  EXPECT_EQ(transfer.length, 18u);
  EXPECT_EQ(transfer.setup[1], 6);
  complete_in(transfer, pattern(18));
  const Reply reply = peer_.receive_reply();
  EXPECT_EQ(reply.seqnum, 7u);
  EXPECT_EQ(reply.status, 0);
  EXPECT_EQ(reply.actual, 18u);
  EXPECT_EQ(peer_.receive(18), pattern(18));
  EXPECT_TRUE(until([&] { return port_.in_use() == 0; }));
}

TEST_F(UrbStreamTest, LargeOutArrivesWholeHoweverItIsCut) {
  const Data data = pattern(300'000, 3);
  for (const size_t piece : {size_t{1'000'000}, size_t{47}, size_t{4096}, size_t{4097}}) {
    Message message;
    encode_request({.seqnum = 1, .endpoint = 2, .length = 300'000}, message);
    Data bytes(message.begin(), message.end());
    bytes.insert(bytes.end(), data.begin(), data.end());
    peer_.send(bytes, piece);
    Transfer& transfer = submitted(0x02);
    EXPECT_EQ(transfer.type, TransferType::bulk);
    EXPECT_TRUE(std::equal(data.begin(), data.end(), transfer.data().begin())) << piece;
    port_.complete(transfer, TransferStatus::ok, 300'000);
    EXPECT_EQ(peer_.receive_reply().actual, 300'000u);
  }
}

TEST_F(UrbStreamTest, ManyRequestsAndRepliesTravelTogether) {
  constexpr uint32_t count = 500;
  Data bytes;
  for (uint32_t i = 0; i < count; ++i) {
    const bool in = i % 2 == 0;
    Message message;
    encode_request({.seqnum = i,
                    .in = in,
                    .endpoint = static_cast<uint8_t>(in ? 1 : 2),
                    .length = 100,
                    .packet_count = in ? packet_count_none : 0},
                   message);
    bytes.insert(bytes.end(), message.begin(), message.end());
    if (in) continue;
    const Data data = pattern(100, i);
    bytes.insert(bytes.end(), data.begin(), data.end());
  }
  peer_.send(bytes);
  ASSERT_TRUE(until([&] { return port_.submitted.size() == count; }));
  for (uint32_t i = 0; i < count; ++i) {
    Transfer& transfer = *port_.submitted.front();
    if (transfer.in()) {
      complete_in(transfer, pattern(i % 100, i));
    } else {
      const Data data = pattern(100, i);
      EXPECT_TRUE(std::equal(data.begin(), data.end(), transfer.data().begin()));
      port_.complete(transfer, TransferStatus::ok, 100);
    }
  }
  for (uint32_t i = 0; i < count; ++i) {
    const Reply reply = peer_.receive_reply();
    ASSERT_EQ(reply.seqnum, i);
    const Data expected = i % 2 == 0 ? pattern(i % 100, i) : Data{};
    ASSERT_EQ(peer_.receive(i % 2 == 0 ? reply.actual : 0), expected);
  }
  EXPECT_TRUE(peer_.silent());
}

TEST_F(UrbStreamTest, LargeInGoesOutWhole) {
  peer_.send(Request{.seqnum = 1, .in = true, .endpoint = 1, .length = 2'000'000});
  complete_in(submitted(0x81), pattern(2'000'000, 5));
  EXPECT_EQ(peer_.receive_reply().actual, 2'000'000u);
  EXPECT_EQ(peer_.receive(2'000'000), pattern(2'000'000, 5));
}

// --- unlinking: FACTS.md, trap 4 ---

TEST_F(UrbStreamTest, UnlinkedInTimeGetsNoReplyOfItsOwn) {
  peer_.send(Request{.seqnum = 1, .in = true, .endpoint = 3, .length = 8});
  Transfer& transfer = submitted(0x83);
  EXPECT_EQ(transfer.type, TransferType::interrupt);
  peer_.send(Request{.command = Command::unlink, .seqnum = 2, .unlink_seqnum = 1});
  ASSERT_TRUE(until([&] { return port_.cancelled.size() == 1; }));
  EXPECT_EQ(port_.cancelled[0], &transfer);
  port_.complete(transfer, TransferStatus::cancelled, 0);
  const Reply reply = peer_.receive_reply();
  EXPECT_EQ(reply.command, Command::unlink_reply);
  EXPECT_EQ(reply.seqnum, 2u);
  EXPECT_EQ(reply.status, -ECONNRESET);
  EXPECT_TRUE(peer_.silent());
}

TEST_F(UrbStreamTest, UnlinkedTooLateKeepsItsData) {
  struct Case {
    TransferStatus status;
    uint32_t actual;
    int error;
  };
  for (const Case& each : std::initializer_list<Case>{
           {TransferStatus::ok, 8, 0},
           {TransferStatus::ok, 0, 0},
           {TransferStatus::stall, 0, -EPIPE},
           {TransferStatus::cancelled, 5, -ECONNRESET},  // cancelled after some of it had come
       }) {
    port_.cancelled.clear();
    peer_.send(Request{.seqnum = 1, .in = true, .endpoint = 1, .length = 8});
    Transfer& transfer = submitted(0x81);
    peer_.send(Request{.command = Command::unlink, .seqnum = 2, .unlink_seqnum = 1});
    ASSERT_TRUE(until([&] { return !port_.cancelled.empty(); }));
    complete_in(transfer, pattern(each.actual), each.status);
    const Reply first = peer_.receive_reply();
    EXPECT_EQ(first.command, Command::submit_reply);
    EXPECT_EQ(first.status, each.error);
    EXPECT_EQ(peer_.receive(first.actual), pattern(each.actual));
    const Reply second = peer_.receive_reply();
    EXPECT_EQ(second.command, Command::unlink_reply);
    EXPECT_EQ(second.seqnum, 2u);
    EXPECT_EQ(second.status, 0);
  }
}

TEST_F(UrbStreamTest, UnlinkOfWhatIsAnsweredOrUnknownIsZero) {
  peer_.send(Request{.seqnum = 1, .in = true, .endpoint = 1, .length = 8});
  complete_in(submitted(0x81), {});
  peer_.send(Request{.command = Command::unlink, .seqnum = 2, .unlink_seqnum = 1});
  peer_.send(Request{.command = Command::unlink, .seqnum = 3, .unlink_seqnum = 77});
  EXPECT_EQ(peer_.receive_reply().command, Command::submit_reply);
  for (const uint32_t seqnum : {2u, 3u}) {
    const Reply reply = peer_.receive_reply();
    EXPECT_EQ(reply.command, Command::unlink_reply);
    EXPECT_EQ(reply.seqnum, seqnum);
    EXPECT_EQ(reply.status, 0);
  }
}

TEST_F(UrbStreamTest, EveryUnlinkIsAnswered) {
  peer_.send(Request{.seqnum = 1, .in = true, .endpoint = 1, .length = 8});
  Transfer& transfer = submitted(0x81);
  peer_.send(Request{.command = Command::unlink, .seqnum = 2, .unlink_seqnum = 1});
  peer_.send(Request{.command = Command::unlink, .seqnum = 3, .unlink_seqnum = 1});
  ASSERT_TRUE(until([&] { return port_.cancelled.size() == 2; }));
  port_.complete(transfer, TransferStatus::cancelled, 0);
  const int sum = peer_.receive_reply().status + peer_.receive_reply().status;
  EXPECT_EQ(sum, -ECONNRESET);  // one of them did it
}

// --- what must not end the stream ---

TEST_F(UrbStreamTest, BadRequestsAreAnsweredAndTheRestGoesOn) {
  struct Case {
    const char* what;
    Request request;
    size_t payload;
  };
  for (const Case& each : std::initializer_list<Case>{
           {"unknown IN endpoint", {.seqnum = 1, .in = true, .endpoint = 9, .length = 8}, 0},
           {"unknown OUT endpoint", {.seqnum = 1, .endpoint = 9, .length = 5000}, 5000},
           {"unknown with packets",
            {.seqnum = 1, .endpoint = 9, .length = 10, .packet_count = 3},
            10 + 48},
           {"4 GiB IN", {.seqnum = 1, .in = true, .endpoint = 1, .length = 0xffffffff}, 0},
           {"too long OUT", {.seqnum = 1, .endpoint = 2, .length = (16 << 20) + 1}, (16 << 20) + 1},
           {"control shorter than its setup packet",
            {.seqnum = 1, .in = true, .length = 4, .setup = {0x80, 6, 0, 1, 0, 0, 18, 0}},
            0},
           {"control against its setup packet",
            {.seqnum = 1, .length = 18, .setup = {0x80, 6, 0, 1, 0, 0, 18, 0}},
            18},
       }) {
    peer_.send(each.request, Data(each.payload));
    const Reply reply = peer_.receive_reply();
    EXPECT_EQ(reply.seqnum, 1u) << each.what;
    EXPECT_EQ(reply.status, -EINVAL) << each.what;
    EXPECT_EQ(reply.actual, 0u) << each.what;
    peer_.send(Request{.seqnum = 2, .in = true, .endpoint = 1, .length = 4});
    complete_in(submitted(0x81), pattern(4));
    EXPECT_EQ(peer_.receive_reply().seqnum, 2u) << each.what;
    EXPECT_EQ(peer_.receive(4), pattern(4)) << each.what;
  }
  EXPECT_TRUE(driver_.ended.empty());
}

TEST_F(UrbStreamTest, OneNumberTwiceIsRefused) {
  peer_.send(Request{.seqnum = 1, .in = true, .endpoint = 1, .length = 4});
  submitted(0x81);
  peer_.send(Request{.seqnum = 1, .in = true, .endpoint = 1, .length = 4});
  EXPECT_EQ(peer_.receive_reply().status, -EINVAL);
  EXPECT_EQ(port_.submitted.size(), 1u);
}

TEST_F(UrbStreamTest, WithoutMemoryItWaitsForSome) {
  port_.allocations_left = 0;
  peer_.send(Request{.seqnum = 1, .endpoint = 2, .length = 5000}, pattern(5000));
  peer_.send(Request{.seqnum = 2, .in = true, .endpoint = 1, .length = 5});
  ASSERT_TRUE(until([&, turns = 0]() mutable { return ++turns > 3; }));
  EXPECT_TRUE(port_.submitted.empty());
  port_.allocations_left = ~0u;
  Transfer& transfer = submitted(0x02);
  const Data data = pattern(5000);
  EXPECT_TRUE(std::equal(data.begin(), data.end(), transfer.data().begin()));
  submitted(0x81);
}

TEST_F(UrbStreamTest, WithoutMemoryForLongOneRequestFails) {
  port_.allocations_left = 0;
  peer_.send(Request{.seqnum = 1, .endpoint = 2, .length = 5000}, pattern(5000));
  const Reply reply = peer_.receive_reply();
  EXPECT_EQ(reply.seqnum, 1u);
  EXPECT_EQ(reply.status, -ENOMEM);
  port_.allocations_left = ~0u;
  peer_.send(Request{.seqnum = 2, .in = true, .endpoint = 1, .length = 5});
  submitted(0x81);
}

TEST_F(UrbStreamTest, HoldsNoMoreThanItsShare) {
  for (uint32_t i = 0; i < 4; ++i) {
    peer_.send(Request{.seqnum = i, .in = true, .endpoint = 1, .length = 16 << 20});
  }
  ASSERT_TRUE(until([&] { return port_.submitted.size() == 2; }));
  complete_in(*port_.submitted.front(), {});
  EXPECT_EQ(peer_.receive_reply().seqnum, 0u);
  ASSERT_TRUE(until([&] { return port_.submitted.size() == 2; }));
}

// --- isochronous ---

TEST_F(UrbStreamTest, IsochronousIsKnownByItsAlternateSetting) {
  const Request request{.seqnum = 1, .in = true, .endpoint = 4, .length = 30, .packet_count = 3};
  const Data table = iso_table({{0, 10, 0, 0}, {10, 10, 0, 0}, {20, 10, 0, 0}});
  peer_.send(request, table);
  EXPECT_EQ(peer_.receive_reply().status, -EINVAL);  // not there in alternate setting 0
  control({0x01, 11, 1, 0, 1, 0, 0, 0});
  peer_.send(request, table);
  Transfer& transfer = submitted(0x84);
  ASSERT_EQ(transfer.type, TransferType::isochronous);
  ASSERT_EQ(transfer.packet_count, 3);
  transfer.packets()[0].actual = 4;
  transfer.packets()[2].actual = 10;
  transfer.packets()[1].status = static_cast<uint32_t>(TransferStatus::protocol);
  complete_in(transfer, pattern(14));
  const Reply reply = peer_.receive_reply();
  EXPECT_EQ(reply.actual, 14u);
  EXPECT_EQ(reply.packet_count, 3u);
  EXPECT_EQ(reply.error_count, 1u);
  EXPECT_EQ(peer_.receive(14), pattern(14));
  EXPECT_EQ(peer_.receive(48), iso_table({{0, 10, 4, 0}, {10, 10, 0, -EPROTO}, {20, 10, 10, 0}}));
}

TEST_F(UrbStreamTest, IsochronousOutSendsItsTableBackWithoutData) {
  control({0x01, 11, 1, 0, 1, 0, 0, 0});
  Data payload = pattern(20);
  const Data table = iso_table({{0, 5, 0, 0}, {5, 15, 0, 0}});
  payload.insert(payload.end(), table.begin(), table.end());
  peer_.send(Request{.seqnum = 1, .endpoint = 5, .length = 20, .packet_count = 2}, payload);
  Transfer& transfer = submitted(0x05);
  EXPECT_EQ(transfer.packets()[1].length, 15u);
  transfer.packets()[0].actual = 5;
  transfer.packets()[1].actual = 15;
  port_.complete(transfer, TransferStatus::ok, 20);
  EXPECT_EQ(peer_.receive_reply().actual, 20u);
  EXPECT_EQ(peer_.receive(32), iso_table({{0, 5, 5, 0}, {5, 15, 15, 0}}));
  EXPECT_TRUE(peer_.silent());
}

TEST_F(UrbStreamTest, BadIsochronousRequestsAreAnswered) {
  control({0x01, 11, 1, 0, 1, 0, 0, 0});
  const auto refused = [&](const Request& request, const Data& payload) {
    peer_.send(request, payload);
    const Reply reply = peer_.receive_reply();
    return reply.status == -EINVAL && reply.packet_count == 0 && reply.actual == 0;
  };
  EXPECT_TRUE(refused({.seqnum = 1, .in = true, .endpoint = 4, .length = 30, .packet_count = 1025},
                      Data(1025 * 16)));
  EXPECT_TRUE(refused({.seqnum = 1, .endpoint = 5, .length = 30, .packet_count = 70'000},
                      Data(30 + 70'000 * 16)));
  EXPECT_TRUE(refused({.seqnum = 1, .in = true, .endpoint = 4, .length = 30}, {}));
  EXPECT_TRUE(refused({.seqnum = 1, .in = true, .endpoint = 4, .length = 30, .packet_count = 1},
                      iso_table({{0, 31, 0, 0}})));
  EXPECT_TRUE(port_.submitted.empty());
  EXPECT_EQ(port_.in_use(), 0u);
}

TEST_F(UrbStreamTest, ConfigurationChangesEndpointTypes) {
  control({0x00, 9, 2, 0, 0, 0, 0, 0});
  peer_.send(Request{.seqnum = 1, .in = true, .endpoint = 1, .length = 8});
  EXPECT_EQ(submitted(0x81).type, TransferType::interrupt);
}

TEST_F(UrbStreamTest, RefusedSetConfigurationChangesNothing) {
  peer_.send(Request{.seqnum = 1, .setup = {0x00, 9, 2, 0, 0, 0, 0, 0}});
  port_.complete(submitted(0), TransferStatus::stall, 0);
  EXPECT_EQ(peer_.receive_reply().status, -EPIPE);
  peer_.send(Request{.seqnum = 2, .in = true, .endpoint = 1, .length = 8});
  EXPECT_EQ(submitted(0x81).type, TransferType::bulk);
}

// --- the end ---

TEST_F(UrbStreamTest, UnknownCommandEndsTheStream) {
  peer_.send(Data(48, std::byte{0x55}));
  ASSERT_TRUE(until([&] { return !driver_.ended.empty(); }));
  EXPECT_NE(driver_.ended[0].find("unknown command"), std::string::npos);
  EXPECT_EQ(driver_.ended.size(), 1u);
}

TEST_F(UrbStreamTest, PeerThatLeavesInTheMiddleLosesNothingOfOurs) {
  peer_.send(Request{.seqnum = 1, .in = true, .endpoint = 1, .length = 8});
  peer_.send(Request{.seqnum = 2, .in = true, .endpoint = 3, .length = 8});
  submitted(0x83);
  peer_.send(Request{.seqnum = 3, .endpoint = 2, .length = 10'000}, pattern(5'000));
  peer_.close();
  ASSERT_TRUE(until([&] { return !driver_.ended.empty(); }));
  EXPECT_EQ(port_.submitted.size(), 2u);
  stop();
}

TEST_F(UrbStreamTest, FinishAnswersWhatIsOutstandingFirst) {
  peer_.send(Request{.seqnum = 1, .in = true, .endpoint = 1, .length = 8});
  Transfer& transfer = submitted(0x81);
  driver_.stop();
  EXPECT_EQ(driver_.answered, 0);
  port_.complete(transfer, TransferStatus::cancelled, 0);
  const Reply reply = peer_.receive_reply();
  EXPECT_EQ(reply.seqnum, 1u);
  EXPECT_EQ(reply.status, -ECONNRESET);
  EXPECT_TRUE(peer_.at_end());
  ASSERT_TRUE(until([&] { return driver_.closed == 1; }));
  EXPECT_EQ(port_.stopped, 1);
}

TEST_F(UrbStreamTest, FinishDoesNotWaitForAPeerThatReadsNothing) {
  peer_.send(Request{.seqnum = 1, .in = true, .endpoint = 1, .length = 4 << 20});
  complete_in(submitted(0x81), pattern(4 << 20));
  stop();
  EXPECT_EQ(driver_.closed, 1);
}

TEST_F(UrbStreamTest, UnpluggedDeviceAnswersShutdown) {
  driver_.unplugged("");
  peer_.send(Request{.seqnum = 1, .endpoint = 2, .length = 100}, pattern(100));
  EXPECT_EQ(peer_.receive_reply().status, -ESHUTDOWN);
  EXPECT_TRUE(port_.submitted.empty());
}

}  // namespace
}  // namespace farport::usbip
