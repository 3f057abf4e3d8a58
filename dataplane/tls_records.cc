#include "dataplane/tls_records.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>

namespace farport {

namespace {

// RFC 8446, 5.1 and B.1.
constexpr uint8_t kChangeCipherSpec = 20;
constexpr uint8_t kAlert = 21;
constexpr uint8_t kHandshake = 22;
constexpr uint8_t kApplicationData = 23;
// RFC 8446, 4.
constexpr uint8_t kNewSessionTicket = 4;
constexpr uint8_t kKeyUpdate = 24;
// RFC 8446, 6.
constexpr uint8_t kWarning = 1;
constexpr uint8_t kFatal = 2;
constexpr uint8_t kUserCanceled = 90;

std::string number(uint8_t value) { return std::to_string(value); }

}  // namespace

TlsRecords::TlsRecords(UniqueSsl ssl, int socket, std::string peer)
    : TlsRecords(take_traffic(*ssl, peer), socket, peer) {
  ssl_ = std::move(ssl);
}

TlsRecords::TlsRecords(Result<TlsTraffic> traffic, int socket, std::string peer,
                       uint64_t records_per_key_max)
    : socket_(socket),
      peer_(std::move(peer)),
      records_per_key_max_(records_per_key_max),
      sealed_(std::make_unique_for_overwrite<std::byte[]>(sealed_bytes_max)),
      received_(received_bytes_max) {
  if (!traffic) {
    fault_ = std::move(traffic.error());
    return;
  }
  traffic_ = std::move(*traffic);
  if (!sealing_.begin(traffic_.cipher, Aead::Use::seal, traffic_.sealing, traffic_.sealed) ||
      !opening_.begin(traffic_.cipher, Aead::Use::open, traffic_.opening, traffic_.opened)) {
    ERR_clear_error();
    fault_ = Error{ErrorCode::failed, "OpenSSL cannot make the TLS keys of the link to " + peer_};
  }
  traffic_.sealing = traffic_.opening = {};  // TlsKeys has them now
}

// --- sending ---

bool TlsRecords::room() const {
  return sealed_end_ + header_bytes + record_bytes_max + 1 + Aead::tag_bytes + reserve_bytes <=
         sealed_bytes_max;
}

Result<void> TlsRecords::seal(std::span<iovec>& pieces, size_t part_bytes) {
  if (fault_) return std::unexpected(*fault_);
  bool done = true;
  while (done && room() && sealed().size() < part_bytes && (update_due_ || !pieces.empty())) {
    if (update_due_ || sealing_.records() >= records_per_key_max_) {
      done = seal_update();
      continue;
    }
    std::array<iovec, record_pieces_max + 1> record;
    size_t count = 0;
    size_t bytes = 0;
    while (!pieces.empty() && count < record_pieces_max && bytes < record_bytes_max) {
      iovec& piece = pieces.front();
      if (bytes != 0 && piece.iov_len >= own_record_bytes_min) break;
      const size_t taken = std::min(piece.iov_len, record_bytes_max - bytes);
      if (taken != 0) record[count++] = {piece.iov_base, taken};
      bytes += taken;
      piece.iov_base = static_cast<std::byte*>(piece.iov_base) + taken;
      piece.iov_len -= taken;
      if (piece.iov_len == 0) pieces = pieces.subspan(1);
    }
    if (bytes != 0) done = seal_record(kApplicationData, std::span(record).first(count + 1), bytes);
  }
  if (done) return {};
  ERR_clear_error();
  return give_up(ErrorCode::failed, "cannot seal a TLS record to " + peer_);
}

// One record of the pieces, whose last is free for the type of the content; there is room for it.
bool TlsRecords::seal_record(uint8_t type, std::span<iovec> pieces, size_t bytes) {
  const auto length = static_cast<uint16_t>(bytes + 1 + Aead::tag_bytes);
  const auto header = std::span(sealed_.get() + sealed_end_, header_bytes);
  const std::array<uint8_t, header_bytes> values{
      kApplicationData, 3, 3, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)};
  std::memcpy(header.data(), values.data(), values.size());
  std::byte* to = header.data() + header_bytes;
  assert(sealed_end_ + header_bytes + length <= sealed_bytes_max);
  pieces.back() = {&type, 1};
  iovec block{to, bytes + 1};
  if (bytes <= copied_bytes_max) {
    std::byte* at = to;
    for (const iovec& piece : pieces) {
      std::memcpy(at, piece.iov_base, piece.iov_len);
      at += piece.iov_len;
    }
    pieces = std::span(&block, 1);
  }
  if (!sealing_.seal(header, pieces, to)) return false;
  sealed_end_ += header_bytes + length;
  return true;
}

