#include "drivers/ahead/mass_storage.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace farport {

namespace {

static_assert(std::endian::native == std::endian::little);

constexpr uint8_t kMassStorageClass = 0x08;
constexpr uint8_t kBulkOnlyProtocol = 0x50;
constexpr uint32_t kSignature = 0x43425355;  // dCBWSignature (BOT 5.1)
constexpr uint32_t kWrapperBytes = 31;
constexpr uint32_t kStatusBytes = 13;
constexpr size_t kLengthAt = 8;          // dCBWDataTransferLength
constexpr size_t kFlagsAt = 12;          // bmCBWFlags: bit 7 is IN
constexpr uint8_t kResetRequest = 0xff;  // Bulk-Only Mass Storage Reset (BOT 3.1)
constexpr uint8_t kSetFeature = 0x03;

// Of a consumer's OUT transfer, in Transfer::ahead_state.
enum : uint32_t { cancel_requested = 1, is_held = 2, is_abandoned = 4 };

// Devices that need a pause between the stages: Linux's US_FL_GO_SLOW (unusual_devs.h).
bool needs_pauses(const DeviceInfo& info) {
  return info.vendor == 0x05e3 && (info.product == 0x0701 || info.product == 0x0702);
}

// QEMU's disk serves what waits behind the data before it has done with the command, and leaves a
// status that was asked for so early unanswered (hw/usb/dev-storage.c, seen with 7.2).
bool forgets_early_status(const DeviceInfo& info) {
  return info.vendor == 0x46f4 && info.product == 0x0001;
}

const usb::Endpoint* bulk_endpoint(const usb::Interface& interface, bool in) {
  for (const usb::Endpoint& endpoint : interface.endpoints) {
    if (endpoint.type == TransferType::bulk && endpoint.in() == in &&
        endpoint.max_packet_bytes() != 0) {
      return &endpoint;
    }
  }
  return nullptr;
}

uint32_t get32(std::span<const std::byte> bytes, size_t at) {
  uint32_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

}  // namespace

bool MassStorageRule::fits(const DeviceInfo& info, const usb::Interface& interface) {
  return interface.interface_class == kMassStorageClass &&
         interface.interface_protocol == kBulkOnlyProtocol && !needs_pauses(info) &&
         bulk_endpoint(interface, true) != nullptr && bulk_endpoint(interface, false) != nullptr;
}

std::unique_ptr<Rule> MassStorageRule::make(RulePort& port, const usb::Interface& interface) {
  const usb::Endpoint* in = bulk_endpoint(interface, true);
  const usb::Endpoint* out = bulk_endpoint(interface, false);
  if (in == nullptr || out == nullptr || chain_of(interface) == 0) return nullptr;
  return std::unique_ptr<Rule>(new MassStorageRule(port, interface, *in, *out));
}

MassStorageRule::MassStorageRule(RulePort& port, const usb::Interface& interface,
                                 const usb::Endpoint& in, const usb::Endpoint& out)
    : port_(port),
      interface_(interface.number),
      chain_(chain_of(interface)),
      in_(in.address),
      out_(out.address),
      out_packet_bytes_(out.max_packet_bytes()),
      stream_(port, *this, in.address, in.max_packet_bytes()),
      status_after_data_(forgets_early_status(port.info())) {}

MassStorageRule::~MassStorageRule() { port_.loop().forget(*this); }

// The consumer has been told that its wrapper was taken: what it asks for now, it has not asked for
// ahead of us.
void MassStorageRule::flush() { stream_.set_told(true); }

bool MassStorageRule::submitted(Transfer& transfer) {
  if (transfer.in()) {
    read(transfer);
  } else if (stream_.in_flight() &&
             (!held_.empty() || (!writing_ && (is_wrapper(transfer) || early_ != nullptr)))) {
    // A command although the one before it was not read to its end, or data that it did not tell
    // of. Whatever is in flight ahead ends first, as the device would not have been asked for it;
    // what it brings is kept.
    deviation();
    transfer.ahead_state = is_held;
    held_.push(transfer);
    stream_.cancel_stages();
  } else {
    take_out(transfer);
  }
  return true;
}

void MassStorageRule::read(Transfer& transfer) {
  if (std::exchange(writing_, false)) {
    deviation();  // it sends no more, and said that it would
    early_failed_.reset();
  }
  if (early_failed_) {
    transfer.status = *std::exchange(early_failed_, std::nullopt);
    return port_.finish(transfer);
  }
  stream_.submitted(transfer);
}

void MassStorageRule::take_out(Transfer& transfer) {
  transfer.ahead_state = 0;
  if (writing_) return data_out(transfer);
  if (!is_wrapper(transfer) || !retired_.empty()) return send_plain(transfer);
  command(transfer);
}

bool MassStorageRule::is_wrapper(const Transfer& transfer) const {
  return transfer.length == kWrapperBytes && get32(transfer.data(), 0) == kSignature;
}

// --- commands ---

void MassStorageRule::command(Transfer& wrapper) {
  early_failed_.reset();
  status_early_ = false;
  if (!stream_.idle() || out_in_flight_ != 0 || early_ != nullptr || settling_ != Settling::no ||
      resetting_) {
    deviation();
    return send_plain(wrapper);
  }
  const uint32_t data_bytes = get32(wrapper.data(), kLengthAt);
  const bool in = (static_cast<uint8_t>(wrapper.data()[kFlagsAt]) & 0x80) != 0;
  if (data_bytes != 0 && !in) return begin_write(wrapper, data_bytes);
  if (data_bytes > data_bytes_max) return send_plain(wrapper);
  Transfer* const data = data_bytes != 0 ? stream_.make(data_bytes, chain_) : nullptr;
  Transfer* const status = stream_.make(kStatusBytes, chain_);
  if (status == nullptr || (data_bytes != 0 && data == nullptr) || !begin_early(wrapper)) {
    for (Transfer* one : {data, status}) {
      if (one != nullptr) port_.release(*this, *one);
    }
    return send_plain(wrapper);
  }
  stream_.set_told(false);
  port_.loop().flush_later(*this);
  // An empty endpoint answers NAK: to ask it while the wrapper is under way changes nothing. A data
  // stage that ends early ends in a short packet or a stall (bulk-only transport 1.0, 6.7.2), so
  // what follows is the status.
  status_early_ = data != nullptr && !status_after_data_;
  if (data == nullptr || status_early_) status->flags |= transfer_flags::alongside;
  if (data != nullptr) {
    data->flags |= transfer_flags::alongside;
    stream_.begin(*data);
  }
  stream_.begin(*status);
}

void MassStorageRule::begin_write(Transfer& wrapper, uint32_t data_bytes) {
  if (!begin_early(wrapper)) return send_plain(wrapper);
  ++writes_;
  stream_.set_told(true);
  writing_ = true;
  out_left_ = data_bytes;
}

// Sends a copy of the wrapper, and tells the consumer that it was taken. False: there is no memory.
bool MassStorageRule::begin_early(Transfer& wrapper) {
  early_ = port_.allocate(*this, kWrapperBytes);
  if (early_ == nullptr) return false;
  std::ranges::copy(wrapper.data(), early_->data().begin());
  early_->type = TransferType::bulk;
  early_->endpoint = out_;
  early_->chain = chain_;
  port_.submit(*this, *early_);
  stream_.hold(true);
  wrapper.actual = wrapper.length;
  port_.finish(wrapper);
  return true;
}

void MassStorageRule::data_out(Transfer& transfer) {
  if (early_failed_) {
    writing_ = false;
    transfer.status = *std::exchange(early_failed_, std::nullopt);
    return port_.finish(transfer);
  }
  const bool ends_short = transfer.length % out_packet_bytes_ != 0 || transfer.length == 0;
  const bool as_said = transfer.length <= out_left_;
  out_left_ -= std::min(transfer.length, out_left_);
  send(transfer, true);
  if (as_said && out_left_ != 0 && !ends_short) return;
  writing_ = false;
  if (!as_said || out_left_ != 0) return deviation();  // what it means is between the two
  if (stream_.real() != 0) return;
  if (Transfer* status = stream_.make(kStatusBytes, chain_)) stream_.begin(*status);
}

void MassStorageRule::send(Transfer& transfer, bool chained) {
  ++out_in_flight_;
  transfer.chain = chain_;
  if (chained) transfer.flags |= transfer_flags::chained;
  port_.submit(*this, transfer);
}

void MassStorageRule::send_plain(Transfer& transfer) {
  ++out_in_flight_;
  transfer.ahead_state = 0;
  transfer.chain = 0;
  transfer.flags &= static_cast<uint8_t>(~transfer_flags::chained);
  port_.submit(*this, transfer);
}

// --- what comes back ---

void MassStorageRule::completed(Transfer& transfer) {
  if (&transfer == early_) {
    early_back();
  } else if (transfer.in()) {
    stream_.completed(transfer);
    if (stream_.misfit()) retired_ = "retired: the consumer asks for parts of packets";
    if (!stream_.in_flight()) send_held();
  } else if ((transfer.ahead_state & is_abandoned) != 0) {
    port_.release(*this, transfer);
  } else {
    out_back(transfer);
  }
  check_settled();
}

void MassStorageRule::out_back(Transfer& transfer) {
  --out_in_flight_;
  const bool unasked = transfer.status == TransferStatus::cancelled &&
                       (transfer.flags & transfer_flags::chained) != 0 &&
                       (transfer.ahead_state & cancel_requested) == 0 && !stopped_;
  if (unasked && early_failed_) {
    transfer.status = *std::exchange(early_failed_, std::nullopt);
    writing_ = false;
  } else if (unasked) {
    // One before it failed, so it was not begun. On a bus it would still be there.
    return send_plain(transfer);
  }
  if ((transfer.flags & transfer_flags::chained) != 0 && transfer.status != TransferStatus::ok) {
    writing_ = false;  // the consumer's next is not this data's rest
  }
  port_.finish(transfer);
}

void MassStorageRule::early_back() {
  const TransferStatus status = early_->status;
  port_.release(*this, *std::exchange(early_, nullptr));
  if (status != TransferStatus::ok && (writing_ || !stream_.fail_first(status))) {
    early_failed_ = status;
  }
  stream_.hold(settling_ == Settling::reset || settling_ == Settling::in_halt);
}

void MassStorageRule::send_held() {
  while (Transfer* transfer = held_.pop()) send_plain(*transfer);
}

// --- cancel ---

void MassStorageRule::cancel(Transfer& transfer) {
  if (transfer.in()) {
    // Maybe it was left unanswered.
    if (status_early_ && stream_.in_flight()) status_after_data_ = true;
    return stream_.cancel(transfer);
  }
  if ((transfer.ahead_state & is_held) != 0) {
    held_.remove(transfer);
    transfer.status = TransferStatus::cancelled;
    return port_.finish(transfer);
  }
  transfer.ahead_state |= cancel_requested;
  stream_.cancel_stages();
  port_.cancel(*this, transfer);
}

// --- control requests ---

bool MassStorageRule::is_reset(const usb::Request& request) const {
  return request.is_set_configuration() || request.is_port_reset() ||
         (request.is_set_interface() && request.index == interface_) ||
         (request.type == 0x21 && request.request == kResetRequest && request.index == interface_);
}

bool MassStorageRule::settle(const usb::Request& request) {
  const bool reset = is_reset(request);
  resetting_ = reset;
  const bool feature =
      request.is_clear_halt() || (request.type == 0x02 && request.request == kSetFeature);
  const auto endpoint = static_cast<uint8_t>(request.index);
  if (reset) {
    settling_ = Settling::reset;
    stream_.hold(true);
    stream_.cancel_stages();
    if (early_ != nullptr) port_.cancel(*this, *early_);
  } else if (feature && endpoint == in_) {
    settling_ = Settling::in_halt;
    stream_.hold(true);
    stream_.cancel_stages();
  } else if (feature && endpoint == out_) {
    // The wrapper that the consumer believes taken must not be lost: it comes back by itself.
    settling_ = Settling::out_halt;
  } else {
    return true;
  }
  if (!quiet(settling_)) return false;
  check_settled();
  return true;
}

bool MassStorageRule::quiet(Settling what) const {
  const bool in_quiet = !stream_.in_flight();
  if (what == Settling::reset) return in_quiet && early_ == nullptr;
  return what == Settling::in_halt ? in_quiet : early_ == nullptr;
}

void MassStorageRule::check_settled() {
  if (settling_ == Settling::no || !quiet(settling_)) return;
  if (std::exchange(settling_, Settling::no) == Settling::in_halt) stream_.clear_halt();
  stream_.hold(early_ != nullptr);
  port_.settled(*this);
}

void MassStorageRule::settle_overdue() {
  settling_ = Settling::no;  // what was cancelled comes back, and is in its place
  stream_.hold(early_ != nullptr);
}

// A reset that the device refused changes nothing: what it gave before still counts.
void MassStorageRule::control_done(const usb::Request& request, TransferStatus status) {
  if (!is_reset(request)) return;
  resetting_ = false;
  if (status == TransferStatus::ok) forget();
}

// The device begins anew.
void MassStorageRule::forget() {
  if (early_ != nullptr) std::exchange(early_, nullptr)->ahead_state |= is_abandoned;
  early_failed_.reset();
  writing_ = false;
  out_left_ = 0;
  stream_.hold(false);
  stream_.forget();
  send_held();
}

void MassStorageRule::stop(TransferStatus status) {
  stopped_ = true;
  settling_ = Settling::no;
  if (early_ != nullptr) std::exchange(early_, nullptr)->ahead_state |= is_abandoned;
  stream_.stop(status);
  while (Transfer* transfer = held_.pop()) {
    transfer->status = status;
    port_.finish(*transfer);
  }
}

// --- figures ---

void MassStorageRule::deviation() {
  if (++deviations_ >= deviations_max && retired_.empty()) {
    retired_ = "retired: the consumer does not keep to bulk-only's stages";
  }
}

RuleFigures MassStorageRule::figures() const {
  std::string_view why = retired_;
  if (why.empty() && status_after_data_) {
    why = "on; the status is asked for after the data: the device may not answer it otherwise";
  }
  return {.rule = "mass-storage",
          .on = retired_.empty(),
          .why = why,
          .round_trips_saved = writes_ + stream_.round_trips_saved(),
          .deviations = deviations_};
}

}  // namespace farport
