// Transfers waiting at a device, in order, linked through Transfer::device_next: nothing allocated.
#pragma once

#include <cassert>

#include "dataplane/transfer.h"

namespace farport {

class WaitingTransfers {
 public:
  bool empty() const { return head_ == nullptr; }
  Transfer* front() const { return head_; }

  void push(Transfer& transfer) {
    transfer.device_next = nullptr;
    (head_ == nullptr ? head_ : tail_->device_next) = &transfer;
    tail_ = &transfer;
  }

  Transfer* pop() {
    Transfer* transfer = head_;
    if (transfer == nullptr) return nullptr;
    head_ = transfer->device_next;
    if (head_ == nullptr) tail_ = nullptr;
    transfer->device_next = nullptr;
    return transfer;
  }

  // Takes out one transfer; false when it is not here.
  bool remove(Transfer& transfer) {
    Transfer* before = nullptr;
    for (Transfer* at = head_; at != nullptr; before = at, at = at->device_next) {
      if (at != &transfer) continue;
      (before == nullptr ? head_ : before->device_next) = at->device_next;
      if (tail_ == at) tail_ = before;
      at->device_next = nullptr;
      return true;
    }
    return false;
  }

 private:
  Transfer* head_ = nullptr;
  Transfer* tail_ = nullptr;
};

}  // namespace farport