bool TlsRecords::seal_update() {
  update_due_ = false;
  std::array<uint8_t, 5> message{kKeyUpdate, 0, 0, 1, 0};  // update_not_requested
  std::array<iovec, 2> pieces{iovec{message.data(), message.size()}, iovec{}};
  return seal_record(kHandshake, pieces, message.size()) && sealing_.update();
}

void TlsRecords::seal_alert(uint8_t level, uint8_t description) {
  std::array<uint8_t, 2> message{level, description};
  std::array<iovec, 2> pieces{iovec{message.data(), message.size()}, iovec{}};
  if (sealed_end_ + reserve_bytes / 2 > sealed_bytes_max) return;
  if (!seal_record(kAlert, pieces, message.size())) ERR_clear_error();
}

void TlsRecords::seal_end() {
  if (!fault_) seal_alert(kWarning, SSL_AD_CLOSE_NOTIFY);
}

std::span<const std::byte> TlsRecords::sealed() const {
  return std::span(sealed_.get() + sealed_begin_, sealed_end_ - sealed_begin_);
}

void TlsRecords::sent(size_t bytes) {
  sealed_begin_ += bytes;
  assert(sealed_begin_ <= sealed_end_);
  if (sealed_begin_ == sealed_end_) sealed_begin_ = sealed_end_ = 0;
}

// --- receiving ---

// Behind what is there: at most the beginning of a record, which moves to the front.
std::span<std::byte> TlsRecords::arrival() {
  if (received_begin_ != 0) {
    const size_t bytes = received_end_ - received_begin_;
    if (bytes != 0) std::memmove(received_.data(), received_.data() + received_begin_, bytes);
    received_begin_ = 0;
    received_end_ = bytes;
  }
  return std::span(received_).subspan(received_end_);
}

void TlsRecords::arrived(int result) {
  begin_round();
  take(result);
}

// Of one receive into arrival(): its bytes, 0, or -errno.
void TlsRecords::take(int result) {
  const size_t room = received_.size() - received_end_;
  const size_t bytes = result > 0 ? static_cast<size_t>(result) : 0;
  assert(received_begin_ == 0 && bytes <= room);
  received_end_ += bytes;
  drained_ = bytes < room;
  round_left_ = drained_ || bytes > round_left_ ? 0 : round_left_ - bytes;
  if (result == 0) end_of_file_ = true;
  if (result < 0 && result != -EAGAIN && result != -EINTR) socket_error_ = -result;
}

bool TlsRecords::receive() {
  if (round_left_ == 0 || end_of_file_ || socket_error_ != 0) return false;
  const auto to = arrival();
  const ssize_t got = recv(socket_, to.data(), to.size(), MSG_DONTWAIT);
  take(got < 0 ? -errno : static_cast<int>(got));
  return got > 0;
}

Result<size_t> TlsRecords::open(std::span<std::byte> first, std::span<std::byte> rest) {
  assert(rest.size() > record_bytes_max);
  if (fault_) return std::unexpected(*fault_);
  if (!traffic_.early.empty()) {
    const auto to = first.empty() ? rest : first;
    const size_t bytes = std::min(to.size(), traffic_.early.size() - early_begin_);
    std::memcpy(to.data(), traffic_.early.data() + early_begin_, bytes);
    early_begin_ += bytes;
    if (early_begin_ == traffic_.early.size()) traffic_.early.clear();
    return bytes;
  }
  for (;;) {
    const auto record = next_record();
    if (!record) return std::unexpected(record.error());
    if (record->empty()) {
      if (receive()) continue;
      if (end_of_file_ || socket_error_ != 0) return end_of_stream();
      return 0;
    }
    const auto opened = open_record(*record, first, rest);
    if (!opened || *opened != 0) {
      other_records_ = 0;
      return opened;
    }
    if (++other_records_ > other_records_max) {
      return refuse(SSL_AD_UNEXPECTED_MESSAGE,
                    peer_ + " sends TLS records that bring no data, and no end of them");
    }
  }
}

