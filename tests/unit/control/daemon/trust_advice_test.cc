// doctor's words on trust.
#include "control/daemon/trust_advice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace farport {
namespace {

using testing::HasSubstr;

constexpr int64_t now_s = 1'800'000'000, day_s = 86'400;

TrustReport report() {
  TrustReport all;
  all.overview.host = "desk";
  all.overview.fingerprint = "SHA256:mine";
  all.overview.keys = {{"lab", "SHA256:theirs", ""}};
  return all;
}
std::vector<Check> of(const TrustReport& all, const std::string& name) {
  std::vector<Check> found;
  for (Check& check : explain_own_trust(all, now_s * 1000)) {
    if (check.name == name) found.push_back(std::move(check));
  }
  return found;
}

HostEntry peer(const std::string& name, const std::string& state = "unreachable") {
  HostEntry entry;
  entry.name = name;
  entry.state = state;
  return entry;
}
Check of_peer(const TrustReport& all, const HostEntry& entry, bool plain = false) {
  return explain_peer_trust(all, entry, plain, now_s * 1000);
}
// A host that was turned away with this key, so many seconds ago.
Refusals::Entry turned_away(Refusal reason, const std::string& host, const std::string& key,
                            int64_t ago_s = 5) {
  const int64_t when_ms = (now_s - ago_s) * 1000;
  return {reason, "192.0.2.7", "because", host, key, 1, when_ms, when_ms};
}

TEST(TrustAdvice, AHostThatIsNotPinnedNeedsBothCommands) {
  const Check check = of_peer(report(), peer("shed"));
  EXPECT_FALSE(check.ok);
  EXPECT_THAT(check.advice, HasSubstr("on shed: `farport trust show`, and `farport trust add desk "
                                      "SHA256:mine`"));
  EXPECT_THAT(check.advice, HasSubstr("here: what it shows, as `farport trust add shed "));
}

// It used to say "SHA256:..." although the refusal had named the key.
TEST(TrustAdvice, TheCommandNamesTheKeyThatWasRefused) {
  TrustReport all = report();
  all.refusals = {turned_away(Refusal::unknown_key, "shed", "SHA256:before"),
                  turned_away(Refusal::unknown_key, "barn", "SHA256:barn"),
                  turned_away(Refusal::unknown_key, "shed", "SHA256:shed"),
                  turned_away(Refusal::not_tls, "shed", "")};
  const Check check = of_peer(all, peer("shed"));
  EXPECT_FALSE(check.ok);
  EXPECT_THAT(check.advice, HasSubstr("here: if it shows the same, `farport trust add shed "
                                      "SHA256:shed`"));
  EXPECT_THAT(check.advice, HasSubstr("on shed: `farport trust show`, and `farport trust add desk "
                                      "SHA256:mine`"));
  // A name is a stranger's word; what is copied into a shell must not be.
  all.refusals = {turned_away(Refusal::unknown_key, "$(reboot)", "SHA256:evil")};
  EXPECT_THAT(of_peer(all, peer("$(reboot)")).advice,
              testing::AllOf(HasSubstr("farport trust add NAME SHA256:evil"),
                             testing::Not(HasSubstr("add $("))));
}

TEST(TrustAdvice, AnotherKeyThanThePinnedOneIsLookedAtFirst) {
  TrustReport all = report();
  all.refusals = {turned_away(Refusal::wrong_key, "lab", "SHA256:new")};
  const Check check = of_peer(all, peer("lab"));
  EXPECT_FALSE(check.ok);
  EXPECT_THAT(check.advice, HasSubstr("only if it says the same, here: `farport trust add lab "
                                      "SHA256:new --replace`"));
  all.refusals = {turned_away(Refusal::wrong_key, "lab", "SHA256:theirs")};
  EXPECT_TRUE(of_peer(all, peer("lab")).ok) << "it was pinned since";
  all.refusals = {turned_away(Refusal::wrong_key, "lab", "SHA256:new", 3600)};
  EXPECT_TRUE(of_peer(all, peer("lab")).ok) << "long ago";
}

TEST(TrustAdvice, AHostThatDoesNotKnowThisOneIsGivenTheCommandForThere) {
  HostEntry refused = peer("lab");
  refused.error = "host desk shows a key that is not known on this host: SHA256:mine";
  const Check check = of_peer(report(), refused);
  EXPECT_FALSE(check.ok);
  EXPECT_EQ(check.advice, "on lab: `farport trust add desk SHA256:mine`");
}

TEST(TrustAdvice, OneThatIsPinnedOrReachedPlainlyIsWell) {
  const TrustReport known = report();
  EXPECT_THAT(of_peer(known, peer("lab", "connected")).message, HasSubstr("SHA256:theirs"));
  const Check away = of_peer(known, peer("lab"));
  EXPECT_TRUE(away.ok);
  EXPECT_THAT(away.message, HasSubstr("`farport trust list`")) << "ours there is not known";
  EXPECT_THAT(away.message, HasSubstr("there: `farport trust add desk SHA256:mine`"));
  EXPECT_TRUE(of_peer(known, peer("shed"), true).ok);
  TrustReport certified = known;
  certified.overview.authority = true;
  EXPECT_TRUE(of_peer(certified, peer("shed")).ok);
}

TEST(TrustAdvice, CertificatesAndListsRunOut) {
  const struct {
    int64_t left_s;
    bool ok;
    std::string says;
  } cases[] = {
      {-1, false, "ran out"}, {3 * day_s, true, "ONLY until"}, {90 * day_s, true, ", until"}};
  for (const auto& one : cases) {
    TrustReport all = report();
    all.overview.certificate = "/etc/farport/desk.pem";
    all.overview.certificate_expires_unix_s = now_s + one.left_s;
    all.overview.revoked_until_unix_s = now_s + one.left_s;
    for (const char* name : {"certificate", "revoked list"}) {
      const auto found = of(all, name);
      ASSERT_EQ(found.size(), 1u) << name;
      EXPECT_EQ(found[0].ok, one.ok) << name;
      EXPECT_THAT(found[0].message, HasSubstr(one.says)) << name;
      EXPECT_EQ(found[0].advice.empty(), one.ok);
    }
  }
  EXPECT_TRUE(of(report(), "certificate").empty());
  EXPECT_TRUE(of(report(), "revoked list").empty());
}

TEST(TrustAdvice, RefusalsOfTheLastMinutesAreTold) {
  TrustReport all = report();
  const int64_t now_ms = now_s * 1000;
  all.refusals = {
      {Refusal::unknown_key, "192.0.2.5", "long ago", "", "", 1, now_ms - 900'000,
       now_ms - 800'000},
      {Refusal::not_tls, "192.0.2.6", "a scanner", "", "", 1, now_ms, now_ms},
      {Refusal::wrong_key, "192.0.2.7", "SHA256:other", "", "", 4, now_ms - 5000, now_ms},
  };
  const auto found = of(all, "refused");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_TRUE(found[0].ok) << "nothing a person could repair";
  EXPECT_FALSE(found[1].ok);
  EXPECT_THAT(found[1].message, HasSubstr("192.0.2.7 (4 times"));
  EXPECT_THAT(found[1].message, HasSubstr("another key than the pinned one: SHA256:other"));
}

}  // namespace
}  // namespace farport
