// The small parts of a daemon: events, the lock of the run folder, drivers by name, the two
// threads.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <future>

#include "control/daemon/control_loop.h"
#include "control/daemon/driver_maker.h"
#include "control/daemon/event_log.h"
#include "control/daemon/run_lock.h"
#include "control/directory/file_directory.h"
#include "control/vm/hypervisor.h"

namespace farport {
namespace {

Event event(const std::string& message) {
  Event event;
  event.message = message;
  return event;
}

TEST(EventLog, NumbersAndKeepsTheLatest) {
  EventLog log(3);
  for (int i = 1; i <= 5; ++i) log.add(event(std::to_string(i)));
  EXPECT_EQ(log.last(), 5u);
  std::vector<std::string> seen;
  const auto all = log.subscribe(0, [&seen](const Event& one) { seen.push_back(one.message); });
  EXPECT_EQ(seen, (std::vector<std::string>{"3", "4", "5"}));
  log.add(event("6"));
  EXPECT_EQ(seen.back(), "6");
}

TEST(EventLog, FollowsFromWhereItIsTold) {
  EventLog log;
  log.add(event("1"));
  log.add(event("2"));
  std::vector<uint64_t> late, only_new;
  const auto after = log.subscribe(1, [&late](const Event& one) { late.push_back(one.sequence); });
  const auto fresh = log.subscribe(
      ~uint64_t{0}, [&only_new](const Event& one) { only_new.push_back(one.sequence); });
  log.add(event("3"));
  EXPECT_EQ(late, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(only_new, (std::vector<uint64_t>{3}));
}

TEST(EventLog, ASubscriptionMayEndInsideItsCallbackAndAfterTheLog) {
  std::unique_ptr<EventSubscription> one, other;
  int calls = 0;
  {
    EventLog log;
    one = log.subscribe(0, [&](const Event&) {
      ++calls;
      one.reset();
    });
    other = log.subscribe(0, [](const Event&) {});
    log.add(event("1"));
    log.add(event("2"));
  }
  EXPECT_EQ(calls, 1);
  other.reset();
}

TEST(RunLock, OneDaemonPerFolder) {
  std::string name = (std::filesystem::temp_directory_path() / "farport-lock-XXXXXX").string();
  ASSERT_NE(mkdtemp(name.data()), nullptr);
  {
    const auto first = RunLock::take(name + "/run");
    ASSERT_TRUE(first) << first.error().message;
    const auto second = RunLock::take(name + "/run");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::busy);
    EXPECT_NE(second.error().message.find(std::to_string(getpid())), std::string::npos);
  }
  EXPECT_TRUE(RunLock::take(name + "/run")) << "the lock outlived its holder";
  std::filesystem::remove_all(name);
}

TEST(RunLock, AFolderThatCannotBeIsAnError) {
  const auto lock = RunLock::take("/proc/none/run");
  ASSERT_FALSE(lock);
  EXPECT_NE(lock.error().message.find("/proc/none/run"), std::string::npos);
}

TEST(DriverTypes, ChoosesByNameAndKind) {
  DriverTypes types;
  types.add("pty", {{DeviceKind::serial}, {}});
  types.add("vhci", {{DeviceKind::usb}, {}});
  EXPECT_EQ(types.choose("", DeviceKind::serial), "pty");
  EXPECT_EQ(types.choose("", DeviceKind::usb), "vhci");
  EXPECT_EQ(types.choose("pty", DeviceKind::usb).error().code, ErrorCode::usage);
  EXPECT_EQ(types.choose("teleport", DeviceKind::usb).error().code, ErrorCode::usage);
  EXPECT_EQ(types.check("teleport").error().code, ErrorCode::usage);
  EXPECT_TRUE(types.check(""));
  EXPECT_EQ(types.names(), "pty, vhci");
}

TEST(FileDirectory, TellsOfChangesOnly) {
  FileDirectory directory;
  int changes = 0;
  directory.on_change([&changes] { ++changes; });
  const std::vector<DirectoryHost> hosts{{"alpha", {"192.0.2.7:7411"}}};
  directory.set(hosts, {});
  directory.set(hosts, {});
  EXPECT_EQ(changes, 1);
  EXPECT_EQ(directory.hosts(), hosts);
}

TEST(NoHypervisor, SaysThatItMovesNothing) {
  NoHypervisor none;
  EXPECT_FALSE(none.moves());
  Result<void> answer;
  none.migrate("build", "alpha", [&answer](Result<void> result) { answer = std::move(result); });
  ASSERT_FALSE(answer);
  EXPECT_NE(answer.error().message.find("build"), std::string::npos);
}

TEST(ControlLoop, OffloadComesBackToTheControlThread) {
  ControlLoop loop;
  loop.start();
  std::promise<bool> answer;
  loop.post([&] {
    loop.offload(
        [] { return std::make_unique<int>(7); },
        [&](std::unique_ptr<int> value) { answer.set_value(*value == 7 && loop.on_thread()); });
  });
  EXPECT_TRUE(answer.get_future().get());
}

TEST(ControlLoop, ACancelledTimerNeverFires) {
  ControlLoop loop;
  ControlTimer cancelled(loop), replaced(loop), kept(loop);
  loop.start();
  std::promise<void> fired;
  int wrong = 0;
  loop.post([&] {
    cancelled.after(std::chrono::milliseconds(0), [&] { ++wrong; });
    cancelled.cancel();
    replaced.after(std::chrono::milliseconds(0), [&] { ++wrong; });
    replaced.after(std::chrono::milliseconds(1), [] {});
    kept.after(std::chrono::milliseconds(2), [&] { fired.set_value(); });
  });
  fired.get_future().wait();
  loop.stop();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace farport
