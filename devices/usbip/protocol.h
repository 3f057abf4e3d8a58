// USB/IP 1.1.1 on the wire: the only place that knows its bytes, for both directions. Source: Linux
// 6.1, Documentation/usb/usbip_protocol.rst and drivers/usb/usbip/usbip_common.h. All big-endian.
//
// Operation phase, one request per connection:
//
//   0       2       4               8
//   +-------+-------+---------------+
//   |version| code  |    status     |   OpHeader, 8 B (status 0 in requests)
//   +-------+-------+---------------+
//   REQ_DEVLIST 0x8005   nothing more
//   REP_DEVLIST 0x0005   u32 count, then per device 312 B and 4 B per interface
//   REQ_IMPORT  0x8003   busid[32]
//   REP_IMPORT  0x0003   312 B of device when status is 0; the connection then carries requests
//
// Device, 312 B:  path[256] busid[32]  busnum devnum speed (u32)  vendor product bcdDevice (u16)
//                 class subclass protocol configuration_value configurations interfaces (u8)
// Interface, 4 B: class subclass protocol 0
//
// Request phase, each message 48 B:
//
//   offset      0   4       8      12   16  20      24      28     32    36    40
//   SUBMIT      1   seqnum  devid  dir  ep  flags   length  frame  npkt  intv  setup
//   RET_SUBMIT  3   seqnum  0      0    0   status  actual  frame  npkt  errs  0
//   UNLINK      2   seqnum  devid  dir  ep  seqnum of the request, then 0
//   RET_UNLINK  4   seqnum  0      0    0   status  0
//
// A SUBMIT of direction OUT is followed by `length` bytes, a RET_SUBMIT of direction IN by `actual`
// bytes; an isochronous one then by npkt descriptors of 16 B: offset length actual status. The data
// of an isochronous reply is packed (only the bytes that came), that of a request is not.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dataplane/error.h"
#include "dataplane/transfer.h"

namespace farport::usbip {

inline constexpr uint16_t protocol_version = 0x0111;
inline constexpr uint16_t default_port = 3240;
inline constexpr uint32_t packet_count_none = 0xffffffff;  // by the document; Linux sends 0
// Devices in one list that we are ready to read from a server; no host has more ports.
inline constexpr uint32_t listed_devices_max = 1024;

// Big-endian numbers as they lie in a message, without alignment.
struct Be16 {
  std::array<uint8_t, 2> bytes{};
  constexpr Be16() = default;
  constexpr Be16(uint16_t value)
      : bytes{static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value)} {}
  constexpr operator uint16_t() const { return static_cast<uint16_t>(bytes[0] << 8 | bytes[1]); }
};
struct Be32 {
  std::array<uint8_t, 4> bytes{};
  constexpr Be32() = default;
  constexpr Be32(uint32_t value)
      : bytes{static_cast<uint8_t>(value >> 24), static_cast<uint8_t>(value >> 16),
              static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value)} {}
  constexpr operator uint32_t() const {
    return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
  }
};

namespace wire {

struct OpHeader {
  Be16 version, code;
  Be32 status;
};
static_assert(sizeof(OpHeader) == 8 && offsetof(OpHeader, status) == 4);

struct ImportRequest {
  OpHeader header;
  std::array<char, 32> busid;
};
static_assert(sizeof(ImportRequest) == 40 && offsetof(ImportRequest, busid) == 8);

struct Device {
  std::array<char, 256> path;
  std::array<char, 32> busid;
  Be32 busnum, devnum, speed;
  Be16 vendor, product, bcd_device;
  uint8_t device_class, subclass, protocol;
  uint8_t configuration_value, configurations, interfaces;
};
static_assert(sizeof(Device) == 312 && offsetof(Device, busid) == 256 &&
              offsetof(Device, busnum) == 288 && offsetof(Device, speed) == 296 &&
              offsetof(Device, vendor) == 300 && offsetof(Device, device_class) == 306 &&
              offsetof(Device, interfaces) == 311);

struct Interface {
  uint8_t interface_class, subclass, protocol, padding;
};
static_assert(sizeof(Interface) == 4);

struct Basic {
  Be32 command, seqnum, devid, direction, endpoint;
};
static_assert(sizeof(Basic) == 20 && offsetof(Basic, direction) == 12);

struct Submit {
  Basic basic;
  Be32 flags, length, start_frame, packet_count, interval;
  std::array<uint8_t, 8> setup;
};
static_assert(sizeof(Submit) == 48 && offsetof(Submit, flags) == 20 &&
              offsetof(Submit, length) == 24 && offsetof(Submit, start_frame) == 28 &&
              offsetof(Submit, packet_count) == 32 && offsetof(Submit, interval) == 36 &&
              offsetof(Submit, setup) == 40);

struct SubmitReply {
  Basic basic;
  Be32 status, actual, start_frame, packet_count, error_count;
  std::array<uint8_t, 8> padding;
};
static_assert(sizeof(SubmitReply) == 48 && offsetof(SubmitReply, status) == 20 &&
              offsetof(SubmitReply, actual) == 24 && offsetof(SubmitReply, start_frame) == 28 &&
              offsetof(SubmitReply, packet_count) == 32 &&
              offsetof(SubmitReply, error_count) == 36);

struct Unlink {
  Basic basic;
  Be32 unlink_seqnum;
  std::array<uint8_t, 24> padding;
};
static_assert(sizeof(Unlink) == 48 && offsetof(Unlink, unlink_seqnum) == 20);

struct UnlinkReply {
  Basic basic;
  Be32 status;
  std::array<uint8_t, 24> padding;
};
static_assert(sizeof(UnlinkReply) == 48 && offsetof(UnlinkReply, status) == 20);

struct IsoDescriptor {
  Be32 offset, length, actual, status;
};
static_assert(sizeof(IsoDescriptor) == 16 && sizeof(IsoDescriptor) == sizeof(IsoPacket));

}  // namespace wire

