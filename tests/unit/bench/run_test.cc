// What a measurement runs in: processes, threads, namespaces, the allocation counter, the floor.
// No figure is judged here: only that there is one, and that it counts what it says.

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <memory>
#include <vector>

#include "bench/allocations.h"
#include "bench/floor.h"
#include "bench/forwarded_load.h"
#include "bench/isolated.h"
#include "dataplane/aead.h"

namespace farport::bench {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool counts_allocations = false;
#else
constexpr bool counts_allocations = true;
#endif

TEST(AllocationCount, SeesNewAndMallocAndCalloc) {
  if (!counts_allocations) GTEST_SKIP() << "a sanitizer brings its own allocator";
  const uint64_t before = allocation_count();
  auto one = std::make_unique<std::vector<int>>(100);
  EXPECT_EQ(allocation_count() - before, 2u);
  void* volatile memory = std::calloc(1, 10);
  memory = std::realloc(memory, 1000);
  EXPECT_EQ(allocation_count() - before, 4u);
  std::free(memory);
  EXPECT_EQ(allocation_count() - before, 4u);
}

TEST(Isolated, GivesWhatTheChildMeasured) {
  const auto result = isolated(
      []() -> Result<Measurement> {
        Measurement one;
        one.transfers = 42;
        return one;
      },
      10);
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->transfers, 42u);
  EXPECT_GT(result->rss_bytes, 100'000u);
}

TEST(Isolated, GivesTheChildsError) {
  const auto result = isolated([]() -> Result<Measurement> { return fail("no luck"); }, 10);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().message, "no luck");
}

TEST(Isolated, ACrashIsAnError) {
  const auto result = isolated(
      []() -> Result<Measurement> {
        std::signal(SIGTERM, SIG_DFL);
        std::raise(SIGTERM);
        return Measurement();
      },
      10);
  ASSERT_FALSE(result.has_value());
  EXPECT_NE(result.error().message.find("died"), std::string::npos) << result.error().message;
}

TEST(Isolated, AHangIsEndedAtTheLimit) {
  const auto result = isolated(
      []() -> Result<Measurement> {
        for (;;) ::poll(nullptr, 0, -1);
      },
      0.05);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::timed_out);
}

class Programs : public testing::TestWithParam<Result<Measurement> (*)(const Load&)> {
 protected:
  static Load load(bool in, uint32_t size, uint32_t depth, Wait wait) {
    Load one;
    one.in = in;
    one.size = size;
    one.depth = depth;
    one.wait = wait;
    one.warm_up_s = 0.02;
    one.seconds = 0.05;
    return one;
  }
  static void expect_figures(const Load& load) {
    const auto result = isolated([&] { return GetParam()(load); }, 30);
    ASSERT_TRUE(result.has_value()) << result.error().message;
    EXPECT_GT(result->transfers, 0u);
    EXPECT_GT(result->rtt_ns_p50, 0u);
    EXPECT_LE(result->rtt_ns_p50, result->rtt_ns_p99);
    EXPECT_LE(result->rtt_ns_p99, result->rtt_ns_p999);
    EXPECT_GT(result->cpu_ns, 0u);
    EXPECT_GE(result->seconds, load.seconds);
  }
};

TEST_P(Programs, CarryBothDirections) {
  expect_figures(load(true, 64, 1, Wait::sleep));
  expect_figures(load(false, 64, 1, Wait::sleep));
  expect_figures(load(true, 64, 64, Wait::sleep));
}

TEST_P(Programs, CarryMoreThanASocketBufferHolds) {
  expect_figures(load(true, 1 << 20, 16, Wait::sleep));
  expect_figures(load(false, 1 << 20, 16, Wait::sleep));
}

TEST_P(Programs, CarryInterruptTransfers) {
  Load one = load(true, 64, 4, Wait::sleep);
  one.kind = TransferType::interrupt;
  expect_figures(one);
  one.in = false;
  expect_figures(one);
}

TEST_P(Programs, Spin) { expect_figures(load(true, 4096, 4, Wait::spin)); }

TEST_P(Programs, RunBetweenNamespaces) {
  if (geteuid() != 0) GTEST_SKIP() << "network namespaces need root";
  Load one = load(true, 64, 1, Wait::sleep);
  one.link = LinkKind::netns;
  expect_figures(one);
}

INSTANTIATE_TEST_SUITE_P(Floor, Programs, testing::Values(&run_floor));
INSTANTIATE_TEST_SUITE_P(Forwarded, Programs, testing::Values(&run_forwarded));

TEST(Floor, AllocatesNothingPerTransfer) {
  if (!counts_allocations) GTEST_SKIP() << "a sanitizer brings its own allocator";
  Load load;
  load.warm_up_s = 0.02;
  load.seconds = 0.05;
  const auto result = isolated([&] { return run_floor(load); }, 30);
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->allocations, 0u);
}

// What an open channel may still do is grow a table of the worker once; not once per transfer. Nor
// does TLS.
TEST(Forwarded, AllocatesNothingPerTransfer) {
  if (!counts_allocations) GTEST_SKIP() << "a sanitizer brings its own allocator";
  for (const bool tls : {false, true}) {
    for (const uint32_t size : {64u, 65536u}) {
      Load load;
      load.size = size;
      load.depth = 16;
      load.tls = tls;
      load.warm_up_s = 0.05;
      load.seconds = 0.1;
      const auto result = isolated([&] { return run_forwarded(load); }, 30);
      ASSERT_TRUE(result.has_value()) << result.error().message;
      ASSERT_GT(result->transfers, 50u);
      EXPECT_LT(result->allocations, 10u) << size << (tls ? " with TLS" : "");
    }
  }
}

TEST(Aead, AllocatesNothingPerRecord) {
  if (!counts_allocations) GTEST_SKIP() << "a sanitizer brings its own allocator";
  for (const auto kind :
       {Aead::Kind::aes_128_gcm, Aead::Kind::aes_256_gcm, Aead::Kind::chacha20_poly1305}) {
    for (const auto make : {&Aead::make, &Aead::make_by_openssl}) {
      const auto seal = make(kind, Aead::Use::seal);
      const auto open = make(kind, Aead::Use::open);
      const std::array<std::byte, Aead::key_bytes_max> key{};
      for (const auto* aead : {&seal, &open}) {
        ASSERT_TRUE((*aead)->set_key(std::span(key).first(Aead::key_bytes(kind))));
      }
      std::array<std::byte, 5> header{};
      std::vector<std::byte> block(1000 + Aead::tag_bytes);
      const std::array<iovec, 2> pieces{iovec{block.data(), 400}, iovec{block.data() + 400, 600}};
      const uint64_t before = allocation_count();
      for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(seal->seal({}, header, pieces, block.data()));
        ASSERT_TRUE(open->open({}, header, block, pieces));
      }
      EXPECT_EQ(allocation_count() - before, 0u) << static_cast<int>(kind);
    }
  }
}

}  // namespace
}  // namespace farport::bench
