// The wire format between two hosts. Little-endian, explicit widths, no padding. Encoder and
// decoder include this header and nothing else of ours.
//
// A frame is a header, a body whose layout depends on the type, and data:
//
//    0               4   5   6       8              16              24      28      32
//   +---------------+---+---+-------+---------------+---------------+-------+-------+
//   | bytes         |typ|bdy| flags | number        | acknowledged  |channel|transfr|  header
//   +---------------+---+---+-------+---------------+---------------+-------+-------+
//   | body: `bdy` bytes                                                             |
//   +-------------------------------------------------------------------------------+
//   | data: bytes - bdy                                                             |
//   +-------------------------------------------------------------------------------+
//
// flags         bit 0, compressed (since 1.1; submit, data and complete frames, where both ends
//               take it): the data as sent is one LZ4 block, its length before it. `bytes` counts
//               what is sent. The other bits are 0, and skipped.
//
//                0               4
//               +---------------+--------------------------------------------------------------+
//               | raw bytes     | LZ4 block: exactly that much when unpacked                   |
//               +---------------+--------------------------------------------------------------+
//
// number        counts the frames that carry the conversation, from 1, per session and
//               direction; it outlives a connection. 0 for frames that belong to one connection
//               only (hello, refuse, goodbye, acknowledge, ping, pong).
// acknowledged  the last number the sender of this frame has taken, without a gap.
// bdy           the length of the body as sent. A body may grow at its end in a later minor
//               version: a receiver reads what it knows and skips the rest; fields that did not
//               come are 0.
//
// A transfer's payload (packet table, then data; transfer.h) crosses as a stream: its first part in
// the submit or complete frame, the rest in data frames of the same channel, in order. Which bytes
// cross: in a submit the table, and the data if it goes OUT; in a complete the table, and `actual`
// data bytes if they came IN.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace farport::wire {

static_assert(std::endian::native == std::endian::little,
              "the structs below are copied to and from the wire as they are");

inline constexpr uint32_t magic = 0x50524146;  // "FARP"
// Major: both sides must be the same. Minor: the lower one's meaning holds.
inline constexpr uint16_t version_major = 1;
inline constexpr uint16_t version_minor = 1;

enum class FrameType : uint8_t {
  hello = 1,        // the first frame either way on a connection
  refuse = 2,       // instead of a hello: why not. The connection ends
  goodbye = 3,      // the session ends, in order
  acknowledge = 4,  // nothing but the header's field
  ping = 5,
  pong = 6,
  message = 16,   // a control message (JSON) or part of one; channel 0
  submit = 17,    // driver end -> device end: a transfer
  data = 18,      // more of a transfer's stream, either way
  complete = 19,  // device end -> driver end: the transfer's result
  cancel = 20,    // driver end -> device end: end it early
  credit = 21,    // device end -> driver end: more may be sent
  close = 22,     // either way: the channel ends
};

namespace frame_flags {
inline constexpr uint16_t compressed = 1;
}
// The length before a compressed frame's block, u32.
inline constexpr uint32_t compressed_prefix_bytes = 4;

struct FrameHeader {
  uint32_t bytes;  // body and data
  uint8_t type;    // FrameType
  uint8_t body_bytes;
  uint16_t flags;  // frame_flags
  uint64_t number;
  uint64_t acknowledged;
  uint32_t channel;   // 0: the session itself
  uint32_t transfer;  // id, where a transfer is meant

  uint32_t data_bytes() const { return bytes - body_bytes; }
};
static_assert(sizeof(FrameHeader) == 32);
static_assert(offsetof(FrameHeader, bytes) == 0 && offsetof(FrameHeader, type) == 4);
static_assert(offsetof(FrameHeader, body_bytes) == 5 && offsetof(FrameHeader, flags) == 6);
static_assert(offsetof(FrameHeader, number) == 8 && offsetof(FrameHeader, acknowledged) == 16);
static_assert(offsetof(FrameHeader, channel) == 24 && offsetof(FrameHeader, transfer) == 28);

