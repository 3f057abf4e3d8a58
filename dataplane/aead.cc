#include "dataplane/aead.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#ifdef FARPORT_IPSEC_MB
#include <intel-ipsec-mb.h>
#endif

namespace farport {

namespace {

const unsigned char* in(const void* bytes) { return static_cast<const unsigned char*>(bytes); }
unsigned char* out(void* bytes) { return static_cast<unsigned char*>(bytes); }

// Calls step(to, bytes) for each piece's share of `left` bytes.
template <class Step>
void over(std::span<const iovec> pieces, size_t left, Step step) {
  for (const iovec& piece : pieces) {
    const size_t bytes = std::min(piece.iov_len, left);
    if (bytes != 0) step(out(piece.iov_base), bytes);
    left -= bytes;
  }
  assert(left == 0);
}

void wipe(std::span<const iovec> pieces, size_t bytes) {
  over(pieces, bytes, [](unsigned char* to, size_t share) { std::memset(to, 0, share); });
}

// --- by OpenSSL ---

const EVP_CIPHER* cipher_of(Aead::Kind kind) {
  switch (kind) {
    case Aead::Kind::aes_128_gcm:
      return EVP_aes_128_gcm();
    case Aead::Kind::aes_256_gcm:
      return EVP_aes_256_gcm();
    case Aead::Kind::chacha20_poly1305:
      return EVP_chacha20_poly1305();
  }
  return nullptr;
}

class OpensslAead final : public Aead {
 public:
  OpensslAead(Kind kind, Use use) : context_(EVP_CIPHER_CTX_new()) {
    // The cipher is fetched here, once.
    if (context_ != nullptr && EVP_CipherInit_ex(context_, cipher_of(kind), nullptr, nullptr,
                                                 nullptr, use == Use::seal ? 1 : 0) != 1) {
      EVP_CIPHER_CTX_free(context_);
      context_ = nullptr;
    }
  }
  ~OpensslAead() override { EVP_CIPHER_CTX_free(context_); }  // wipes its keys
  bool made() const { return context_ != nullptr; }

  bool set_key(std::span<const std::byte> key) override {
    return EVP_CipherInit_ex(context_, nullptr, nullptr, in(key.data()), nullptr, -1) == 1;
  }

  bool seal(const Nonce& nonce, std::span<const std::byte> associated,
            std::span<const iovec> pieces, std::byte* to) override {
    if (!begin(nonce, associated)) return false;
    for (const iovec& piece : pieces) {
      if (!update(out(to), in(piece.iov_base), piece.iov_len)) return false;
      to += piece.iov_len;
    }
    int rest = 0;
    return EVP_CipherFinal_ex(context_, out(to), &rest) == 1 && rest == 0 &&
           EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_AEAD_GET_TAG, tag_bytes, to) == 1;
  }

  bool open(const Nonce& nonce, std::span<const std::byte> associated,
            std::span<const std::byte> sealed, std::span<const iovec> pieces) override {
    assert(sealed.size() >= tag_bytes);
    const size_t bytes = sealed.size() - tag_bytes;
    std::array<unsigned char, tag_bytes> tag;  // OpenSSL wants it where it could write
    std::memcpy(tag.data(), sealed.data() + bytes, tag.size());
    bool good = begin(nonce, associated);
    const unsigned char* from = in(sealed.data());
    over(pieces, bytes, [&](unsigned char* to, size_t share) {
      good = good && update(to, from, share);
      from += share;
    });
    int rest = 0;
    std::array<unsigned char, tag_bytes> nothing;
    good = good &&
           EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_AEAD_SET_TAG, tag_bytes, tag.data()) == 1 &&
           EVP_CipherFinal_ex(context_, nothing.data(), &rest) == 1;
    if (!good) wipe(pieces, bytes);
    return good;
  }

 private:
  bool begin(const Nonce& nonce, std::span<const std::byte> associated) {
    int bytes = 0;
    return EVP_CipherInit_ex(context_, nullptr, nullptr, nullptr, in(nonce.data()), -1) == 1 &&
           EVP_CipherUpdate(context_, nullptr, &bytes, in(associated.data()),
                            static_cast<int>(associated.size())) == 1;
  }
  bool update(unsigned char* to, const unsigned char* from, size_t bytes) {
    int done = 0;
    return EVP_CipherUpdate(context_, to, &done, from, static_cast<int>(bytes)) == 1 &&
           static_cast<size_t>(done) == bytes;
  }

  EVP_CIPHER_CTX* context_;
};

}  // namespace

std::unique_ptr<Aead> Aead::make_by_openssl(Kind kind, Use use) {
  auto made = std::make_unique<OpensslAead>(kind, use);
  return made->made() ? std::move(made) : nullptr;
}

#ifndef FARPORT_IPSEC_MB

std::unique_ptr<Aead> Aead::make(Kind kind, Use use) { return make_by_openssl(kind, use); }

#else

// --- by ipsec-mb ---

