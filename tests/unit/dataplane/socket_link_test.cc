// The socket link over real loopback connections: two workers' worth of sessions on one worker.
#include "dataplane/socket_link.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <numeric>

#include "bench/throwaway_tls.h"
#include "dataplane/session.h"
#include "tests/unit/dataplane/connected_pair.h"
#include "tests/unit/fake_device.h"
#include "tests/unit/fake_driver.h"

namespace farport {
namespace {

constexpr uint64_t kTimeLimitNs = 20'000'000'000;

struct Side final : SessionEvents, ChannelEvents {
  bool closed = false;
  Error why;  // of the end, or of the pause
  int channels_closed = 0;
  std::vector<std::string> messages;
  std::unique_ptr<Session> session;
  // Nobody resumes here: the test sees it as the end.
  void session_paused(Session& paused, const ResumePoint&, const Error& error) override {
    why = error;
    paused.close(error);
  }
  void session_message(Session&, wire::MessageKind, uint32_t, std::string text) override {
    messages.push_back(std::move(text));
  }
  void session_closed(Session&, Error error) override {
    closed = true;
    why = std::move(error);
  }
  void channel_closed(Channel&, Error) override { ++channels_closed; }
};

struct Mode {
  int family;
  bool tls = false;
  bool spin = false;
};

std::string mode_name(const testing::TestParamInfo<Mode>& info) {
  return std::string(info.param.family == AF_INET ? "IPv4" : "IPv6") +
         (info.param.tls ? "Tls" : "") + (info.param.spin ? "Spin" : "");
}

class SocketLinkTest : public testing::TestWithParam<Mode> {
 protected:
  void SetUp() override {
    auto created = Worker::create({.spin_us = GetParam().spin ? 60'000'000u : 0u});  // never sleeps
    ASSERT_TRUE(created) << created.error().message;
    worker_ = std::move(*created);
    auto sockets = connected_pair(GetParam().family);
    if (!sockets[0]) GTEST_SKIP() << "no loopback of this family on this machine";
    raw_ = sockets[0].get();
    std::array<UniqueSsl, 2> tls;
    if (GetParam().tls) {
      auto both = bench::handshake_pair(sockets[0].get(), sockets[1].get());
      ASSERT_TRUE(both) << both.error().message;
      tls = std::move(*both);
    }
    make(a_, std::move(sockets[0]), true, std::move(tls[0]));
    if (with_b_)
      make(b_, std::move(sockets[1]), false, std::move(tls[1]));
    else
      stranger_ = std::move(sockets[1]);
  }
  void TearDown() override {
    for (Side* side : {&a_, &b_}) {
      if (!side->session) continue;
      side->session->close({ErrorCode::failed, "test over"});
      EXPECT_TRUE(worker_->run_until([&] { return side->closed; }, kTimeLimitNs));
      side->session.reset();
    }
  }
  void make(Side& side, FileDescriptor socket, bool connecting, UniqueSsl tls) {
    ASSERT_TRUE(prepare_link_socket(socket.get()));
    SessionSettings settings;
    settings.host_name = connecting ? "alpha" : "beta";
    settings.connecting = connecting;
    Hello peer;
    peer.host_name = connecting ? "beta" : "alpha";
    peer.frame_data_bytes_max = limits::frame_data_bytes_max;
    LinkOptions options;
    options.tls = std::move(tls);
    side.session = std::make_unique<Session>(
        *worker_, *worker_, settings, std::move(peer),
        std::make_unique<SocketLink>(*worker_, std::move(socket), "the peer", std::move(options)),
        side);
    side.session->start();
  }
  bool until(const std::function<bool()>& done) { return worker_->run_until(done, kTimeLimitNs); }

