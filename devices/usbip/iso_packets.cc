#include "devices/usbip/iso_packets.h"

#include <cstring>

#include "devices/usbip/protocol.h"

namespace farport::usbip {

namespace {

IsoDescriptor read_descriptor(const void* from) {
  wire::IsoDescriptor descriptor;
  std::memcpy(&descriptor, from, sizeof descriptor);
  return decode_iso(descriptor);
}

void write_descriptor(void* to, const IsoDescriptor& descriptor) {
  const wire::IsoDescriptor bytes = encode_iso(descriptor);
  std::memcpy(to, &bytes, sizeof bytes);
}

}  // namespace

bool take_iso_request(Transfer& transfer) {
  std::byte* const data = transfer.data().data();
  uint64_t position = 0;
  for (IsoPacket& packet : transfer.packets()) {
    const IsoDescriptor descriptor = read_descriptor(&packet);
    if (descriptor.offset < position ||
        uint64_t{descriptor.offset} + descriptor.length > transfer.length) {
      return false;
    }
    if (descriptor.offset != position) {
      if (transfer.in()) return false;
      std::memmove(data + position, data + descriptor.offset, descriptor.length);
    }
    position += descriptor.length;
    packet = {descriptor.length, 0, static_cast<uint32_t>(TransferStatus::ok), 0};
  }
  if (!transfer.in()) transfer.length = static_cast<uint32_t>(position);
  return true;
}

IsoTotals put_iso_reply(Transfer& transfer) {
  uint64_t total = 0;
  IsoTotals totals;
  for (const IsoPacket& packet : transfer.packets()) {
    if (packet.actual > packet.length) totals.consistent = false;
    total += packet.actual;
    if (packet.status != 0) ++totals.error_count;
  }
  if (total > transfer.length || (transfer.in() && total != transfer.actual)) {
    totals.consistent = false;
  }
  if (totals.consistent) totals.actual = static_cast<uint32_t>(total);
  uint32_t offset = 0;
  for (IsoPacket& packet : transfer.packets()) {
    IsoDescriptor descriptor;
    descriptor.offset = offset;
    descriptor.length = packet.length;
    descriptor.actual = totals.consistent ? packet.actual : 0;
    descriptor.status = errno_of(static_cast<TransferStatus>(packet.status));
    offset += packet.length;
    write_descriptor(&packet, descriptor);
  }
  return totals;
}

bool put_iso_request(const Transfer& transfer, std::span<std::byte> table) {
  uint64_t offset = 0;
  for (size_t i = 0; i < transfer.packet_count; ++i) {
    const IsoPacket& packet = transfer.packets()[i];
    if (offset + packet.length > transfer.length) return false;
    write_descriptor(table.data() + i * sizeof(wire::IsoDescriptor),
                     {static_cast<uint32_t>(offset), packet.length, 0, 0});
    offset += packet.length;
  }
  return true;
}

bool take_iso_reply(Transfer& transfer, std::span<const std::byte> table, uint32_t actual) {
  uint64_t total = 0;
  for (size_t i = 0; i < transfer.packet_count; ++i) {
    const IsoDescriptor descriptor =
        read_descriptor(table.data() + i * sizeof(wire::IsoDescriptor));
    IsoPacket& packet = transfer.packets()[i];
    if (descriptor.actual > packet.length) return false;
    packet.actual = descriptor.actual;
    packet.status = static_cast<uint32_t>(status_of(descriptor.status));
    total += descriptor.actual;
  }
  return total == actual;
}

}  // namespace farport::usbip
