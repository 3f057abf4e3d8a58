// A transfer: one request in flight between a consumer and a device. The driver end makes it, the
// device end carries it out; what lies between copies nothing but the network's own bytes.
//
// Memory of one transfer, in one Buffer:
//
//   | headroom 16 B | packet table: packet_count x 16 B | data: length bytes |
//
// The headroom lets a device end put the 8-byte setup packet right before the data, where usbfs
// wants it. The packet table is there for isochronous transfers only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "dataplane/buffer.h"

namespace farport {

// bmAttributes of an endpoint descriptor (USB 2.0, table 9-13), and runs of serial bytes.
enum class TransferType : uint8_t {
  control = 0,
  isochronous = 1,
  bulk = 2,
  interrupt = 3,
  serial = 4
};

// How a transfer ended. On the wire as this number; drivers map it to their own (Linux errno for
// USB/IP: see each).
enum class TransferStatus : uint8_t {
  ok = 0,
  stall = 1,       // endpoint halted or request refused (-EPIPE)
  cancelled = 2,   // by request of the driver end (-ECONNRESET)
  unplugged = 3,   // the device is gone (-ENODEV / -ESHUTDOWN)
  timed_out = 4,   // (-ETIMEDOUT)
  overflow = 5,    // the device sent more than was asked (-EOVERFLOW)
  short_read = 6,  // less than asked, and short_not_ok was set (-EREMOTEIO)
  protocol = 7,    // CRC, bit stuffing, no response (-EPROTO)
  late = 8,        // isochronous deadline missed (-EXDEV)
  invalid = 9,     // the request itself is bad: unknown endpoint, past a limit (-EINVAL)
  no_memory = 10,  // (-ENOMEM)
  link_lost = 11,  // the session ended with the transfer in flight (-ESHUTDOWN)
};
std::string_view transfer_status_name(TransferStatus status);

// One isochronous packet. Little-endian on the wire exactly as here.
struct IsoPacket {
  uint32_t length;  // bytes asked for (IN) or sent (OUT)
  uint32_t actual;  // bytes moved
  uint32_t status;  // a TransferStatus
  uint32_t reserved;
};
static_assert(sizeof(IsoPacket) == 16);

namespace transfer_flags {
inline constexpr uint8_t short_not_ok = 1;  // a short IN is an error (URB_SHORT_NOT_OK)
inline constexpr uint8_t zero_packet = 2;   // end OUT with a zero-length packet (URB_ZERO_PACKET)
inline constexpr uint8_t iso_asap = 4;      // a late one skips no frame (URB_ISO_ASAP)
// Begin it only when the transfer submitted before it in its chain has ended ok; if that ended
// otherwise, or was not begun itself, this one ends as cancelled without the device hearing of it.
inline constexpr uint8_t chained = 8;
// With `chained`, and of another endpoint than the one that begins the chain: the device may have
// it together with those before it. Were one of them to fail, this one would be cancelled.
inline constexpr uint8_t alongside = 16;
}  // namespace transfer_flags

struct Transfer {
  static constexpr uint32_t headroom_bytes = 16;

  // --- the request: set by the driver end before submit, read by the device end ---
  TransferType type = TransferType::control;
  uint8_t endpoint =
      0;              // bEndpointAddress: number, and 0x80 for IN. Control: 0x80 when setup says IN
  uint8_t flags = 0;  // transfer_flags
  // 0: none. Otherwise (up to limits::chains_per_channel_max) it belongs to that chain of its
  // channel, and begins it anew unless flagged `chained`. Channels of a session know chains, local
  // ones do not. Begin a chain only when all of it is back.
  uint8_t chain = 0;
  uint16_t packet_count = 0;
  uint32_t length = 0;             // data bytes: to send (OUT) or at most to receive (IN)
  uint32_t start_frame = 0;        // isochronous: an answer, no host asks for one
  uint32_t interval = 0;           // isochronous and interrupt, as bInterval counts for the speed
  std::array<uint8_t, 8> setup{};  // control: the setup packet (USB 2.0, 9.3)

  // --- the result: set by the device end before it reports completion ---
  TransferStatus status = TransferStatus::ok;
  uint32_t actual =
      0;  // data bytes moved. Isochronous IN data is packed back to back on completion
  uint32_t error_count = 0;

  // --- memory ---
  Buffer buffer;

  bool in() const { return (endpoint & 0x80) != 0; }
  uint32_t table_bytes() const { return packet_count * uint32_t{sizeof(IsoPacket)}; }
  std::span<IsoPacket> packets() const {
    return {reinterpret_cast<IsoPacket*>(buffer.data() + headroom_bytes), packet_count};
  }
  std::span<std::byte> data() const {
    return {buffer.data() + headroom_bytes + table_bytes(), length};
  }
  std::span<std::byte> moved() const { return data().first(actual); }
  // The 8 bytes right before data(), for the setup packet (control transfers have no table).
  std::byte* setup_space() const { return buffer.data() + headroom_bytes - 8; }

  // --- whoever holds the transfer keeps what it likes here ---
  void* driver_context = nullptr;  // of the driver end
  uint64_t driver_cookie = 0;      // of the driver end (a sequence number, say)
  void* device_context = nullptr;  // of the device end, valid from submit to completion
  uint64_t device_cookie = 0;
  Transfer* device_next = nullptr;  // lets a device end queue transfers without allocating

  // --- of what stands between the driver end and the channel (drivers/ahead) ---
  void* ahead_context = nullptr;
  Transfer* ahead_next = nullptr;
  uint32_t ahead_state = 0;

  // --- of the channel: nobody else touches these ---
  struct {
    Transfer* next = nullptr;   // send queue of the channel
    uint32_t slot = 0;          // index in the channel's table; low 16 bits of the id
    uint32_t id = 0;            // generation << 16 | slot
    uint32_t stream_bytes = 0;  // table and data bytes that cross the network in this direction
    uint32_t stream_done = 0;   // of which sent (sender) or received (receiver)
    uint32_t holds = 0;         // frames that refer to the memory: sent and not acknowledged, or
                                // being received. The memory stays while there is one
    uint32_t credit_bytes = 0;
    uint64_t submitted_ns = 0;  // driver end: submit; device end: handed to the device
    uint64_t service_ns = 0;    // as measured or as reported
    uint8_t state = 0;
    bool cancel_requested = false;
  } channel;
};

}  // namespace farport