  bool with_b_ = true;
  std::unique_ptr<Worker> worker_;
  Side a_;
  Side b_;
  FileDescriptor stranger_;  // the other end, when it is not a session
  int raw_ = -1;
};

TEST_P(SocketLinkTest, CarriesManyTransfersOfMixedSizes) {
  auto device = std::make_unique<FakeDevice>();
  device->on_submit = [](Transfer& transfer) {  // an echo of the length, at once
    if (transfer.in()) std::fill(transfer.data().begin(), transfer.data().end(), std::byte{0x5a});
    transfer.actual = transfer.length;
    return true;
  };
  auto driver = std::make_unique<FakeDriver>();
  FakeDriver& consumer = *driver;
  DriverChannel* channel = a_.session->add_driver_channel(1, a_);
  ASSERT_NE(channel, nullptr);
  ASSERT_NE(
      b_.session->add_device_channel(1, std::move(device), 0, limits::usb_channel_credit_bytes, b_),
      nullptr);
  uint64_t done = 0;
  uint64_t wrong = 0;
  consumer.on_completed = [&](Transfer& transfer) {
    ++done;
    if (transfer.status != TransferStatus::ok || transfer.actual != transfer.length) ++wrong;
    if (transfer.in()) {
      for (const std::byte byte : transfer.moved()) wrong += byte != std::byte{0x5a};
    }
    consumer.port->release(transfer);
  };
  channel->start({}, 0, limits::usb_channel_credit_bytes, std::move(driver));
  static constexpr std::array<uint32_t, 6> sizes{0, 13, 129, 4096, 70'000, 1 << 20};
  uint64_t submitted = 0;
  for (int round = 0; round < 200; ++round) {
    Transfer* transfer = consumer.port->allocate(sizes[round % sizes.size()]);
    ASSERT_NE(transfer, nullptr);
    transfer->type = TransferType::bulk;
    transfer->endpoint = round % 2 == 0 ? 0x81 : 0x01;
    consumer.port->submit(*transfer);
    ++submitted;
  }
  EXPECT_TRUE(until([&] { return done == submitted; })) << done << " of " << submitted;
  EXPECT_EQ(wrong, 0u);
}

TEST_P(SocketLinkTest, LargeMessagesCross) {
  const std::string text(900'000, 'm');
  a_.session->send_message(wire::MessageKind::request, 1, text);
  b_.session->send_message(wire::MessageKind::request, 2, text);
  EXPECT_TRUE(until([&] { return a_.messages.size() == 1 && b_.messages.size() == 1; }));
  EXPECT_EQ(a_.messages.at(0), text);
  EXPECT_EQ(b_.messages.at(0), text);
}

TEST_P(SocketLinkTest, GoodbyeTellsWhy) {
  b_.session->close({ErrorCode::denied, "maintenance"});
  EXPECT_TRUE(until([&] { return a_.closed && b_.closed; }));
  EXPECT_EQ(a_.why.code, ErrorCode::denied);
  EXPECT_NE(a_.why.message.find("maintenance"), std::string::npos) << a_.why.message;
}

TEST_P(SocketLinkTest, PeerDyingInMidTransferUnplugs) {
  auto driver = std::make_unique<FakeDriver>();
  FakeDriver& consumer = *driver;
  DriverChannel* channel = a_.session->add_driver_channel(1, a_);
  b_.session->add_device_channel(1, std::make_unique<FakeDevice>(), 0, 1 << 20, b_);
  channel->start({}, 0, 1 << 20, std::move(driver));
  std::vector<TransferStatus> statuses;
  consumer.on_completed = [&](Transfer& transfer) {
    statuses.push_back(transfer.status);
    consumer.port->release(transfer);
  };
  Transfer* transfer = consumer.port->allocate(500'000);
  transfer->type = TransferType::bulk;
  transfer->endpoint = 0x01;
  consumer.port->submit(*transfer);
  shutdown(raw_, SHUT_RDWR);
  EXPECT_TRUE(until([&] { return a_.closed && b_.closed; }));
  EXPECT_EQ(statuses, (std::vector{TransferStatus::link_lost}));
  EXPECT_EQ(a_.channels_closed, 1);
  EXPECT_EQ(b_.channels_closed, 1);
}

INSTANTIATE_TEST_SUITE_P(Loopback, SocketLinkTest,
                         testing::Values(Mode{AF_INET}, Mode{AF_INET6}, Mode{AF_INET, false, true},
                                         Mode{AF_INET, true}, Mode{AF_INET6, true},
                                         Mode{AF_INET, true, true}),
                         mode_name);

// Strangers on the port: what they send is no session, and each gets an end with a reason.
class StrangerTest : public SocketLinkTest {
 protected:
  StrangerTest() { with_b_ = false; }
};

TEST_P(StrangerTest, GarbageEndsTheSessionWithAReason) {
  const std::string garbage = "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: lost\r\n\r\n";
  ASSERT_EQ(write(stranger_.get(), garbage.data(), garbage.size()), ssize_t(garbage.size()));
  EXPECT_TRUE(until([&] { return a_.closed; }));
  EXPECT_NE(a_.why.message.find("sent a frame"), std::string::npos) << a_.why.message;
}

TEST_P(StrangerTest, TruncatedFrameEndsTheConnection) {
  const wire::FrameHeader header{.bytes = sizeof(wire::HelloBody),
                                 .type = static_cast<uint8_t>(wire::FrameType::hello),
                                 .body_bytes = sizeof(wire::HelloBody),
                                 .flags = 0,
                                 .number = 0,
                                 .acknowledged = 0,
                                 .channel = 0,
                                 .transfer = 0};
  ASSERT_EQ(write(stranger_.get(), &header, sizeof header), ssize_t{sizeof header});
  stranger_.reset();
  EXPECT_TRUE(until([&] { return a_.closed; }));
  EXPECT_EQ(a_.why.code, ErrorCode::unreachable);
}

TEST_P(StrangerTest, FrameOf4GiBIsRefusedAtItsHeader) {
  const wire::FrameHeader header{.bytes = 0xffffffff,
                                 .type = static_cast<uint8_t>(wire::FrameType::hello),
                                 .body_bytes = sizeof(wire::HelloBody),
                                 .flags = 0,
                                 .number = 0,
                                 .acknowledged = 0,
                                 .channel = 0,
                                 .transfer = 0};
  ASSERT_EQ(write(stranger_.get(), &header, sizeof header), ssize_t{sizeof header});
  EXPECT_TRUE(until([&] { return a_.closed; }));
  EXPECT_NE(a_.why.message.find("longer than the limit"), std::string::npos) << a_.why.message;
}

INSTANTIATE_TEST_SUITE_P(Loopback, StrangerTest, testing::Values(Mode{AF_INET}, Mode{AF_INET6}),
                         mode_name);

}  // namespace
}  // namespace farport
