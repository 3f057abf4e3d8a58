// The blocking facade through a real worker and a LocalChannel, driven here and from elsewhere.
#include "drivers/initiator/blocking.h"

#include <gtest/gtest.h>

#include <thread>

#include "dataplane/local_channel.h"
#include "devices/emulated/provider.h"

namespace farport {
namespace {

class BlockingTest : public testing::TestWithParam<Drive>, private LocalChannel::Events {
 protected:
  void SetUp() override {
    auto worker = Worker::create({});
    if (!worker) GTEST_SKIP() << "no io_uring here: " << worker.error().message;
    worker_ = std::move(*worker);
    std::vector<EmulatedDeviceSettings> settings(3);
    settings[0].name = "DISK0";
    settings[1] = {.name = "LOAD0", .kind = EmulatedKind::source_sink};
    settings[2] = {.name = "PORT0", .kind = EmulatedKind::serial};
    provider_ = std::move(EmulatedProvider::create(settings).value());
    if (GetParam() == Drive::elsewhere) thread_ = std::thread([this] { worker_->run(); });
  }
  void TearDown() override {
    if (!worker_) return;
    if (channel_) {
      EXPECT_TRUE(waiter().wait_for<void>([this](auto done) {
        closed_ = std::move(done);
        channel_->close();
      }));
      EXPECT_TRUE(waiter().wait_for<void>([this](auto done) {
        channel_.reset();
        done({});
      }));
    }
    worker_->stop();
    if (thread_.joinable()) thread_.join();
  }
  Waiter waiter() { return {*worker_, GetParam(), 10'000'000'000}; }

  Initiator& attach(const std::string& name) {
    auto device = provider_->open(name).value();
    const auto ready = waiter().wait_for<Initiator*>([&](auto done) {
      auto driver = std::make_unique<Initiator>();
      Initiator* initiator = driver.get();
      driver->on_ready([initiator, done](Result<void> outcome) {
        if (outcome) return done(initiator);
        done(std::unexpected(outcome.error()));
      });
      channel_ = std::make_unique<LocalChannel>(*worker_, std::move(device), std::move(driver), 0,
                                                static_cast<LocalChannel::Events&>(*this));
      channel_->start();
    });
    EXPECT_TRUE(ready);
    return **ready;
  }

  std::unique_ptr<Worker> worker_;
  std::unique_ptr<EmulatedProvider> provider_;
  std::unique_ptr<LocalChannel> channel_;

 private:
  void channel_closed(LocalChannel&, Error) override {
    if (closed_) std::exchange(closed_, {})({});
  }
  std::function<void(Result<void>)> closed_;
  std::thread thread_;
};

TEST_P(BlockingTest, Disk) {
  Initiator& initiator = attach("DISK0");
  BlockingDisk disk(initiator, waiter());
  EXPECT_EQ(disk.inquiry()->vendor, "FARPORT");
  EXPECT_EQ(disk.capacity()->blocks, (64u << 20) / 512);
  std::vector<std::byte> data(300 * 512), back(data.size());
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 31);
  ASSERT_TRUE(disk.write(1000, data));
  ASSERT_TRUE(disk.synchronize());
  ASSERT_TRUE(disk.read(1000, back));
  EXPECT_EQ(data, back);
  EXPECT_FALSE(disk.read(1ull << 40, back));
}

TEST_P(BlockingTest, SingleTransfers) {
  BlockingInitiator initiator(attach("LOAD0"), waiter());
  const std::byte text[] = {std::byte{1}, std::byte{2}};
  EXPECT_TRUE(initiator.control(make_setup(0x40, 0x5b, 0, 0, 2), text));
  EXPECT_EQ(initiator.control(make_setup(0xc0, 0x5c, 0, 0, 64))->size(), 2u);
  EXPECT_EQ(initiator.bulk_in(0x81, 1000)->size(), 1000u);
  EXPECT_EQ(initiator.bulk_out(0x01, text), 2u);
  EXPECT_FALSE(initiator.control(make_setup(0xc0, 0x99, 0, 0, 2)));
  EXPECT_TRUE(initiator.clear_halt(0x81));
}

TEST_P(BlockingTest, Serial) {
  BlockingSerial port(attach("PORT0"), waiter());
  ASSERT_TRUE(port.set_line({.baud = 1'000'000}));
  const std::string text = "through the looking glass";
  ASSERT_TRUE(port.write(std::as_bytes(std::span(text))));
  const auto back = port.read_exactly(text.size());
  ASSERT_TRUE(back);
  EXPECT_TRUE(std::ranges::equal(*back, std::as_bytes(std::span(text))));
  EXPECT_TRUE(port.drain());
  EXPECT_EQ(*port.lines() & serial::line::dcd, serial::line::dcd);
  EXPECT_TRUE(port.set_modem({serial::line::dtr, 0}));
}

// Nothing answers: the call ends all the same, and what comes later finds no caller's memory.
TEST_P(BlockingTest, TimesOut) {
  Initiator& initiator = attach("PORT0");
  BlockingSerial port(initiator, {*worker_, GetParam(), 20'000'000});
  const auto nothing = port.read(10);
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, ErrorCode::timed_out);
}

INSTANTIATE_TEST_SUITE_P(Drives, BlockingTest, testing::Values(Drive::here, Drive::elsewhere),
                         [](const auto& info) {
                           return info.param == Drive::here ? "here" : "elsewhere";
                         });

}  // namespace
}  // namespace farport
