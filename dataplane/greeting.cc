#include "dataplane/greeting.h"

#include <fmt/format.h>

#include <algorithm>

#include "dataplane/channel.h"
#include "dataplane/limits.h"

namespace farport {

namespace {

template <class Body>
std::vector<std::byte> encode(wire::FrameType type, uint64_t acknowledged, const Body& body,
                              std::string_view text) {
  std::vector<std::byte> frame(sizeof(wire::FrameHeader) + sizeof body + text.size());
  wire::encode(frame.data(),
               wire::FrameHeader{.bytes = static_cast<uint32_t>(sizeof body + text.size()),
                                 .type = static_cast<uint8_t>(type),
                                 .body_bytes = sizeof body,
                                 .flags = 0,
                                 .number = 0,
                                 .acknowledged = acknowledged,
                                 .channel = 0,
                                 .transfer = 0});
  wire::encode(frame.data() + sizeof(wire::FrameHeader), body);
  std::memcpy(frame.data() + sizeof(wire::FrameHeader) + sizeof body, text.data(), text.size());
  return frame;
}

}  // namespace

std::string printable(std::span<const std::byte> data, size_t bytes_max) {
  std::string text(reinterpret_cast<const char*>(data.data()), std::min(data.size(), bytes_max));
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, '?');
  return text;
}

std::vector<std::byte> encode_hello(const Hello& hello) {
  const wire::HelloBody body{.magic = wire::magic,
                             .version_major = wire::version_major,
                             .version_minor = wire::version_minor,
                             .boot = hello.boot,
                             .session = hello.session,
                             .frame_data_bytes_max = limits::frame_data_bytes_max,
                             .frames_in_flight_max = limits::frames_in_flight_max,
                             .features = hello.compresses ? wire::features::lz4 : 0,
                             .connection = hello.connection,
                             .purpose = static_cast<uint32_t>(hello.purpose),
                             .reserved = 0};
  return encode(wire::FrameType::hello, hello.received, body,
                std::string_view(hello.host_name).substr(0, wire::name_bytes_max));
}

std::vector<std::byte> encode_refusal(const Error& why) {
  const wire::ReasonBody body{.code = static_cast<uint32_t>(why.code),
                              .version_major = wire::version_major,
                              .version_minor = wire::version_minor};
  return encode(wire::FrameType::refuse, 0, body,
                std::string_view(why.message).substr(0, wire::reason_bytes_max));
}

Result<size_t> greeting_bytes(const wire::FrameHeader& header) {
  const auto type = static_cast<wire::FrameType>(header.type);
  if (wire::header_fault(header, wire::reason_bytes_max) != nullptr ||
      (type != wire::FrameType::hello && type != wire::FrameType::refuse &&
       type != wire::FrameType::goodbye)) {
    return fail("it did not begin with a hello. Is it a Farport daemon?");
  }
  return header.bytes;
}

Result<Hello> decode_greeting(const wire::FrameHeader& header, std::span<const std::byte> rest) {
  const auto body = rest.first(header.body_bytes);
  const auto data = rest.subspan(header.body_bytes);
  if (static_cast<wire::FrameType>(header.type) != wire::FrameType::hello) {
    Error why = Channel::peer_reason(body, data);
    why.message = printable(data, wire::reason_bytes_max);
    return std::unexpected(std::move(why));
  }
  const auto hello = wire::decode<wire::HelloBody>(body);
  if (hello.magic != wire::magic) {
    return fail("it is not a Farport daemon (no FARP in its hello)");
  }
  if (hello.version_major != wire::version_major) {
    return fail(fmt::format(
        "protocol version {}.{} meets version {}.{}: install the same release "
        "of farport on both hosts",
        hello.version_major, hello.version_minor, wire::version_major, wire::version_minor));
  }
  if (data.size() > wire::name_bytes_max) return fail("it has a host name of over 255 bytes");
  if (hello.frame_data_bytes_max < 4096) return fail("it takes frames of less than 4 KiB");
  if (hello.purpose > static_cast<uint32_t>(wire::Purpose::probe)) {
    return fail(
        "its hello is for an unknown purpose: install the same release of farport on both "
        "hosts");
  }
  return Hello{.host_name = printable(data, wire::name_bytes_max),
               .boot = hello.boot,
               .session = hello.session,
               .purpose = static_cast<wire::Purpose>(hello.purpose),
               .connection = hello.connection,
               .received = header.acknowledged,
               .frame_data_bytes_max = hello.frame_data_bytes_max,
               .compresses = (hello.features & wire::features::lz4) != 0,
               .version_minor = hello.version_minor};
}

}  // namespace farport
