#include "devices/emulated/bulk_only.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

namespace farport {

namespace {

static_assert(std::endian::native == std::endian::little);

uint32_t get32(std::span<const std::byte> data, size_t at) {
  uint32_t value = 0;
  std::memcpy(&value, data.data() + at, sizeof(value));
  return value;
}

uint8_t get8(std::span<const std::byte> data, size_t at) { return static_cast<uint8_t>(data[at]); }

void put32(std::span<std::byte> data, size_t at, uint32_t value) {
  std::memcpy(data.data() + at, &value, sizeof(value));
}

// Fields of the CBW (BOT, table 5.1).
constexpr size_t kTag = 4;
constexpr size_t kLength = 8;
constexpr size_t kFlags = 12;
constexpr size_t kUnit = 13;
constexpr size_t kCommandLength = 14;
constexpr size_t kCommand = 15;
constexpr uint8_t kFlagIn = 0x80;

// Valid (BOT 6.2.1) and meaningful (6.2.2). A unit that does not exist is answered by the disk.
bool acceptable(std::span<const std::byte> data) {
  if (data.size() != bot::command_bytes || get32(data, 0) != bot::command_signature) return false;
  const uint8_t command_length = get8(data, kCommandLength);
  return (get8(data, kFlags) & ~kFlagIn) == 0 && (get8(data, kUnit) & 0xf0) == 0 &&
         command_length >= 1 && command_length <= 16;
}

}  // namespace

BulkOnly::Step BulkOnly::take(std::span<const std::byte> data, bool ends_short,
                              uint32_t max_packet_bytes) {
  assert(wants_out());
  if (stage_ == Stage::command) return take_command(data, max_packet_bytes);
  const uint64_t count = data_bytes(static_cast<uint32_t>(data.size()));
  Step step{.actual = static_cast<uint32_t>(data.size())};
  if (!disk_.write(moved_, data.first(count))) {
    // The host is still sending if this was not all: make it stop.
    status_ = bot::status_failed;
    step.halt_out = data.size() < expected_ - moved_;
    return end_data(step);
  }
  moved_ += count;
  if (moved_ == wanted_) {
    const bool more_expected = wanted_ < expected_;
    if (count < data.size()) {  // the host sends more than the device takes
      step = {.status = TransferStatus::stall, .actual = static_cast<uint32_t>(count)};
      step.halt_out = true;
    }
    step.halt_out |= more_expected;
    return end_data(step);
  }
  if (ends_short) return end_data(step);  // the host sends less than it said
  return step;
}

BulkOnly::Step BulkOnly::take_command(std::span<const std::byte> data, uint32_t max_packet_bytes) {
  if (acceptable(data)) return begin(data);
  stage_ = Stage::reset_needed;
  Step step{.halt_in = true, .halt_out = true};
  // What follows the first packet meets with the stall.
  step.actual = static_cast<uint32_t>(std::min<size_t>(data.size(), max_packet_bytes));
  if (step.actual < data.size()) step.status = TransferStatus::stall;
  return step;
}

// The thirteen cases (BOT 6.7), by what the host (H) and the device (D) mean to move: nothing (n),
// in (i) or out (o).
BulkOnly::Step BulkOnly::begin(std::span<const std::byte> data) {
  tag_ = get32(data, kTag);
  expected_ = get32(data, kLength);
  const bool host_in = (get8(data, kFlags) & kFlagIn) != 0;
  std::array<uint8_t, 16> cdb;
  std::memcpy(cdb.data(), data.data() + kCommand, cdb.size());
  const ScsiDisk::Command command =
      disk_.begin(get8(data, kUnit), std::span(cdb).first(get8(data, kCommandLength)));
  status_ = command.good ? bot::status_passed : bot::status_failed;
  wanted_ = 0;
  moved_ = 0;
  stage_ = Stage::status;

  Step step{.actual = bot::command_bytes};
  const bool device_none = command.data == ScsiDisk::Data::none;
  if (expected_ == 0) {
    if (!device_none) status_ = bot::status_phase_error;  // 2 Hn<Di, 3 Hn<Do
    return step;                                          // 1 Hn=Dn
  }
  const bool same_direction = host_in == (command.data == ScsiDisk::Data::in);
  if (device_none || !same_direction || command.length > expected_) {
    // 4 Hi>Dn and 9 Ho>Dn; 7 Hi<Di, 8 Hi<>Do, 10 Ho<>Di and 13 Ho<Do.
    if (!device_none) status_ = bot::status_phase_error;
    (host_in ? step.halt_in : step.halt_out) = true;
    return step;
  }
  wanted_ = command.length;  // 5 Hi>Di, 6 Hi=Di, 11 Ho>Do, 12 Ho=Do
  stage_ = host_in ? Stage::data_in : Stage::data_out;
  return step;
}

BulkOnly::Step BulkOnly::give(std::span<std::byte> data, uint32_t max_packet_bytes) {
  assert(wants_in());
  if (stage_ == Stage::status) return give_status(data);
  const uint64_t count = data_bytes(static_cast<uint32_t>(data.size()));
  if (!disk_.read(moved_, data.first(count))) {
    status_ = bot::status_failed;
    return end_data({.status = TransferStatus::stall, .halt_in = true});
  }
  moved_ += count;
  Step step{.actual = static_cast<uint32_t>(count)};
  if (moved_ < wanted_) return step;
  step.halt_in = wanted_ < expected_;
  const bool ended = count == data.size() || count % max_packet_bytes != 0;
  if (step.halt_in && !ended) step.status = TransferStatus::stall;
  return end_data(step);
}

// BOT, table 5.2.
BulkOnly::Step BulkOnly::give_status(std::span<std::byte> data) {
  // The host takes less than the packet it gets; it has not acknowledged it, so it may ask again.
  if (data.size() < bot::status_bytes) return {.status = TransferStatus::overflow};
  put32(data, 0, bot::status_signature);
  put32(data, 4, tag_);
  put32(data, 8, static_cast<uint32_t>(expected_ - moved_));
  data[12] = static_cast<std::byte>(status_);
  stage_ = Stage::command;
  return {.actual = bot::status_bytes};
}

BulkOnly::Step BulkOnly::end_data(Step step) {
  stage_ = Stage::status;
  return step;
}

BulkOnly::Step BulkOnly::fault_stall() {
  assert(in_data_stage());
  disk_.set_sense(sense::data_phase_error);
  status_ = bot::status_failed;
  Step step{.status = TransferStatus::stall};
  (stage_ == Stage::data_in ? step.halt_in : step.halt_out) = true;
  return end_data(step);
}

void BulkOnly::fault_half(uint32_t length) {
  assert(in_data_stage());
  // Whole blocks, as the host counts in them.
  constexpr uint64_t block = DiskStorage::block_bytes;
  wanted_ = moved_ + data_bytes(length) / 2 / block * block;
}

}  // namespace farport
