// The keys of one direction of a TLS 1.3 connection: derived from its traffic secret, and the next
// ones from those (RFC 8446, 7.2 and 7.3). All of it is wiped when it goes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "dataplane/aead.h"

namespace farport {

// client_ or server_application_traffic_secret_N: as long as the suite's hash, 32 bytes of SHA-256
// or 48 of SHA-384.
class TlsSecret {
 public:
  static constexpr size_t bytes_max = 48;

  TlsSecret() = default;
  explicit TlsSecret(std::span<const std::byte> bytes);
  ~TlsSecret();
  TlsSecret(const TlsSecret&) = default;
  TlsSecret& operator=(const TlsSecret&) = default;

  std::span<const std::byte> bytes() const { return std::span(bytes_).first(size_); }
  // HKDF-Expand-Label(secret, label, "", out.size()); at most as long as the secret. False: OpenSSL
  // lacks the hash.
  bool derive(std::string_view label, std::span<std::byte> out) const;

 private:
  std::array<std::byte, bytes_max> bytes_{};
  size_t size_ = 0;
};

// What a finished handshake leaves to the record layer.
struct TlsTraffic {
  Aead::Kind cipher = Aead::Kind::aes_128_gcm;
  bool connecting = false;  // this end is the client
  TlsSecret sealing;
  TlsSecret opening;
  // Records under them so far, which is the next one's sequence number (RFC 8446, 5.3).
  uint64_t sealed = 0;
  uint64_t opened = 0;
  std::vector<std::byte> early;  // opened already, and nobody has taken it
};

class TlsKeys {
 public:
  // False: OpenSSL lacks what it takes; nothing may be done with it then. An update of keys is the
  // only thing here that allocates, in OpenSSL and for a moment.
  bool begin(Aead::Kind cipher, Aead::Use use, const TlsSecret& secret, uint64_t records);
  bool update();
  ~TlsKeys();

  // Under the present key.
  uint64_t records() const { return records_; }

  // One record; `header`: its five bytes. See Aead.
  bool seal(std::span<const std::byte> header, std::span<const iovec> pieces, std::byte* to);
  bool open(std::span<const std::byte> header, std::span<const std::byte> sealed,
            std::span<const iovec> pieces);

 private:
  bool take_keys();
  Aead::Nonce next_nonce();

  TlsSecret secret_;
  std::unique_ptr<Aead> aead_;
  size_t key_bytes_ = 0;
  Aead::Nonce iv_{};
  uint64_t records_ = 0;
};

}  // namespace farport