// What a connection is for.
enum class Purpose : uint32_t {
  begin = 0,   // a new session
  resume = 1,  // a session that has lost its connection, or moves to this one
  probe = 2,   // only to see whether this path works: answered, then closed
};

// data: the sender's host name, UTF-8, at most 255 bytes. header.acknowledged: the last number
// taken of the session that is to be resumed, 0 for a new one.
struct HelloBody {
  uint32_t magic;
  uint16_t version_major;
  uint16_t version_minor;
  std::array<uint8_t, 16> boot;  // changes with every start of the daemon
  std::array<uint8_t, 16>
      session;  // of the session to resume or begin, chosen by the connecting side
  uint32_t frame_data_bytes_max;  // what the sender takes in one frame
  uint32_t frames_in_flight_max;  // what the sender keeps unacknowledged
  uint32_t features;              // of Features, those that the sender understands
  uint32_t connection;            // counts the connections of this session, from 1 (since 1.1)
  uint32_t purpose;               // Purpose (since 1.1)
  uint32_t reserved;
};
static_assert(sizeof(HelloBody) == 64);
static_assert(offsetof(HelloBody, version_major) == 4 && offsetof(HelloBody, version_minor) == 6);
static_assert(offsetof(HelloBody, boot) == 8 && offsetof(HelloBody, session) == 24);
static_assert(offsetof(HelloBody, frame_data_bytes_max) == 40);
static_assert(offsetof(HelloBody, frames_in_flight_max) == 44);
static_assert(offsetof(HelloBody, features) == 48 && offsetof(HelloBody, connection) == 52);
static_assert(offsetof(HelloBody, purpose) == 56 && offsetof(HelloBody, reserved) == 60);
inline constexpr uint32_t hello_body_bytes_min = 56;  // of version 1.0

namespace features {
inline constexpr uint32_t lz4 = 1;  // frames with compressed data
}

// refuse, goodbye, close. data: the reason for people, UTF-8, at most 1024 bytes.
struct ReasonBody {
  uint32_t code;           // ErrorCode
  uint16_t version_major;  // of the sender
  uint16_t version_minor;
};
static_assert(sizeof(ReasonBody) == 8);
static_assert(offsetof(ReasonBody, version_major) == 4 && offsetof(ReasonBody, version_minor) == 6);

// ping, and the pong that returns it.
struct PingBody {
  uint64_t token;
};
static_assert(sizeof(PingBody) == 8);

enum class MessageKind : uint8_t { request = 1, response = 2, notice = 3 };

// data: JSON text, or a part of it.
struct MessageBody {
  uint32_t id;   // of the request; the response repeats it
  uint8_t kind;  // MessageKind
  uint8_t more;  // 1 when more parts follow
  uint16_t reserved;
};
static_assert(sizeof(MessageBody) == 8);
static_assert(offsetof(MessageBody, kind) == 4 && offsetof(MessageBody, more) == 5);

struct SubmitBody {
  uint32_t length;   // data bytes to send or to receive
  uint8_t endpoint;  // bEndpointAddress
  uint8_t type;      // TransferType
  uint8_t flags;     // transfer_flags
  uint8_t chain;     // 0, or the chain it belongs to (transfer.h); since 1.1
  std::array<uint8_t, 8> setup;
  uint32_t start_frame;
  uint32_t interval;
  uint16_t packet_count;
  uint16_t reserved1;
  uint32_t deadline_us;  // isochronous: worth nothing after so long at the device end; 0: none
};
static_assert(sizeof(SubmitBody) == 32);
static_assert(offsetof(SubmitBody, endpoint) == 4 && offsetof(SubmitBody, type) == 5);
static_assert(offsetof(SubmitBody, flags) == 6 && offsetof(SubmitBody, chain) == 7);
static_assert(offsetof(SubmitBody, setup) == 8);
static_assert(offsetof(SubmitBody, start_frame) == 16 && offsetof(SubmitBody, interval) == 20);
static_assert(offsetof(SubmitBody, packet_count) == 24 && offsetof(SubmitBody, deadline_us) == 28);

