// Transfers that AheadDriver or a rule holds, in order, by Transfer::ahead_next.
#pragma once

#include "dataplane/transfer.h"

namespace farport {

struct AheadQueue {
  Transfer* head = nullptr;
  Transfer* tail = nullptr;

  bool empty() const { return head == nullptr; }
  void push(Transfer& transfer) {
    transfer.ahead_next = nullptr;
    (tail == nullptr ? head : tail->ahead_next) = &transfer;
    tail = &transfer;
  }
  // nullptr when there is none.
  Transfer* pop() {
    Transfer* const first = head;
    if (first == nullptr) return nullptr;
    head = first->ahead_next;
    if (head == nullptr) tail = nullptr;
    return first;
  }
  // False when it is not here.
  bool remove(Transfer& transfer) {
    Transfer* before = nullptr;
    for (Transfer* at = head; at != nullptr; before = at, at = at->ahead_next) {
      if (at != &transfer) continue;
      (before == nullptr ? head : before->ahead_next) = at->ahead_next;
      if (tail == at) tail = before;
      return true;
    }
    return false;
  }
};

}  // namespace farport
