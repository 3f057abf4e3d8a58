// What a USB/IP peer sends: operations, requests, replies, packet tables.

#include "devices/usbip/iso_packets.cc"
#include "devices/usbip/protocol.cc"
#include "tests/fuzz/fuzz.h"

using namespace farport;

namespace farport::fuzz {
std::vector<std::string> examples() {
  usbip::Message submit;
  usbip::encode_request(
      {.seqnum = 7, .devid = 0x10002, .in = true, .endpoint = 1, .length = 512, .packet_count = 2},
      submit);
  usbip::Message reply;
  usbip::encode_reply({.seqnum = 7, .status = -32, .actual = 64}, reply);
  usbip::DeviceRecord disk;
  disk.busid = "1-1";
  return {bytes_of(submit), bytes_of(reply), bytes_of(usbip::encode_import_reply(disk)),
          bytes_of(usbip::encode_import_request("1-1"))};
}
}  // namespace farport::fuzz

namespace {
void decode_messages(std::span<const std::byte> bytes) {
  if (bytes.size() >= usbip::message_bytes) {
    const auto message = bytes.first<usbip::message_bytes>();
    usbip::Message again;
    if (const auto request = usbip::decode_request(message)) {
      usbip::encode_request(*request, again);
      fuzz_check(usbip::decode_request(again) == *request);
    }
    if (const auto reply = usbip::decode_reply(message)) {
      usbip::encode_reply(*reply, again);
      fuzz_check(usbip::decode_reply(again) == *reply);
      usbip::status_of(reply->status);
    }
  }
  if (bytes.size() >= 8) usbip::decode_op_header(bytes.first<8>());
  if (bytes.size() >= 40) (void)usbip::decode_busid(bytes.subspan<8, 32>());
  if (bytes.size() >= 320) (void)usbip::decode_device(bytes.subspan<8, 312>());
}

// The table as a peer wrote it, over a transfer of the length it claimed.
void take_tables(fuzz::Input input, bool in, bool request) {
  static BufferPool pool(64u << 20);
  Transfer transfer;
  transfer.type = TransferType::isochronous;
  transfer.endpoint = in ? 0x81 : 0x01;
  transfer.packet_count = input.byte();
  transfer.length = input.byte() * 16u;
  const uint32_t actual = std::min(input.byte() * 16u, transfer.length);
  transfer.buffer =
      pool.allocate(Transfer::headroom_bytes + transfer.table_bytes() + transfer.length);
  const auto table = std::as_writable_bytes(transfer.packets());
  const auto given = std::as_bytes(input.take(table.size()));
  std::copy(given.begin(), given.end(), table.begin());
  if (request) {
    if (!usbip::take_iso_request(transfer)) return;
    uint64_t sum = 0;
    for (const IsoPacket& packet : transfer.packets()) sum += packet.length;
    fuzz_check(sum <= transfer.length);
  } else if (given.size() == table.size()) {
    for (IsoPacket& packet : transfer.packets()) packet = {transfer.length, 0, 0, 0};
    (void)usbip::take_iso_reply(transfer, given, actual);
  }
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  decode_messages(std::as_bytes(std::span(data, size)));
  fuzz::Input input(data, size);
  const uint8_t kind = input.byte();
  take_tables(input, (kind & 1) != 0, (kind & 2) != 0);
  return 0;
}
