// A device and a driver on one host: transfers, cancel, unplug, leaving, and the order of the end.
#include "dataplane/local_channel.h"

#include <gtest/gtest.h>

#include "tests/unit/fake_device.h"
#include "tests/unit/fake_driver.h"

namespace farport {
namespace {

constexpr uint64_t kTimeLimitNs = 10'000'000'000;

class LocalChannelTest : public testing::Test, public LocalChannel::Events {
 protected:
  void SetUp() override {
    auto worker = Worker::create({});
    ASSERT_TRUE(worker) << worker.error().message;
    worker_ = std::move(*worker);
    auto device = std::make_unique<FakeDevice>();
    auto driver = std::make_unique<FakeDriver>();
    device_ = device.get();
    driver_ = driver.get();
    channel_ =
        std::make_unique<LocalChannel>(*worker_, std::move(device), std::move(driver), 0, *this);
  }
  void TearDown() override {
    if (started_ && !closed_) {
      channel_->close();
      EXPECT_TRUE(worker_->run_until([&] { return closed_; }, kTimeLimitNs));
    }
    channel_.reset();
    EXPECT_EQ(worker_->buffers().bytes_in_use(), 0u);
  }
  void channel_closed(LocalChannel&, Error why) override {
    closed_ = true;
    why_ = std::move(why);
  }
  void start() {
    started_ = true;
    channel_->start();
  }
  Transfer& submit(uint8_t endpoint = 0x81, uint32_t length = 64) {
    Transfer* transfer = driver_->port->allocate(length);
    transfer->endpoint = endpoint;
    transfer->type = TransferType::bulk;
    driver_->port->submit(*transfer);
    return *transfer;
  }
  bool until(const std::function<bool()>& done) { return worker_->run_until(done, kTimeLimitNs); }

  std::unique_ptr<Worker> worker_;
  FakeDevice* device_ = nullptr;
  FakeDriver* driver_ = nullptr;
  std::unique_ptr<LocalChannel> channel_;
  bool started_ = false;
  bool closed_ = false;
  Error why_;
};

TEST_F(LocalChannelTest, CompletionsComeFromTheLoopNotFromSubmit) {
  start();
  device_->on_submit = [](Transfer& transfer) {
    transfer.actual = transfer.length;
    return true;
  };
  submit();
  EXPECT_TRUE(driver_->statuses.empty());
  EXPECT_TRUE(until([&] { return driver_->statuses.size() == 1; }));
  EXPECT_EQ(channel_->meter().snapshot(worker_->now_ns()).bytes, 64u);
}

TEST_F(LocalChannelTest, CloseCancelsWhatIsInFlight) {
  start();
  submit();
  submit();
  channel_->close();
  EXPECT_TRUE(until([&] { return closed_; }));
  EXPECT_EQ(driver_->statuses, (std::vector{TransferStatus::cancelled, TransferStatus::cancelled}));
  EXPECT_TRUE(why_.message.empty());
}

TEST_F(LocalChannelTest, UnplugIsShownToTheConsumer) {
  start();
  submit();
  device_->unplug("pulled");
  EXPECT_TRUE(until([&] { return closed_; }));
  EXPECT_EQ(driver_->unplug_reasons, std::vector<std::string>{"pulled"});
  EXPECT_EQ(why_.code, ErrorCode::not_found);
}

TEST_F(LocalChannelTest, ConsumerThatLeavesGivesTheDeviceBack) {
  start();
  driver_->port->consumer_left("client closed");
  EXPECT_TRUE(until([&] { return closed_; }));
  EXPECT_EQ(why_.message, "client closed");
}

TEST_F(LocalChannelTest, DriverThatCannotStartStopsTheDevice) {
  driver_->start_error = Error{ErrorCode::busy, "no free port"};
  start();
  EXPECT_TRUE(until([&] { return closed_; }));
  EXPECT_EQ(why_.code, ErrorCode::busy);
}

}  // namespace
}  // namespace farport
