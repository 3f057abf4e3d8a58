// Transfers waiting at a device end, in order, linked through Transfer::device_next.
#pragma once

#include "dataplane/transfer.h"

namespace farport::serial {

class TransferQueue {
 public:
  bool empty() const { return head_ == nullptr; }
  Transfer& front() const { return *head_; }

  void push(Transfer& transfer) {
    transfer.device_next = nullptr;
    (head_ == nullptr ? head_ : tail_->device_next) = &transfer;
    tail_ = &transfer;
  }
  Transfer& pop() {
    Transfer& transfer = *head_;
    head_ = transfer.device_next;
    if (head_ == nullptr) tail_ = nullptr;
    return transfer;
  }
  // False when it is not here.
  bool remove(Transfer& transfer) {
    Transfer* before = nullptr;
    for (Transfer* at = head_; at != nullptr; before = at, at = at->device_next) {
      if (at != &transfer) continue;
      (before == nullptr ? head_ : before->device_next) = at->device_next;
      if (tail_ == at) tail_ = before;
      return true;
    }
    return false;
  }

 private:
  Transfer* head_ = nullptr;
  Transfer* tail_ = nullptr;
};

}  // namespace farport::serial
