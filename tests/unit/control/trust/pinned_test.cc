// Two hosts that pin each other's keys.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "control/trust/host_key.h"
#include "control/trust/host_trust.h"
#include "tests/unit/control/trust/certificates.h"
#include "tests/unit/control/trust/handshake_pair.h"

namespace farport::test {
namespace {

using testing::HasSubstr;
using testing::Not;

class Pinned : public testing::Test {
 protected:
  std::unique_ptr<HostTrust> open(const std::string& host, const std::string& folder) {
    auto opened = HostTrust::open({host, folder_ / folder, {}, {}});
    EXPECT_TRUE(opened.has_value()) << opened.error().message;
    return opened ? std::move(*opened) : nullptr;
  }

  // east connects to west; what each makes of the other.
  struct Judged {
    std::expected<TrustedPeer, TrustError> by_east, by_west;
    UniqueSsl east, west;
  };
  Judged meet(const std::string& expected = "west") {
    Judged judged;
    judged.east = std::move(*east_->begin(TlsRole::connecting));
    judged.west = std::move(*west_->begin(TlsRole::accepting));
    HandshakePair pair;
    const auto outcome = pair.shake(*judged.east, *judged.west);
    EXPECT_TRUE(outcome.done());
    judged.by_east = east_->check(*judged.east, expected);
    judged.by_west = west_->check(*judged.west, "");
    return judged;
  }
  void introduce() {
    ASSERT_TRUE(east_->add({"west", west_->fingerprint(), ""}).has_value());
    ASSERT_TRUE(west_->add({"east", east_->fingerprint(), ""}).has_value());
  }

