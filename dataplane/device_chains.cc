// Chains of transfers at the device's end (transfer.h): what the device gets after what, what is
// not begun because something before it failed, and what is told together.
#include <cassert>
#include <utility>

#include "dataplane/channel.h"
#include "dataplane/session.h"

namespace farport {

namespace {

// A link of a chain that has so many bytes at most, and whose successor the device has now, is told
// together with it: the consumer needs both, and a message of its own costs both hosts more than
// the wait, as long as that is short.
constexpr uint32_t kGatherBytesMax = 16 << 10;
constexpr uint64_t kGatherNs = 5'000'000;

}  // namespace

void DeviceChannel::chain_whole(Transfer& transfer) {
  Chain& chain = chains_[transfer.chain];
  if ((transfer.flags & transfer_flags::chained) == 0) {
    // What the peer left unfinished, if it did, follows this one.
    while (!chain.alongside.empty()) {
      Transfer& left = *chain.alongside.pop_back();
      if (left.channel.state == completing) leave_alongside(left);
    }
    chain.broken = chain.failed = false;
    chain.in_service = &transfer;
    return serve(transfer);
  }
  if (chain.broken) return end_unserved(transfer, TransferStatus::cancelled);
  if (serve_alongside(chain, transfer)) return;
  if (chain.in_service != nullptr || !chain.waiting.empty()) {
    transfer.channel.state = waiting;
    return chain.waiting.push(transfer);
  }
  chain.in_service = &transfer;
  serve(transfer);
}

// A device asked for what those before have yet to bring about waits for that (USB 2.0, 8.4.5:
// NAK), and transfers of one endpoint keep their order.
bool DeviceChannel::serve_alongside(Chain& chain, Transfer& transfer) {
  if ((transfer.flags & transfer_flags::alongside) == 0 || chain.in_service == nullptr ||
      !chain.alongside.room() || !chain.waiting.empty() ||
      transfer.endpoint == chain.in_service->endpoint) {
    return false;
  }
  chain.alongside.push(transfer);
  serve(transfer);
  return true;
}

// The device has ended one alongside before the one in service. A result waits for those before it;
// a failure ends the chain.
void DeviceChannel::alongside_completed(Chain& chain, Transfer& transfer) {
  transfer.channel.state = completing;
  if (transfer.channel.cancel_requested) transfer.status = TransferStatus::cancelled;
  if (transfer.status == TransferStatus::ok || transfer.channel.cancel_requested) return;
  chain.broken = true;
  static_assert(Alongside::items_max == 2, "at most one is behind it");
  Transfer* const behind =
      chain.alongside.back() == &transfer ? nullptr : chain.alongside.pop_back();
  chain.alongside.pop_back();
  tell(transfer);
  while (Transfer* next = chain.waiting.pop()) end_unserved(*next, TransferStatus::cancelled);
  if (behind != nullptr) leave_alongside(*behind);
}

// It is no part of its chain any more, and should not have begun. The device may end others, and
// the channel, before it returns.
void DeviceChannel::leave_alongside(Transfer& transfer) {
  transfer.channel.cancel_requested = true;
  if (transfer.channel.state == in_service) return device_->cancel(transfer);
  transfer.status = TransferStatus::cancelled;
  tell(transfer);
}

// The one in service has failed: those alongside should not have begun. The last is cancelled
// first, so that none gets what was for the one before it; all are told in their order.
void DeviceChannel::alongside_cancel(Chain& chain) {
  for (Transfer* one : chain.alongside.reversed()) one->channel.cancel_requested = true;
  const Alongside all = chain.alongside;  // it is emptied when the device goes meanwhile
  for (Transfer* one : all.reversed()) {
    if (one->channel.state == in_service) {
      device_->cancel(*one);
      if (state_ != State::open) return;
    } else {
      one->status = TransferStatus::cancelled;
    }
  }
}

// A waiting transfer was cancelled: what comes after it cannot begin either.
void DeviceChannel::chain_cancel(Transfer& transfer) {
  Chain& chain = chains_[transfer.chain];
  TransferQueue before;
  while (chain.waiting.head != &transfer) before.push(*chain.waiting.pop());
  TransferQueue dropped = std::exchange(chain.waiting, before);
  chain.broken = true;
  while (Transfer* one = dropped.pop()) end_unserved(*one, TransferStatus::cancelled);
}

// One that the device had is done: the next begins, or none of them does.
void DeviceChannel::chain_completed(Chain& chain, TransferStatus status) {
  chain.in_service = nullptr;
  if (status != TransferStatus::ok) {
    chain.broken = true;
    if (!std::exchange(chain.failed, true)) alongside_cancel(chain);
  }
  if (chain.pumping) return;
  chain.pumping = true;
  while (chain.in_service == nullptr) {
    if (!chain.alongside.empty()) {
      chain.in_service = chain.alongside.pop_front();
      if (chain.in_service->channel.state == completing) finish_link(*chain.in_service);
      continue;
    }
    if (chain.waiting.empty()) break;
    Transfer& next = *chain.waiting.pop();
    if (chain.failed) {
      end_unserved(next, TransferStatus::cancelled);
    } else {
      chain.in_service = &next;
      serve(next);
    }
  }
  chain.pumping = false;
}

// True: it is told with what comes after it in its chain.
bool DeviceChannel::gather(Transfer& transfer) {
  Chain& chain = chains_[transfer.chain];
  const uint32_t bytes = transfer.in() ? transfer.actual : 0;
  if (transfer.chain == 0 || (chain.waiting.empty() && chain.alongside.empty()) ||
      transfer.status != TransferStatus::ok || transfer.packet_count != 0 ||
      bytes > kGatherBytesMax) {
    return false;
  }
  transfer.channel.state = completing;
  chain.gathered.push(transfer);
  if (++gathered_ == 1) gather_timer_.arm_after(kGatherNs);
  return true;
}

void DeviceChannel::send_gathered(Chain& chain) {
  while (Transfer* transfer = chain.gathered.pop()) {
    tell(*transfer);
    if (--gathered_ == 0) gather_timer_.disarm();
  }
}

void DeviceChannel::send_all_gathered() {
  for (Chain& chain : chains_) send_gathered(chain);
}

}  // namespace farport
