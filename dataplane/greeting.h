// How two hosts begin to talk on a connection: one hello either way, or a refusal. Whoever owns
// the connection (control, before a worker has it) moves the bytes; here they are made and read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dataplane/error.h"
#include "dataplane/wire.h"

namespace farport {

using Identity = std::array<uint8_t, 16>;

// wire::HelloBody, with what travels beside it.
struct Hello {
  std::string host_name;  // of a peer: safe to print
  Identity boot{};        // random, one per start of the daemon
  Identity session{};     // random; chosen by the connecting side, repeated by the other
  wire::Purpose purpose = wire::Purpose::begin;
  uint32_t connection = 1;  // of this session
  uint64_t received = 0;    // resume: the last number taken
  uint32_t frame_data_bytes_max = 0;
  bool compresses = false;
  uint16_t version_minor = 0;
};

// A whole frame. host_name at most 255 bytes.
std::vector<std::byte> encode_hello(const Hello& hello);
std::vector<std::byte> encode_refusal(const Error& why);

// Bytes that follow a header: at most body_bytes_max + reason_bytes_max. failed: it is no greeting.
Result<size_t> greeting_bytes(const wire::FrameHeader& header);
// The peer's hello; its refusal, with its code and reason, as the error.
Result<Hello> decode_greeting(const wire::FrameHeader& header, std::span<const std::byte> rest);

// Text of a peer, safe to print: no control characters, whatever its bytes are.
std::string printable(std::span<const std::byte> text, size_t bytes_max);

}  // namespace farport
