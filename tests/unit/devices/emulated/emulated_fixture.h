// What the tests of emulated devices share: a clock moved by hand, transfers, recorded completions.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "devices/emulated/disk.h"
#include "devices/emulated/serial.h"
#include "devices/emulated/source_sink.h"
#include "tests/unit/fake_device.h"
#include "tests/unit/manual_scheduler.h"

namespace farport {

inline constexpr uint64_t kMs = 1'000'000;
inline constexpr uint64_t kSecond = 1'000'000'000;

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

class EmulatedFixture : public testing::Test {
 protected:
  // Submits; the transfer for convenience.
  Transfer& run(Device& device, Transfer& transfer) {
    device.submit(transfer);
    return transfer;
  }
  // Submits a control transfer, which completes at once.
  Transfer& control(Device& device, uint8_t type, uint8_t request, uint16_t value, uint16_t index,
                    uint16_t length, std::span<const std::byte> data = {}) {
    Transfer& transfer = transfers_.control(type, request, value, index, length, data);
    device.submit(transfer);
    EXPECT_EQ(events_.count(transfer), 1);
    return transfer;
  }
  bool done(const Transfer& transfer) const { return events_.has(transfer); }

  ManualScheduler clock_;
  TestTransfers transfers_;
  FakeDeviceEvents events_;
};

}  // namespace farport
