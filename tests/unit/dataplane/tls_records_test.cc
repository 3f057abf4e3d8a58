// The record layer by itself: published vectors, what a peer that has the keys may send, and the
// same connection carried on by OpenSSL at the other end.
#include "dataplane/tls_records.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <random>

#include "bench/throwaway_tls.h"
#include "dataplane/file_descriptor.h"
#include "tests/unit/dataplane/record_forger.h"

namespace farport {
namespace {

using Bytes = std::vector<std::byte>;

Bytes from_hex(std::string_view hex) {
  Bytes bytes;
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(digit(hex[i]) << 4 | digit(hex[i + 1])));
  }
  return bytes;
}

std::array<FileDescriptor, 2> socket_pair() {
  int pair[2] = {-1, -1};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  return {FileDescriptor(pair[0]), FileDescriptor(pair[1])};
}

void write_all(int socket, std::span<const std::byte> bytes) {
  ASSERT_EQ(::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL), ssize_t(bytes.size()));
}

// Opens what is there; into a small `first` each time, so that records are cut in two.
Result<Bytes> open_all(TlsRecords& records, size_t first_bytes = 7) {
  Bytes all;
  Bytes first(first_bytes);
  Bytes rest(TlsRecords::record_bytes_max + 1);
  records.begin_round();
  for (;;) {
    const auto opened = records.open(first, rest);
    if (!opened) return std::unexpected(opened.error());
    if (*opened == 0) return all;
    const size_t direct = std::min(*opened, first.size());
    all.insert(all.end(), first.begin(), first.begin() + static_cast<ptrdiff_t>(direct));
    all.insert(all.end(), rest.begin(), rest.begin() + static_cast<ptrdiff_t>(*opened - direct));
  }
}

