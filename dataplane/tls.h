// TLS 1.3 under a link, by OpenSSL. The handshake is done by control (control/trust); a link gets
// the established connection and uses its record layer only, over memory of its own: nothing is
// allocated for a record, and what the records of an iteration need leaves in one send.
//
// Copies on the way: OpenSSL's own one each way (it seals and opens in buffers of its own), and
// sealed bytes once more into the block that is sent. Received bytes come from the socket straight
// into OpenSSL's buffer and are opened straight into where they belong.
//
// Thread rule: one thread at a time; from the handshake's to the worker's with the object.
#pragma once

#include <openssl/types.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/error.h"

namespace farport {

struct SslFree {
  void operator()(SSL* ssl) const;
};
using UniqueSsl = std::unique_ptr<SSL, SslFree>;

// What a link needs of a context besides keys and who is trusted: TLS 1.3 only, no session tickets
// (a session resumes by its own numbers), the faster cipher first, room to read many records at
// once. usage: OpenSSL lacks what it needs.
Result<void> prepare_tls_context(SSL_CTX& context);

// The TLS 1.3 cipher suites, the one that this processor does faster first, as
// SSL_CTX_set_ciphersuites() takes them. Measured once, in about a millisecond.
const char* tls_cipher_suites();

// The record layer of one connection.
class TlsRecords {
 public:
  // What a record carries at most (RFC 8446, 5.1) and adds at most in OpenSSL's buffer (5.2).
  static constexpr size_t record_bytes_max = 16 << 10;
  static constexpr size_t record_overhead_max = 256;
  // Records under one key. The bound of AES-GCM is 2^24.5 full-size ones (RFC 8446, 5.5).
  static constexpr uint64_t records_per_key = uint64_t{1} << 23;
  // Records in a row that bring no data (key updates and the like) before the peer is let go.
  static constexpr unsigned other_records_max = 64;

  // `ssl`: its handshake is finished; what it has read ahead is kept. `socket`: of the connection,
  // outlives this. `peer`: for messages.
  TlsRecords(UniqueSsl ssl, int socket, std::string peer);
  ~TlsRecords();
  TlsRecords(const TlsRecords&) = delete;
  TlsRecords& operator=(const TlsRecords&) = delete;

  // --- sending ---
  // Seals from the front of `pieces`, for which there is room, and takes it off them.
  Result<void> seal(std::span<iovec>& pieces);
  // The last record: the connection ends in order (RFC 8446, 6.1). Nothing may be sealed after it.
  void seal_end();
  // Takes new keys for what is sealed from now on (RFC 8446, 4.6.3).
  Result<void> update_keys();
  // What waits to be sent. It stays where it is until sent() has taken all of it.
  std::span<const std::byte> sealed() const;
  void sent(size_t bytes);

  // --- receiving ---
  // Where the ring may receive the beginning of what comes next, which saves a sleeping worker a
  // call; then what became of it: bytes, 0 at the end, -errno. Otherwise open() reads by itself.
  std::span<std::byte> arrival() { return arrival_; }
  void arrived(int result);
  // A new round: open() may read from the socket again, up to a bound and until it is empty.
  void begin_round();
  // Opens into `to` (not empty). 0: no more in this round. unreachable: the peer has closed, in
  // order or not. failed: what came is no TLS, was changed on its way, or breaks a rule.
  Result<size_t> open(std::span<std::byte> to);
  // Something was read before and can be opened without the socket.
  bool holds_unopened() const;

  // RFC 8446, 7.5.
  Result<void> export_key(std::string_view label, std::span<const std::byte> context,
                          std::span<std::byte> out);

 private:
  // Short pieces are gathered into one record: the copy is cheaper than a record of their own.
  static constexpr size_t gathered_piece_max = 8 << 10;
  // Sealed at once, then sent: the other end opens it while the next is sealed.
  static constexpr size_t round_records = 8;
  // Key updates and alerts of OpenSSL's own find room behind the data.
  static constexpr size_t reserve_bytes = 4 << 10;
  static constexpr size_t sealed_bytes_max =
      round_records * (record_bytes_max + record_overhead_max) + reserve_bytes;
  static constexpr size_t round_bytes = 128 << 10;

  friend struct TlsBio;
  bool room() const;
  size_t take_arrived(char* to, size_t bytes_max);
  Result<void> seal_record(std::span<const std::byte> plain);
  Result<void> seal_gathered();
  Error failure(int result);
  Error openssl_failure(std::string_view what);

  UniqueSsl ssl_;
  int socket_;
  std::string peer_;

  std::vector<std::byte> sealed_;
  size_t sealed_begin_ = 0;
  size_t sealed_end_ = 0;
  std::vector<std::byte> gathered_;
  size_t gathered_bytes_ = 0;
  uint64_t records_ = 0;  // since the last key

  std::array<std::byte, 4096> arrival_;
  size_t arrived_begin_ = 0;
  size_t arrived_end_ = 0;
  size_t round_left_ = 0;  // bytes that may still be read in this round
  bool end_of_file_ = false;
  int socket_error_ = 0;
  unsigned other_records_ = 0;  // in a row
};

}  // namespace farport
