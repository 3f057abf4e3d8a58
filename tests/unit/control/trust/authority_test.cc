// Hosts that an authority certifies: each thing that can be wrong with a certificate is refused in
// its own words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/trust/host_trust.h"
#include "tests/unit/control/trust/certificates.h"
#include "tests/unit/control/trust/handshake_pair.h"

namespace farport::test {
namespace {

using testing::HasSubstr;

// east trusts the authority; west shows what a case gives it.
class Certified : public testing::Test {
 protected:
  std::unique_ptr<HostTrust> open(const std::string& host, AuthorityFiles files) {
    auto opened = HostTrust::open(
        {host, folder_ / (host + "-trust"), std::move(files), [this] { return now_; }});
    EXPECT_TRUE(opened.has_value()) << opened.error().message;
    return opened ? std::move(*opened) : nullptr;
  }
  AuthorityFiles files_of(const std::string& host, const Issued& issued,
                          const std::string& others = "") {
    AuthorityFiles files;
    files.authority = folder_ / "authority.pem";
    files.certificate = folder_ / (host + ".pem");
    files.key = folder_ / (host + ".key");
    write_file(files.authority, authority_.certificate(), 0644);
    write_file(files.certificate, pem_of(*issued.certificate) + others, 0644);
    write_file(files.key, pem_of(*issued.key));
    return files;
  }
  std::unique_ptr<HostTrust> east(const std::string& revoked = "") {
    AuthorityFiles files = files_of("east", authority_.issue({.names = "DNS:east"}));
    if (!revoked.empty()) {
      files.revoked = folder_ / "revoked.pem";
      write_file(files.revoked, revoked, 0644);
    }
    return open("east", std::move(files));
  }

  // What `judge` makes of a peer that shows `issued`, whatever this is: by raw TLS, because a
  // HostTrust would not show what is wrong in the first place.
  std::expected<TrustedPeer, TrustError> judge(HostTrust& judge, const Issued& issued,
                                               const std::string& expected, TlsRole role) {
    HostIdentity identity;
    EVP_PKEY_up_ref(issued.key.get());
    identity.key.reset(issued.key.get());
    X509_up_ref(issued.certificate.get());
    identity.certificate.reset(issued.certificate.get());
    for (const X509* one : others_) identity.others.emplace_back(X509_dup(one));
    const auto context = make_tls_context(identity);
    EXPECT_TRUE(context.has_value()) << context.error().message;
    const UniqueSsl peer(SSL_new(context->get()));
    const auto ssl = judge.begin(role);
    if (role == TlsRole::connecting) {
      SSL_set_accept_state(peer.get());
    } else {
      SSL_set_connect_state(peer.get());
    }
    HandshakePair pair;
    EXPECT_TRUE(pair.shake(**ssl, *peer).done());
    return judge.check(**ssl, expected);
  }