inline constexpr size_t message_bytes = 48;
using Message = std::array<std::byte, message_bytes>;

// --- operation phase ---

enum class OpCode : uint16_t {
  request_list = 0x8005,
  reply_list = 0x0005,
  request_import = 0x8003,
  reply_import = 0x0003,
};

enum class OpStatus : uint32_t {
  ok = 0,
  not_available = 1,
  busy = 2,
  device_error = 3,
  no_device = 4,
  error = 5,
};
// What a status means, as an Error with a message for the user; `what` begins it.
Error op_status_error(uint32_t status, std::string_view what);

struct OpHeader {
  uint16_t version = protocol_version;
  OpCode code{};
  uint32_t status = 0;
};

// bDeviceClass and so on, as listed for each interface.
struct InterfaceRecord {
  uint8_t interface_class = 0, subclass = 0, protocol = 0;
  bool operator==(const InterfaceRecord&) const = default;
};

// A device as the operation phase describes it. Text longer than its field is cut.
struct DeviceRecord {
  std::string path;   // at most 255 bytes
  std::string busid;  // at most 31 bytes
  uint32_t busnum = 0, devnum = 0;
  uint32_t speed = 0;  // Linux's enum usb_device_speed: see device_record.h
  uint16_t vendor = 0, product = 0, bcd_device = 0;
  uint8_t device_class = 0, subclass = 0, protocol = 0;
  uint8_t configuration_value = 0, configurations = 0, interface_count = 0;
  std::vector<InterfaceRecord> interfaces;  // in a list only
  bool operator==(const DeviceRecord&) const = default;
};

inline constexpr size_t busid_length_max = 31;

std::array<std::byte, 8> encode_op_header(const OpHeader& header);
OpHeader decode_op_header(std::span<const std::byte, 8> bytes);  // unchecked: version and code too
std::array<std::byte, 40> encode_import_request(std::string_view busid);
// The text of a fixed field, up to its first zero; an error when there is none in it.
Result<std::string> decode_busid(std::span<const std::byte, 32> bytes);
std::vector<std::byte> encode_list_reply(std::span<const DeviceRecord> devices);
std::array<std::byte, 320> encode_import_reply(const DeviceRecord& device);  // with status ok
// The 312 bytes of a device, without interfaces.
Result<DeviceRecord> decode_device(std::span<const std::byte, 312> bytes);
void decode_interface(std::span<const std::byte, 4> bytes, InterfaceRecord& record);

// --- request phase ---

enum class Command : uint32_t { submit = 1, unlink = 2, submit_reply = 3, unlink_reply = 4 };

// Linux's URB_* flags that have a meaning here.
namespace urb_flags {
inline constexpr uint32_t short_not_ok = 0x0001;
inline constexpr uint32_t iso_asap = 0x0002;
inline constexpr uint32_t zero_packet = 0x0040;
inline constexpr uint32_t direction_in = 0x0200;
}  // namespace urb_flags
uint32_t urb_flags_of(uint8_t flags);           // from transfer_flags
uint8_t transfer_flags_of(uint32_t urb_flags);  // unknown ones are dropped

// SUBMIT or UNLINK.
struct Request {
  Command command = Command::submit;
  uint32_t seqnum = 0;
  uint32_t devid = 0;  // busnum << 16 | devnum
  bool in = false;
  uint8_t endpoint = 0;  // number, 0..15, without direction
  // SUBMIT
  uint32_t flags = 0;  // urb_flags
  uint32_t length = 0;
  uint32_t start_frame = 0;
  uint32_t packet_count = 0;  // 0 or packet_count_none when not isochronous
  uint32_t interval = 0;
  std::array<uint8_t, 8> setup{};
  // UNLINK
  uint32_t unlink_seqnum = 0;
  bool operator==(const Request&) const = default;
};

// RET_SUBMIT or RET_UNLINK.
struct Reply {
  Command command = Command::submit_reply;
  uint32_t seqnum = 0;
  int32_t status = 0;  // 0 or a negative Linux errno
  uint32_t actual = 0;
  uint32_t start_frame = 0;
  uint32_t packet_count = 0;
  uint32_t error_count = 0;
  bool operator==(const Reply&) const = default;
};

void encode_request(const Request& request, Message& message);
void encode_reply(const Reply& reply, Message& message);
// An error for an unknown command, direction or endpoint number: the stream cannot be followed any
// further. Lengths and counts are as they came; check them before use.
Result<Request> decode_request(std::span<const std::byte, message_bytes> bytes);
Result<Reply> decode_reply(std::span<const std::byte, message_bytes> bytes);

struct IsoDescriptor {
  uint32_t offset = 0, length = 0, actual = 0;
  int32_t status = 0;
};
wire::IsoDescriptor encode_iso(const IsoDescriptor& descriptor);
IsoDescriptor decode_iso(const wire::IsoDescriptor& descriptor);

// --- numbers that mean the same ---

// A TransferStatus as 0 or a negative Linux errno, and back (unknown ones -> protocol).
int32_t errno_of(TransferStatus status);
TransferStatus status_of(int32_t error);

}  // namespace farport::usbip
