// The cipher under TLS's records (RFC 5116; RFC 8446, 5.2): one key, one direction.
//
// AES-GCM is done by ipsec-mb where the build has it and the processor has AES and carry-less
// multiplication: three times as fast as OpenSSL 3.0 where there is VAES, and without its cost per
// call. Everything else is done by OpenSSL. Neither allocates once made.
//
// Thread rule: one thread at a time; from one to another with the object.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace farport {

class Aead {
 public:
  enum class Kind : uint8_t { aes_128_gcm, aes_256_gcm, chacha20_poly1305 };
  enum class Use : uint8_t { seal, open };

  static constexpr size_t key_bytes_max = 32;
  static constexpr size_t nonce_bytes = 12;
  static constexpr size_t tag_bytes = 16;
  using Nonce = std::array<std::byte, nonce_bytes>;

  // The fastest there is; OpenSSL's. Null: OpenSSL lacks it, or is out of memory.
  static std::unique_ptr<Aead> make(Kind kind, Use use);
  static std::unique_ptr<Aead> make_by_openssl(Kind kind, Use use);
  static size_t key_bytes(Kind kind) { return kind == Kind::aes_128_gcm ? 16 : 32; }

  // Keys are wiped.
  virtual ~Aead() = default;
  Aead(const Aead&) = delete;
  Aead& operator=(const Aead&) = delete;

  // From now on this one. False: OpenSSL refuses it.
  virtual bool set_key(std::span<const std::byte> key) = 0;

  // Writes the ciphertext of all pieces and the tag to `to`, which may be where a single piece is.
  virtual bool seal(const Nonce& nonce, std::span<const std::byte> associated,
                    std::span<const iovec> pieces, std::byte* to) = 0;
  // Opens ciphertext and tag (at least tag_bytes in all) into the pieces in turn, which together
  // hold all of it; a single one may be where the ciphertext is. False: something of it is not as
  // it was sealed, and the pieces hold zeros.
  virtual bool open(const Nonce& nonce, std::span<const std::byte> associated,
                    std::span<const std::byte> sealed, std::span<const iovec> pieces) = 0;

 protected:
  Aead() = default;
};

}  // namespace farport