// Header and ciphertext, and takes them off what was received; empty: not all of it is there yet.
Result<std::span<std::byte>> TlsRecords::next_record() {
  const auto there = std::span(received_).subspan(received_begin_, received_end_ - received_begin_);
  if (there.size() < header_bytes) return std::span<std::byte>();
  const auto at = [&](size_t i) { return static_cast<uint8_t>(there[i]); };
  if (at(0) < kChangeCipherSpec || at(0) > kApplicationData || at(1) != 3) {
    return refuse(SSL_AD_PROTOCOL_VERSION,
                  "what came is no TLS, though the connection began with it: from " + peer_);
  }
  // Everything else than data is inside, since the handshake (RFC 8446, 5).
  if (at(0) != kApplicationData) {
    return refuse(SSL_AD_UNEXPECTED_MESSAGE, "a TLS record that breaks a rule from " + peer_ +
                                                 ": it is not sealed, of type " + number(at(0)));
  }
  const size_t bytes = size_t{at(3)} << 8 | at(4);
  if (bytes > record_bytes_max + record_overhead_max) {
    return refuse(SSL_AD_RECORD_OVERFLOW,
                  "a TLS record that breaks a rule from " + peer_ + ": it is too long");
  }
  if (there.size() < header_bytes + bytes) return std::span<std::byte>();
  received_begin_ += header_bytes + bytes;
  return there.first(header_bytes + bytes);
}

// The bytes of data in it.
Result<size_t> TlsRecords::open_record(std::span<std::byte> record, std::span<std::byte> first,
                                       std::span<std::byte> rest) {
  const auto header = record.first(header_bytes);
  const auto sealed = record.subspan(header_bytes);
  if (sealed.size() > record_bytes_max + 1 + Aead::tag_bytes) {
    return refuse(SSL_AD_RECORD_OVERFLOW,
                  "a TLS record that breaks a rule from " + peer_ + ": its content is too long");
  }
  // Content, its type, zeros (RFC 8446, 5.2).
  size_t bytes = sealed.size() < Aead::tag_bytes ? 0 : sealed.size() - Aead::tag_bytes;
  const bool in_place = bytes <= copied_bytes_max;
  std::array<iovec, 2> places{iovec{first.data(), std::min(first.size(), bytes)},
                              iovec{rest.data(), bytes - std::min(first.size(), bytes)}};
  std::span<iovec> pieces(places);
  if (in_place) places[0] = {sealed.data(), bytes};
  if (in_place || places[1].iov_len == 0) pieces = pieces.first(1);
  if (places[0].iov_len == 0) pieces = pieces.last(1);
  if (bytes == 0 || !opening_.open(header, sealed, pieces)) {
    ERR_clear_error();
    return refuse(SSL_AD_BAD_RECORD_MAC,
                  "a record was changed on its way, or is not from " + peer_);
  }
  const size_t in_first = pieces[0].iov_len;
  const auto at = [&](size_t i) -> uint8_t {
    const iovec& piece = pieces[i < in_first ? 0 : 1];
    return static_cast<const uint8_t*>(piece.iov_base)[i < in_first ? i : i - in_first];
  };
  while (bytes != 0 && at(bytes - 1) == 0) --bytes;
  const uint8_t type = bytes == 0 ? 0 : at(--bytes);
  if (type == kApplicationData) {
    if (in_place) {
      const size_t direct = std::min(first.size(), bytes);
      if (direct != 0) std::memcpy(first.data(), sealed.data(), direct);
      if (bytes > direct) std::memcpy(rest.data(), sealed.data() + direct, bytes - direct);
    }
    return bytes;
  }
  if (!in_place) {  // where the ciphertext was
    std::byte* to = sealed.data();
    for (const iovec& piece : pieces) {
      std::memcpy(to, piece.iov_base, piece.iov_len);
      to += piece.iov_len;
    }
  }
  if (auto taken = take_other(type, sealed.first(bytes)); !taken) {
    return std::unexpected(taken.error());
  }
  return 0;
}

