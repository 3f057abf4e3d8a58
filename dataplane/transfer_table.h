// The transfers of one end of a channel, by slot. Slots are made as they are needed and kept, so a
// steady load allocates nothing; a slot's number and its generation make the transfer's id.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/buffer.h"
#include "dataplane/transfer.h"

namespace farport {

class TransferTable {
 public:
  explicit TransferTable(BufferPool& buffers) : buffers_(buffers) {}
  ~TransferTable();

  // A transfer with memory for `length` data bytes and `packet_count` packets, all fields reset, in
  // any free slot. nullptr past a limit (limits.h) or when the pool has no more memory.
  Transfer* allocate(uint32_t length, uint16_t packet_count);
  // The same in the slot that `id` names (the device end follows the driver end's numbering);
  // nullptr too when the slot is past the limit or taken.
  Transfer* allocate_as(uint32_t id, uint32_t length, uint16_t packet_count);
  // The transfer in flight under `id`; nullptr when there is none.
  Transfer* find(uint32_t id) const;
  void release(Transfer& transfer);

  uint32_t in_use() const { return in_use_; }
  template <class Visit>
  void for_each(Visit visit) const {
    for (const auto& transfer : slots_) {
      if (transfer && transfer->buffer) visit(*transfer);
    }
  }

 private:
  static constexpr uint32_t slot_mask = 0xffff;
  Transfer* prepare(Transfer& transfer, uint32_t length, uint16_t packet_count);

  BufferPool& buffers_;
  std::vector<std::unique_ptr<Transfer>> slots_;
  Transfer* free_ = nullptr;  // only of slots made by allocate()
  uint32_t in_use_ = 0;
};

}  // namespace farport
