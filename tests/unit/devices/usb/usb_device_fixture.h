// A UsbDevice over the fake, on a worker of its own.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "dataplane/worker.h"
#include "devices/usb/usb_device.h"
#include "tests/unit/devices/usb/descriptor_builder.h"
#include "tests/unit/devices/usb/fake_usb_handle.h"

namespace farport::test {

using Calls = std::vector<std::string>;

// Two configurations: 1 has a bulk interface 0, and interface 1 with an isochronous alternate
// setting; 2 has one interrupt endpoint.
inline DeviceInfo composite_info() {
  return device_info(UsbSpeed::high,
                     {ConfigurationBuilder(1)
                          .interface(0, 0)
                          .endpoint(0x81, 2, 512)
                          .endpoint(0x02, 2, 512)
                          .interface(1, 0)
                          .interface(1, 1)
                          .endpoint(0x83, 1, 1024, 1)
                          .endpoint(0x04, 1, 1024, 1)
                          .build(),
                      ConfigurationBuilder(2).interface(0, 0).endpoint(0x85, 3, 8, 4).build()});
}

class UsbDeviceTest : public testing::Test, public DeviceEvents {
 protected:
  static constexpr uint64_t limit_ns = 20'000'000'000;

  UsbDeviceTest() { worker_ = std::move(Worker::create({}).value()); }

  void TearDown() override {
    if (device_ && started_ && !stopped_) stop();
    device_.reset();
    EXPECT_EQ(usb_.violations, 0);
  }

  Result<void> open() {
    auto device = UsbDevice::open(composite_info(), std::make_unique<FakeUsbHandle>(usb_));
    if (!device) return std::unexpected(device.error());
    device_ = std::move(*device);
    return {};
  }
  void open_and_start() {
    ASSERT_TRUE(open());
    device_->start(*worker_, *this);
    started_ = true;
    usb_.log.clear();
  }
  void stop() {
    device_->stop();
    EXPECT_TRUE(until([&] { return stopped_; }));
  }
  bool until(const std::function<bool()>& done) { return worker_->run_until(done, limit_ns); }
  // Until the worker has nothing more to do right now: everything posted before this has run.
  void settle() {
    bool posted = false;
    worker_->post([&] { posted = true; });
    EXPECT_TRUE(until([&] { return posted; }));
  }

  Transfer& make(uint8_t endpoint, uint32_t length, TransferType type = TransferType::bulk,
                 uint16_t packets = 0) {
    auto transfer = std::make_unique<Transfer>();
    transfer->type = type;
    transfer->endpoint = endpoint;
    transfer->length = length;
    transfer->packet_count = packets;
    transfer->buffer = worker_->buffers().allocate(Transfer::headroom_bytes + length +
                                                   packets * sizeof(IsoPacket));
    transfers_.push_back(std::move(transfer));
    return *transfers_.back();
  }
  Transfer& control(std::array<uint8_t, 8> setup, uint32_t length = 0) {
    Transfer& transfer = make(setup[0] & 0x80, length, TransferType::control);
    transfer.setup = setup;
    return transfer;
  }
  bool is_done(const Transfer& transfer) const {
    return std::ranges::find(done_, &transfer) != done_.end();
  }
  bool wait_for(const Transfer& transfer) {
    return until([&] { return is_done(transfer); });
  }

  void completed(Transfer& transfer) override {
    EXPECT_FALSE(is_done(transfer)) << "completed twice";
    done_.push_back(&transfer);
    if (on_completed_) on_completed_(transfer);
  }
  void unplugged(std::string_view) override { ++unplugs_; }
  void device_stopped() override { stopped_ = true; }

  FakeUsb usb_;
  std::unique_ptr<Worker> worker_;
  std::vector<std::unique_ptr<Transfer>> transfers_;
  std::unique_ptr<UsbDevice> device_;
  std::vector<const Transfer*> done_;
  std::function<void(Transfer&)> on_completed_;
  int unplugs_ = 0;
  bool started_ = false;
  bool stopped_ = false;
};

}  // namespace farport::test
