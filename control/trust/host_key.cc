#include "control/trust/host_key.h"

#include <fmt/format.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>

#include "control/trust/private_file.h"

namespace farport {

namespace {

constexpr std::string_view kPrefix = "SHA256:";
constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr size_t kDigits = 43;  // 256 bits, six to a digit

std::string fingerprint_of_der(const unsigned char* der, size_t length) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(der, length, digest.data());
  std::array<unsigned char, 48> text{};
  EVP_EncodeBlock(text.data(), digest.data(), static_cast<int>(digest.size()));
  return std::string(kPrefix) + std::string(reinterpret_cast<const char*>(text.data()), kDigits);
}

struct OpenSslMemoryFree {
  void operator()(unsigned char* memory) const { OPENSSL_free(memory); }
};
std::string fingerprint_of_encoded(unsigned char* der, int length) {
  const std::unique_ptr<unsigned char, OpenSslMemoryFree> owned(der);
  if (length <= 0) {
    ERR_clear_error();
    return "";  // equal to no fingerprint
  }
  return fingerprint_of_der(der, static_cast<size_t>(length));
}

// OpenSSL would ask on the terminal.
int no_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

bool add_extension(X509& certificate, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, &certificate, &certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  const bool added = extension != nullptr && X509_add_ext(&certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

bool fill(X509& certificate, EVP_PKEY& key, const std::string& host) {
  uint64_t serial = 0;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) != 1) return false;
  X509_NAME* name = X509_get_subject_name(&certificate);
  const auto* words = reinterpret_cast<const unsigned char*>("Farport host key");
  return X509_set_version(&certificate, X509_VERSION_3) == 1 &&
         ASN1_INTEGER_set_uint64(X509_get_serialNumber(&certificate), serial >> 1) == 1 &&
         // Never out of date (RFC 5280 4.1.2.5): a pinned key holds until it is removed.
         ASN1_TIME_set_string(X509_getm_notBefore(&certificate), "20000101000000Z") == 1 &&
         ASN1_TIME_set_string(X509_getm_notAfter(&certificate), "99991231235959Z") == 1 &&
         X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, words, -1, -1, 0) == 1 &&
         X509_set_issuer_name(&certificate, name) == 1 &&
         X509_set_pubkey(&certificate, &key) == 1 &&
         (!is_plain_name(host) ||
          add_extension(certificate, NID_subject_alt_name, "DNS:" + host)) &&
         X509_sign(&certificate, &key, nullptr) != 0;
}

}  // namespace

std::string fingerprint_of(X509& certificate) {
  unsigned char* der = nullptr;
  const int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(&certificate), &der);
  return fingerprint_of_encoded(der, length);
}

std::string fingerprint_of(EVP_PKEY& key) {
  unsigned char* der = nullptr;
  const int length = i2d_PUBKEY(&key, &der);
  return fingerprint_of_encoded(der, length);
}

bool is_fingerprint(std::string_view text) {
  if (!text.starts_with(kPrefix)) return false;
  text.remove_prefix(kPrefix.size());
  if (text.size() != kDigits || text.find_first_not_of(kBase64) != std::string_view::npos) {
    return false;
  }
  // The last digit holds four bits; one with more of them set is of no key.
  return kBase64.find(text.back()) % 4 == 0;
}

Result<UniqueKey> load_key(const std::string& path) {
  const auto file = open_guarded(path, Guard::secret);
  if (!file) return std::unexpected(file.error());
  // Straight from the file into OpenSSL, which wipes what it frees.
  const UniqueBio bio(BIO_new_fd(file->get(), BIO_NOCLOSE));
  bool asked = false;
  UniqueKey key(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, &asked) : nullptr);
  if (key) return key;
  const std::string words = openssl_words();
  if (asked) {
    return fail(ErrorCode::usage,
                fmt::format("the key {} has a passphrase, and nobody is there to type it: give one "
                            "without, mode 0600 (`openssl pkey -in {} -out NEW`)",
                            path, path));
  }
  return fail(fmt::format("{} is not a private key in PEM ({})", path, words));
}

Result<UniqueKey> make_key(const std::string& path) {
  const UniqueKeyContext context(EVP_PKEY_CTX_new_id(EVP_PKEY_ED25519, nullptr));
  EVP_PKEY* made = nullptr;
  if (!context || EVP_PKEY_keygen_init(context.get()) != 1 ||
      EVP_PKEY_keygen(context.get(), &made) != 1) {
    return fail(fmt::format("cannot make a key: {}", openssl_words()));
  }
  UniqueKey key(made);
  auto written = write_private(path, Existing::keep, [&](int file) -> Result<void> {
    const UniqueBio bio(BIO_new_fd(file, BIO_NOCLOSE));
    if (bio && PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr,
                                             nullptr) == 1) {
      return {};
    }
    return fail(fmt::format("cannot write {}: {}", path, openssl_words()));
  });
  if (!written) return std::unexpected(written.error());
  return key;
}

Result<UniqueKey> load_or_make_key(const std::string& path) {
  auto loaded = load_key(path);
  if (loaded || loaded.error().code != ErrorCode::not_found) return loaded;
  auto made = make_key(path);
  if (made || made.error().code != ErrorCode::busy) return made;
  return load_key(path);  // another process was first
}

Result<UniqueCertificate> self_signed(EVP_PKEY& key, const std::string& host) {
  UniqueCertificate certificate(X509_new());
  if (!certificate || !fill(*certificate, key, host)) {
    return fail(fmt::format("cannot make a certificate around the host key: {}", openssl_words()));
  }
  return certificate;
}

std::vector<std::string> dns_names(X509& certificate) {
  const UniqueNames names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::vector<std::string> found;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_DNS) continue;
    // With its length: a zero byte within must not end it early.
    found.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                       static_cast<size_t>(ASN1_STRING_length(name->d.dNSName)));
  }
  ERR_clear_error();
  return found;
}

}  // namespace farport
