// Transfers on the bus of one device, used again and again: what was in flight once is there
// without asking the system.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/limits.h"
#include "dataplane/transfer.h"
#include "devices/usb/bus_transfer.h"

namespace farport {

class UsbDevice;

// One transfer on the bus and the request it carries out.
struct TransferSlot {
  enum class Cancel : uint8_t { none, wanted, asked };

  BusTransfer transfer;
  Transfer* request = nullptr;
  UsbDevice* owner = nullptr;
  Cancel cancel = Cancel::none;
  uint8_t size_class = 0;
  TransferSlot* next = nullptr;      // in the pool, or of those in flight
  TransferSlot* previous = nullptr;  // of those in flight
};

class TransferPool {
 public:
  // One for `packets` isochronous packets: of those for about as many, so that few grow large.
  TransferSlot& take(uint32_t packets) {
    const uint8_t size_class = class_of(packets);
    if (TransferSlot* slot = free_[size_class]) {
      free_[size_class] = slot->next;
      slot->next = nullptr;
      return *slot;
    }
    auto slot = std::make_unique<TransferSlot>();
    slot->size_class = size_class;
    all_.push_back(std::move(slot));
    return *all_.back();
  }

  void give_back(TransferSlot& slot) {
    slot.request = nullptr;
    slot.cancel = TransferSlot::Cancel::none;
    slot.previous = nullptr;
    slot.next = free_[slot.size_class];
    free_[slot.size_class] = &slot;
  }

  // Ever made: stays as it is under a steady load.
  size_t size() const { return all_.size(); }

 private:
  // Class 0 has room for no packet, class n for 4 << n: 8, 16, ... 1024.
  static constexpr uint8_t class_count = 9;
  static constexpr uint32_t room(uint8_t size_class) {
    return size_class == 0 ? 0 : 4u << size_class;
  }
  static uint8_t class_of(uint32_t packets) {
    uint8_t size_class = 0;
    while (room(size_class) < packets) ++size_class;
    return size_class;
  }
  static_assert(4u << (class_count - 1) == limits::iso_packets_max);

  std::array<TransferSlot*, class_count> free_{};
  std::vector<std::unique_ptr<TransferSlot>> all_;
};

}  // namespace farport
