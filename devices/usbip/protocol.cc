#include "devices/usbip/protocol.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace farport::usbip {

namespace {

template <size_t size>
std::array<char, size> to_field(std::string_view text) {
  std::array<char, size> field{};
  std::copy_n(text.begin(), std::min(text.size(), size - 1), field.begin());
  return field;
}

template <size_t size>
Result<std::string> from_field(const std::array<char, size>& field, std::string_view what) {
  const auto end = std::find(field.begin(), field.end(), '\0');
  if (end == field.end()) return fail(std::string(what) + " in a USB/IP message has no end");
  return std::string(field.begin(), end);
}

template <class Wire>
Wire read(const std::byte* bytes) {
  Wire result;
  std::memcpy(&result, bytes, sizeof result);
  return result;
}

template <class Wire>
void append(std::vector<std::byte>& bytes, const Wire& value) {
  const size_t end = bytes.size();
  bytes.resize(end + sizeof value);
  std::memcpy(bytes.data() + end, &value, sizeof value);
}

wire::OpHeader to_wire(const OpHeader& header) {
  return {header.version, static_cast<uint16_t>(header.code), header.status};
}

wire::Device to_wire(const DeviceRecord& device) {
  wire::Device result{};
  result.path = to_field<256>(device.path);
  result.busid = to_field<32>(device.busid);
  result.busnum = device.busnum;
  result.devnum = device.devnum;
  result.speed = device.speed;
  result.vendor = device.vendor;
  result.product = device.product;
  result.bcd_device = device.bcd_device;
  result.device_class = device.device_class;
  result.subclass = device.subclass;
  result.protocol = device.protocol;
  result.configuration_value = device.configuration_value;
  result.configurations = device.configurations;
  result.interfaces = device.interface_count;
  return result;
}

wire::Basic basic(Command command, uint32_t seqnum) {
  wire::Basic result{};
  result.command = static_cast<uint32_t>(command);
  result.seqnum = seqnum;
  return result;
}

template <class Wire>
void write(const Wire& value, Message& message) {
  static_assert(sizeof(Wire) == message_bytes);
  std::memcpy(message.data(), &value, sizeof value);
}

}  // namespace

Error op_status_error(uint32_t status, std::string_view what) {
  const std::string begin = std::string(what) + ": ";
  switch (static_cast<OpStatus>(status)) {
    case OpStatus::busy:
      return {ErrorCode::busy, begin + "the device is in use by another client"};
    case OpStatus::no_device:
      return {ErrorCode::not_found,
              begin + "no such device there, or it is not bound (run: usbip bind -b BUSID)"};
    case OpStatus::device_error:
      return {ErrorCode::failed,
              begin + "the device is in an error state; replug it or bind it again there"};
    case OpStatus::not_available:
      return {ErrorCode::failed, begin + "the server could not hand the device over"};
    default:
      return {ErrorCode::failed,
              begin + "the server answered with status " + std::to_string(status)};
  }
}

std::array<std::byte, 8> encode_op_header(const OpHeader& header) {
  return std::bit_cast<std::array<std::byte, 8>>(to_wire(header));
}

OpHeader decode_op_header(std::span<const std::byte, 8> bytes) {
  const auto header = read<wire::OpHeader>(bytes.data());
  return {header.version, static_cast<OpCode>(static_cast<uint16_t>(header.code)), header.status};
}

std::array<std::byte, 40> encode_import_request(std::string_view busid) {
  wire::ImportRequest request{};
  request.header = to_wire({protocol_version, OpCode::request_import, 0});
  request.busid = to_field<32>(busid);
  return std::bit_cast<std::array<std::byte, 40>>(request);
}

Result<std::string> decode_busid(std::span<const std::byte, 32> bytes) {
  return from_field(read<std::array<char, 32>>(bytes.data()), "a bus ID");
}

std::vector<std::byte> encode_list_reply(std::span<const DeviceRecord> devices) {
  std::vector<std::byte> bytes;
  append(bytes, to_wire(OpHeader{protocol_version, OpCode::reply_list, 0}));
  append(bytes, Be32(static_cast<uint32_t>(devices.size())));
  for (const DeviceRecord& device : devices) {
    // The reader takes as many interfaces as the device says it has.
    wire::Device wire_device = to_wire(device);
    const size_t interfaces = std::min<size_t>(device.interfaces.size(), 255);
    wire_device.interfaces = static_cast<uint8_t>(interfaces);
    append(bytes, wire_device);
    for (size_t i = 0; i < interfaces; ++i) {
      const InterfaceRecord& record = device.interfaces[i];
      append(bytes, wire::Interface{record.interface_class, record.subclass, record.protocol, 0});
    }
  }
  return bytes;
}

