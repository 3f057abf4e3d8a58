#include "control/trust/authority.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/pem.h>

#include <algorithm>
#include <ctime>

#include "control/trust/host_key.h"
#include "control/trust/private_file.h"

namespace farport {

namespace {

// RSA of 2048 bits, P-224, SHA-224 at least (SSL_CTX_set_security_level(3)).
constexpr int kSecurityLevel = 2;

// Where the next block of a PEM file begins (RFC 7468 2), counted from 1.
size_t line_of_block(const std::string& text, size_t from) {
  const size_t block = std::min(text.find("-----BEGIN", from), text.size());
  return 1 + static_cast<size_t>(
                 std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(block), '\n'));
}

// All certificates of a bundle. The file's text is read first, for its guard and its size.
template <class Unique, class Read>
Result<std::vector<Unique>> read_bundle(const std::string& path, size_t bytes_max,
                                        std::string_view what, Read read) {
  const auto text = read_guarded(path, Guard::integrity, bytes_max);
  if (!text) return std::unexpected(text.error());
  const UniqueBio bio(BIO_new_mem_buf(text->data(), static_cast<int>(text->size())));
  std::vector<Unique> found;
  size_t begin = 0;  // of what is read next
  while (bio) {
    begin = text->size() - BIO_ctrl_pending(bio.get());
    Unique one(read(bio.get()));
    if (!one) break;
    found.push_back(std::move(one));
  }
  const unsigned long code = ERR_peek_last_error();
  const bool ended =
      ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
  const std::string words = openssl_words();
  if (!ended) {
    return fail(fmt::format("{}:{}: expected {} in PEM, found one that is malformed ({})", path,
                            line_of_block(*text, begin), what, words));
  }
  if (found.empty()) return fail(fmt::format("{}: expected {} in PEM, found none", path, what));
  return found;
}

Result<std::vector<UniqueCertificate>> read_certificates(const std::string& path) {
  return read_bundle<UniqueCertificate>(
      path, Authority::bundle_bytes_max, "certificates",
      [](BIO* bio) { return PEM_read_bio_X509(bio, nullptr, nullptr, nullptr); });
}

std::string name_words(const X509_NAME* name) {
  const UniqueBio bio(BIO_new(BIO_s_mem()));
  if (!bio) return "?";
  X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_ONELINE);  // escapes control characters
  char* text = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &text);
  return std::string(text, static_cast<size_t>(std::clamp(length, 0l, 200l)));
}

std::unexpected<TrustError> refuse(Refusal reason, std::string message) {
  return std::unexpected(TrustError{{ErrorCode::denied, std::move(message)}, reason});
}

// What X509_verify_cert() found, for whoever can repair it.
std::unexpected<TrustError> refuse_chain(X509_STORE_CTX& context) {
  const int error = X509_STORE_CTX_get_error(&context);
  X509* current = X509_STORE_CTX_get_current_cert(&context);
  std::string of = "its certificate";
  if (current != nullptr && X509_STORE_CTX_get_error_depth(&context) > 0) {
    of = fmt::format("the certificate of {}", name_words(X509_get_subject_name(current)));
  }
  const std::string issuer = current == nullptr ? "?" : name_words(X509_get_issuer_name(current));
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return refuse(Refusal::expired,
                    fmt::format("{} ran out on {}: renew it there (trust.certificate), then "
                                "`systemctl reload farportd`",
                                of, format_day(unix_time_of(*X509_get0_notAfter(current)))));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return refuse(Refusal::not_yet_valid,
                    fmt::format("{} is valid only from {} on: are the clocks of both hosts right?",
                                of, format_day(unix_time_of(*X509_get0_notBefore(current)))));
    case X509_V_ERR_CERT_REVOKED:
      return refuse(Refusal::revoked,
                    fmt::format("{} is revoked by {} (trust.revoked): give that host a new one if "
                                "it is to be trusted again",
                                of, issuer));
    case X509_V_ERR_UNABLE_TO_GET_CRL:
    case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
      return refuse(Refusal::revoked_list,
                    fmt::format("trust.revoked of this host has no list of {}: add it to the file, "
                                "then `systemctl reload farportd`",
                                issuer));
    case X509_V_ERR_CRL_HAS_EXPIRED:
      return refuse(Refusal::revoked_list,
                    fmt::format("the list of {} in trust.revoked of this host is out of date: get "
                                "a new one, then `systemctl reload farportd`",
                                issuer));
    case X509_V_ERR_CRL_NOT_YET_VALID:
    case X509_V_ERR_CRL_SIGNATURE_FAILURE:
    case X509_V_ERR_ERROR_IN_CRL_LAST_UPDATE_FIELD:
    case X509_V_ERR_ERROR_IN_CRL_NEXT_UPDATE_FIELD:
    case X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION:
      return refuse(Refusal::revoked_list,
                    fmt::format("the list of {} in trust.revoked of this host cannot be used ({})",
                                issuer, X509_verify_cert_error_string(error)));
    case X509_V_ERR_INVALID_PURPOSE:
      return refuse(Refusal::wrong_purpose,
                    fmt::format("{} is not for mutual TLS: its extendedKeyUsage must hold both "
                                "serverAuth and clientAuth, or be absent",
                                of));
    default:
      return refuse(Refusal::wrong_authority,
                    fmt::format("its certificate is not one of the authority of this host "
                                "(trust.authority): {}; issued by {}",
                                X509_verify_cert_error_string(error), issuer));
  }
}