  int64_t now_ = now_s;
  TemporaryFolder folder_;
  TestAuthority authority_;
  std::vector<const X509*> others_;
};

TEST_F(Certified, TwoHostsOfOneAuthorityNeedNoPins) {
  const auto east = this->east();
  const auto west = open("west", files_of("west", authority_.issue({})));
  const auto client = east->begin(TlsRole::connecting);
  const auto server = west->begin(TlsRole::accepting);
  HandshakePair pair;
  ASSERT_TRUE(pair.shake(**client, **server).done());
  const auto by_east = east->check(**client, "west");
  ASSERT_TRUE(by_east.has_value()) << by_east.error().message;
  EXPECT_EQ(by_east->host, "west");
  EXPECT_TRUE(by_east->by_authority);
  EXPECT_EQ(by_east->expires_unix_s, now_s + day_s);
  EXPECT_EQ(by_east->fingerprint, west->fingerprint());
  const auto by_west = west->check(**server, "");
  ASSERT_TRUE(by_west.has_value()) << by_west.error().message;
  EXPECT_EQ(by_west->host, "east");
}

struct Bad {
  std::string name;
  Wanted wanted;
  Refusal reason;
  std::string says;
};
const Bad bad[] = {
    {"expired", {.until_s = now_s - 1}, Refusal::expired, "ran out on 2027-01-15"},
    {"not yet valid", {.from_s = now_s + 60}, Refusal::not_yet_valid, "clocks of both hosts"},
    {"of another host", {.names = "DNS:north"}, Refusal::wrong_name, "names north, not"},
    {"of no host", {.names = ""}, Refusal::wrong_name, "names no host"},
    {"by address only", {.names = "IP:127.0.0.1"}, Refusal::wrong_name, "names no host"},
    {"a wildcard", {.names = "DNS:*.west"}, Refusal::wrong_name, "not "},
    {"a longer name", {.names = "DNS:west.example"}, Refusal::wrong_name, "west.example"},
    {"another case", {.names = "DNS:West"}, Refusal::wrong_name, "West"},
    {"for mail", {.usage = "emailProtection"}, Refusal::wrong_purpose, "extendedKeyUsage"},
};

TEST_F(Certified, BadCertificatesAreRefusedInTheirOwnWords) {
  const auto east = this->east();
  for (const Bad& one : bad) {
    const auto judged = judge(*east, authority_.issue(one.wanted), "west", TlsRole::connecting);
    ASSERT_FALSE(judged.has_value()) << one.name;
    EXPECT_EQ(judged.error().reason, one.reason) << one.name << ": " << judged.error().message;
    EXPECT_EQ(judged.error().code, ErrorCode::denied);
    EXPECT_THAT(judged.error().message, HasSubstr(one.says)) << one.name;
    EXPECT_THAT(judged.error().message, HasSubstr("SHA256:")) << one.name;
  }
}

// Of those who connect the name is not known before: but no date or purpose is let pass.
TEST_F(Certified, TheOneThatIsCalledRefusesTheSame) {
  const auto east = this->east();
  for (const Bad& one : bad) {
    if (one.reason == Refusal::wrong_name && one.wanted.names.starts_with("DNS")) continue;
    const auto judged = judge(*east, authority_.issue(one.wanted), "", TlsRole::accepting);
    ASSERT_FALSE(judged.has_value()) << one.name;
    EXPECT_EQ(judged.error().reason, one.reason) << one.name << ": " << judged.error().message;
  }
}

TEST_F(Certified, APurposeForOneRoleOnlyIsRefusedInTheOther) {
  const auto east = this->east();
  const Issued server = authority_.issue({.usage = "serverAuth"});
  EXPECT_TRUE(judge(*east, server, "west", TlsRole::connecting).has_value());
  EXPECT_EQ(judge(*east, server, "", TlsRole::accepting).error().reason, Refusal::wrong_purpose);
  const Issued any = authority_.issue({.usage = ""});
  EXPECT_TRUE(judge(*east, any, "west", TlsRole::connecting).has_value());
  EXPECT_TRUE(judge(*east, any, "", TlsRole::accepting).has_value());
}

TEST_F(Certified, OfSeveralNamesTheFirstOrTheOneMeant) {
  const auto east = this->east();
  const Issued both = authority_.issue({.names = "DNS:west,DNS:west.example"});
  EXPECT_EQ(judge(*east, both, "", TlsRole::accepting)->host, "west");
  EXPECT_EQ(judge(*east, both, "west.example", TlsRole::accepting)->host, "west.example");
  EXPECT_EQ(judge(*east, both, "north", TlsRole::accepting).error().reason, Refusal::wrong_name);
}

TEST_F(Certified, AnotherAuthorityIsRefused) {
  const auto east = this->east();
  TestAuthority other("Test Authority");  // of the same name, with another key
  const auto judged = judge(*east, other.issue({}), "west", TlsRole::connecting);
  ASSERT_FALSE(judged.has_value());
  EXPECT_EQ(judged.error().reason, Refusal::wrong_authority) << judged.error().message;
  // No more than a host key would it do without a pin.
  const auto plain = open("north", {});
  const auto client = east->begin(TlsRole::connecting);
  const auto server = plain->begin(TlsRole::accepting);
  HandshakePair pair;
  ASSERT_TRUE(pair.shake(**client, **server).done());
  EXPECT_EQ(east->check(**client, "north").error().reason, Refusal::wrong_authority);
  // A pin lets it in beside the authority.
  ASSERT_TRUE(east->add({"north", plain->fingerprint(), ""}).has_value());
  EXPECT_TRUE(east->check(**client, "north").has_value());
}

TEST_F(Certified, AHostIsNoAuthority) {
  const auto east = this->east();
  const Issued middle = authority_.issue({.names = "DNS:middle"});
  // "middle" certifies "west" by itself.
  Issued forged = TestAuthority("host").issue({});
  X509_set_issuer_name(forged.certificate.get(), X509_get_subject_name(middle.certificate.get()));
  X509_sign(forged.certificate.get(), middle.key.get(), EVP_sha256());
  others_ = {middle.certificate.get()};
  const auto judged = judge(*east, forged, "west", TlsRole::connecting);
  ASSERT_FALSE(judged.has_value());
  EXPECT_EQ(judged.error().reason, Refusal::wrong_authority) << judged.error().message;
}

TEST_F(Certified, AnAuthorityBetweenIsSentAlong) {
  const auto east = this->east();
  TestAuthority lower = authority_.below("Lower Authority");
  const Issued issued = lower.issue({});
  EXPECT_EQ(judge(*east, issued, "west", TlsRole::connecting).error().reason,
            Refusal::wrong_authority);
  const auto west = open("west", files_of("west", issued, lower.certificate()));
  const auto client = east->begin(TlsRole::connecting);
  const auto server = west->begin(TlsRole::accepting);
  HandshakePair pair;
  ASSERT_TRUE(pair.shake(**client, **server).done());
  EXPECT_TRUE(east->check(**client, "west").has_value());
}

// --- revoked ---

TEST_F(Certified, ARevokedCertificateIsRefused) {
  const Issued good = authority_.issue({});
  const Issued revoked = authority_.issue({});
  const auto east = this->east(authority_.revoke({revoked.certificate.get()}));
  EXPECT_TRUE(judge(*east, good, "west", TlsRole::connecting).has_value());
  for (const TlsRole role : {TlsRole::connecting, TlsRole::accepting}) {
    const auto judged = judge(*east, revoked, "west", role);
    ASSERT_FALSE(judged.has_value());
    EXPECT_EQ(judged.error().reason, Refusal::revoked) << judged.error().message;
  }
}

TEST_F(Certified, ARevocationTakesEffectOnOpenSessions) {
  const Issued issued = authority_.issue({});
  const auto east = this->east(authority_.revoke({}));
  const auto judged = judge(*east, issued, "west", TlsRole::connecting);
  ASSERT_TRUE(judged.has_value()) << judged.error().message;
  EXPECT_TRUE(east->still(*judged).has_value());
  AuthorityFiles files;
  files.authority = folder_ / "authority.pem";
  files.certificate = folder_ / "east.pem";
  files.key = folder_ / "east.key";
  files.revoked = folder_ / "revoked.pem";
  write_file(files.revoked, authority_.revoke({issued.certificate.get()}), 0644);
  int changes = 0;
  east->on_change([&](bool own) { changes += own ? 100 : 1; });
  ASSERT_TRUE(east->reload(files).has_value());
  EXPECT_EQ(changes, 1);
  const auto still = east->still(*judged);
  ASSERT_FALSE(still.has_value());
  EXPECT_EQ(still.error().reason, Refusal::revoked);
}

TEST_F(Certified, ACertificateEndsAlsoUnderAnOpenSession) {
  const auto east = this->east();
  const auto judged = judge(*east, authority_.issue({}), "west", TlsRole::connecting);
  ASSERT_TRUE(judged.has_value());
  now_ = judged->expires_unix_s - 1;
  EXPECT_TRUE(east->still(*judged).has_value());
  now_ = judged->expires_unix_s + 1;
  ASSERT_FALSE(east->still(*judged).has_value());
  EXPECT_EQ(east->still(*judged).error().reason, Refusal::expired);
}

// Who asks for a list and has none that counts would not hear of a revocation.
TEST_F(Certified, AListThatIsTooOldOrMissingLetsNobodyIn) {
  const Issued issued = authority_.issue({});
  const auto old = this->east(authority_.revoke({}, now_s - 60));
  auto judged = judge(*old, issued, "west", TlsRole::connecting);
  ASSERT_FALSE(judged.has_value());
  EXPECT_EQ(judged.error().reason, Refusal::revoked_list);
  EXPECT_THAT(judged.error().message, HasSubstr("out of date"));
  EXPECT_EQ(old->overview().revoked_until_unix_s, now_s - 60);
  TestAuthority other("Another Authority");
  const auto missing = this->east(other.revoke({}));
  judged = judge(*missing, issued, "west", TlsRole::connecting);
  ASSERT_FALSE(judged.has_value());
  EXPECT_EQ(judged.error().reason, Refusal::revoked_list) << judged.error().message;
}

// --- pins beside an authority ---

TEST_F(Certified, APinIsTheNarrowerWord) {
  const auto east = this->east();
  const auto pinned = open("pinned", {});
  ASSERT_TRUE(east->add({"west", pinned->fingerprint(), ""}).has_value());
  // The authority says "west", but west is pinned with another key.
  for (const std::string expected : {"west", ""}) {
    const auto judged = judge(*east, authority_.issue({}), expected, TlsRole::accepting);
    ASSERT_FALSE(judged.has_value());
    EXPECT_EQ(judged.error().reason, Refusal::wrong_key) << judged.error().message;
  }
}

// --- this host's own files ---

TEST_F(Certified, OwnFilesAreCheckedAtTheStart) {
  const Issued issued = authority_.issue({.names = "DNS:east"});
  const Issued other = authority_.issue({.names = "DNS:other"});
  const AuthorityFiles good = files_of("east", issued);
  write_file(folder_ / "other.key", pem_of(*other.key));
  write_file(folder_ / "other.pem", pem_of(*other.certificate));
  write_file(folder_ / "readable.key", pem_of(*issued.key), 0644);
  write_file(folder_ / "text", "this is no certificate\n");
  write_file(folder_ / "broken", "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n");
  const struct {
    std::string name;
    std::function<void(AuthorityFiles&)> spoil;
    std::string says;
  } cases[] = {
      {"another's key", [&](auto& f) { f.key = folder_ / "other.key"; }, "is not the key of"},
      {"another's certificate",
       [&](auto& f) {
         f.certificate = folder_ / "other.pem";
         f.key = folder_ / "other.key";
       },
       "must hold DNS:east"},
      {"a key all may read", [&](auto& f) { f.key = folder_ / "readable.key"; }, "chmod 600"},
      {"no key", [&](auto& f) { f.key = ""; }, "go together"},
      {"no certificate", [&](auto& f) { f.certificate = ""; }, "go together"},
      {"a missing file", [&](auto& f) { f.authority = folder_ / "none"; }, "cannot open"},
      {"no certificates", [&](auto& f) { f.authority = folder_ / "text"; }, "found none"},
      {"a broken one", [&](auto& f) { f.authority = folder_ / "broken"; }, "malformed"},
      {"no lists", [&](auto& f) { f.revoked = folder_ / "authority.pem"; }, "found none"},
      {"a list alone",
       [&](auto& f) {
         f = {};
         f.revoked = folder_ / "text";
       },
       "needs trust.authority"},
  };
  const auto running = open("east", good);
  const std::string before = running->fingerprint();
  for (const auto& one : cases) {
    AuthorityFiles files = good;
    one.spoil(files);
    const auto opened = HostTrust::open({"east", folder_ / "fresh", files, {}});
    ASSERT_FALSE(opened.has_value()) << one.name;
    EXPECT_THAT(opened.error().message, HasSubstr(one.says)) << one.name;
    // A reload that fails changes nothing.
    ASSERT_FALSE(running->reload(files).has_value()) << one.name;
    EXPECT_EQ(running->fingerprint(), before) << one.name;
  }
}

TEST_F(Certified, ANewCertificateIsTakenByAReload) {
  const auto east = this->east();
  bool own = false;
  east->on_change([&](bool changed) { own = changed; });
  const std::string before = east->fingerprint();
  ASSERT_TRUE(east->reload(files_of("east", authority_.issue({.names = "DNS:east"}))).has_value());
  EXPECT_TRUE(own);
  EXPECT_NE(east->fingerprint(), before);
  EXPECT_EQ(east->prepare().error().code, ErrorCode::usage);
}

}  // namespace
}  // namespace farport::test
