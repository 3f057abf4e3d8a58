#include "drivers/initiator/source_sink_load.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <utility>

namespace farport {

SourceSinkLoad::SourceSinkLoad(Initiator& initiator, const LoadSettings& settings,
                               std::function<void()> ended)
    : initiator_(initiator), settings_(settings), ended_(std::move(ended)) {
  assert(settings.in_flight > 0);
  transfers_made_.reserve(settings.in_flight);
  resting_.reserve(settings.in_flight);
  initiator_.add(*this);
}

SourceSinkLoad::~SourceSinkLoad() {
  for (Transfer* transfer : transfers_made_) {
    if (std::ranges::find(resting_, transfer) == resting_.end()) initiator_.abandon(*transfer);
  }
  release_all();
  initiator_.remove(*this);
}

Result<void> SourceSinkLoad::start() {
  assert(!running_);
  while (transfers_made_.size() < settings_.in_flight) {
    Transfer* transfer = initiator_.allocate(*this, settings_.bytes, settings_.packet_count);
    if (transfer == nullptr) {
      release_all();
      return fail(fmt::format("no memory for {} transfers of {} bytes", settings_.in_flight,
                              settings_.bytes));
    }
    transfer->type = settings_.type;
    transfer->endpoint = settings_.endpoint;
    transfer->flags = settings_.packet_count > 0 ? transfer_flags::iso_asap : 0;
    transfers_made_.push_back(transfer);
    resting_.push_back(transfer);
  }
  running_ = true;
  stopping_ = false;
  submitted_ = 0;
  stream_bytes_ = 0;
  while (!resting_.empty() && !stopping_) {
    Transfer* transfer = resting_.back();
    resting_.pop_back();
    submit(*transfer);
    if (settings_.transfers_max != 0 && submitted_ >= settings_.transfers_max) stopping_ = true;
  }
  return {};
}

void SourceSinkLoad::stop(bool cancel) {
  stopping_ = true;
  if (!cancel || !running_) return;
  for (Transfer* transfer : transfers_made_) {
    if (std::ranges::find(resting_, transfer) == resting_.end()) initiator_.cancel(*transfer);
  }
}

void SourceSinkLoad::submit(Transfer& transfer) {
  for (IsoPacket& packet : transfer.packets()) {
    packet = {.length = settings_.bytes / settings_.packet_count,
              .actual = 0,
              .status = 0,
              .reserved = 0};
  }
  if (!transfer.in() && settings_.pattern != DataPattern::none) {
    fill_pattern(settings_.pattern, transfer.data(), stream_bytes_, settings_.max_packet_bytes);
    stream_bytes_ += transfer.length;
  }
  ++submitted_;
  transfer.driver_cookie = initiator_.scheduler().now_ns();
  initiator_.submit(transfer);
}

void SourceSinkLoad::transfer_done(Transfer& transfer) {
  if (transfer.status == TransferStatus::ok) {
    account(transfer);
  } else {
    stopping_ = true;
    if (transfer.status != TransferStatus::cancelled) {
      ++errors_;
      last_error_ = transfer.status;
    }
  }
  if (settings_.transfers_max != 0 && submitted_ >= settings_.transfers_max) stopping_ = true;
  if (!stopping_) return submit(transfer);
  came_back(transfer);
}

void SourceSinkLoad::account(const Transfer& transfer) {
  round_trips_.record(initiator_.scheduler().now_ns() - transfer.driver_cookie);
  ++transfers_;
  bytes_ += transfer.actual;
  if (!transfer.in() || settings_.pattern == DataPattern::none) return;
  if (!matches_pattern(settings_.pattern, transfer.moved(), stream_bytes_,
                       settings_.max_packet_bytes)) {
    ++mismatches_;
  }
  stream_bytes_ += transfer.actual;
}

void SourceSinkLoad::came_back(Transfer& transfer) {
  resting_.push_back(&transfer);
  if (resting_.size() < transfers_made_.size()) return;
  running_ = false;
  if (!initiator_.ready()) release_all();
  if (ended_) ended_();
}

void SourceSinkLoad::initiator_stopping() {
  stopping_ = true;
  if (!running_) release_all();
}

void SourceSinkLoad::release_all() {
  for (Transfer* transfer : resting_) initiator_.release(*transfer);
  resting_.clear();
  transfers_made_.clear();
}

void SourceSinkLoad::reset_figures() {
  transfers_ = bytes_ = errors_ = mismatches_ = 0;
  last_error_ = TransferStatus::ok;
  round_trips_.reset();
}

}  // namespace farport
