#include "dataplane/tls.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace farport {

namespace {

// --- which cipher ---

// Nanoseconds that sealing 64 KiB takes, in pieces as records have them; 0: it cannot be done.
uint64_t seal_ns(Aead& aead, std::span<std::byte> block) {
  constexpr int kRecords = 4;
  const std::array<std::byte, 5> header{};
  const iovec piece{block.data(), block.size() - Aead::tag_bytes};
  timespec begin{};
  timespec end{};
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (int i = 0; i < kRecords; ++i) {
    if (!aead.seal({}, header, std::span(&piece, 1), block.data())) return 0;
  }
  clock_gettime(CLOCK_MONOTONIC, &end);
  return static_cast<uint64_t>((end.tv_sec - begin.tv_sec) * 1'000'000'000 + end.tv_nsec -
                               begin.tv_nsec);
}

// The least of several tries: what else the machine does only adds.
uint64_t least_seal_ns(Aead::Kind kind) {
  const auto aead = Aead::make(kind, Aead::Use::seal);
  const std::array<std::byte, Aead::key_bytes_max> key{};
  if (!aead || !aead->set_key(std::span(key).first(Aead::key_bytes(kind)))) return 0;
  std::vector<std::byte> block((16 << 10) + Aead::tag_bytes);
  uint64_t least = seal_ns(*aead, block);
  for (int i = 0; i < 8 && least != 0; ++i) least = std::min(least, seal_ns(*aead, block));
  return least;
}

bool aes_is_faster() {
  const uint64_t aes = least_seal_ns(Aead::Kind::aes_128_gcm);
  const uint64_t chacha = least_seal_ns(Aead::Kind::chacha20_poly1305);
  ERR_clear_error();
  // Where they are about equal it is not left to chance.
  return chacha == 0 || (aes != 0 && aes <= chacha + chacha / 8);
}

// --- what OpenSSL tells of a connection while it has it ---

struct Seen {
  TlsSecret client;
  TlsSecret server;
  uint64_t sealed = 0;  // records under them
  uint64_t opened = 0;
  bool keys_changed = false;
};

int seen_index() {
  static const int index = SSL_get_ex_new_index(
      0, nullptr, nullptr, nullptr, [](void*, void* seen, CRYPTO_EX_DATA*, int, long, void*) {
        delete static_cast<Seen*>(seen);
      });
  return index;
}

Seen* seen_of(const SSL* ssl) { return static_cast<Seen*>(SSL_get_ex_data(ssl, seen_index())); }

std::optional<TlsSecret> secret_from(std::string_view hex) {
  std::array<std::byte, TlsSecret::bytes_max> bytes;
  if (hex.size() != 64 && hex.size() != 96) return {};
  const auto digit = [](char c) {
    return c <= '9' ? c - '0' : c <= 'F' ? c - 'A' + 10 : c - 'a' + 10;
  };
  for (size_t i = 0; i < hex.size() / 2; ++i) {
    bytes[i] = static_cast<std::byte>(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
  }
  const TlsSecret secret{std::span(bytes).first(hex.size() / 2)};
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return secret;
}

// "LABEL <client's random> <secret>", in hexadecimal; of all the labels two matter here.
void note_secret(const SSL* ssl, const char* text) {
  const std::string_view line(text);
  const bool client = line.starts_with("CLIENT_TRAFFIC_SECRET_0 ");
  if (!client && !line.starts_with("SERVER_TRAFFIC_SECRET_0 ")) return;
  const auto secret = secret_from(line.substr(line.rfind(' ') + 1));
  Seen* seen = seen_of(ssl);
  if (seen == nullptr) {
    seen = new (std::nothrow) Seen();
    // OpenSSL shows it as constant only because most callers just write the line to a file.
    if (seen == nullptr || SSL_set_ex_data(const_cast<SSL*>(ssl), seen_index(), seen) != 1) {
      delete seen;
      return;
    }
  }
  if (secret) (client ? seen->client : seen->server) = *secret;
}

// Told of each record's inner type and of each handshake message. The records of the handshake
// itself are under other keys.
void note_message(int is_written, int, int type, const void* data, size_t bytes, SSL* ssl, void*) {
  Seen* seen = seen_of(ssl);
  if (seen == nullptr || bytes == 0) return;
  if (type == SSL3_RT_INNER_CONTENT_TYPE && SSL_is_init_finished(ssl) == 1) {
    ++(is_written != 0 ? seen->sealed : seen->opened);
  } else if (type == SSL3_RT_HANDSHAKE &&
             *static_cast<const unsigned char*>(data) == SSL3_MT_KEY_UPDATE) {
    seen->keys_changed = true;
  }
}

std::optional<Aead::Kind> cipher_of(const SSL& ssl) {
  const SSL_CIPHER* cipher = SSL_get_current_cipher(&ssl);
  switch (cipher == nullptr ? 0 : SSL_CIPHER_get_protocol_id(cipher)) {  // RFC 8446, B.4
    case 0x1301:
      return Aead::Kind::aes_128_gcm;
    case 0x1302:
      return Aead::Kind::aes_256_gcm;
    case 0x1303:
      return Aead::Kind::chacha20_poly1305;
    default:
      return {};
  }
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
  // What it had read and not opened would be lost to the link.
  SSL_CTX_set_read_ahead(&context, 0);
  SSL_CTX_set_keylog_callback(&context, &note_secret);
  SSL_CTX_set_msg_callback(&context, &note_message);
  return {};
}

Result<TlsTraffic> take_traffic(SSL& ssl, std::string_view peer) {
  Seen* seen = seen_of(&ssl);
  const auto cipher = cipher_of(ssl);
  if (SSL_is_init_finished(&ssl) != 1 || !cipher || seen == nullptr ||
      seen->client.bytes().empty() || seen->server.bytes().empty()) {
    return fail(ErrorCode::usage, "the TLS connection to " + std::string(peer) +
                                      " has no keys for a session: its handshake is not finished, "
                                      "or was not prepared for one");
  }
  TlsTraffic traffic;
  // Opened by OpenSSL and not asked for: at most a record's.
  while (const int pending = SSL_pending(&ssl)) {
    const size_t before = traffic.early.size();
    traffic.early.resize(before + static_cast<size_t>(pending));
    size_t bytes = 0;
    if (SSL_read_ex(&ssl, traffic.early.data() + before, static_cast<size_t>(pending), &bytes) !=
        1) {
      ERR_clear_error();
      return fail("what came first from " + std::string(peer) + " cannot be read");
    }
    traffic.early.resize(before + bytes);
  }
  if (seen->keys_changed) {
    return fail(std::string(peer) +
                " changed its TLS keys before the session had begun, which no session does");
  }
  if (SSL_has_pending(&ssl) == 1 || SSL_want_write(&ssl)) {
    return fail("the session with " + std::string(peer) +
                " was to begin in the middle of a TLS record");
  }
  traffic.cipher = *cipher;
  traffic.connecting = SSL_is_server(&ssl) == 0;
  traffic.sealing = traffic.connecting ? seen->client : seen->server;
  traffic.opening = traffic.connecting ? seen->server : seen->client;
  traffic.sealed = seen->sealed;
  traffic.opened = seen->opened;
  seen->client = seen->server = {};  // or new keys could be derived from the old ones' (7.2)
  return traffic;
}

}  // namespace farport
