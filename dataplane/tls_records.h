// The record layer of one TLS 1.3 connection (RFC 8446, section 5), on the memory of a link and by
// its calls: nothing is allocated for a record, and nothing is copied that matters. What is sent is
// sealed from where it lies straight into the block that leaves; what comes is received into one
// block and opened from there straight to where it belongs. Of a record nothing is looked at before
// its tag is found right.
//
// Besides data it takes and gives key updates and alerts; session tickets are ignored.
//
// Thread rule: one thread at a time.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/error.h"
#include "dataplane/tls.h"
#include "dataplane/tls_keys.h"

namespace farport {

class TlsRecords {
 public:
  // What a record carries at most (RFC 8446, 5.1). The type of its content and zeros as padding
  // come to it, and the tag; in all it may be longer by the overhead (5.2).
  static constexpr size_t record_bytes_max = 16 << 10;
  static constexpr size_t record_overhead_max = 256;
  static constexpr size_t header_bytes = 5;
  // Records under one key. The bound of AES-GCM is 2^24.5 full-size ones (RFC 8446, 5.5).
  static constexpr uint64_t records_per_key = uint64_t{1} << 23;
  // Records in a row that bring no data (key updates and the like) before the peer is let go.
  static constexpr unsigned other_records_max = 64;
  // Sealed at once at most, then sent: a whole batch of SocketLink's, what its records add, and
  // room for one record more (see room()).
  static constexpr size_t sealed_bytes_max = 608 << 10;

  // `ssl`: its handshake is finished, its context one of prepare_tls_context(). `socket`: of the
  // connection, outlives this. `peer`: for messages. If it cannot be taken over, the first call to
  // seal() or open() says why.
  TlsRecords(UniqueSsl ssl, int socket, std::string peer);
  TlsRecords(Result<TlsTraffic> traffic, int socket, std::string peer,
             uint64_t records_per_key_max = records_per_key);
  TlsRecords(const TlsRecords&) = delete;
  TlsRecords& operator=(const TlsRecords&) = delete;

  // --- sending ---
  // Seals from the front of `pieces`, until there are `part_bytes` or no more room, and takes it
  // off them; before them what there is to say of keys.
  Result<void> seal(std::span<iovec>& pieces, size_t part_bytes = sealed_bytes_max);
  // The last record: the connection ends in order (RFC 8446, 6.1). Nothing may be sealed after it.
  void seal_end();
  // From the next seal() on there are new keys (RFC 8446, 4.6.3).
  void update_keys() { update_due_ = true; }
  // seal() has something to send, even without pieces; or sealed() is not empty.
  bool has_to_send() const { return update_due_ || sealed_begin_ != sealed_end_; }
  // What waits to be sent. It stays where it is until sent() has taken all of it.
  std::span<const std::byte> sealed() const;
  void sent(size_t bytes);

  // --- receiving ---
  // A round opens what is there, and receives for that up to a bound and until the socket is empty.
  // It begins with begin_round(), or, for a worker that sleeps, with what the ring has received:
  // arrival() is where it may, arrived() what became of that: bytes, 0 at the end, -errno.
  void begin_round() { round_left_ = round_bytes; }
  std::span<std::byte> arrival();
  void arrived(int result);
  // Opens one record that has data, into `first` and what is more into `rest`, which has room for
  // a whole record and a byte. Memory behind the data is written to as well. The bytes of data; 0:
  // no more in this round. unreachable: the peer has closed, in order or not. failed: what came is
  // no TLS, was changed on its way, or breaks a rule; what to answer waits in sealed().
  Result<size_t> open(std::span<std::byte> first, std::span<std::byte> rest);
  // The socket gave less than there was room for: it was empty then.
  bool drained() const { return drained_; }
  // open() has something to say without the socket.
  bool holds_unopened() const { return fault_.has_value() || !traffic_.early.empty(); }

  // RFC 8446, 7.5.
  Result<void> export_key(std::string_view label, std::span<const std::byte> context,
                          std::span<std::byte> out);

 private:
  // A piece of this length begins a record, so that it can be opened right where it belongs. A
  // shorter one is copied there for less than a record of its own costs.
  static constexpr size_t own_record_bytes_min = 8 << 10;
  static constexpr size_t record_pieces_max = 64;
  // A record up to here is sealed and opened in one block and copied: that is faster.
  static constexpr size_t copied_bytes_max = 1 << 10;
  // Of the sealed bytes, for a key update and an alert.
  static constexpr size_t reserve_bytes = 256;
  static constexpr size_t received_bytes_max = 144 << 10;
  static constexpr size_t round_bytes = 256 << 10;

  bool room() const;
  bool seal_record(uint8_t type, std::span<iovec> pieces, size_t bytes);
  bool seal_update();
  void seal_alert(uint8_t level, uint8_t description);
  void take(int result);
  bool receive();
  Result<std::span<std::byte>> next_record();
  Result<size_t> open_record(std::span<std::byte> record, std::span<std::byte> first,
                             std::span<std::byte> rest);
  Result<void> take_other(uint8_t type, std::span<const std::byte> content);
  Result<void> take_alert(std::span<const std::byte> content);
  Result<void> take_handshake(std::span<const std::byte> content);
  std::unexpected<Error> end_of_stream();
  std::unexpected<Error> refuse(uint8_t alert, std::string why);
  std::unexpected<Error> give_up(ErrorCode code, std::string why);

  UniqueSsl ssl_;  // for exporting keys; may be null
  TlsTraffic traffic_;
  int socket_;
  std::string peer_;
  uint64_t records_per_key_max_;
  std::optional<Error> fault_;  // after it nothing is opened

  TlsKeys sealing_;
  // sealed_bytes_max of them. Most links never fill it, and what is not written to is no memory.
  std::unique_ptr<std::byte[]> sealed_;
  size_t sealed_begin_ = 0;
  size_t sealed_end_ = 0;
  bool update_due_ = false;

  TlsKeys opening_;
  std::vector<std::byte> received_;
  size_t received_begin_ = 0;  // of what is not opened yet
  size_t received_end_ = 0;
  size_t early_begin_ = 0;
  size_t round_left_ = 0;  // bytes that may still be received in this round
  bool drained_ = false;
  bool end_of_file_ = false;
  int socket_error_ = 0;
  unsigned other_records_ = 0;  // in a row
};

}  // namespace farport
