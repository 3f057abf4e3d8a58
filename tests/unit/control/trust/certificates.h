// An authority of a test: it certifies hosts, well and badly, and revokes.
#pragma once

#include <gtest/gtest.h>
#include <openssl/pem.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "control/trust/openssl.h"

namespace farport::test {

inline constexpr int64_t day_s = 86'400;
inline constexpr int64_t now_s = 1'800'000'000;  // the tests' clock: 2027-01-15

// A folder that goes with its test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = testing::TempDir() + "/farport-trust-XXXXXX";
    path_ = mkdtemp(pattern.data()) == nullptr ? "" : pattern;
    EXPECT_FALSE(path_.empty());
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline void write_file(const std::string& path, const std::string& text, unsigned mode = 0600) {
  std::ofstream(path, std::ios::binary) << text;
  std::filesystem::permissions(path, static_cast<std::filesystem::perms>(mode));
}
inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

inline UniqueKey new_key() {
  UniqueKey key(EVP_EC_gen("P-256"));
  EXPECT_NE(key, nullptr);
  return key;
}

template <class Write>
std::string pem(Write write) {
  const UniqueBio bio(BIO_new(BIO_s_mem()));
  EXPECT_EQ(write(bio.get()), 1);
  char* text = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &text);
  return std::string(text, static_cast<size_t>(length));
}
inline std::string pem_of(EVP_PKEY& key) {
  return pem([&](BIO* bio) {
    return PEM_write_bio_PKCS8PrivateKey(bio, &key, nullptr, nullptr, 0, nullptr, nullptr);
  });
}
inline std::string pem_of(X509& certificate) {
  return pem([&](BIO* bio) { return PEM_write_bio_X509(bio, &certificate); });
}
inline std::string pem_of(X509_CRL& list) {
  return pem([&](BIO* bio) { return PEM_write_bio_X509_CRL(bio, &list); });
}

struct Wanted {
  std::string names = "DNS:west";  // subjectAltName; empty: none
  std::string usage = "serverAuth,clientAuth";
  int64_t from_s = now_s - day_s;
  int64_t until_s = now_s + day_s;
  bool authority = false;
};

struct Issued {
  UniqueKey key;
  UniqueCertificate certificate;
};

class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name = "Test Authority",
                         int64_t until_s = now_s + 90 * day_s)
      : name_(name) {
    own_.key = new_key();
    own_.certificate = make(name, *own_.key, {"", "", now_s - 90 * day_s, until_s, true}, nullptr);
  }

  Issued issue(const Wanted& wanted) {
    Issued issued;
    issued.key = new_key();
    issued.certificate = make("host", *issued.key, wanted, &own_);
    return issued;
  }
  // An authority below this one.
  TestAuthority below(const std::string& name) {
    TestAuthority lower(name);
    lower.own_.certificate =
        make(name, *lower.own_.key, {"", "", now_s - day_s, now_s + 30 * day_s, true}, &own_);
    return lower;
  }
  std::string certificate() const { return pem_of(*own_.certificate); }

  std::string revoke(const std::vector<const X509*>& revoked, int64_t until_s = now_s + day_s) {
    const UniqueRevoked list(X509_CRL_new());
    X509_CRL_set_version(list.get(), X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(own_.certificate.get()));
    set_time(now_s - day_s, [&](ASN1_TIME* t) { X509_CRL_set1_lastUpdate(list.get(), t); });
    set_time(until_s, [&](ASN1_TIME* t) { X509_CRL_set1_nextUpdate(list.get(), t); });
    for (const X509* one : revoked) {
      X509_REVOKED* entry = X509_REVOKED_new();
      X509_REVOKED_set_serialNumber(entry, const_cast<ASN1_INTEGER*>(X509_get0_serialNumber(one)));
      set_time(now_s - 60, [&](ASN1_TIME* t) { X509_REVOKED_set_revocationDate(entry, t); });
      X509_CRL_add0_revoked(list.get(), entry);
    }
    EXPECT_NE(X509_CRL_sign(list.get(), own_.key.get(), EVP_sha256()), 0);
    return pem_of(*list);
  }

 private:
  template <class Use>
  static void set_time(int64_t unix_s, Use use) {
    ASN1_TIME* time = ASN1_TIME_set(nullptr, unix_s);
    use(time);
    ASN1_TIME_free(time);
  }
  static void extend(X509& certificate, X509& issuer, int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, &issuer, &certificate, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    ASSERT_NE(extension, nullptr) << value;
    X509_add_ext(&certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  static UniqueCertificate make(const std::string& name, EVP_PKEY& key, const Wanted& wanted,
                                const Issued* issuer) {
    static long serial = 1;
    UniqueCertificate made(X509_new());
    X509_set_version(made.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), ++serial);
    set_time(wanted.from_s, [&](ASN1_TIME* t) { X509_set1_notBefore(made.get(), t); });
    set_time(wanted.until_s, [&](ASN1_TIME* t) { X509_set1_notAfter(made.get(), t); });
    X509_NAME* subject = X509_get_subject_name(made.get());
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509& by = issuer == nullptr ? *made : *issuer->certificate;
    X509_set_issuer_name(made.get(), X509_get_subject_name(&by));
    X509_set_pubkey(made.get(), &key);
    if (wanted.authority) {
      extend(*made, by, NID_basic_constraints, "critical,CA:TRUE");
      extend(*made, by, NID_key_usage, "critical,keyCertSign,cRLSign");
    }
    if (!wanted.usage.empty()) extend(*made, by, NID_ext_key_usage, wanted.usage);
    if (!wanted.names.empty()) extend(*made, by, NID_subject_alt_name, wanted.names);
    EXPECT_NE(X509_sign(made.get(), issuer == nullptr ? &key : issuer->key.get(), EVP_sha256()), 0);
    return made;
  }

  std::string name_;
  Issued own_;
};

}  // namespace farport::test