// Seals all of it, in pieces cut at random, and takes it.
Bytes seal_all(TlsRecords& records, Bytes plain, std::mt19937_64& random) {
  std::vector<iovec> cut;
  for (size_t at = 0; at < plain.size();) {
    const size_t bytes = std::min<size_t>(plain.size() - at, 1 + random() % 40'000);
    cut.push_back({plain.data() + at, bytes});
    at += bytes;
  }
  std::span<iovec> pieces(cut);
  Bytes all;
  do {
    EXPECT_TRUE(records.seal(pieces));
    const auto sealed = records.sealed();
    all.insert(all.end(), sealed.begin(), sealed.end());
    records.sent(sealed.size());
  } while (!pieces.empty());
  return all;
}

// --- RFC 8448, section 3 ---

class Rfc8448Test : public testing::Test {
 protected:
  static TlsTraffic traffic(bool client) {
    const TlsSecret of_client(
        from_hex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"));
    const TlsSecret of_server(
        from_hex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"));
    TlsTraffic made;
    made.connecting = client;
    made.sealing = client ? of_client : of_server;
    made.opening = client ? of_server : of_client;
    return made;
  }
  Rfc8448Test() {
    for (int i = 0; i < 50; ++i) data_.push_back(static_cast<std::byte>(i));
  }

  std::array<FileDescriptor, 2> sockets_ = socket_pair();
  Bytes data_;
  std::mt19937_64 random_{1};
  const Bytes ticket_ = from_hex(
      "17030300de3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d41d6af8f6b580dcf3d11d63c758db"
      "289a015940252f55713e061dc13e078891a38efbcf5753ad8ef170ad3c7353d16d9da773b9ca7f2b9fa1b6c0d4a3"
      "d03f75e09c30ba1e62972ac46f75f7b981be63439b2999ce13064615139891d5e4c5b406f16e3fc181a77ca47584"
      "0025db2f0a77f81b5ab05b94c01346755f69232c86519d86cbeeac87aac347d143f9605d64f650db4d023e70e952"
      "ca49fe5137121c74bc2697687e248746d6df353005f3bce18696129c8153556b3b6c6779b37bf15985684f");
  const Bytes client_data_ = from_hex(
      "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a2044"
      "1e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4");
  const Bytes client_end_ = from_hex("1703030013c9872760655666b74d7ff1153efd6db6d0b0e3");
  const Bytes server_data_ = from_hex(
      "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a"
      "59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d");
  const Bytes server_end_ = from_hex("1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9");
};

TEST_F(Rfc8448Test, TheClientsRecordsAreMadeAndTheServersOpened) {
  TlsRecords client(traffic(true), sockets_[0].get(), "the server");
  EXPECT_EQ(seal_all(client, data_, random_), client_data_);
  client.seal_end();
  EXPECT_TRUE(std::ranges::equal(client.sealed(), client_end_));
  for (const Bytes& record : {ticket_, server_data_}) write_all(sockets_[1].get(), record);
  const auto opened = open_all(client);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(*opened, data_);
  write_all(sockets_[1].get(), server_end_);
  const auto end = open_all(client);
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().message, "the server closed the connection");
}

TEST_F(Rfc8448Test, TheClientsRecordsAreOpenedByTheServer) {
  TlsTraffic later = traffic(false);
  later.sealed = 1;  // the ticket
  TlsRecords server(later, sockets_[0].get(), "the client");
  EXPECT_EQ(seal_all(server, data_, random_), server_data_);
  write_all(sockets_[1].get(), client_data_);
  const auto opened = open_all(server);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(*opened, data_);
  write_all(sockets_[1].get(), client_end_);
  EXPECT_FALSE(open_all(server));
}

// --- what a peer may send ---

class PeerRecordsTest : public testing::Test {
 protected:
  static TlsTraffic traffic() {
    TlsTraffic made;
    made.opening = TlsSecret(Bytes(32, std::byte{1}));
    made.sealing = TlsSecret(Bytes(32, std::byte{2}));
    return made;
  }
  void send(std::span<const std::byte> bytes) { write_all(sockets_[1].get(), bytes); }
  void expect_data(std::string_view text) {
    const auto opened = open_all(ours_);
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_EQ(*opened, bytes_of(text));
  }
  // It ends with this error, for good, and says so by this alert; 0: by none.
  void expect_refused(const char* why, uint8_t alert, ErrorCode code = ErrorCode::failed) {
    for (int i = 0; i < 2; ++i) {
      const auto opened = open_all(ours_);
      ASSERT_FALSE(opened);
      EXPECT_EQ(opened.error().code, code);
      EXPECT_NE(opened.error().message.find(why), std::string::npos) << opened.error().message;
    }
    if (alert == 0) {
      EXPECT_TRUE(ours_.sealed().empty());
      return;
    }
    auto other = traffic();
    std::swap(other.sealing, other.opening);
    TlsRecords peer(other, sockets_[1].get(), "us");
    write_all(sockets_[0].get(), ours_.sealed());
    const auto told = open_all(peer);
    ASSERT_FALSE(told);
    EXPECT_NE(told.error().message.find(std::to_string(alert) + ")"), std::string::npos)
        << told.error().message;
  }

  std::span<iovec> nothing_;
  std::string text_ = "ours";
  std::array<FileDescriptor, 2> sockets_ = socket_pair();
  RecordForger peer_{Aead::Kind::aes_128_gcm, TlsSecret(Bytes(32, std::byte{1}))};
  TlsRecords ours_{traffic(), sockets_[0].get(), "the peer"};
};

TEST_F(PeerRecordsTest, MayComeCutAtAnyByte) {
  Bytes stream;
  std::string text;
  for (const size_t bytes : {size_t{30}, size_t{1}, size_t{1500}}) {
    const std::string content(bytes, static_cast<char>('a' + bytes % 7));
    text += content;
    const auto record = peer_.record(RecordForger::data, content, bytes % 5);
    stream.insert(stream.end(), record.begin(), record.end());
  }
  Bytes got;
  for (const std::byte byte : stream) {
    send(std::span(&byte, 1));
    const auto opened = open_all(ours_);
    ASSERT_TRUE(opened) << opened.error().message;
    got.insert(got.end(), opened->begin(), opened->end());
  }
  EXPECT_EQ(got, bytes_of(text));
}

// The block that is sealed at once holds a whole batch; what is longer comes block by block.
TEST_F(PeerRecordsTest, OfABatchLongerThanTheBlockAreOpenedInOrder) {
  auto other = traffic();
  std::swap(other.sealing, other.opening);
  TlsRecords peer(other, sockets_[1].get(), "us");
  std::mt19937_64 random{20261123};
  Bytes plain(3 * TlsRecords::sealed_bytes_max);
  for (auto& byte : plain) byte = static_cast<std::byte>(random());
  for (const size_t piece_bytes : {size_t{100}, size_t{9000}, plain.size()}) {
    std::vector<iovec> cut;
    for (size_t at = 0; at < plain.size(); at += piece_bytes) {
      cut.push_back({plain.data() + at, std::min(piece_bytes, plain.size() - at)});
    }
    std::span<iovec> pieces(cut);
    Bytes got;
    size_t blocks = 0;
    while (!pieces.empty()) {
      ASSERT_TRUE(peer.seal(pieces));
      const auto sealed = peer.sealed();
      ASSERT_LE(sealed.size(), TlsRecords::sealed_bytes_max);
      if (++blocks == 1) {
        EXPECT_GE(sealed.size(), size_t{512} << 10);
      }
      for (size_t at = 0; at < sealed.size(); at += 60'000) {
        send(sealed.subspan(at, std::min<size_t>(60'000, sealed.size() - at)));
        const auto opened = open_all(ours_);
        ASSERT_TRUE(opened) << opened.error().message;
        got.insert(got.end(), opened->begin(), opened->end());
      }
      peer.sent(sealed.size());
    }
    EXPECT_EQ(blocks, 4u);
    EXPECT_TRUE(got == plain);
  }
}

TEST_F(PeerRecordsTest, MayBePaddedOrEmptyOrFull) {
  const std::string full(TlsRecords::record_bytes_max, 'f');
  send(peer_.record(RecordForger::data, "padded", 1000));
  send(peer_.record(RecordForger::data, "", 0));
  send(peer_.record(RecordForger::data, "", TlsRecords::record_bytes_max));
  send(peer_.record(RecordForger::data, "much", TlsRecords::record_bytes_max - 4));
  send(peer_.record(RecordForger::data, full));
  expect_data("paddedmuch" + full);
}

TEST_F(PeerRecordsTest, KeyUpdatesOfBothKindsAreFollowedAndAnsweredOnce) {
  send(peer_.key_update(false));
  send(peer_.record(RecordForger::data, "one"));
  expect_data("one");
  EXPECT_FALSE(ours_.has_to_send());
  send(peer_.key_update(true));
  send(peer_.key_update(true));
  send(peer_.record(RecordForger::data, "two"));
  expect_data("two");
  EXPECT_TRUE(ours_.has_to_send());
  ASSERT_TRUE(ours_.seal(nothing_));
  RecordForger as_we_do(Aead::Kind::aes_128_gcm, TlsSecret(Bytes(32, std::byte{2})));
  EXPECT_TRUE(std::ranges::equal(ours_.sealed(), as_we_do.key_update(false)));
  ours_.sent(ours_.sealed().size());
  EXPECT_FALSE(ours_.has_to_send());
  iovec piece{text_.data(), text_.size()};
  std::span<iovec> pieces(&piece, 1);
  ASSERT_TRUE(ours_.seal(pieces));
  EXPECT_TRUE(std::ranges::equal(ours_.sealed(), as_we_do.record(RecordForger::data, text_)));
}

TEST_F(PeerRecordsTest, AreNotOpenedOnceOneWasChanged) {
  auto record = peer_.record(RecordForger::data, "something");
  record[8] ^= std::byte{1};
  send(record);
  send(peer_.record(RecordForger::data, "more"));
  expect_refused("changed on its way", SSL_AD_BAD_RECORD_MAC);
}

TEST_F(PeerRecordsTest, AreNotOpenedTwice) {
  const auto record = peer_.record(RecordForger::data, "something");
  send(record);
  expect_data("something");
  send(record);
  expect_refused("changed on its way", SSL_AD_BAD_RECORD_MAC);
}

TEST_F(PeerRecordsTest, TooShortForATagAreRefused) {
  send(from_hex("1703030010000102030405060708090a0b0c0d0e0f"));
  expect_refused("changed on its way", SSL_AD_BAD_RECORD_MAC);
}

TEST_F(PeerRecordsTest, WithTooMuchInsideAreRefused) {
  send(peer_.record(RecordForger::data, std::string(TlsRecords::record_bytes_max + 1, 'x')));
  expect_refused("content is too long", SSL_AD_RECORD_OVERFLOW);
}

TEST_F(PeerRecordsTest, ThatAnnounceTooMuchAreRefusedAtTheirHeader) {
  send(from_hex("1703034101"));
  expect_refused("it is too long", SSL_AD_RECORD_OVERFLOW);
}

TEST_F(PeerRecordsTest, ThatAreNoneAreTold) {
  send(bytes_of("GET / HTTP/1.1\r\n"));
  expect_refused("no TLS", SSL_AD_PROTOCOL_VERSION);
}

TEST_F(PeerRecordsTest, InTheOpenAreRefused) {
  send(from_hex("15030300020228"));
  expect_refused("not sealed, of type 21", SSL_AD_UNEXPECTED_MESSAGE);
}

TEST_F(PeerRecordsTest, EndWithCloseNotify) {
  send(peer_.record(RecordForger::data, "last"));
  expect_data("last");
  send(peer_.record(RecordForger::alert, std::string_view("\1\0", 2)));
  expect_refused("the peer closed the connection", 0, ErrorCode::unreachable);
}

TEST_F(PeerRecordsTest, CutAreNoOrderlyEnd) {
  auto record = peer_.record(RecordForger::data, "something");
  record.pop_back();
  send(record);
  sockets_[1].reset();
  expect_data("");  // its end is seen when the socket is asked again
  expect_refused("was cut", 0, ErrorCode::unreachable);
}

TEST_F(PeerRecordsTest, EndAfterTooManyWithoutData) {
  for (unsigned i = 0; i < TlsRecords::other_records_max; ++i) {
    send(peer_.record(RecordForger::data, ""));
  }
  send(peer_.record(RecordForger::data, "x"));
  expect_data("x");
  for (unsigned i = 0; i <= TlsRecords::other_records_max; ++i) send(peer_.key_update(true));
  expect_refused("bring no data", SSL_AD_UNEXPECTED_MESSAGE);
}

TEST_F(PeerRecordsTest, WithUserCanceledGoOn) {
  send(peer_.record(RecordForger::alert, "\1\x5a"));
  send(peer_.record(RecordForger::data, "x"));
  expect_data("x");
}

// Each the only content of a record.
struct Odd {
  const char* name;
  uint8_t type;
  std::string content;
  const char* why;
  uint8_t alert;
};

class OddContentTest : public PeerRecordsTest, public testing::WithParamInterface<Odd> {};

TEST_P(OddContentTest, IsRefused) {
  send(peer_.record(GetParam().type, GetParam().content));
  expect_refused(GetParam().why, GetParam().alert);
}
TEST_P(OddContentTest, IsRefusedAlsoWhenPadded) {
  send(peer_.record(GetParam().type, GetParam().content, 9000));
  expect_refused(GetParam().why, GetParam().alert);
}

INSTANTIATE_TEST_SUITE_P(
    Records, OddContentTest,
    testing::Values(
        Odd{"NoType", 0, "", "of type 0", SSL_AD_UNEXPECTED_MESSAGE},
        Odd{"UnknownType", 25, "x", "of type 25", SSL_AD_UNEXPECTED_MESSAGE},
        Odd{"ChangeCipherSpec", 20, "\1", "of type 20", SSL_AD_UNEXPECTED_MESSAGE},
        Odd{"FatalAlert", 21, "\2\x14", "a TLS alert came from the peer: bad record mac", 0},
        Odd{"UnknownAlert", 21, "\2\xc8", "a TLS alert came from the peer: unknown (200)", 0},
        Odd{"ShortAlert", 21, "\2", "no alert is that long", SSL_AD_DECODE_ERROR},
        Odd{"LongAlert", 21, "\2\x14\x14", "no alert is that long", SSL_AD_DECODE_ERROR},
        Odd{"EmptyHandshake", 22, "", "without content", SSL_AD_UNEXPECTED_MESSAGE},
        Odd{"CutHandshake", 22, "\x18", "a cut handshake", SSL_AD_DECODE_ERROR},
        Odd{"CutKeyUpdate", 22, std::string("\x18\0\0\1", 4), "a cut handshake",
            SSL_AD_DECODE_ERROR},
        Odd{"LongKeyUpdate", 22, std::string("\x18\0\0\2\0\0", 6), "of another length",
            SSL_AD_DECODE_ERROR},
        Odd{"OddKeyUpdate", 22, std::string("\x18\0\0\1\2", 5), "asks for nothing",
            SSL_AD_ILLEGAL_PARAMETER},
        Odd{"TwoKeyUpdates", 22, std::string("\x18\0\0\1\0\x18\0\0\1\0", 10), "something follows",
            SSL_AD_UNEXPECTED_MESSAGE},
        Odd{"TicketFromAClient", 22, std::string("\4\0\0\1\0", 5), "out of its turn",
            SSL_AD_UNEXPECTED_MESSAGE},
        Odd{"ClientHello", 22, std::string("\1\0\0\1\0", 5), "out of its turn",
            SSL_AD_UNEXPECTED_MESSAGE}),
    [](const auto& info) { return info.param.name; });

// --- OpenSSL at the other end ---

class InteropTest : public testing::TestWithParam<const char*> {
 protected:
  // Client and server; which of them becomes ours is the test's choice.
  void SetUp() override {
    for (int i = 0; i < 2; ++i) {
      auto context = bench::throwaway_context();
      ASSERT_TRUE(context) << context.error().message;
      ASSERT_EQ(SSL_CTX_set_ciphersuites(context->get(), GetParam()), 1);
      ends_[i].reset(SSL_new(context->get()));
      fcntl(sockets_[i].get(), F_SETFL, O_NONBLOCK);
      SSL_set_fd(ends_[i].get(), sockets_[i].get());
    }
    SSL_set_connect_state(ends_[0].get());
    SSL_set_accept_state(ends_[1].get());
    for (int turn = 0; turn < 20 && !finished(); ++turn) {
      SSL_do_handshake(ends_[turn % 2].get());
      ERR_clear_error();
    }
    ASSERT_TRUE(finished());
    ASSERT_STREQ(SSL_CIPHER_get_name(SSL_get_current_cipher(ends_[0].get())), GetParam());
  }
  bool finished() {
    return SSL_is_init_finished(ends_[0].get()) == 1 && SSL_is_init_finished(ends_[1].get()) == 1;
  }
  static void write(SSL* to, std::span<const std::byte> bytes) {
    ASSERT_EQ(SSL_write(to, bytes.data(), static_cast<int>(bytes.size())), int(bytes.size()));
  }
  static void read(SSL* from, std::span<const std::byte> expected) {
    Bytes got(expected.size());
    for (size_t done = 0; done < got.size();) {
      const int bytes = SSL_read(from, got.data() + done, static_cast<int>(got.size() - done));
      ASSERT_GT(bytes, 0) << done << " of " << got.size();
      done += static_cast<size_t>(bytes);
    }
    EXPECT_TRUE(std::ranges::equal(got, expected));
  }
  Bytes noise(size_t bytes) {
    Bytes made(bytes);
    for (auto& byte : made) byte = static_cast<std::byte>(random_());
    return made;
  }
  // As greetings do: some records each way before the link begins, of which a few bytes more are
  // opened already.
  void carry_on(int ours, uint64_t records_per_key) {
    SSL* peer = ends_[1 - ours].get();
    for (int i = 0; i < 5; ++i) {
      const Bytes bytes = noise(100 + i);
      write(ends_[ours].get(), bytes);
      read(peer, bytes);
      if (i > 2) continue;
      write(peer, bytes);
      read(ends_[ours].get(), bytes);
    }
    write(peer, bytes_of("greeting and more"));
    read(ends_[ours].get(), bytes_of("greeting"));
    TlsRecords records(take_traffic(*ends_[ours], "the peer"), sockets_[ours].get(), "the peer",
                       records_per_key);
    EXPECT_TRUE(records.holds_unopened());
    auto opened = open_all(records);
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_EQ(*opened, bytes_of(" and more"));
    for (int round = 0; round < 40; ++round) {
      const Bytes to_peer = noise(1 + random_() % 60'000);
      write_all(sockets_[ours].get(), seal_all(records, to_peer, random_));
      read(peer, to_peer);
      const Bytes to_us = noise(1 + random_() % 60'000);
      write(peer, to_us);
      opened = open_all(records, random_() % 40'000);
      ASSERT_TRUE(opened) << opened.error().message;
      EXPECT_EQ(*opened, to_us);
      if (round % 8 == 3) {
        ASSERT_EQ(SSL_key_update(peer, round / 8 % 2), 1);
      }
    }
    records.seal_end();
    write_all(sockets_[ours].get(), records.sealed());
    std::byte byte{};
    EXPECT_EQ(SSL_get_error(peer, SSL_read(peer, &byte, 1)), SSL_ERROR_ZERO_RETURN);
    SSL_shutdown(peer);
    const auto end = open_all(records);
    ASSERT_FALSE(end);
    EXPECT_EQ(end.error().code, ErrorCode::unreachable);
  }

  std::array<FileDescriptor, 2> sockets_ = socket_pair();
  std::array<UniqueSsl, 2> ends_;
  std::mt19937_64 random_{20261123};
};

TEST_P(InteropTest, AsClient) { carry_on(0, TlsRecords::records_per_key); }
TEST_P(InteropTest, AsServer) { carry_on(1, TlsRecords::records_per_key); }
TEST_P(InteropTest, WithNewKeysEveryFewRecords) { carry_on(0, 3); }

TEST_P(InteropTest, ConnectionsThatChangedKeysAreNotTakenOver) {
  for (const int ours : {0, 1}) {
    ASSERT_EQ(SSL_key_update(ends_[ours].get(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    write(ends_[ours].get(), bytes_of("x"));
    read(ends_[1 - ours].get(), bytes_of("x"));
    for (auto& end : ends_) {
      const auto traffic = take_traffic(*end, "the peer");
      ASSERT_FALSE(traffic);
      EXPECT_EQ(traffic.error().message,
                "the peer changed its TLS keys before the session had begun, which no session "
                "does");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Suites, InteropTest,
                         testing::Values("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                         "TLS_CHACHA20_POLY1305_SHA256"),
                         [](const auto& info) { return std::string(info.param + 4); });

TEST(TakeTraffic, NeedsAFinishedHandshakeOfAPreparedContext) {
  auto context = bench::throwaway_context();
  ASSERT_TRUE(context);
  UniqueSsl ssl(SSL_new(context->get()));
  TlsRecords records(std::move(ssl), -1, "the peer");
  ASSERT_TRUE(records.holds_unopened());
  const auto opened = open_all(records);
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("handshake is not finished"), std::string::npos);
  std::span<iovec> nothing;
  EXPECT_FALSE(records.seal(nothing));
}

}  // namespace
}  // namespace farport
