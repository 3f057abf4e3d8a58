// TLS records as a peer that has the keys could make them, well-formed or not.
#pragma once

#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "dataplane/tls_keys.h"

namespace farport {

inline std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

class RecordForger {
 public:
  static constexpr uint8_t alert = 21, handshake = 22, data = 23;

  RecordForger(Aead::Kind cipher, const TlsSecret& secret) {
    keys_.begin(cipher, Aead::Use::seal, secret, 0);
  }
  // Whatever the type and the length; `padding` zeros behind the type.
  std::vector<std::byte> record(uint8_t type, std::span<const std::byte> content,
                                size_t padding = 0) {
    std::vector<std::byte> inner(content.begin(), content.end());
    inner.push_back(static_cast<std::byte>(type));
    inner.resize(inner.size() + padding);
    const size_t length = inner.size() + Aead::tag_bytes;
    std::vector<std::byte> made(5 + length);
    made[0] = std::byte{data};
    made[1] = made[2] = std::byte{3};
    made[3] = static_cast<std::byte>(length >> 8);
    made[4] = static_cast<std::byte>(length);
    const iovec piece{inner.data(), inner.size()};
    keys_.seal(std::span(made).first(5), std::span(&piece, 1), made.data() + 5);
    return made;
  }
  std::vector<std::byte> record(uint8_t type, std::string_view content, size_t padding = 0) {
    return record(type, std::as_bytes(std::span(content)), padding);
  }
  std::vector<std::byte> key_update(bool requested) {
    auto made = record(handshake, std::string_view(requested ? "\x18\0\0\1\1" : "\x18\0\0\1\0", 5));
    keys_.update();
    return made;
  }

 private:
  TlsKeys keys_;
};

}  // namespace farport
