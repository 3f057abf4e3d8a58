// The bulk-only transport, the host's side: USB Mass Storage Class, Bulk-Only Transport, revision
// 1.0 ("BOT").
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <utility>

#include "drivers/initiator/mass_storage.h"

namespace farport {

namespace {

static_assert(std::endian::native == std::endian::little);

constexpr uint32_t kCommandSignature = 0x43425355;  // "USBC"
constexpr uint32_t kStatusSignature = 0x53425355;   // "USBS"
constexpr uint32_t kWrapperBytes = 31;
constexpr uint32_t kStatusBytes = 13;
constexpr uint8_t kPassed = 0;
constexpr uint8_t kFailed = 1;
constexpr size_t kSenseBytes = 18;
constexpr uint8_t kAttemptsMax = 3;

// Sense keys (SPC-4, table 48) that a repetition may cure.
constexpr uint8_t kUnitAttention = 0x06;
constexpr uint8_t kAbortedCommand = 0x0b;

uint32_t get32(std::span<const std::byte> bytes, size_t at) {
  uint32_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}

bool gone(TransferStatus status) {
  return status == TransferStatus::unplugged || status == TransferStatus::link_lost ||
         status == TransferStatus::cancelled;
}

}  // namespace

bool MassStorage::make_transfers() {
  if (wrapper_.transfer == nullptr) {
    wrapper_.transfer = initiator_.allocate(*this, kWrapperBytes);
  }
  if (data_.transfer == nullptr) data_.transfer = initiator_.allocate(*this, command_bytes_);
  if (status_.transfer == nullptr) status_.transfer = initiator_.allocate(*this, kStatusBytes);
  if (!wrapper_.transfer || !data_.transfer || !status_.transfer) return false;
  for (Slot* slot : {&wrapper_, &data_, &status_}) slot->transfer->type = TransferType::bulk;
  wrapper_.transfer->endpoint = endpoint_out_;
  status_.transfer->endpoint = endpoint_in_;
  return true;
}

void MassStorage::begin_next() {
  if (stage_ != Stage::idle || queue_.empty()) return;
  if (stopping_ || !initiator_.ready()) return fail_all();
  if (endpoint_in_ == 0) return finish(fail("the device has no mass-storage interface"));
  if (!make_transfers()) {
    return finish(fail(fmt::format("no memory for commands of {} bytes", command_bytes_)));
  }
  Command& command = queue_.front();
  ++command.attempts;
  put_command_wrapper(command);
  const bool in = !command.into.empty();
  data_.transfer->endpoint = in ? endpoint_in_ : endpoint_out_;
  data_.transfer->length = command.length();
  data_.used = command.length() > 0;
  if (!command.from.empty()) {
    std::ranges::copy(command.from, data_.transfer->data().begin());
  }
  stage_ = Stage::running;
  submit(wrapper_, kWrapperBytes);
  if (data_.used) submit(data_, command.length());
  submit(status_, kStatusBytes);
}

void MassStorage::submit(Slot& slot, uint32_t length) {
  slot.transfer->length = length;
  slot.in_flight = true;
  initiator_.submit(*slot.transfer);
}

// BOT, table 5.1.
void MassStorage::put_command_wrapper(const Command& command) {
  std::array<std::byte, kWrapperBytes> bytes{};
  const uint32_t fields[] = {kCommandSignature, ++tag_, command.length()};
  std::memcpy(bytes.data(), fields, sizeof(fields));
  bytes[12] = std::byte{command.into.empty() ? uint8_t{0} : uint8_t{0x80}};
  bytes[14] = std::byte{command.cdb_bytes};
  std::memcpy(bytes.data() + 15, command.cdb.data(), command.cdb.size());
  wrapper_.transfer->length = kWrapperBytes;
  std::ranges::copy(bytes, wrapper_.transfer->data().begin());
}

void MassStorage::transfer_done(Transfer& transfer) {
  for (Slot* slot : {&wrapper_, &data_, &status_}) {
    if (slot->transfer != &transfer) continue;
    slot->in_flight = false;
    if (stopping_) {
      slot->transfer = nullptr;
      initiator_.release(transfer);
      if (!in_flight()) fail_all();
      return;
    }
    return transfer_back(*slot);
  }
  assert(false && "a transfer that is none of ours");
}

void MassStorage::transfer_back(Slot& slot) {
  const TransferStatus status = slot.transfer->status;
  if (stage_ == Stage::running) {
    // What follows would wait for ever.
    if (&slot == &wrapper_ && status != TransferStatus::ok) {
      if (data_.in_flight) initiator_.cancel(*data_.transfer);
      if (status_.in_flight) initiator_.cancel(*status_.transfer);
    } else if (&slot == &data_ && status_.in_flight &&
               (is_status(slot) ||
                (status != TransferStatus::ok && status != TransferStatus::stall))) {
      initiator_.cancel(*status_.transfer);
    }
    if (!in_flight()) all_back();
  } else if (stage_ == Stage::status) {
    if (status == TransferStatus::ok) return got_status();
    if (gone(status)) return finish(std::unexpected(transfer_error(status, "reading status")));
    recover("the device refused to give the command's status");
  }
}

// Some devices answer a command that fails with its status in place of the data.
bool MassStorage::is_status(const Slot& slot) const {
  const Transfer& transfer = *slot.transfer;
  return transfer.in() && transfer.actual == kStatusBytes &&
         get32(transfer.moved(), 0) == kStatusSignature && get32(transfer.moved(), 4) == tag_;
}

// Everything that was submitted for the command has come back.
void MassStorage::all_back() {
  const TransferStatus wrapper = wrapper_.transfer->status;
  const TransferStatus data = data_.used ? data_.transfer->status : TransferStatus::ok;
  const TransferStatus status = status_.transfer->status;
  if (gone(wrapper)) return finish(std::unexpected(transfer_error(wrapper, "sending a command")));
  if (wrapper != TransferStatus::ok) return recover("the device refused a command");
  if (gone(data)) return finish(std::unexpected(transfer_error(data, "moving data")));
  if (data_.used && data == TransferStatus::ok && is_status(data_)) return evaluate_status(data_);
  if (data == TransferStatus::stall) {
    return clear_halt_then(data_.transfer->endpoint, status == TransferStatus::ok
                                                         ? &MassStorage::got_status
                                                         : &MassStorage::ask_status);
  }
  if (data != TransferStatus::ok) {
    return recover(fmt::format("moving data: {}", transfer_status_name(data)));
  }
  if (gone(status)) return finish(std::unexpected(transfer_error(status, "reading status")));
  if (status == TransferStatus::stall) {
    // The device had less data than was asked for (BOT 6.7.2).
    return clear_halt_then(endpoint_in_, &MassStorage::ask_status);
  }
  if (status != TransferStatus::ok) {
    return recover(fmt::format("reading status: {}", transfer_status_name(status)));
  }
  got_status();
}

void MassStorage::clear_halt_then(uint8_t endpoint, Next next) {
  stage_ = Stage::clearing;
  const bool sent =
      initiator_.clear_halt(endpoint, [this, alive = alive_, next](const Transfer& transfer) {
        if (!*alive || stopping_) return;
        if (transfer.status == TransferStatus::ok) return (this->*next)();
        finish(std::unexpected(transfer_error(transfer.status, "clearing a halt")));
      });
  if (!sent) finish(fail("no memory to clear a halt"));
}

void MassStorage::ask_status() {
  stage_ = Stage::status;
  submit(status_, kStatusBytes);
}

// BOT, table 5.2 and 6.3.
void MassStorage::evaluate_status(const Slot& slot) {
  const Command& command = queue_.front();
  const auto bytes = slot.transfer->moved();
  if (bytes.size() != kStatusBytes || get32(bytes, 0) != kStatusSignature ||
      get32(bytes, 4) != tag_) {
    return recover("the device gave a status that is not this command's");
  }
  const uint32_t expected = command.length();
  const uint32_t residue = std::min(get32(bytes, 8), expected);
  const auto status = static_cast<uint8_t>(bytes[12]);
  if (status == kFailed) return request_sense();
  if (status != kPassed) return recover("the device and we disagree about the command's data");
  uint32_t moved = expected - residue;
  if (!command.into.empty()) {
    if (&slot == &data_) return recover("the device gave a status in place of data");
    moved = std::min(moved, data_.transfer->actual);
    std::ranges::copy(data_.transfer->data().first(moved), command.into.begin());
  }
  finish(moved);
}

// The command at the head of the queue has failed: another, before it, asks why.
void MassStorage::request_sense() {
  if (queue_.front().is_sense) return finish(fail("the disk does not say why a command failed"));
  auto data = std::make_shared<std::array<std::byte, kSenseBytes>>();
  Command sense{.cdb = {0x03, 0, 0, 0, kSenseBytes}, .cdb_bytes = 6, .into = *data};
  sense.is_sense = true;
  sense.done = [this, data](Result<uint32_t> moved) {
    if (!moved) {
      // Not even that: perhaps it goes better next time.
      if (initiator_.ready() && queue_.front().attempts < kAttemptsMax) return;
      return finish(std::unexpected(moved.error()));
    }
    got_sense(std::span<const std::byte>(*data).first(*moved));
  };
  queue_.push_front(std::move(sense));
  stage_ = Stage::idle;
  begin_next();
}

void MassStorage::got_sense(std::span<const std::byte> sense) {
  const auto at = [sense](size_t index) {
    return index < sense.size() ? static_cast<uint8_t>(sense[index]) : uint8_t{0};
  };
  const Command& command = queue_.front();
  const uint8_t key = at(2) & 0x0f;
  const bool curable = key == kUnitAttention || key == kAbortedCommand;
  if (curable && command.attempts < kAttemptsMax) return;  // it is the next to begin
  finish(fail(fmt::format("the disk refused command {:#04x}: sense {:x}/{:02x}/{:02x}",
                          command.cdb[0], key, at(12), at(13))));
}

// Reset recovery (BOT 5.3.4): the class's reset, then both halts.
void MassStorage::recover(std::string why) {
  stage_ = Stage::recovering;
  recovering_from_ = std::move(why);
  const bool sent = initiator_.control(
      make_setup(0x21, 0xff, 0, interface_, 0), {},
      [this, alive = alive_](const Transfer& transfer) {
        if (!*alive || stopping_) return;
        if (transfer.status != TransferStatus::ok) {
          return finish(std::unexpected(transfer_error(transfer.status, recovering_from_)));
        }
        clear_halt_then(endpoint_in_, &MassStorage::clear_out);
      });
  if (!sent) finish(fail(recovering_from_));
}

void MassStorage::clear_out() { clear_halt_then(endpoint_out_, &MassStorage::recovered); }

void MassStorage::recovered() {
  stage_ = Stage::idle;
  if (queue_.front().attempts >= kAttemptsMax) return finish(fail(recovering_from_));
  begin_next();
}

void MassStorage::finish(Result<uint32_t> outcome) {
  Command command = std::move(queue_.front());
  queue_.pop_front();
  stage_ = Stage::idle;
  const auto alive = alive_;
  if (command.done) command.done(std::move(outcome));
  if (*alive) begin_next();
}

void MassStorage::initiator_stopping() {
  stopping_ = true;
  for (Slot* slot : {&wrapper_, &data_, &status_}) {
    if (slot->transfer == nullptr || slot->in_flight) continue;
    initiator_.release(*std::exchange(slot->transfer, nullptr));
  }
  if (!in_flight()) fail_all();
}

void MassStorage::fail_all() {
  stage_ = Stage::idle;
  const auto alive = alive_;
  while (*alive && !queue_.empty()) {
    Command command = std::move(queue_.front());
    queue_.pop_front();
    if (command.is_sense) continue;  // the command behind it is told
    if (command.done) command.done(fail(ErrorCode::not_found, initiator_.failure()));
  }
}

}  // namespace farport