  TemporaryFolder folder_;
  std::unique_ptr<HostTrust> east_ = open("east", "east");
  std::unique_ptr<HostTrust> west_ = open("west", "west");
};

TEST_F(Pinned, AFirstContactIsRefusedWithTheCommandThatAcceptsIt) {
  const Judged judged = meet();
  ASSERT_FALSE(judged.by_east.has_value());
  EXPECT_EQ(judged.by_east.error().reason, Refusal::unknown_key);
  EXPECT_EQ(judged.by_east.error().code, ErrorCode::denied);
  EXPECT_THAT(judged.by_east.error().message,
              HasSubstr("farport trust add west " + west_->fingerprint()));
  // The one that is called has only what the caller says of itself.
  ASSERT_FALSE(judged.by_west.has_value());
  EXPECT_EQ(judged.by_west.error().reason, Refusal::unknown_key);
  EXPECT_THAT(judged.by_west.error().message,
              HasSubstr("farport trust add east " + east_->fingerprint()));
}

TEST_F(Pinned, HostsThatKnowEachOtherAreLetIn) {
  introduce();
  const Judged judged = meet();
  ASSERT_TRUE(judged.by_east.has_value()) << judged.by_east.error().message;
  EXPECT_EQ(judged.by_east->host, "west");
  EXPECT_EQ(judged.by_east->fingerprint, west_->fingerprint());
  EXPECT_FALSE(judged.by_east->by_authority);
  EXPECT_EQ(judged.by_east->expires_unix_s, 0);
  ASSERT_TRUE(judged.by_west.has_value()) << judged.by_west.error().message;
  EXPECT_EQ(judged.by_west->host, "east");
}

TEST_F(Pinned, TheConnectionIsTls13WithoutAnythingToReplay) {
  introduce();
  const Judged judged = meet();
  for (SSL* ssl : {judged.east.get(), judged.west.get()}) {
    EXPECT_EQ(SSL_version(ssl), TLS1_3_VERSION);
    EXPECT_EQ(SSL_get_num_tickets(ssl), 0u);
    EXPECT_EQ(SSL_get_max_early_data(ssl), 0u);
    EXPECT_EQ(SSL_session_reused(ssl), 0);
    EXPECT_EQ(SSL_get_current_compression(ssl), nullptr);
  }
  // The packet link's keys: the same at both ends.
  std::array<unsigned char, 32> east{}, west{};
  constexpr std::string_view label = "EXPORTER-farport";
  ASSERT_EQ(SSL_export_keying_material(judged.east.get(), east.data(), east.size(), label.data(),
                                       label.size(), nullptr, 0, 0),
            1);
  ASSERT_EQ(SSL_export_keying_material(judged.west.get(), west.data(), west.size(), label.data(),
                                       label.size(), nullptr, 0, 0),
            1);
  EXPECT_EQ(east, west);
}

TEST_F(Pinned, AnotherKeyUnderAKnownNameIsRefusedLoudly) {
  introduce();
  const std::string before = west_->fingerprint();
  west_ = open("west", "west-installed-anew");
  const Judged judged = meet();
  ASSERT_FALSE(judged.by_east.has_value());
  EXPECT_EQ(judged.by_east.error().reason, Refusal::wrong_key);
  const std::string& message = judged.by_east.error().message;
  EXPECT_THAT(message, HasSubstr("THE KEY OF HOST west IS NOT THE PINNED ONE"));
  EXPECT_THAT(message, HasSubstr(before));
  EXPECT_THAT(message, HasSubstr("farport trust show"));
  EXPECT_THAT(message, HasSubstr("farport trust add west " + west_->fingerprint() + " --replace"));
  // The command does what it says.
  ASSERT_TRUE(east_->add({"west", west_->fingerprint(), ""}, true).has_value());
  ASSERT_EQ(east_->overview().keys.size(), 1u);
  EXPECT_TRUE(meet().by_east.has_value());
}

TEST_F(Pinned, TheKeyOfAnotherHostIsRefused) {
  introduce();
  const Judged judged = meet("north");
  ASSERT_FALSE(judged.by_east.has_value());
  EXPECT_EQ(judged.by_east.error().reason, Refusal::wrong_host);
  EXPECT_THAT(judged.by_east.error().message, HasSubstr("host north was meant"));
  EXPECT_THAT(judged.by_east.error().message, HasSubstr("that of host west"));
}

// A disk that was copied, or a [[peer]] with this host's own address.
TEST_F(Pinned, OnesOwnKeyIsRefused) {
  std::filesystem::copy(folder_ / "east", folder_ / "copied");
  west_ = open("west", "copied");
  ASSERT_EQ(west_->fingerprint(), east_->fingerprint());
  const Judged judged = meet();
  ASSERT_FALSE(judged.by_east.has_value());
  EXPECT_EQ(judged.by_east.error().reason, Refusal::own_key);
  EXPECT_FALSE(east_->add({"west", west_->fingerprint(), ""}).has_value());
}

// A message is copied into a shell: what a stranger calls itself must mean nothing there.
TEST_F(Pinned, AStrangersNameIsNoPartOfACommand) {
  east_ = open("$(reboot)", "evil");
  const Judged judged = meet();
  ASSERT_FALSE(judged.by_west.has_value());
  EXPECT_THAT(judged.by_west.error().message, Not(HasSubstr("reboot")));
  EXPECT_THAT(judged.by_west.error().message,
              HasSubstr("farport trust add NAME " + east_->fingerprint()));
}

// --- open sessions ---

TEST_F(Pinned, ARemovedHostIsNotLetInAnyMore) {
  introduce();
  const Judged judged = meet();
  ASSERT_TRUE(judged.by_west.has_value());
  EXPECT_TRUE(west_->still(*judged.by_west).has_value());
  std::vector<bool> changes;
  west_->on_change([&](bool own) { changes.push_back(own); });
  EXPECT_EQ(west_->remove("east").value_or(0), 1u);
  EXPECT_EQ(changes, std::vector<bool>{false});
  const auto still = west_->still(*judged.by_west);
  ASSERT_FALSE(still.has_value());
  EXPECT_EQ(still.error().code, ErrorCode::denied);
  // A plain connection (loopback) is nobody's that could be removed.
  EXPECT_TRUE(west_->still({}).has_value());
}

TEST_F(Pinned, AFileEditedByHandCountsAfterAReload) {
  introduce();
  const Judged judged = meet();
  ASSERT_TRUE(judged.by_west.has_value());
  write_file(folder_ / "west/known_hosts", "# nobody\n");
  ASSERT_TRUE(west_->reload({}).has_value());
  EXPECT_FALSE(west_->still(*judged.by_west).has_value());
  // One that is malformed changes nothing, and says where.
  write_file(folder_ / "west/known_hosts", "# nobody\neast SHA256:short\n");
  const auto reloaded = west_->reload({});
  ASSERT_FALSE(reloaded.has_value());
  EXPECT_THAT(reloaded.error().message, HasSubstr("known_hosts:2: "));
}

// --- renewal ---

TEST_F(Pinned, AKeyIsRenewedWithoutALostContact) {
  introduce();
  const std::string before = west_->fingerprint();
  EXPECT_EQ(west_->renew().error().code, ErrorCode::not_found);
  const auto next = west_->prepare();
  ASSERT_TRUE(next.has_value()) << next.error().message;
  EXPECT_EQ(west_->prepare().value_or(""), *next) << "prepared again, the same one";
  EXPECT_NE(*next, before);
  EXPECT_EQ(west_->overview().next_fingerprint, *next);
  EXPECT_EQ(west_->fingerprint(), before);
  ASSERT_TRUE(east_->add({"west", *next, "from 2027 on"}).value_or(false));
  EXPECT_TRUE(meet().by_east.has_value());
  std::vector<bool> changes;
  west_->on_change([&](bool own) { changes.push_back(own); });
  EXPECT_EQ(west_->renew().value_or(""), *next);
  EXPECT_EQ(changes, std::vector<bool>{true});
  EXPECT_TRUE(meet().by_east.has_value());
  ASSERT_TRUE(east_->remove("west", before).has_value());
  EXPECT_TRUE(meet().by_east.has_value());
  west_ = open("west", "west");
  EXPECT_EQ(west_->fingerprint(), *next);
}

// --- those who are not hosts of Farport ---

TEST_F(Pinned, PlaintextIsRefused) {
  const std::string cases[] = {
      "GET / HTTP/1.1\r\nHost: west\r\n\r\n",
      "hello, this is no TLS at all\n",
      std::string(64, '\0'),
      std::string("FARP\x01\x00\x00\x00 an older farportd's greeting", 40),
  };
  for (const std::string& text : cases) {
    HandshakePair pair;
    const auto ssl = west_->begin(TlsRole::accepting);
    pair.send(0, text);
    const auto failure = pair.shake_alone(**ssl, 1);
    ASSERT_TRUE(failure.has_value()) << text;
    EXPECT_EQ(failure->reason, Refusal::not_tls) << text << ": " << failure->message;
    EXPECT_FALSE(failure->message.empty());
  }
  // The other way round: something else listens there.
  HandshakePair pair;
  const auto ssl = east_->begin(TlsRole::connecting);
  pair.send(1, "220 mail.example ESMTP\r\n");
  const auto failure = pair.shake_alone(**ssl, 0);
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->reason, Refusal::not_tls) << failure->message;
}

TEST_F(Pinned, AnEndInTheMiddleIsUnreachable) {
  HandshakePair pair;
  const auto ssl = west_->begin(TlsRole::accepting);
  pair.send(0, std::string("\x16\x03\x01\x00\x40\x01", 6));
  pair.close(0);
  const auto failure = pair.shake_alone(**ssl, 1);
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->code, ErrorCode::unreachable);
}