struct StackFree {
  void operator()(STACK_OF(X509) * stack) const { sk_X509_free(stack); }  // not what it holds
};

}  // namespace

std::shared_ptr<const PresentedChain> presented_by(SSL& ssl) {
  auto presented = std::make_shared<PresentedChain>();
  presented->certificate.reset(SSL_get1_peer_certificate(&ssl));
  if (!presented->certificate) return nullptr;
  STACK_OF(X509)* others = SSL_get_peer_cert_chain(&ssl);
  for (int i = 0; others != nullptr && i < sk_X509_num(others); ++i) {
    X509* one = sk_X509_value(others, i);
    X509_up_ref(one);
    presented->others.emplace_back(one);
  }
  presented->of_server = SSL_is_server(&ssl) == 0;
  return presented;
}

Result<Authority> Authority::load(const std::string& authority, const std::string& revoked) {
  Authority made;
  made.store_.reset(X509_STORE_new());
  const auto certificates = read_certificates(authority);
  if (!certificates) return std::unexpected(certificates.error());
  bool added = made.store_ != nullptr;
  for (const auto& one : *certificates) {
    added = added && X509_STORE_add_cert(made.store_.get(), one.get()) == 1;
  }
  if (!revoked.empty()) {
    const auto lists = read_bundle<UniqueRevoked>(
        revoked, revoked_bytes_max, "lists of revoked certificates",
        [](BIO* bio) { return PEM_read_bio_X509_CRL(bio, nullptr, nullptr, nullptr); });
    if (!lists) return std::unexpected(lists.error());
    for (const auto& one : *lists) {
      added = added && X509_STORE_add_crl(made.store_.get(), one.get()) == 1;
      const ASN1_TIME* next = X509_CRL_get0_nextUpdate(one.get());
      if (next == nullptr) continue;
      const int64_t until = unix_time_of(*next);
      const int64_t before = made.revoked_until_unix_s_;
      made.revoked_until_unix_s_ = before == 0 ? until : std::min(before, until);
    }
    X509_STORE_set_flags(made.store_.get(), X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  }
  if (!added) return fail(fmt::format("{} cannot be used: {}", authority, openssl_words()));
  return made;
}

std::expected<int64_t, TrustError> Authority::verify(const PresentedChain& chain,
                                                     int64_t now_unix_s) const {
  const std::unique_ptr<STACK_OF(X509), StackFree> untrusted(sk_X509_new_null());
  for (const auto& one : chain.others) sk_X509_push(untrusted.get(), one.get());
  const UniqueStoreContext context(X509_STORE_CTX_new());
  if (!context || X509_STORE_CTX_init(context.get(), store_.get(), chain.certificate.get(),
                                      untrusted.get()) != 1) {
    return refuse(Refusal::wrong_authority,
                  fmt::format("its certificate cannot be checked: {}", openssl_words()));
  }
  X509_VERIFY_PARAM* param = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_time(param, now_unix_s);
  X509_VERIFY_PARAM_set_depth(param, depth_max);
  X509_VERIFY_PARAM_set_auth_level(param, kSecurityLevel);
  X509_STORE_CTX_set_purpose(context.get(),
                             chain.of_server ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT);
  if (X509_verify_cert(context.get()) != 1) {
    auto refused = refuse_chain(*context);
    ERR_clear_error();
    return refused;
  }
  int64_t expires = INT64_MAX;
  STACK_OF(X509)* verified = X509_STORE_CTX_get0_chain(context.get());
  for (int i = 0; i < sk_X509_num(verified); ++i) {
    const ASN1_TIME* end = X509_get0_notAfter(sk_X509_value(verified, i));
    expires = std::min(expires, unix_time_of(*end));
  }
  return expires;
}

Result<HostIdentity> load_identity(const std::string& certificate, const std::string& key,
                                   const std::string& host) {
  auto certificates = read_certificates(certificate);
  if (!certificates) return std::unexpected(certificates.error());
  auto loaded = load_key(key);
  if (!loaded) return std::unexpected(loaded.error());
  HostIdentity identity;
  identity.key = std::move(*loaded);
  identity.certificate = std::move(certificates->front());
  certificates->erase(certificates->begin());
  identity.others = std::move(*certificates);
  identity.fingerprint = fingerprint_of(*identity.certificate);
  identity.expires_unix_s = unix_time_of(*X509_get0_notAfter(identity.certificate.get()));
  if (X509_check_private_key(identity.certificate.get(), identity.key.get()) != 1) {
    ERR_clear_error();
    return fail(ErrorCode::usage,
                fmt::format("{} (trust.key) is not the key of the first certificate in {} "
                            "(trust.certificate)",
                            key, certificate));
  }
  const auto names = dns_names(*identity.certificate);
  if (std::ranges::find(names, host) == names.end()) {
    return fail(ErrorCode::usage,
                fmt::format("{} (trust.certificate) does not name this host: its subjectAltName "
                            "must hold DNS:{}, as host.name has it",
                            certificate, host));
  }
  return identity;
}

int64_t unix_time_of(const ASN1_TIME& time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(&time, &parts) != 1) return 0;  // malformed: long past
  return timegm(&parts);
}

std::string format_day(int64_t unix_s) {
  const std::time_t time = unix_s;
  std::tm parts{};
  if (gmtime_r(&time, &parts) == nullptr) return "?";
  return fmt::format("{:%Y-%m-%d %H:%M} UTC", parts);
}

}  // namespace farport