namespace {

// Its functions for one length of key, chosen for this processor; they keep no state but ours.
struct GcmFunctions {
  aes_gcm_pre_t expand = nullptr;
  aes_gcm_init_t init = nullptr;
  aes_gcm_enc_dec_t seal = nullptr;
  aes_gcm_enc_dec_update_t seal_update = nullptr;
  aes_gcm_enc_dec_finalize_t seal_finalize = nullptr;
  aes_gcm_enc_dec_t open = nullptr;
  aes_gcm_enc_dec_update_t open_update = nullptr;
  aes_gcm_enc_dec_finalize_t open_finalize = nullptr;
};

struct GcmLibrary {
  GcmFunctions with_128;
  GcmFunctions with_256;
  bool usable = false;

  GcmLibrary() {
    const std::unique_ptr<IMB_MGR, decltype(&free_mb_mgr)> manager(alloc_mb_mgr(0), &free_mb_mgr);
    if (!manager) return;
    IMB_ARCH chosen = IMB_ARCH_NONE;
    init_mb_mgr_auto(manager.get(), &chosen);
    constexpr uint64_t kNeeded = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ;
    // Without them it computes them by tables, slowly and in a time that depends on the key.
    if (manager->imb_errno != 0 || (manager->features & kNeeded) != kNeeded) return;
#if IMB_VERSION_NUM >= IMB_VERSION(1, 3, 0)
    if ((manager->features & IMB_FEATURE_SELF_TEST_PASS) == 0) return;
#endif
    with_128 = {.expand = manager->gcm128_pre,
                .init = manager->gcm128_init,
                .seal = manager->gcm128_enc,
                .seal_update = manager->gcm128_enc_update,
                .seal_finalize = manager->gcm128_enc_finalize,
                .open = manager->gcm128_dec,
                .open_update = manager->gcm128_dec_update,
                .open_finalize = manager->gcm128_dec_finalize};
    with_256 = {.expand = manager->gcm256_pre,
                .init = manager->gcm256_init,
                .seal = manager->gcm256_enc,
                .seal_update = manager->gcm256_enc_update,
                .seal_finalize = manager->gcm256_enc_finalize,
                .open = manager->gcm256_dec,
                .open_update = manager->gcm256_dec_update,
                .open_finalize = manager->gcm256_dec_finalize};
    usable = true;
  }
};

const GcmLibrary& gcm_library() {
  static const GcmLibrary library;
  return library;
}

class IpsecAead final : public Aead {
 public:
  explicit IpsecAead(const GcmFunctions& functions) : functions_(functions) {}
  ~IpsecAead() override {
    OPENSSL_cleanse(&key_, sizeof key_);
    OPENSSL_cleanse(&context_, sizeof context_);
  }

  bool set_key(std::span<const std::byte> key) override {
    functions_.expand(key.data(), &key_);
    return true;
  }

  bool seal(const Nonce& nonce, std::span<const std::byte> associated,
            std::span<const iovec> pieces, std::byte* to) override {
    if (pieces.size() == 1) {
      const size_t bytes = pieces[0].iov_len;
      functions_.seal(&key_, &context_, out(to), in(pieces[0].iov_base), bytes, in(nonce.data()),
                      in(associated.data()), associated.size(), out(to + bytes), tag_bytes);
      return true;
    }
    functions_.init(&key_, &context_, in(nonce.data()), in(associated.data()), associated.size());
    for (const iovec& piece : pieces) {
      if (piece.iov_len == 0) continue;  // to ipsec-mb a mistake
      functions_.seal_update(&key_, &context_, out(to), in(piece.iov_base), piece.iov_len);
      to += piece.iov_len;
    }
    functions_.seal_finalize(&key_, &context_, out(to), tag_bytes);
    return true;
  }

  bool open(const Nonce& nonce, std::span<const std::byte> associated,
            std::span<const std::byte> sealed, std::span<const iovec> pieces) override {
    assert(sealed.size() >= tag_bytes);
    const size_t bytes = sealed.size() - tag_bytes;
    const unsigned char* from = in(sealed.data());
    std::array<unsigned char, tag_bytes> tag;
    if (pieces.size() == 1) {
      assert(pieces[0].iov_len >= bytes);
      functions_.open(&key_, &context_, out(pieces[0].iov_base), from, bytes, in(nonce.data()),
                      in(associated.data()), associated.size(), tag.data(), tag_bytes);
    } else {
      functions_.init(&key_, &context_, in(nonce.data()), in(associated.data()), associated.size());
      over(pieces, bytes, [&](unsigned char* to, size_t share) {
        functions_.open_update(&key_, &context_, to, from, share);
        from += share;
      });
      functions_.open_finalize(&key_, &context_, tag.data(), tag_bytes);
    }
    if (CRYPTO_memcmp(tag.data(), sealed.data() + bytes, tag_bytes) == 0) return true;
    wipe(pieces, bytes);
    return false;
  }

 private:
  const GcmFunctions& functions_;
  alignas(64) gcm_key_data key_;
  alignas(64) gcm_context_data context_;
};

}  // namespace

std::unique_ptr<Aead> Aead::make(Kind kind, Use use) {
  if (kind != Kind::chacha20_poly1305 && gcm_library().usable) {
    return std::make_unique<IpsecAead>(kind == Kind::aes_128_gcm ? gcm_library().with_128
                                                                 : gcm_library().with_256);
  }
  return make_by_openssl(kind, use);
}

#endif

}  // namespace farport