class Stranger : public Pinned {
 protected:
  // A client with OpenSSL's own settings, and what `set` makes of them.
  HandshakePair::Outcome call(const std::function<void(SSL_CTX*)>& set) {
    const UniqueSslContext context(SSL_CTX_new(TLS_client_method()));
    set(context.get());
    client_.reset(SSL_new(context.get()));
    SSL_set_connect_state(client_.get());
    server_ = std::move(*west_->begin(TlsRole::accepting));
    return pair_.shake(*client_, *server_);
  }
  HandshakePair pair_;
  UniqueSsl client_, server_;
};

TEST_F(Stranger, OlderVersionsAreRefused) {
  const auto outcome =
      call([](SSL_CTX* context) { SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION); });
  ASSERT_TRUE(outcome.failure[1].has_value());
  EXPECT_EQ(outcome.failure[1]->reason, Refusal::old_version) << outcome.failure[1]->message;
  ASSERT_TRUE(outcome.failure[0].has_value());
  EXPECT_EQ(outcome.failure[0]->reason, Refusal::old_version) << outcome.failure[0]->message;
}

TEST_F(Stranger, NoKeyIsRefused) {
  const auto outcome = call([](SSL_CTX*) {});
  ASSERT_TRUE(outcome.failure[1].has_value());
  EXPECT_EQ(outcome.failure[1]->reason, Refusal::no_key) << outcome.failure[1]->message;
}

TEST_F(Stranger, AnotherProtocolIsRefused) {
  const auto outcome = call([](SSL_CTX* context) {
    SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>("\x02h2"), 3);
  });
  ASSERT_TRUE(outcome.failure[1].has_value());
  EXPECT_EQ(outcome.failure[1]->reason, Refusal::bad_handshake) << outcome.failure[1]->message;
}

// No protocol is named at all: OpenSSL does not ask, so check() must.
TEST_F(Stranger, NoProtocolIsRefused) {
  const auto key = load_key(folder_ / "east/host_key");
  ASSERT_TRUE(key.has_value());
  const auto certificate = self_signed(**key, "east");
  ASSERT_TRUE(west_->add({"east", east_->fingerprint(), ""}).has_value());
  const auto outcome = call([&](SSL_CTX* context) {
    SSL_CTX_use_certificate(context, certificate->get());
    SSL_CTX_use_PrivateKey(context, key->get());
  });
  ASSERT_TRUE(outcome.done());
  const auto checked = west_->check(*server_, "");
  ASSERT_FALSE(checked.has_value());
  EXPECT_EQ(checked.error().reason, Refusal::bad_handshake);
}

}  // namespace
}  // namespace farport::test