std::array<std::byte, 320> encode_import_reply(const DeviceRecord& device) {
  struct {
    wire::OpHeader header;
    wire::Device device;
  } reply{to_wire(OpHeader{protocol_version, OpCode::reply_import, 0}), to_wire(device)};
  return std::bit_cast<std::array<std::byte, 320>>(reply);
}

Result<DeviceRecord> decode_device(std::span<const std::byte, 312> bytes) {
  const auto device = read<wire::Device>(bytes.data());
  auto path = from_field(device.path, "a device's path");
  if (!path) return std::unexpected(path.error());
  auto busid = from_field(device.busid, "a bus ID");
  if (!busid) return std::unexpected(busid.error());
  DeviceRecord record;
  record.path = std::move(*path);
  record.busid = std::move(*busid);
  record.busnum = device.busnum;
  record.devnum = device.devnum;
  record.speed = device.speed;
  record.vendor = device.vendor;
  record.product = device.product;
  record.bcd_device = device.bcd_device;
  record.device_class = device.device_class;
  record.subclass = device.subclass;
  record.protocol = device.protocol;
  record.configuration_value = device.configuration_value;
  record.configurations = device.configurations;
  record.interface_count = device.interfaces;
  return record;
}

void decode_interface(std::span<const std::byte, 4> bytes, InterfaceRecord& record) {
  const auto from = read<wire::Interface>(bytes.data());
  record = {from.interface_class, from.subclass, from.protocol};
}

uint32_t urb_flags_of(uint8_t flags) {
  uint32_t result = 0;
  if ((flags & transfer_flags::short_not_ok) != 0) result |= urb_flags::short_not_ok;
  if ((flags & transfer_flags::zero_packet) != 0) result |= urb_flags::zero_packet;
  if ((flags & transfer_flags::iso_asap) != 0) result |= urb_flags::iso_asap;
  return result;
}

uint8_t transfer_flags_of(uint32_t urb_flags) {
  uint8_t result = 0;
  if ((urb_flags & urb_flags::short_not_ok) != 0) result |= transfer_flags::short_not_ok;
  if ((urb_flags & urb_flags::zero_packet) != 0) result |= transfer_flags::zero_packet;
  if ((urb_flags & urb_flags::iso_asap) != 0) result |= transfer_flags::iso_asap;
  return result;
}

void encode_request(const Request& request, Message& message) {
  wire::Basic head = basic(request.command, request.seqnum);
  head.devid = request.devid;
  head.direction = request.in ? 1 : 0;
  head.endpoint = request.endpoint;
  if (request.command == Command::unlink) {
    wire::Unlink unlink{};
    unlink.basic = head;
    unlink.unlink_seqnum = request.unlink_seqnum;
    write(unlink, message);
    return;
  }
  wire::Submit submit{};
  submit.basic = head;
  submit.flags = request.flags;
  submit.length = request.length;
  submit.start_frame = request.start_frame;
  submit.packet_count = request.packet_count;
  submit.interval = request.interval;
  submit.setup = request.setup;
  write(submit, message);
}

void encode_reply(const Reply& reply, Message& message) {
  if (reply.command == Command::unlink_reply) {
    wire::UnlinkReply unlink{};
    unlink.basic = basic(reply.command, reply.seqnum);
    unlink.status = static_cast<uint32_t>(reply.status);
    write(unlink, message);
    return;
  }
  wire::SubmitReply submit{};
  submit.basic = basic(reply.command, reply.seqnum);
  submit.status = static_cast<uint32_t>(reply.status);
  submit.actual = reply.actual;
  submit.start_frame = reply.start_frame;
  submit.packet_count = reply.packet_count;
  submit.error_count = reply.error_count;
  write(submit, message);
}

