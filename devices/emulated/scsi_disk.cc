#include "devices/emulated/scsi_disk.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <string_view>

namespace farport {

namespace {

constexpr uint32_t kBlockBytes = DiskStorage::block_bytes;
constexpr std::string_view kVendor = "FARPORT ";           // 8 characters
constexpr std::string_view kProduct = "EMULATED DISK   ";  // 16
constexpr std::string_view kRevision = "0001";             // 4

constexpr uint8_t kRequestSense = 0x03;
constexpr uint8_t kInquiry = 0x12;
constexpr uint8_t kReportLuns = 0xa0;

template <class Number>
void put(uint8_t* at, Number value) {
  for (size_t i = 0; i < sizeof(Number); ++i) {
    at[i] = static_cast<uint8_t>(value >> (8 * (sizeof(Number) - 1 - i)));
  }
}

void put_text(uint8_t* at, std::string_view text) { std::memcpy(at, text.data(), text.size()); }

// A 60-bit number that stands for the serial number (FNV-1a).
uint64_t hash(std::string_view text) {
  uint64_t value = 0xcbf29ce484222325;
  for (const char c : text) value = (value ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return value & 0x0fffffffffffffff;
}

}  // namespace

struct ScsiDisk::Opcode {
  uint8_t code;
  uint8_t cdb_bytes;
  bool when_stopped;  // may run while the unit is stopped
  Command (ScsiDisk::*run)();
};

const ScsiDisk::Opcode ScsiDisk::opcodes[] = {
    {0x00, 6, false, &ScsiDisk::test_unit_ready},
    {kRequestSense, 6, true, &ScsiDisk::request_sense},
    {0x08, 6, false, &ScsiDisk::read_6},
    {0x0a, 6, false, &ScsiDisk::write_6},
    {kInquiry, 6, true, &ScsiDisk::inquiry},
    {0x1a, 6, true, &ScsiDisk::mode_sense_6},
    {0x1b, 6, true, &ScsiDisk::start_stop_unit},
    {0x1e, 6, true, &ScsiDisk::prevent_allow},
    {0x23, 10, false, &ScsiDisk::read_format_capacities},
    {0x25, 10, false, &ScsiDisk::read_capacity_10},
    {0x28, 10, false, &ScsiDisk::read_10},
    {0x2a, 10, false, &ScsiDisk::write_10},
    {0x2f, 10, false, &ScsiDisk::verify_10},
    {0x35, 10, false, &ScsiDisk::synchronize_cache},
    {0x5a, 10, true, &ScsiDisk::mode_sense_10},
    {0x88, 16, false, &ScsiDisk::read_16},
    {0x8a, 16, false, &ScsiDisk::write_16},
    {0x91, 16, false, &ScsiDisk::synchronize_cache},
    {0x9e, 16, false, &ScsiDisk::read_capacity_16},
    {kReportLuns, 12, true, &ScsiDisk::report_luns},
    {0xa8, 12, false, &ScsiDisk::read_12},
    {0xaa, 12, false, &ScsiDisk::write_12},
};

ScsiDisk::ScsiDisk(DiskStorage& storage, bool read_only, std::string serial_number)
    : storage_(storage), read_only_(read_only), serial_number_(std::move(serial_number)) {
  assert(serial_number_.size() <= 64);
}

void ScsiDisk::reset() {
  stopped_ = false;
  sense_ = sense::none;
}

ScsiDisk::Command ScsiDisk::begin(uint8_t unit, std::span<const uint8_t> cdb) {
  assert(!cdb.empty() && cdb.size() <= cdb_.size());
  cdb_.fill(0);
  std::ranges::copy(cdb, cdb_.begin());
  from_storage_ = false;
  compare_ = false;
  const uint8_t code = cdb_[0];
  if (code != kRequestSense) sense_ = sense::none;
  // SPC-4, 6.4.1 and 6.27: these two answer for units that do not exist as well.
  const bool answers_anyway = code == kInquiry || code == kReportLuns;
  if (unit != 0 && !answers_anyway) {
    sense_ = sense::unit_not_supported;
    if (code != kRequestSense) return refuse(sense_);
  }
  const Opcode* opcode = std::ranges::find(opcodes, code, &Opcode::code);
  if (opcode == std::end(opcodes)) return refuse(sense::invalid_command);
  if (cdb.size() < opcode->cdb_bytes) return refuse(sense::invalid_field);
  if (stopped_ && !opcode->when_stopped) return refuse(sense::stopped);
  const Command command = (this->*opcode->run)();
  // Peripheral qualifier 3: no such unit here (SPC-4, table 142).
  if (unit != 0 && code == kInquiry && command.good) reply_[0] = 0x7f;
  return command;
}

bool ScsiDisk::read(uint64_t offset, std::span<std::byte> data) {
  if (from_storage_) {
    if (storage_.read(base_ + offset, data)) return true;
    sense_ = sense::read_error;
    return false;
  }
  assert(offset + data.size() <= reply_.size());
  if (!data.empty()) std::memcpy(data.data(), reply_.data() + offset, data.size());
  return true;
}

bool ScsiDisk::write(uint64_t offset, std::span<const std::byte> data) {
  assert(from_storage_);
  if (!compare_) {
    if (storage_.write(base_ + offset, data)) return true;
    sense_ = sense::write_error;
    return false;
  }
  std::byte piece[4096];
  for (uint64_t at = 0; at < data.size(); at += sizeof(piece)) {
    const size_t count = std::min<size_t>(sizeof(piece), data.size() - at);
    if (!storage_.read(base_ + offset + at, {piece, count})) {
      sense_ = sense::read_error;
      return false;
    }
    if (std::memcmp(piece, data.data() + at, count) != 0) {
      sense_ = sense::miscompare;
      return false;
    }
  }
  return true;
}

ScsiDisk::Command ScsiDisk::refuse(const ScsiSense& sense) {
  sense_ = sense;
  return {.good = false};
}

// Answers with the first bytes of reply_, as many as the host has room for.
ScsiDisk::Command ScsiDisk::reply(size_t length, size_t allocation_bytes) {
  const size_t count = std::min(length, allocation_bytes);
  return {.data = count > 0 ? Data::in : Data::none, .length = count};
}

template <class Number>
Number ScsiDisk::cdb_at(size_t index) const {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(Number); ++i) value = value << 8 | cdb_[index + i];
  return static_cast<Number>(value);
}

// --- the unit ---

ScsiDisk::Command ScsiDisk::test_unit_ready() { return {}; }

// SPC-4, 6.37; fixed format, 4.5.3.
ScsiDisk::Command ScsiDisk::request_sense() {
  if ((cdb_[1] & 1) != 0) return refuse(sense::invalid_field);  // descriptor format
  reply_.fill(0);
  reply_[0] = 0x70;
  reply_[2] = sense_.key;
  reply_[7] = 10;
  reply_[12] = sense_.code;
  reply_[13] = sense_.qualifier;
  sense_ = sense::none;
  return reply(18, cdb_[4]);
}

// SPC-4, 6.4.2.
ScsiDisk::Command ScsiDisk::inquiry() {
  const bool vital = (cdb_[1] & 1) != 0;
  if ((cdb_[1] & 0xfe) != 0 || (!vital && cdb_[2] != 0)) return refuse(sense::invalid_field);
  reply_.fill(0);
  if (vital) return vital_product_data(cdb_[2]);
  reply_[2] = 6;  // SPC-4
  reply_[3] = 2;  // response data format
  reply_[4] = 36 - 5;
  put_text(&reply_[8], kVendor);
  put_text(&reply_[16], kProduct);
  put_text(&reply_[32], kRevision);
  return reply(36, cdb_at<uint16_t>(3));
}

// SPC-4, 7.8; SBC-3, 6.6.
ScsiDisk::Command ScsiDisk::vital_product_data(uint8_t page) {
  size_t length = 0;
  switch (page) {
    case 0x00:  // supported pages
      length = 5;
      std::ranges::copy(std::array<uint8_t, 5>{0x00, 0x80, 0x83, 0xb0, 0xb1}, &reply_[4]);
      break;
    case 0x80:  // unit serial number
      length = serial_number_.size();
      put_text(&reply_[4], serial_number_);
      break;
    case 0x83:
      length = identification_page();
      break;
    case 0xb0:  // block limits: none reported
      length = 60;
      break;
    case 0xb1:  // block device characteristics: does not rotate
      length = 60;
      put<uint16_t>(&reply_[4], 1);
      break;
    default:
      return refuse(sense::invalid_field);
  }
  reply_[1] = page;
  put<uint16_t>(&reply_[2], static_cast<uint16_t>(length));
  return reply(4 + length, cdb_at<uint16_t>(3));
}

// SPC-4, 7.8.5: a T10 vendor identification, and a locally assigned NAA (7.8.6.1.4).
size_t ScsiDisk::identification_page() {
  uint8_t* at = &reply_[4];
  const size_t text_bytes = kVendor.size() + kProduct.size() + serial_number_.size();
  *at++ = 0x02;  // ASCII
  *at++ = 0x01;  // T10 vendor ID, of the logical unit
  *at++ = 0;
  *at++ = static_cast<uint8_t>(text_bytes);
  for (const std::string_view text : {kVendor, kProduct, std::string_view(serial_number_)}) {
    put_text(at, text);
    at += text.size();
  }
  *at++ = 0x01;  // binary
  *at++ = 0x03;  // NAA
  *at++ = 0;
  *at++ = 8;
  put<uint64_t>(at, 0x3000000000000000 | hash(serial_number_));
  return 4 + text_bytes + 4 + 8;
}

ScsiDisk::Command ScsiDisk::mode_sense_6() { return mode_sense(4, cdb_[4]); }
ScsiDisk::Command ScsiDisk::mode_sense_10() { return mode_sense(8, cdb_at<uint16_t>(7)); }

// SPC-4, 6.11 and 7.5; the caching page, SBC-3, 6.5.5. No block descriptors.
ScsiDisk::Command ScsiDisk::mode_sense(size_t header_bytes, size_t allocation_bytes) {
  constexpr uint8_t caching_page = 0x08;
  constexpr uint8_t all_pages = 0x3f;
  constexpr size_t caching_bytes = 20;
  const uint8_t control = cdb_[2] >> 6;
  const uint8_t page = cdb_[2] & 0x3f;
  const uint8_t subpage = cdb_[3];
  if (control == 3) return refuse(sense::saving_not_supported);
  if ((page != caching_page && page != all_pages) || (subpage != 0 && subpage != 0xff)) {
    return refuse(sense::invalid_field);
  }
  reply_.fill(0);
  const size_t length = header_bytes + caching_bytes;
  const uint8_t device_specific = (read_only_ ? 0x80 : 0) | 0x10;  // WP, DPOFUA
  if (header_bytes == 4) {
    reply_[0] = static_cast<uint8_t>(length - 1);
    reply_[2] = device_specific;
  } else {
    put<uint16_t>(&reply_[0], static_cast<uint16_t>(length - 2));
    reply_[3] = device_specific;
  }
  // No write cache: what is written outlives this process. All else in the page is 0, now, by
  // default, and as what could be changed.
  reply_[header_bytes] = caching_page;
  reply_[header_bytes + 1] = caching_bytes - 2;
  return reply(length, allocation_bytes);
}

// SBC-3, 5.25. Without a removable medium, to eject is to stop.
ScsiDisk::Command ScsiDisk::start_stop_unit() {
  const bool power_condition = (cdb_[4] >> 4) != 0;
  if (!power_condition) stopped_ = (cdb_[4] & 1) == 0;
  return {};
}

// SPC-4, 6.16 in its older form: there is nothing to remove.
ScsiDisk::Command ScsiDisk::prevent_allow() {
  if ((cdb_[4] & 3) > 1) return refuse(sense::invalid_field);
  return {};
}

// SPC-4, 6.33.
ScsiDisk::Command ScsiDisk::report_luns() {
  const auto allocation_bytes = cdb_at<uint32_t>(6);
  if (allocation_bytes < 16 || cdb_[2] > 2) return refuse(sense::invalid_field);
  reply_.fill(0);
  const bool well_known_only = cdb_[2] == 1;
  put<uint32_t>(&reply_[0], well_known_only ? 0 : 8);
  return reply(well_known_only ? 8 : 16, allocation_bytes);
}

// --- the medium ---

// MMC-6, 6.24: the present, formatted capacity only.
ScsiDisk::Command ScsiDisk::read_format_capacities() {
  reply_.fill(0);
  reply_[3] = 8;
  put<uint32_t>(&reply_[4], static_cast<uint32_t>(std::min<uint64_t>(storage_.blocks(), ~0u)));
  put<uint32_t>(&reply_[8], kBlockBytes);
  reply_[8] = 2;  // formatted medium
  return reply(12, cdb_at<uint16_t>(7));
}

// SBC-3, 5.15.
ScsiDisk::Command ScsiDisk::read_capacity_10() {
  if ((cdb_[8] & 1) == 0 && cdb_at<uint32_t>(2) != 0) return refuse(sense::invalid_field);
  reply_.fill(0);
  put<uint32_t>(&reply_[0], static_cast<uint32_t>(std::min<uint64_t>(storage_.blocks() - 1, ~0u)));
  put<uint32_t>(&reply_[4], kBlockBytes);
  return reply(8, 8);
}

// SBC-3, 5.16: a service action of SERVICE ACTION IN (16).
ScsiDisk::Command ScsiDisk::read_capacity_16() {
  constexpr uint8_t read_capacity = 0x10;
  if ((cdb_[1] & 0x1f) != read_capacity) return refuse(sense::invalid_field);
  reply_.fill(0);
  put<uint64_t>(&reply_[0], storage_.blocks() - 1);
  put<uint32_t>(&reply_[8], kBlockBytes);
  return reply(32, cdb_at<uint32_t>(10));
}

// The range is checked, then everything is written back: a hint, as there is no write cache.
ScsiDisk::Command ScsiDisk::synchronize_cache() {
  const bool longer = cdb_[0] == 0x91;
  const uint64_t block = longer ? cdb_at<uint64_t>(2) : cdb_at<uint32_t>(2);
  const uint64_t count = longer ? cdb_at<uint32_t>(10) : cdb_at<uint16_t>(7);
  if (block > storage_.blocks() || count > storage_.blocks() - block) {
    return refuse(sense::block_out_of_range);
  }
  storage_.start_writeback();
  return {};
}

// SBC-3, 5.29: BYTCHK 0 reads only, 1 compares with the host's data.
ScsiDisk::Command ScsiDisk::verify_10() {
  const uint8_t byte_check = (cdb_[1] >> 1) & 3;
  if (byte_check > 1) return refuse(sense::invalid_field);
  Command command = access(Data::in, cdb_at<uint32_t>(2), cdb_at<uint16_t>(7));
  if (!command.good || command.data == Data::none) return command;
  if (byte_check == 0) return {};
  compare_ = true;
  command.data = Data::out;
  return command;
}

// Reads or writes `count` blocks from `block` on.
ScsiDisk::Command ScsiDisk::access(Data data, uint64_t block, uint64_t count) {
  if (data == Data::out && read_only_) return refuse(sense::write_protected);
  const bool short_form = cdb_[0] < 0x20;  // whose byte 1 is part of the block number
  if (!short_form && (cdb_[1] >> 5) != 0) return refuse(sense::invalid_field);  // protection
  if (block > storage_.blocks() || count > storage_.blocks() - block ||
      (count == 0 && block == storage_.blocks())) {
    return refuse(sense::block_out_of_range);
  }
  if (count == 0) return {};
  from_storage_ = true;
  base_ = block * kBlockBytes;
  return {.data = data, .length = count * kBlockBytes};
}

// SBC-3, 5.10..5.13 and 5.31..5.34. In the 6-byte forms a count of 0 means 256.
ScsiDisk::Command ScsiDisk::read_6() {
  return access(Data::in, cdb_at<uint32_t>(0) & 0x1fffff, cdb_[4] == 0 ? 256 : cdb_[4]);
}
ScsiDisk::Command ScsiDisk::read_10() {
  return access(Data::in, cdb_at<uint32_t>(2), cdb_at<uint16_t>(7));
}
ScsiDisk::Command ScsiDisk::read_12() {
  return access(Data::in, cdb_at<uint32_t>(2), cdb_at<uint32_t>(6));
}
ScsiDisk::Command ScsiDisk::read_16() {
  return access(Data::in, cdb_at<uint64_t>(2), cdb_at<uint32_t>(10));
}
ScsiDisk::Command ScsiDisk::write_6() {
  return access(Data::out, cdb_at<uint32_t>(0) & 0x1fffff, cdb_[4] == 0 ? 256 : cdb_[4]);
}
ScsiDisk::Command ScsiDisk::write_10() {
  return access(Data::out, cdb_at<uint32_t>(2), cdb_at<uint16_t>(7));
}
ScsiDisk::Command ScsiDisk::write_12() {
  return access(Data::out, cdb_at<uint32_t>(2), cdb_at<uint32_t>(6));
}
ScsiDisk::Command ScsiDisk::write_16() {
  return access(Data::out, cdb_at<uint64_t>(2), cdb_at<uint32_t>(10));
}

}  // namespace farport