Result<void> TlsRecords::take_other(uint8_t type, std::span<const std::byte> content) {
  if (type == kAlert) return take_alert(content);
  if (type == kHandshake) return take_handshake(content);
  return refuse(SSL_AD_UNEXPECTED_MESSAGE, "a TLS record that breaks a rule from " + peer_ +
                                               ": its content is of type " + number(type));
}

Result<void> TlsRecords::take_alert(std::span<const std::byte> content) {
  if (content.size() != 2) {
    return refuse(SSL_AD_DECODE_ERROR,
                  "a TLS record that breaks a rule from " + peer_ + ": no alert is that long");
  }
  const auto description = static_cast<uint8_t>(content[1]);
  if (description == SSL_AD_CLOSE_NOTIFY) {
    return give_up(ErrorCode::unreachable, peer_ + " closed the connection");
  }
  if (description == kUserCanceled) return {};  // close_notify follows (RFC 8446, 6.1)
  return give_up(ErrorCode::failed, "a TLS alert came from " + peer_ + ": " +
                                        SSL_alert_desc_string_long(description) + " (" +
                                        number(description) + ")");
}

// Whole messages only: those that come here are short, and none that matters is ever split.
Result<void> TlsRecords::take_handshake(std::span<const std::byte> content) {
  const auto broken = [this](uint8_t alert, const char* why) {
    return refuse(alert, "a TLS record that breaks a rule from " + peer_ + ": " + why);
  };
  if (content.empty()) return broken(SSL_AD_UNEXPECTED_MESSAGE, "a handshake without content");
  while (!content.empty()) {
    if (content.size() < 4) return broken(SSL_AD_DECODE_ERROR, "a cut handshake message");
    const auto at = [&](size_t i) { return static_cast<uint8_t>(content[i]); };
    const size_t bytes = size_t{at(1)} << 16 | size_t{at(2)} << 8 | at(3);
    if (content.size() < 4 + bytes) return broken(SSL_AD_DECODE_ERROR, "a cut handshake message");
    if (at(0) == kKeyUpdate) {
      if (bytes != 1) return broken(SSL_AD_DECODE_ERROR, "a key update of another length");
      if (at(4) > 1) return broken(SSL_AD_ILLEGAL_PARAMETER, "a key update that asks for nothing");
      // The next keys begin with a record (RFC 8446, 5.1).
      if (content.size() != 5) {
        return broken(SSL_AD_UNEXPECTED_MESSAGE, "something follows a key update in its record");
      }
      if (at(4) == 1) update_due_ = true;
      if (!opening_.update()) {
        ERR_clear_error();
        return give_up(ErrorCode::failed, "OpenSSL cannot make new TLS keys for " + peer_);
      }
    } else if (at(0) != kNewSessionTicket || !traffic_.connecting) {
      return broken(SSL_AD_UNEXPECTED_MESSAGE, "a handshake message out of its turn");
    }
    content = content.subspan(4 + bytes);
  }
  return {};
}

// --- ending ---

std::unexpected<Error> TlsRecords::end_of_stream() {
  if (socket_error_ != 0) return std::unexpected(fault_.emplace(errno_error(socket_error_, peer_)));
  return give_up(ErrorCode::unreachable, "the connection to " + peer_ +
                                             " was cut: it ended without the end that TLS promises "
                                             "(close_notify)");
}

// Tells the peer, too.
std::unexpected<Error> TlsRecords::refuse(uint8_t alert, std::string why) {
  seal_alert(kFatal, alert);
  return give_up(ErrorCode::failed, std::move(why));
}

std::unexpected<Error> TlsRecords::give_up(ErrorCode code, std::string why) {
  return std::unexpected(fault_.emplace(Error{code, std::move(why)}));
}

Result<void> TlsRecords::export_key(std::string_view label, std::span<const std::byte> context,
                                    std::span<std::byte> out) {
  ERR_clear_error();
  if (ssl_ && SSL_export_keying_material(ssl_.get(), reinterpret_cast<unsigned char*>(out.data()),
                                         out.size(), label.data(), label.size(),
                                         reinterpret_cast<const unsigned char*>(context.data()),
                                         context.size(), 1) == 1) {
    return {};
  }
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  std::string message = "cannot derive a key from the TLS connection to " + peer_ + ": " +
                        (reason != nullptr ? reason : "no reason given");
  ERR_clear_error();
  return fail(std::move(message));
}

}  // namespace farport
