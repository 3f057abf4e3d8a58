// Random frames both ways over two links, in every way that a link can be made; and compressed
// frames that are none.
#include <gtest/gtest.h>

#include <random>

#include "bench/throwaway_tls.h"
#include "dataplane/socket_link.h"
#include "tests/unit/dataplane/connected_pair.h"
#include "tests/unit/dataplane/recording_link.h"

namespace farport {
namespace {

constexpr uint64_t kTimeLimitNs = 30'000'000'000;
constexpr uint64_t kLookAgainNs = 10'000'000;

// A policy that has seen a slow link and data that shrink.
CompressionPolicy turned_on(uint64_t now_ns) {
  CompressionPolicy policy;
  for (uint64_t at_ns = now_ns - 1'000'000'000; at_ns <= now_ns; at_ns += 100'000'000) {
    policy.waited(at_ns, 1'000'000, 100'000'000);
    policy.tried(at_ns, 16384, 4096, 30'000);
  }
  return policy;
}

struct Mode {
  bool tls;
  bool compress;
  bool spin;
};

class FramesTest : public testing::TestWithParam<Mode> {
 protected:
  struct End {
    RecordingEvents events;
    std::unique_ptr<SocketLink> link;
    std::vector<RecordedFrame> sent;
    uint64_t sent_bytes = 0;
  };

  void SetUp() override {
    auto created = Worker::create({.spin_us = GetParam().spin ? 100u : 0u});
    ASSERT_TRUE(created) << created.error().message;
    worker_ = std::move(*created);
    auto sockets = connected_pair(AF_INET);
    ASSERT_TRUE(sockets[0]);
    std::array<UniqueSsl, 2> tls;
    if (GetParam().tls) {
      auto both = bench::handshake_pair(sockets[0].get(), sockets[1].get());
      ASSERT_TRUE(both) << both.error().message;
      tls = std::move(*both);
    }
    for (size_t i = 0; i < 2; ++i) {
      ASSERT_TRUE(prepare_link_socket(sockets[i].get()));
      LinkOptions options;
      options.tls = std::move(tls[i]);
      options.compress = GetParam().compress;
      if (options.compress) options.compression = turned_on(worker_->now_ns());
      ends_[i].link = std::make_unique<SocketLink>(*worker_, std::move(sockets[i]), "the peer",
                                                   std::move(options));
      ends_[i].link->start(ends_[i].events);
    }
  }
  void TearDown() override {
    for (End& end : ends_) {
      if (!end.link) continue;
      end.link->close();
      EXPECT_TRUE(until([&] { return end.events.closed; }));
    }
  }
  // Looks again also when nothing happens: some conditions come true without waking the worker.
  bool until(const std::function<bool()>& done) {
    const uint64_t end_ns = worker_->now_ns() + kTimeLimitNs;
    while (worker_->now_ns() < end_ns) {
      if (worker_->run_until(done, kLookAgainNs)) return true;
    }
    return false;
  }

  // Of sizes around every bound, and of bytes that shrink, or not.
  RecordedFrame random_frame(uint64_t number) {
    static constexpr std::array<size_t, 12> sizes{0,    1,     300,   1023,  1024,  8191,
                                                  8192, 16384, 16385, 40000, 65535, 65536};
    RecordedFrame frame;
    const size_t pick = random_() % (sizes.size() + 4);
    frame.data.resize(pick < sizes.size() ? sizes[pick] : random_() % 65537);
    const unsigned mask = random_() % 3 == 0 ? 255 : 3;
    for (auto& byte : frame.data) byte = static_cast<std::byte>(random_() & mask);
    const auto head = data_head(number, frame.data.size());
    frame.header = wire::decode<wire::FrameHeader>(head);
    frame.body.assign(head.begin() + sizeof(wire::FrameHeader), head.end());
    return frame;
  }
  void send_some(End& end, size_t frames_max) {
    bool any = false;
    while (end.sent.size() < frames_max && end.link->ready() && random_() % 8 != 0) {
      end.sent.push_back(random_frame(end.sent.size() + 1));
      const RecordedFrame& frame = end.sent.back();
      end.link->send(data_head(end.sent.size(), frame.data.size()), frame.data);
      any = true;
    }
    if (any) end.link->flush();
  }
  static void expect_same(const End& from, const End& to) {
    ASSERT_EQ(to.events.frames.size(), from.sent.size());
    for (size_t i = 0; i < from.sent.size(); ++i) {
      const RecordedFrame& sent = from.sent[i];
      const RecordedFrame& got = to.events.frames[i];
      ASSERT_EQ(std::memcmp(&got.header, &sent.header, sizeof sent.header), 0) << i;
      ASSERT_EQ(got.body, sent.body) << i;
      ASSERT_EQ(got.data, sent.data) << i;
    }
  }

  std::unique_ptr<Worker> worker_;
  std::array<End, 2> ends_;
  std::mt19937_64 random_{20261123};
};

TEST_P(FramesTest, CrossIntactAndInOrder) {
  constexpr size_t kFrames = 500;
  for (End& end : ends_) end.sent.reserve(kFrames);  // what is sent is referred to
  EXPECT_TRUE(until([&] {
    for (End& end : ends_) send_some(end, kFrames);
    return ends_[0].events.frames.size() == kFrames && ends_[1].events.frames.size() == kFrames;
  }));
  for (End& end : ends_) ASSERT_FALSE(end.events.lost) << end.events.lost->message;
  expect_same(ends_[0], ends_[1]);
  expect_same(ends_[1], ends_[0]);
  for (size_t i = 0; i < 2; ++i) {
    const auto counters = ends_[i].link->compression();
    EXPECT_EQ(counters.frames != 0, GetParam().compress);
    EXPECT_LE(counters.bytes_after, counters.bytes_before / 8 * 7);
    EXPECT_EQ(counters.frames, ends_[1 - i].link->compression().frames_received);
  }
  // Everything has been acknowledged by the other machine.
  EXPECT_TRUE(until([&] { return ends_[0].link->unanswered_ns() == 0; }));
}

INSTANTIATE_TEST_SUITE_P(Ways, FramesTest,
                         testing::Values(Mode{false, false, false}, Mode{false, false, true},
                                         Mode{false, true, false}, Mode{false, true, true},
                                         Mode{true, false, false}, Mode{true, false, true},
                                         Mode{true, true, false}, Mode{true, true, true}),
                         [](const auto& info) {
                           const Mode& mode = info.param;
                           return std::string(mode.tls ? "Tls" : "Plain") +
                                  (mode.compress ? "Compressed" : "") +
                                  (mode.spin ? "Spin" : "Sleep");
                         });

// --- what is no compressed frame ---

class CompressedFrameTest : public testing::Test {
 protected:
  // A link that takes compressed frames, or not, is sent this one.
  void receive(bool compress, uint32_t raw_bytes, std::vector<std::byte> block,
               wire::FrameType type = wire::FrameType::data) {
    auto created = Worker::create({});
    ASSERT_TRUE(created) << created.error().message;
    worker_ = std::move(*created);
    auto sockets = connected_pair(AF_INET);
    ASSERT_TRUE(sockets[0]);
    auto bytes = data_head(1, wire::compressed_prefix_bytes + block.size());
    auto header = wire::decode<wire::FrameHeader>(bytes);
    header.flags = wire::frame_flags::compressed;
    header.type = static_cast<uint8_t>(type);
    wire::encode(bytes.data(), header);
    const auto* raw = reinterpret_cast<const std::byte*>(&raw_bytes);
    bytes.insert(bytes.end(), raw, raw + sizeof raw_bytes);
    bytes.insert(bytes.end(), block.begin(), block.end());
    ASSERT_EQ(::send(sockets[1].get(), bytes.data(), bytes.size(), 0), ssize_t(bytes.size()));
    LinkOptions options;
    options.compress = compress;
    SocketLink link(*worker_, std::move(sockets[0]), "the peer", std::move(options));
    link.start(events_);
    EXPECT_TRUE(
        worker_->run_until([&] { return events_.lost || !events_.frames.empty(); }, kTimeLimitNs));
    link.close();
    EXPECT_TRUE(worker_->run_until([&] { return events_.closed; }, kTimeLimitNs));
  }
  void expect_lost(const char* why) {
    ASSERT_TRUE(events_.lost);
    EXPECT_TRUE(events_.frames.empty());
    EXPECT_EQ(events_.lost->code, ErrorCode::failed);
    EXPECT_NE(events_.lost->message.find(why), std::string::npos) << events_.lost->message;
  }
  static std::vector<std::byte> block(size_t raw_bytes) {
    const std::vector<std::byte> data(raw_bytes, std::byte{5});
    std::vector<std::byte> to(raw_bytes + 100);
    to.resize(Packer().pack(data, to));
    return {to.begin() + wire::compressed_prefix_bytes, to.end()};
  }

  std::unique_ptr<Worker> worker_;
  RecordingEvents events_;
};

TEST_F(CompressedFrameTest, IsSeenAsItWas) {
  receive(true, 50'000, block(50'000));
  ASSERT_EQ(events_.frames.size(), 1u);
  EXPECT_EQ(events_.frames[0].header.data_bytes(), 50'000u);
  EXPECT_EQ(events_.frames[0].header.flags, 0);
  EXPECT_EQ(events_.frames[0].data, std::vector<std::byte>(50'000, std::byte{5}));
}
TEST_F(CompressedFrameTest, IsRefusedWhereItWasNotAgreedOn) {
  receive(false, 50'000, block(50'000));
  expect_lost("not agreed on");
}
TEST_F(CompressedFrameTest, IsRefusedWhenItNamesTooMuch) {
  receive(true, limits::frame_data_bytes_max + 1, block(5000));
  expect_lost("longer than the limit");
}
TEST_F(CompressedFrameTest, IsRefusedWhenItNamesNothing) {
  receive(true, 0, block(5000));
  expect_lost("or empty");
}
TEST_F(CompressedFrameTest, IsRefusedWhenItGivesLess) {
  receive(true, 5001, block(5000));
  expect_lost("does not unpack");
}
TEST_F(CompressedFrameTest, IsRefusedWhenItGivesMore) {
  receive(true, 4999, block(5000));
  expect_lost("does not unpack");
}
TEST_F(CompressedFrameTest, IsRefusedWhenTheBlockIsNoise) {
  std::vector<std::byte> noise(200);
  std::mt19937_64 random(3);
  for (auto& byte : noise) byte = static_cast<std::byte>(random());
  receive(true, 5000, noise);
  expect_lost("does not unpack");
}
TEST_F(CompressedFrameTest, IsRefusedWithoutABlock) {
  receive(true, 5000, {});
  expect_lost("without data");
}
TEST_F(CompressedFrameTest, IsRefusedWhereItDoesNotBelong) {
  receive(true, 5000, block(5000), wire::FrameType::cancel);
  expect_lost("never is");
}

}  // namespace
}  // namespace farport
