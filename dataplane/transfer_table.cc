#include "dataplane/transfer_table.h"

#include <cassert>

#include "dataplane/limits.h"

namespace farport {

TransferTable::~TransferTable() {
  for_each([this](Transfer& transfer) { release(transfer); });
}

Transfer* TransferTable::allocate(uint32_t length, uint16_t packet_count) {
  if (free_ == nullptr) {
    if (slots_.size() >= limits::transfers_per_channel_max) return nullptr;
    slots_.push_back(std::make_unique<Transfer>());
    slots_.back()->channel.slot = static_cast<uint32_t>(slots_.size() - 1);
    slots_.back()->channel.id = slots_.back()->channel.slot;
    free_ = slots_.back().get();
  }
  Transfer* transfer = free_;
  Transfer* next = transfer->channel.next;
  if (prepare(*transfer, length, packet_count) == nullptr) return nullptr;
  free_ = next;
  return transfer;
}

Transfer* TransferTable::allocate_as(uint32_t id, uint32_t length, uint16_t packet_count) {
  const uint32_t slot = id & slot_mask;
  if (slot >= limits::transfers_per_channel_max) return nullptr;
  if (slot >= slots_.size()) slots_.resize(slot + 1);
  auto& transfer = slots_[slot];
  if (!transfer) {
    transfer = std::make_unique<Transfer>();
    transfer->channel.slot = slot;
  }
  if (transfer->buffer) return nullptr;
  transfer->channel.id = id;
  return prepare(*transfer, length, packet_count);
}

Transfer* TransferTable::find(uint32_t id) const {
  const uint32_t slot = id & slot_mask;
  if (slot >= slots_.size() || !slots_[slot]) return nullptr;
  Transfer* transfer = slots_[slot].get();
  return transfer->buffer && transfer->channel.id == id ? transfer : nullptr;
}

void TransferTable::release(Transfer& transfer) {
  assert(transfer.buffer && "released twice");
  transfer.buffer.reset();
  --in_use_;
  transfer.channel.id += slot_mask + 1;  // the next generation
  transfer.channel.next = free_;
  free_ = &transfer;
}

Transfer* TransferTable::prepare(Transfer& transfer, uint32_t length, uint16_t packet_count) {
  if (length > limits::transfer_bytes_max || packet_count > limits::iso_packets_max) return nullptr;
  const size_t bytes =
      Transfer::headroom_bytes + size_t{packet_count} * sizeof(IsoPacket) + size_t{length};
  Buffer buffer = buffers_.allocate(bytes);
  if (!buffer) return nullptr;
  const auto slot = transfer.channel.slot;
  const auto id = transfer.channel.id;
  transfer = Transfer{};
  transfer.channel.slot = slot;
  transfer.channel.id = id;
  transfer.buffer = std::move(buffer);
  transfer.packet_count = packet_count;
  transfer.length = length;
  ++in_use_;
  return &transfer;
}

}  // namespace farport