Result<Request> decode_request(std::span<const std::byte, message_bytes> bytes) {
  const auto submit = read<wire::Submit>(bytes.data());
  Request request;
  request.command = static_cast<Command>(uint32_t{submit.basic.command});
  request.seqnum = submit.basic.seqnum;
  request.devid = submit.basic.devid;
  if (request.command == Command::unlink) {
    request.unlink_seqnum = read<wire::Unlink>(bytes.data()).unlink_seqnum;
    return request;
  }
  if (request.command != Command::submit) {
    return fail("a USB/IP request has the unknown command " +
                std::to_string(uint32_t{submit.basic.command}));
  }
  if (submit.basic.direction > 1 || submit.basic.endpoint > 15) {
    return fail("a USB/IP request names direction " + std::to_string(submit.basic.direction) +
                " and endpoint " + std::to_string(submit.basic.endpoint) + ", which cannot be");
  }
  request.in = submit.basic.direction == 1;
  request.endpoint = static_cast<uint8_t>(submit.basic.endpoint);
  request.flags = submit.flags;
  request.length = submit.length;
  request.start_frame = submit.start_frame;
  request.packet_count = submit.packet_count;
  request.interval = submit.interval;
  request.setup = submit.setup;
  return request;
}

Result<Reply> decode_reply(std::span<const std::byte, message_bytes> bytes) {
  const auto submit = read<wire::SubmitReply>(bytes.data());
  Reply reply;
  reply.command = static_cast<Command>(uint32_t{submit.basic.command});
  reply.seqnum = submit.basic.seqnum;
  reply.status = static_cast<int32_t>(uint32_t{submit.status});
  if (reply.command == Command::unlink_reply) return reply;
  if (reply.command != Command::submit_reply) {
    return fail("a USB/IP server sent the unknown command " +
                std::to_string(uint32_t{submit.basic.command}));
  }
  reply.actual = submit.actual;
  reply.start_frame = submit.start_frame;
  reply.packet_count = submit.packet_count;
  reply.error_count = submit.error_count;
  return reply;
}

wire::IsoDescriptor encode_iso(const IsoDescriptor& descriptor) {
  return {descriptor.offset, descriptor.length, descriptor.actual,
          static_cast<uint32_t>(descriptor.status)};
}

IsoDescriptor decode_iso(const wire::IsoDescriptor& descriptor) {
  return {descriptor.offset, descriptor.length, descriptor.actual,
          static_cast<int32_t>(uint32_t{descriptor.status})};
}

// ESHUTDOWN for what is gone, not ENODEV: class drivers give up on ESHUTDOWN, and some submit again
// at once on anything they do not know (drivers/hid/usbhid/hid-core.c, hid_irq_in).
int32_t errno_of(TransferStatus status) {
  switch (status) {
    case TransferStatus::ok:
      return 0;
    case TransferStatus::stall:
      return -EPIPE;
    case TransferStatus::cancelled:
      return -ECONNRESET;
    case TransferStatus::unplugged:
      return -ESHUTDOWN;
    case TransferStatus::timed_out:
      return -ETIMEDOUT;
    case TransferStatus::overflow:
      return -EOVERFLOW;
    case TransferStatus::short_read:
      return -EREMOTEIO;
    case TransferStatus::protocol:
      return -EPROTO;
    case TransferStatus::late:
      return -EXDEV;
    case TransferStatus::invalid:
      return -EINVAL;
    case TransferStatus::no_memory:
      return -ENOMEM;
    case TransferStatus::link_lost:
      return -ESHUTDOWN;
  }
  return -EPROTO;
}

TransferStatus status_of(int32_t error) {
  switch (error) {
    case 0:
      return TransferStatus::ok;
    case -EPIPE:
      return TransferStatus::stall;
    case -ECONNRESET:
    case -ENOENT:
      return TransferStatus::cancelled;
    case -ENODEV:
    case -ESHUTDOWN:
      return TransferStatus::unplugged;
    case -ETIMEDOUT:
      return TransferStatus::timed_out;
    case -EOVERFLOW:
      return TransferStatus::overflow;
    case -EREMOTEIO:
      return TransferStatus::short_read;
    case -EXDEV:
      return TransferStatus::late;
    case -EINVAL:
    case -EMSGSIZE:
      return TransferStatus::invalid;
    case -ENOMEM:
      return TransferStatus::no_memory;
    default:
      return TransferStatus::protocol;  // EPROTO, EILSEQ, ETIME, ECOMM, ENOSR...
  }
}

}  // namespace farport::usbip
