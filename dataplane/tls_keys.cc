#include "dataplane/tls_keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cassert>
#include <cstring>

namespace farport {

TlsSecret::TlsSecret(std::span<const std::byte> bytes) : size_(bytes.size()) {
  assert(size_ == 32 || size_ == 48);
  std::ranges::copy(bytes, bytes_.begin());
}

TlsSecret::~TlsSecret() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

// Nothing that is derived here is longer than the hash, so HKDF-Expand is one HMAC (RFC 5869, 2.3)
// over: u16 length, label with its length, context with its length (none), 1 (RFC 8446, 7.1).
bool TlsSecret::derive(std::string_view label, std::span<std::byte> out) const {
  constexpr std::string_view kPrefix = "tls13 ";
  assert(out.size() <= size_);
  std::array<unsigned char, 64> info;
  assert(4 + kPrefix.size() + label.size() + 1 <= info.size());
  size_t bytes = 0;
  info[bytes++] = 0;
  info[bytes++] = static_cast<unsigned char>(out.size());
  info[bytes++] = static_cast<unsigned char>(kPrefix.size() + label.size());
  for (const std::string_view part : {kPrefix, label}) {
    std::memcpy(info.data() + bytes, part.data(), part.size());
    bytes += part.size();
  }
  info[bytes++] = 0;
  info[bytes++] = 1;
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int digest_bytes = 0;
  const bool done =
      HMAC(size_ == 48 ? EVP_sha384() : EVP_sha256(), bytes_.data(), static_cast<int>(size_),
           info.data(), bytes, digest.data(), &digest_bytes) != nullptr &&
      digest_bytes == size_;
  if (done) std::memcpy(out.data(), digest.data(), out.size());
  OPENSSL_cleanse(digest.data(), digest.size());
  return done;
}

TlsKeys::~TlsKeys() { OPENSSL_cleanse(iv_.data(), iv_.size()); }

bool TlsKeys::begin(Aead::Kind cipher, Aead::Use use, const TlsSecret& secret, uint64_t records) {
  aead_ = Aead::make(cipher, use);
  key_bytes_ = Aead::key_bytes(cipher);
  secret_ = secret;
  if (aead_ == nullptr || !take_keys()) return false;
  records_ = records;
  return true;
}

bool TlsKeys::update() {
  std::array<std::byte, TlsSecret::bytes_max> next;
  const auto bytes = std::span(next).first(secret_.bytes().size());
  const bool done = secret_.derive("traffic upd", bytes);
  if (done) secret_ = TlsSecret(bytes);
  OPENSSL_cleanse(next.data(), next.size());
  return done && take_keys();
}

bool TlsKeys::take_keys() {
  std::array<std::byte, Aead::key_bytes_max> key;
  const auto bytes = std::span(key).first(key_bytes_);
  const bool done =
      secret_.derive("key", bytes) && secret_.derive("iv", iv_) && aead_->set_key(bytes);
  OPENSSL_cleanse(key.data(), key.size());
  records_ = 0;
  return done;
}

// The number of the record, big-endian and padded to the left, in the iv (RFC 8446, 5.3).
Aead::Nonce TlsKeys::next_nonce() {
  Aead::Nonce nonce = iv_;
  uint64_t number = records_++;
  for (size_t i = nonce.size(); number != 0; number >>= 8) {
    nonce[--i] ^= static_cast<std::byte>(number & 0xff);
  }
  return nonce;
}

bool TlsKeys::seal(std::span<const std::byte> header, std::span<const iovec> pieces,
                   std::byte* to) {
  return aead_->seal(next_nonce(), header, pieces, to);
}

bool TlsKeys::open(std::span<const std::byte> header, std::span<const std::byte> sealed,
                   std::span<const iovec> pieces) {
  return aead_->open(next_nonce(), header, sealed, pieces);
}

}  // namespace farport
