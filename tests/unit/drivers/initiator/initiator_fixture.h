// An initiator in front of an emulated device, on a clock moved by hand: FakePort stands for the
// channel.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "devices/emulated/disk.h"
#include "devices/emulated/serial.h"
#include "devices/emulated/source_sink.h"
#include "drivers/initiator/initiator.h"
#include "tests/unit/fake_driver.h"
#include "tests/unit/manual_scheduler.h"

namespace farport {

inline constexpr uint64_t kSecond = 1'000'000'000;

class InitiatorFixture : public testing::Test {
 protected:
  ~InitiatorFixture() override {
    EXPECT_EQ(initiator_, nullptr) << "detach() at the end of a test";
  }

  void attach(std::unique_ptr<EmulatedDevice> device) {
    device_ = std::move(device);
    port_.emplace(*device_);
    device_->start_on(clock_, *port_);
    initiator_ = std::make_unique<Initiator>([this](Result<void> outcome) { ready_ = outcome; });
    port_->driver = initiator_.get();
    ASSERT_TRUE(initiator_->start_on(clock_, *port_));
    settle();
  }
  void attach_disk(EmulatedDeviceSettings settings = {}) {
    settings.name = "DISK0";
    settings.size_bytes = 4 << 20;
    storage_ = *DiskStorage::in_memory(settings.size_bytes);
    attach(std::make_unique<EmulatedDisk>(settings, storage_));
  }
  void attach_source_sink(EmulatedDeviceSettings settings = {}) {
    settings.name = "LOAD0";
    settings.kind = EmulatedKind::source_sink;
    attach(std::make_unique<EmulatedSourceSink>(settings));
  }
  void attach_serial(EmulatedDeviceSettings settings = {}) {
    settings.name = "PORT0";
    settings.kind = EmulatedKind::serial;
    attach(std::make_unique<EmulatedSerial>(settings));
  }

  // Delivers completions and fires timers until nothing moves, or for `duration_ns`.
  void settle(uint64_t duration_ns = kSecond) {
    const uint64_t until_ns = clock_.now_ns() + duration_ns;
    port_->run();
    while (!clock_.idle() && clock_.next_ns() <= until_ns) {
      clock_.step();
      port_->run();
    }
  }

  // As a channel closes: what is in flight is cancelled, the driver stopped, then the device.
  void stop() {
    initiator_->stop();
    device_->stop();
    port_->run();
  }
  // At the end, when all users are gone.
  void detach() {
    if (port_->stopped == 0) stop();
    EXPECT_EQ(port_->stopped, 1);
    EXPECT_EQ(port_->in_use(), 0u);
    initiator_.reset();
  }

  ManualScheduler clock_;
  std::shared_ptr<DiskStorage> storage_;
  std::unique_ptr<EmulatedDevice> device_;
  std::optional<FakePort> port_;
  std::unique_ptr<Initiator> initiator_;
  std::optional<Result<void>> ready_;
};

}  // namespace farport