struct DataBody {
  uint32_t offset;  // in the transfer's stream
};
static_assert(sizeof(DataBody) == 4);

struct CompleteBody {
  uint32_t actual;
  uint32_t error_count;
  uint8_t status;  // TransferStatus
  uint8_t reserved;
  uint16_t
      packet_count;  // of the table that follows: as submitted, or 0 when the device never had it
  uint32_t start_frame;
  uint64_t service_ns;  // how long the device held this transfer
  uint64_t busy_ns;     // cumulative: time it had a control or bulk transfer in service (meter.h)
};
static_assert(sizeof(CompleteBody) == 32);
static_assert(offsetof(CompleteBody, error_count) == 4 && offsetof(CompleteBody, status) == 8);
static_assert(offsetof(CompleteBody, packet_count) == 10);
static_assert(offsetof(CompleteBody, start_frame) == 12 &&
              offsetof(CompleteBody, service_ns) == 16);
static_assert(offsetof(CompleteBody, busy_ns) == 24);

// Credit is cumulative, so that a repeated grant is harmless.
struct CreditBody {
  uint64_t granted_bytes;  // since the channel opened
};
static_assert(sizeof(CreditBody) == 8);

inline constexpr uint32_t body_bytes_max = 255;
inline constexpr uint32_t name_bytes_max = 255;
inline constexpr uint32_t reason_bytes_max = 1024;

// The least body a frame of this type has had since version 1.0; -1 for an unknown type.
constexpr int body_bytes_min(uint8_t type) {
  switch (static_cast<FrameType>(type)) {
    case FrameType::hello:
      return hello_body_bytes_min;
    case FrameType::refuse:
    case FrameType::goodbye:
    case FrameType::close:
      return sizeof(ReasonBody);
    case FrameType::acknowledge:
    case FrameType::cancel:
      return 0;
    case FrameType::ping:
    case FrameType::pong:
      return sizeof(PingBody);
    case FrameType::message:
      return sizeof(MessageBody);
    case FrameType::submit:
      return sizeof(SubmitBody);
    case FrameType::data:
      return sizeof(DataBody);
    case FrameType::complete:
      return sizeof(CompleteBody);
    case FrameType::credit:
      return sizeof(CreditBody);
  }
  return -1;
}

// True for frames that carry the conversation and are numbered.
constexpr bool numbered(FrameType type) { return type >= FrameType::message; }

// True for frames whose data may be compressed: a transfer's payload.
constexpr bool compressible(uint8_t type) {
  return type == static_cast<uint8_t>(FrameType::submit) ||
         type == static_cast<uint8_t>(FrameType::data) ||
         type == static_cast<uint8_t>(FrameType::complete);
}

// What is wrong with a header on its own; nullptr when nothing is. `data_bytes_max`: of this side.
constexpr const char* header_fault(const FrameHeader& header, uint32_t data_bytes_max) {
  const int body_min = body_bytes_min(header.type);
  if (body_min < 0) return "a frame of an unknown type";
  if (header.body_bytes < body_min) return "a frame with too short a body";
  if (header.bytes < header.body_bytes) return "a frame shorter than its body";
  if (header.data_bytes() > data_bytes_max) return "a frame longer than the limit";
  if (numbered(static_cast<FrameType>(header.type)) != (header.number != 0)) {
    return "a frame with a number where none belongs, or without one";
  }
  if ((header.flags & frame_flags::compressed) != 0) {
    if (!compressible(header.type)) return "a compressed frame of a type that never is";
    if (header.data_bytes() <= compressed_prefix_bytes) return "a compressed frame without data";
  }
  return nullptr;
}

template <class T>
T decode(std::span<const std::byte> bytes) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value{};
  // A longer body comes from a later minor version; a shorter one was refused by header_fault().
  std::memcpy(&value, bytes.data(), bytes.size() < sizeof value ? bytes.size() : sizeof value);
  return value;
}

template <class T>
void encode(std::byte* to, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::memcpy(to, &value, sizeof value);
}

}  // namespace farport::wire
