// A link with TLS: what crosses it, and what a peer that has the keys, or has not, may do to it.
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <functional>
#include <random>

#include "bench/throwaway_tls.h"
#include "dataplane/socket_link.h"
#include "tests/unit/dataplane/connected_pair.h"
#include "tests/unit/dataplane/recording_link.h"

namespace farport {
namespace {

constexpr uint64_t kTimeLimitNs = 20'000'000'000;

// One link, and at the other end of its connection a TLS end in the test's own hands.
class TlsLinkTest : public testing::TestWithParam<bool> {  // whether it spins
 protected:
  void SetUp() override {
    auto created = Worker::create({.spin_us = GetParam() ? 100u : 0u});
    ASSERT_TRUE(created) << created.error().message;
    worker_ = std::move(*created);
    auto sockets = connected_pair(AF_INET);
    ASSERT_TRUE(sockets[0]);
    ASSERT_TRUE(prepare_link_socket(sockets[0].get()));
    auto tls = bench::handshake_pair(sockets[0].get(), sockets[1].get());
    ASSERT_TRUE(tls) << tls.error().message;
    socket_ = std::move(sockets[0]);
    ssl_ = std::move((*tls)[0]);
    peer_socket_ = std::move(sockets[1]);
    peer_ = std::move((*tls)[1]);
  }
  void TearDown() override {
    if (!link_) return;
    link_->close();
    EXPECT_TRUE(until([&] { return events_.closed; }));
  }
  void start() {
    LinkOptions options;
    options.tls = std::move(ssl_);
    link_ =
        std::make_unique<SocketLink>(*worker_, std::move(socket_), "the peer", std::move(options));
    link_->start(events_);
  }
  bool until(const std::function<bool()>& done) { return worker_->run_until(done, kTimeLimitNs); }
  bool lost() {
    return until([&] { return events_.lost.has_value(); });
  }
  bool says(const char* text) { return events_.lost->message.find(text) != std::string::npos; }

  void peer_writes(std::span<const std::byte> bytes) {
    ASSERT_EQ(SSL_write(peer_.get(), bytes.data(), static_cast<int>(bytes.size())),
              static_cast<int>(bytes.size()));
  }
  void peer_writes_unsealed(std::string_view bytes) {
    ASSERT_EQ(::send(peer_socket_.get(), bytes.data(), bytes.size(), 0), ssize_t(bytes.size()));
  }
  void link_sends(uint64_t number) {
    link_->send(data_head(number, 0), {});
    link_->flush();
  }
  // Until both batches are full, and the kernel's memory; the bytes of data.
  uint64_t link_takes_all_it_can() {
    const std::vector<std::byte> data(limits::frame_data_bytes_max);
    uint64_t number = 0;
    for (uint64_t before = ~uint64_t{0}; before != number;) {
      before = number;
      while (link_->ready()) link_->send(data_head(++number, data.size()), data);
      link_->flush();
    }
    return number * data.size();
  }
  // Of what is there, sealed as it is, up to 2 KiB; the bytes of that. 0: the end, or (if that is
  // not waited for) nothing yet.
  size_t peer_takes(int flags) {
    std::array<std::byte, 2 << 10> some;
    return static_cast<size_t>(
        std::max<ssize_t>(0, recv(peer_socket_.get(), some.data(), some.size(), flags)));
  }
  // The next frame without data that the link sends; 0: none.
  uint64_t peer_reads() {
    std::array<std::byte, sizeof(wire::FrameHeader) + sizeof(wire::DataBody)> head;
    if (SSL_read(peer_.get(), head.data(), head.size()) != int{head.size()}) return 0;
    return wire::decode<wire::FrameHeader>(head).number;
  }

