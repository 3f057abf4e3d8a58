// What becomes of attachments that lose their device, and of those whose device is not there yet.
#include "control/daemon/attachments.h"

#include <filesystem>

#include "tests/unit/control/daemon/attachments_fixture.h"

namespace farport::test {
namespace {

using std::chrono::milliseconds;

TEST(RetryTimes, IntervalsGrowAndAreSpread) {
  const RetryTimes times;
  struct Case {
    unsigned failures;
    int plain_ms;
  };
  for (const Case& c : {Case{0, 1'000}, Case{1, 1'000}, Case{2, 2'000}, Case{5, 16'000},
                        Case{6, 30'000}, Case{4'000'000'000, 30'000}}) {
    EXPECT_EQ(times.interval(c.failures, 0.5), milliseconds(c.plain_ms)) << c.failures;
    EXPECT_EQ(times.interval(c.failures, 0), milliseconds(c.plain_ms * 8 / 10)) << c.failures;
    EXPECT_EQ(times.interval(c.failures, 1), milliseconds(c.plain_ms * 12 / 10)) << c.failures;
    EXPECT_LE(times.gap(c.failures), milliseconds(2'000)) << c.failures;
    EXPECT_GE(times.gap(c.failures), milliseconds(250)) << c.failures;
  }
}

// How a session ended decides over what is not persistent; what is waits in any case.
TEST_F(AttachmentsTest, AfterTheEndOfASession) {
  struct Case {
    SessionEnd how;
    bool comes_back;
  };
  const Case cases[] = {{SessionEnd::peer_restarted, true}, {SessionEnd::replaced, true},
                        {SessionEnd::closed_by_peer, true}, {SessionEnd::timed_out, false},
                        {SessionEnd::trust_removed, false}, {SessionEnd::closed_by_us, false}};
  plug({"disk", "stick"});
  for (const Case& c : cases) {
    const int number = static_cast<int>(c.how);
    connect();
    const auto passing = attach("alpha", "disk", false);
    const auto lasting = attach("alpha", "stick", true);
    ASSERT_TRUE(passing) << number << ": " << passing.error().message;
    ASSERT_TRUE(lasting) << number << ": " << lasting.error().message;
    disconnect(c.how);
    EXPECT_TRUE(eventually([&] {
      return state(passing->id) == (c.comes_back ? "waiting" : "") &&
             state(lasting->id) == "waiting";
    })) << number;
    connect();
    EXPECT_TRUE(eventually([&] {
      return state(passing->id) == (c.comes_back ? "open" : "") && state(lasting->id) == "open";
    })) << number;
    if (c.comes_back) {
      EXPECT_TRUE(detach(passing->id));
    }
    EXPECT_TRUE(detach(lasting->id));
    disconnect(SessionEnd::closed_by_us);
    ASSERT_TRUE(eventually([&] { return sessions.empty(); }));
  }
}

// The new session is there before the old one has ended: the device is still lent over the old one,
// and who asks again must not hear "busy".
TEST_F(AttachmentsTest, ANewerSessionTakesOver) {
  plug({"disk"});
  connect();
  ASSERT_TRUE(attach("alpha", "disk", false));
  const auto old = latest;
  connect();
  on_loop([&] { old->close({ErrorCode::busy, "replaced"}, SessionEnd::replaced); });
  ASSERT_TRUE(eventually([&] { return told_now("attached").size() == 2; }))
      << "it did not come back";
  EXPECT_TRUE(becomes("open"));
  for (const std::string& message : told("attachment.waiting")) {
    EXPECT_EQ(message.find("in use"), std::string::npos) << message;
  }
}

TEST_F(AttachmentsTest, WhatIsNotPersistentIsGivenUp) {
  end();
  times.give_up = milliseconds(50);
  begin();
  plug({"disk"});
  connect();
  ASSERT_TRUE(attach("alpha", "disk", false));
  disconnect(SessionEnd::peer_restarted);
  EXPECT_TRUE(becomes(""));
  const auto why = told("detached");
  ASSERT_EQ(why.size(), 1u);
  EXPECT_NE(why[0].find("has not come back"), std::string::npos) << why[0];
}

TEST_F(AttachmentsTest, ADeniedReturnEndsIt) {
  plug({"disk"});
  connect();
  ASSERT_TRUE(attach("alpha", "disk", false));
  on_loop([&] { allow(false); });
  disconnect(SessionEnd::peer_restarted);
  ASSERT_TRUE(becomes("waiting"));
  connect();
  EXPECT_TRUE(becomes(""));
  EXPECT_NE(told("detached").at(0).find("not exported"), std::string::npos);
}

// Of a device of this host, and of another's: the same life.
TEST_F(AttachmentsTest, APersistentOneFollowsItsDevice) {
  connect();
  for (const char* host : {"beta", "alpha"}) {
    plug({});
    const auto attached = attach(host, "disk", true);
    ASSERT_TRUE(attached) << attached.error().message;
    EXPECT_EQ(attached->state, "waiting");
    ASSERT_TRUE(attached->waiting);
    EXPECT_EQ(attached->waiting->code, ErrorCode::not_found);
    EXPECT_NE(attached->waiting->next_try_unix_ms, 0);
    EXPECT_EQ(attached->waiting->until_unix_ms, 0);
    plug({"disk"});
    EXPECT_TRUE(eventually([&] { return state(attached->id) == "open"; })) << host;
    EXPECT_TRUE(detach(attached->id));
    EXPECT_EQ(on_loop([&] { return state(attached->id); }), "");
  }
}

// It was pulled out a moment ago, and the catalogue still lists it.
TEST_F(AttachmentsTest, ADeviceThatIsListedButGoneIsWaitedFor) {
  connect();
  plug({"disk"});
  for (const char* host : {"beta", "alpha"}) {
    devices->set({});
    const auto attached = attach(host, "disk", true);
    ASSERT_TRUE(attached) << attached.error().message;
    ASSERT_TRUE(attached->waiting) << host << ": " << attached->state;
    EXPECT_EQ(attached->waiting->code, ErrorCode::not_found);
    devices->set({"disk"});
    EXPECT_TRUE(eventually([&] { return state(attached->id) == "open"; })) << host;
    EXPECT_TRUE(detach(attached->id));
  }
}

TEST_F(AttachmentsTest, AWaitingOneIsDetachedAndToldOncePerReason) {
  ASSERT_TRUE(attach("beta", "disk", true));
  const uint64_t first = on_loop([&] { return attachments->list()[0].waiting->next_try_unix_ms; });
  // Several attempts later.
  ASSERT_TRUE(eventually([&] {
    const auto list = attachments->list();
    return list[0].waiting->next_try_unix_ms > static_cast<int64_t>(first) + 200;
  }));
  EXPECT_EQ(told("attachment.waiting").size(), 1u);
  EXPECT_TRUE(detach("att-1"));
  EXPECT_EQ(detach("att-1").error().code, ErrorCode::not_found);
}

TEST_F(AttachmentsTest, AWrongRequestIsNotWaitedFor) {
  EXPECT_EQ(attach("unheard-of", "disk", true).error().code, ErrorCode::not_found);
  EXPECT_TRUE(on_loop([&] { return attachments->list().empty(); }));
  ASSERT_TRUE(attach("alpha", "disk", true));
  EXPECT_EQ(attach("alpha", "disk", true).error().code, ErrorCode::busy);
}

// A host that is away is not asked for: its session wakes those who wait.
TEST_F(AttachmentsTest, ManyThatWaitCostNothing) {
  constexpr size_t count = 200;
  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i) {
    names.push_back("disk" + std::to_string(i));
    ASSERT_EQ(attach("alpha", names.back(), true)->state, "waiting");
  }
  const size_t asked = on_loop([&] { return peers.asked; });
  EXPECT_EQ(asked, count);
  on_loop([&] {
    for (int i = 0; i < 1000; ++i) attachments->devices_changed("alpha");
  });
  EXPECT_EQ(on_loop([&] { return peers.asked; }), count);
  plug(names);
  connect();
  EXPECT_TRUE(eventually([&] { return attachments->open_count() == count; }));
  EXPECT_EQ(told("attachment.waiting").size(), count);
}

TEST_F(AttachmentsTest, PersistentOnesAreThereAgainWithTheirIds) {
  std::string folder = testing::TempDir() + "farport-attachments-XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  end();
  path = folder + "/attachments.json";
  begin();
  plug({"disk", "stick"});
  ASSERT_EQ(attach("beta", "stick", false)->id, "att-1");
  ASSERT_EQ(attach("beta", "disk", true)->id, "att-2");
  ASSERT_EQ(attach("beta", "absent", true)->id, "att-3");
  ASSERT_TRUE(detach("att-3"));
  end();
  const auto loaded = load_attachments(path);
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_EQ(loaded->attachments.size(), 1u);
  begin(loaded->attachments);
  EXPECT_TRUE(eventually([&] { return state("att-2") == "open"; }));
  EXPECT_EQ(attach("beta", "stick", false)->id, "att-3");
  end();
  path = "/proc/none/attachments.json";
  begin();
  const auto unkept = attach("beta", "disk", true);
  ASSERT_FALSE(unkept) << "it was promised to last";
  EXPECT_NE(unkept.error().message.find("/proc/none"), std::string::npos);
  EXPECT_TRUE(eventually([&] { return attachments->list().empty(); }));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace farport::test
