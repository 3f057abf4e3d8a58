#include "dataplane/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>

namespace farport {

namespace {

// OpenSSL's buffer of received records; also how much one read takes from the socket.
constexpr size_t kReadBufferBytes = 128 << 10;

// Nanoseconds that sealing 64 KiB takes, in pieces as records have them; 0: it cannot be done.
uint64_t seal_ns(const EVP_CIPHER* cipher) {
  constexpr int kRecords = 4;
  const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(
      EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  std::vector<unsigned char> block(TlsRecords::record_bytes_max);
  const std::array<unsigned char, 32> key{};
  const std::array<unsigned char, 12> nonce{};
  if (!context ||
      EVP_EncryptInit_ex(context.get(), cipher, nullptr, key.data(), nonce.data()) != 1) {
    return 0;
  }
  timespec begin{};
  timespec end{};
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (int i = 0; i < kRecords; ++i) {
    int bytes = 0;
    if (EVP_EncryptInit_ex(context.get(), nullptr, nullptr, nullptr, nonce.data()) != 1 ||
        EVP_EncryptUpdate(context.get(), block.data(), &bytes, block.data(),
                          static_cast<int>(block.size())) != 1 ||
        EVP_EncryptFinal_ex(context.get(), block.data(), &bytes) != 1) {
      return 0;
    }
  }
  clock_gettime(CLOCK_MONOTONIC, &end);
  return static_cast<uint64_t>((end.tv_sec - begin.tv_sec) * 1'000'000'000 + end.tv_nsec -
                               begin.tv_nsec);
}

// The least of several tries: what else the machine does only adds.
uint64_t least_seal_ns(const EVP_CIPHER* cipher) {
  uint64_t least = seal_ns(cipher);
  for (int i = 0; i < 8 && least != 0; ++i) least = std::min(least, seal_ns(cipher));
  return least;
}

// Before a call whose outcome SSL_get_error() is to judge. Clearing an empty queue takes longer
// than a look at it.
void clear_errors() {
  if (ERR_peek_error() != 0) ERR_clear_error();
}

bool aes_is_faster() {
  const uint64_t aes = least_seal_ns(EVP_aes_128_gcm());
  const uint64_t chacha = least_seal_ns(EVP_chacha20_poly1305());
  ERR_clear_error();
  // Where they are about equal it is not left to chance.
  return chacha == 0 || (aes != 0 && aes <= chacha + chacha / 8);
}

}  // namespace

void SslFree::operator()(SSL* ssl) const { SSL_free(ssl); }

const char* tls_cipher_suites() {
  static const bool aes_first = aes_is_faster();
  return aes_first ? "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
                   : "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384";
}

Result<void> prepare_tls_context(SSL_CTX& context) {
  if (SSL_CTX_set_min_proto_version(&context, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(&context, tls_cipher_suites()) != 1 ||
      SSL_CTX_set_num_tickets(&context, 0) != 1) {
    ERR_clear_error();
    return fail(ErrorCode::usage,
                "OpenSSL does not offer TLS 1.3 with AES-128-GCM or ChaCha20-Poly1305: see the "
                "system's openssl.cnf");
  }
  SSL_CTX_set_options(&context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_session_cache_mode(&context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_default_read_buffer_len(&context, kReadBufferBytes);
  return {};
}

// --- the two ends that OpenSSL sees: the socket to read from, a block of memory to write to ---

struct TlsBio {
  static int write(BIO* bio, const char* data, int bytes) {
    auto& records = *static_cast<TlsRecords*>(BIO_get_data(bio));
    const auto wanted = static_cast<size_t>(bytes);
    BIO_clear_retry_flags(bio);
    if (wanted > records.sealed_.size() - records.sealed_end_) {
      BIO_set_retry_write(bio);
      return -1;
    }
    std::memcpy(records.sealed_.data() + records.sealed_end_, data, wanted);
    records.sealed_end_ += wanted;
    return bytes;
  }

  static int read(BIO* bio, char* data, int bytes) {
    auto& records = *static_cast<TlsRecords*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (records.arrived_begin_ != records.arrived_end_) {
      return static_cast<int>(records.take_arrived(data, static_cast<size_t>(bytes)));
    }
    if (records.socket_error_ != 0) return -1;
    if (records.round_left_ == 0) {
      BIO_set_retry_read(bio);
      return -1;
    }
    const ssize_t got = recv(records.socket_, data, static_cast<size_t>(bytes), MSG_DONTWAIT);
    if (got < 0) {
      records.round_left_ = 0;
      if (errno == EAGAIN || errno == EINTR) {
        BIO_set_retry_read(bio);
      } else {
        records.socket_error_ = errno;
      }
      return -1;
    }
    records.end_of_file_ = got == 0;
    // Less than asked for: the socket is empty.
    records.round_left_ -=
        got < bytes ? records.round_left_ : std::min(records.round_left_, static_cast<size_t>(got));
    return static_cast<int>(got);
  }

  static long control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_EOF) {
      return static_cast<TlsRecords*>(BIO_get_data(bio))->end_of_file_ ? 1 : 0;
    }
    return command == BIO_CTRL_FLUSH ? 1 : 0;
  }

  static BIO* make(TlsRecords& records) {
    static BIO_METHOD* const method = [] {
      BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "farport link");
      BIO_meth_set_write(made, &TlsBio::write);
      BIO_meth_set_read(made, &TlsBio::read);
      BIO_meth_set_ctrl(made, &TlsBio::control);
      return made;
    }();
    BIO* bio = BIO_new(method);
    assert(bio != nullptr);  // memory was there a moment ago
    BIO_set_data(bio, &records);
    BIO_set_init(bio, 1);
    return bio;
  }

  // Told of each record; counts those that bring no data (RFC 8446, 5.2: the inner type).
  static void message(int is_written, int, int type, const void* data, size_t bytes, SSL*,
                      void* argument) {
    if (is_written != 0 || type != SSL3_RT_INNER_CONTENT_TYPE || bytes != 1) return;
    if (*static_cast<const unsigned char*>(data) != SSL3_RT_APPLICATION_DATA) {
      ++static_cast<TlsRecords*>(argument)->other_records_;
    }
  }
};

TlsRecords::TlsRecords(UniqueSsl ssl, int socket, std::string peer)
    : ssl_(std::move(ssl)),
      socket_(socket),
      peer_(std::move(peer)),
      sealed_(sealed_bytes_max),
      gathered_(record_bytes_max) {
  BIO* bio = TlsBio::make(*this);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_read_ahead(ssl_.get(), 1);
  // A record that brings no data returns to us.
  SSL_clear_mode(ssl_.get(), SSL_MODE_AUTO_RETRY);
  SSL_set_msg_callback(ssl_.get(), &TlsBio::message);
  SSL_set_msg_callback_arg(ssl_.get(), this);
}

TlsRecords::~TlsRecords() = default;

// --- sending ---

// For what was gathered, and one record more.
bool TlsRecords::room() const {
  return sealed_end_ + 2 * (record_bytes_max + record_overhead_max) + reserve_bytes <=
         sealed_.size();
}

Result<void> TlsRecords::seal(std::span<iovec>& pieces) {
  clear_errors();
  while (!pieces.empty() && room()) {
    iovec& piece = pieces.front();
    auto* from = static_cast<std::byte*>(piece.iov_base);
    size_t taken = 0;
    if (piece.iov_len < gathered_piece_max) {
      taken = std::min(piece.iov_len, record_bytes_max - gathered_bytes_);
      std::memcpy(gathered_.data() + gathered_bytes_, from, taken);
      gathered_bytes_ += taken;
    } else if (gathered_bytes_ == 0) {
      taken = std::min(piece.iov_len, record_bytes_max);
      if (auto done = seal_record({from, taken}); !done) return done;
    }
    if (gathered_bytes_ == record_bytes_max || taken == 0) {
      if (auto done = seal_gathered(); !done) return done;
    }
    piece.iov_base = from + taken;
    piece.iov_len -= taken;
    if (piece.iov_len == 0) pieces = pieces.subspan(1);
  }
  return seal_gathered();
}

Result<void> TlsRecords::seal_gathered() {
  if (gathered_bytes_ == 0) return {};
  auto done = seal_record(std::span(gathered_).first(gathered_bytes_));
  gathered_bytes_ = 0;
  return done;
}

Result<void> TlsRecords::seal_record(std::span<const std::byte> plain) {
  if (++records_ > records_per_key) {
    if (auto updated = update_keys(); !updated) return updated;
  }
  if (SSL_write(ssl_.get(), plain.data(), static_cast<int>(plain.size())) > 0) return {};
  return std::unexpected(openssl_failure("cannot seal a TLS record to "));
}

Result<void> TlsRecords::update_keys() {
  records_ = 0;
  // It goes out before the next record.
  if (SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1) return {};
  return std::unexpected(openssl_failure("cannot change the TLS keys to "));
}

void TlsRecords::seal_end() {
  ERR_clear_error();
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

std::span<const std::byte> TlsRecords::sealed() const {
  return std::span(sealed_).subspan(sealed_begin_, sealed_end_ - sealed_begin_);
}

void TlsRecords::sent(size_t bytes) {
  sealed_begin_ += bytes;
  assert(sealed_begin_ <= sealed_end_);
  if (sealed_begin_ == sealed_end_) sealed_begin_ = sealed_end_ = 0;
}

// --- receiving ---

void TlsRecords::arrived(int result) {
  assert(arrived_begin_ == arrived_end_);
  arrived_begin_ = arrived_end_ = 0;
  if (result > 0) arrived_end_ = static_cast<size_t>(result);
  if (result < 0 && result != -EAGAIN && result != -EINTR) socket_error_ = -result;
}

size_t TlsRecords::take_arrived(char* to, size_t bytes_max) {
  const size_t bytes = std::min(bytes_max, arrived_end_ - arrived_begin_);
  std::memcpy(to, arrival_.data() + arrived_begin_, bytes);
  arrived_begin_ += bytes;
  // Less than there was room for: the socket is empty.
  if (arrived_begin_ == arrived_end_ && arrived_end_ < arrival_.size()) round_left_ = 0;
  return bytes;
}

void TlsRecords::begin_round() { round_left_ = round_bytes; }

Result<size_t> TlsRecords::open(std::span<std::byte> to) {
  assert(!to.empty());
  if (round_left_ == 0 && !holds_unopened()) return 0;
  clear_errors();
  for (;;) {
    size_t bytes = 0;
    const int result = SSL_read_ex(ssl_.get(), to.data(), to.size(), &bytes);
    if (result == 1) {
      other_records_ = 0;
      return bytes;
    }
    if (other_records_ > other_records_max) {
      return fail(peer_ + " sends TLS records that bring no data, and no end of them");
    }
    if (SSL_get_error(ssl_.get(), result) != SSL_ERROR_WANT_READ) {
      return std::unexpected(failure(result));
    }
    // A record without data ended the read, or there is no more.
    if (round_left_ == 0) return 0;
  }
}

bool TlsRecords::holds_unopened() const { return SSL_has_pending(ssl_.get()) == 1; }

// Why a read has failed for good.
Error TlsRecords::failure(int result) {
  if (SSL_get_error(ssl_.get(), result) == SSL_ERROR_ZERO_RETURN) {
    return {ErrorCode::unreachable, peer_ + " closed the connection"};
  }
  if (socket_error_ != 0) {
    ERR_clear_error();
    return errno_error(socket_error_, peer_);
  }
  if (end_of_file_) {
    ERR_clear_error();
    return {ErrorCode::unreachable, "the connection to " + peer_ +
                                        " was cut: it ended without the end that TLS promises "
                                        "(close_notify)"};
  }
  const int reason = ERR_GET_REASON(ERR_peek_last_error());
  if (reason == SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC) {
    return openssl_failure("a record was changed on its way, or is not from ");
  }
  if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST) {
    return openssl_failure("what came is no TLS, though the connection began with it: from ");
  }
  // An alert that was received has the reason 1000 + its number (RFC 8446, 6).
  return openssl_failure(reason >= SSL_AD_REASON_OFFSET ? "a TLS alert came from "
                                                        : "a TLS record that breaks a rule from ");
}

// "<what><peer>: <OpenSSL's reason>"; leaves OpenSSL's queue of errors empty.
Error TlsRecords::openssl_failure(std::string_view what) {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  std::string message(what);
  message += peer_;
  message += ": ";
  message += reason != nullptr ? reason : "no reason given";
  return {ErrorCode::failed, std::move(message)};
}

Result<void> TlsRecords::export_key(std::string_view label, std::span<const std::byte> context,
                                    std::span<std::byte> out) {
  ERR_clear_error();
  if (SSL_export_keying_material(ssl_.get(), reinterpret_cast<unsigned char*>(out.data()),
                                 out.size(), label.data(), label.size(),
                                 reinterpret_cast<const unsigned char*>(context.data()),
                                 context.size(), 1) == 1) {
    return {};
  }
  return std::unexpected(openssl_failure("cannot derive a key from the TLS connection to "));
}

}  // namespace farport