  std::unique_ptr<Worker> worker_;
  FileDescriptor socket_;
  UniqueSsl ssl_;
  FileDescriptor peer_socket_;
  UniqueSsl peer_;
  RecordingEvents events_;
  std::unique_ptr<SocketLink> link_;
};

// Control has read the first bytes; what else came in their record is the session's.
TEST_P(TlsLinkTest, DeliversWhatWasReadBeforeItBegan) {
  auto bytes = data_head(1, 0);
  bytes.insert(bytes.begin(), 4, std::byte{'x'});
  peer_writes(bytes);
  std::array<char, 4> first;
  ASSERT_EQ(SSL_read(ssl_.get(), first.data(), first.size()), int{first.size()});
  ASSERT_NE(SSL_pending(ssl_.get()), 0);
  start();
  EXPECT_TRUE(until([&] { return events_.frames.size() == 1; }));
  peer_writes(data_head(2, 0));
  EXPECT_TRUE(until([&] { return events_.frames.size() == 2; }));
}

TEST_P(TlsLinkTest, AKeyUpdateBeforeTheSessionEndsIt) {
  ASSERT_EQ(SSL_key_update(peer_.get(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
  peer_writes(data_head(1, 0));
  char byte = 0;
  ASSERT_EQ(SSL_read(ssl_.get(), &byte, 1), 1);
  start();
  ASSERT_TRUE(lost());
  EXPECT_TRUE(says("the peer changed its TLS keys before the session")) << events_.lost->message;
  EXPECT_TRUE(events_.frames.empty());
}

TEST_P(TlsLinkTest, NothingButTheHandshakePrecedesTheSession) {
  char byte = 0;
  EXPECT_EQ(recv(socket_.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK), -1);  // no session tickets
  EXPECT_STREQ(SSL_get_version(ssl_.get()), "TLSv1.3");
}

TEST_P(TlsLinkTest, GoesOnAfterAKeyUpdateOfThePeer) {
  start();
  uint64_t number = 0;
  for (const int kind : {SSL_KEY_UPDATE_NOT_REQUESTED, SSL_KEY_UPDATE_REQUESTED}) {
    ASSERT_EQ(SSL_key_update(peer_.get(), kind), 1);
    peer_writes(data_head(++number, 0));
    EXPECT_TRUE(until([&] { return events_.frames.size() == number; }));
    link_sends(number);
    EXPECT_EQ(peer_reads(), number);
  }
  EXPECT_FALSE(events_.lost) << events_.lost->message;
}

TEST_P(TlsLinkTest, EndlessKeyUpdatesEndIt) {
  start();
  for (unsigned i = 0; i <= TlsRecords::other_records_max; ++i) {
    ASSERT_EQ(SSL_key_update(peer_.get(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    ASSERT_EQ(SSL_do_handshake(peer_.get()), 1);
  }
  ASSERT_TRUE(lost());
  EXPECT_TRUE(says("bring no data")) << events_.lost->message;
}

TEST_P(TlsLinkTest, PlaintextEndsIt) {
  start();
  peer_writes_unsealed("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ASSERT_TRUE(lost());
  EXPECT_EQ(events_.lost->code, ErrorCode::failed);
  EXPECT_TRUE(says("no TLS")) << events_.lost->message;
}

TEST_P(TlsLinkTest, AChangedRecordEndsItAndThePeerIsTold) {
  start();
  std::string record(5 + 40, 'z');
  record.replace(0, 5, std::string("\x17\x03\x03\x00\x28", 5));
  peer_writes_unsealed(record);
  ASSERT_TRUE(lost());
  EXPECT_TRUE(says("changed on its way")) << events_.lost->message;
  link_->close();
  ASSERT_TRUE(until([&] { return events_.closed; }));
  char byte = 0;
  EXPECT_LE(SSL_read(peer_.get(), &byte, 1), 0);
  EXPECT_NE(ERR_GET_REASON(ERR_peek_last_error()), 0);  // its alert, not only an end
}

TEST_P(TlsLinkTest, AReplayedRecordEndsIt) {
  // What the peer seals passes through here and is sent twice.
  BIO* seen = BIO_new(BIO_s_mem());
  SSL_set0_wbio(peer_.get(), seen);
  peer_writes(data_head(1, 0));
  char* bytes = nullptr;
  const long length = BIO_get_mem_data(seen, &bytes);
  const std::string_view record(bytes, static_cast<size_t>(length));
  start();
  peer_writes_unsealed(record);
  EXPECT_TRUE(until([&] { return events_.frames.size() == 1; }));
  peer_writes_unsealed(record);
  ASSERT_TRUE(lost());
  EXPECT_TRUE(says("changed on its way")) << events_.lost->message;
  EXPECT_EQ(events_.frames.size(), 1u);
}

TEST_P(TlsLinkTest, AnOrderlyEndIsToldFromACut) {
  start();
  SSL_shutdown(peer_.get());
  ASSERT_TRUE(lost());
  EXPECT_EQ(events_.lost->code, ErrorCode::unreachable);
  EXPECT_TRUE(says("closed the connection")) << events_.lost->message;
}

TEST_P(TlsLinkTest, AnEndWithoutCloseNotifyIsACut) {
  start();
  peer_writes(data_head(1, 100));  // and its data never comes
  peer_writes_unsealed(std::string_view("\x17\x03\x03\x01", 4));
  peer_socket_.reset();
  ASSERT_TRUE(lost());
  EXPECT_EQ(events_.lost->code, ErrorCode::unreachable);
  EXPECT_TRUE(says("was cut")) << events_.lost->message;
}

// The peer could not open what it got from us.
TEST_P(TlsLinkTest, AnAlertOfThePeerIsTold) {
  const std::string_view nonsense("\x17\x03\x03\x00\x20nonsense nonsense nonsense nonsens", 37);
  ASSERT_EQ(::send(socket_.get(), nonsense.data(), nonsense.size(), 0), ssize_t(nonsense.size()));
  start();
  char byte = 0;
  EXPECT_LE(SSL_read(peer_.get(), &byte, 1), 0);
  ASSERT_TRUE(lost());
  EXPECT_TRUE(says("alert")) << events_.lost->message;
}

TEST_P(TlsLinkTest, CloseSendsWhatWasTakenAndEndsInOrder) {
  start();
  link_->send(data_head(1, 0), {});
  link_->close();
  EXPECT_TRUE(until([&] { return events_.closed; }));
  EXPECT_EQ(peer_reads(), 1u);
  char byte = 0;
  EXPECT_EQ(SSL_get_error(peer_.get(), SSL_read(peer_.get(), &byte, 1)), SSL_ERROR_ZERO_RETURN);
}

// A close while both batches are full and nobody reads: it once waited for ever.
TEST_P(TlsLinkTest, CloseDoesNotWaitForAPeerThatTakesNothing) {
  start();
  link_takes_all_it_can();
  link_->close();
  EXPECT_TRUE(until([&] { return events_.closed; }));
  EXPECT_FALSE(events_.lost);
}

// A send that is cancelled says how much it had moved. That once counted as one that may go on, and
// nothing cancelled it again: the link closed when all had been taken.
TEST_P(TlsLinkTest, CloseDoesNotWaitForAPeerThatTakesALittle) {
  start();
  const uint64_t given = link_takes_all_it_can();
  link_->close();
  uint64_t taken = 0;
  std::function<void()> take;
  Timer timer(*worker_, [](void* self) { (*static_cast<std::function<void()>*>(self))(); }, &take);
  take = [&] {
    taken += peer_takes(MSG_DONTWAIT);
    timer.arm_after(10'000'000);
  };
  take();
  EXPECT_TRUE(until([&] { return events_.closed; }));
  timer.disarm();
  EXPECT_GT(taken, 0u);
  while (const size_t more = peer_takes(0)) taken += more;
  EXPECT_LT(taken, given);
}

TEST_P(TlsLinkTest, BothEndsDeriveTheSameKeys) {
  start();
  std::array<std::byte, 32> ours{};
  std::array<std::byte, 32> other{};
  const std::array context{std::byte{1}, std::byte{2}};
  ASSERT_TRUE(link_->export_key("EXPERIMENTAL farport", context, ours));
  const std::string_view label = "EXPERIMENTAL farport";
  ASSERT_EQ(SSL_export_keying_material(peer_.get(), reinterpret_cast<unsigned char*>(other.data()),
                                       other.size(), label.data(), label.size(),
                                       reinterpret_cast<const unsigned char*>(context.data()),
                                       context.size(), 1),
            1);
  EXPECT_EQ(ours, other);
  ASSERT_TRUE(link_->export_key("EXPERIMENTAL another", context, other));
  EXPECT_NE(ours, other);
}

INSTANTIATE_TEST_SUITE_P(Wait, TlsLinkTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Spin" : "Sleep"; });

TEST(TlsRecords, NewKeysOfOurOwnCross) {
  auto sockets = connected_pair(AF_INET);
  auto tls = bench::handshake_pair(sockets[0].get(), sockets[1].get());
  ASSERT_TRUE(tls) << tls.error().message;
  TlsRecords from(std::move((*tls)[0]), sockets[0].get(), "one");
  TlsRecords to(std::move((*tls)[1]), sockets[1].get(), "other");
  std::vector<std::byte> plain(100'000, std::byte{7});
  for (int i = 0; i < 3; ++i) {
    plain[0] = static_cast<std::byte>(i);
    from.update_keys();
    iovec piece{plain.data(), plain.size()};
    std::span<iovec> pieces(&piece, 1);
    while (!pieces.empty()) {
      ASSERT_TRUE(from.seal(pieces));
      const auto sealed = from.sealed();
      ASSERT_FALSE(sealed.empty());
      ASSERT_EQ(::send(sockets[0].get(), sealed.data(), sealed.size(), 0), ssize_t(sealed.size()));
      from.sent(sealed.size());
    }
    std::vector<std::byte> opened(plain.size());
    std::vector<std::byte> rest(TlsRecords::record_bytes_max + 1);
    for (size_t done = 0; done < opened.size();) {
      to.begin_round();
      const auto bytes = to.open(std::span(opened).subspan(done), rest);
      ASSERT_TRUE(bytes) << bytes.error().message;
      done += *bytes;
    }
    EXPECT_EQ(opened, plain);
  }
}

TEST(TlsCipherSuites, OfferAllThreeWhateverTheOrder) {
  const std::string suites = tls_cipher_suites();
  for (const char* suite :
       {"TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"}) {
    EXPECT_NE(suites.find(suite), std::string::npos) << suites;
  }
}

}  // namespace
}  // namespace farport
