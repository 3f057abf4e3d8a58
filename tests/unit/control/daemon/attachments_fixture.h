// Attachments in front of fakes: devices that come and go as the test says, fake drivers, and a
// session over loopback to a device host whose Lender has the same devices. Times are short; what
// is to happen is waited for.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "control/daemon/attachments.h"
#include "control/daemon/lender.h"
#include "tests/unit/fake_device.h"
#include "tests/unit/fake_driver.h"

namespace farport::test {

class FakeProvider final : public DeviceProvider {
 public:
  std::string_view name() const override { return "fake"; }
  Result<std::vector<DeviceInfo>> list() override {
    const std::lock_guard lock(mutex_);
    std::vector<DeviceInfo> infos;
    for (const std::string& one : plugged_) infos.push_back(info(one));
    return infos;
  }
  // As the seam has it: what is gone is not found, whatever was listed before.
  Result<std::unique_ptr<Device>> open(const std::string& name) override {
    const std::lock_guard lock(mutex_);
    if (std::find(plugged_.begin(), plugged_.end(), name) == plugged_.end()) {
      return fail(ErrorCode::not_found, name + " is not plugged in");
    }
    return std::make_unique<FakeDevice>(info(name));
  }
  void on_change(std::function<void()> changed) override { changed_ = std::move(changed); }

  void set(std::vector<std::string> plugged) {
    const std::lock_guard lock(mutex_);
    plugged_ = std::move(plugged);
  }
  void tell() {
    if (changed_) changed_();
  }

 private:
  static DeviceInfo info(const std::string& name) {
    DeviceInfo info;
    info.name = name;
    return info;
  }
  std::mutex mutex_;
  std::vector<std::string> plugged_;
  std::function<void()> changed_;
};

struct FakePeers final : PeerDirectory {
  std::map<std::string, std::shared_ptr<PeerSession>> sessions;
  size_t asked = 0;
  Result<std::shared_ptr<PeerSession>> session(const std::string& host) override {
    ++asked;
    if (host == "unheard-of") return fail(ErrorCode::not_found, "there is no host " + host);
    const auto found = sessions.find(host);
    if (found == sessions.end()) return fail(ErrorCode::unreachable, host + " is not connected");
    return found->second;
  }
};

// The consumer's host is beta, the device's alpha; both are here.
class AttachmentsTest : public testing::Test {
 protected:
  struct End final : PeerSessionEvents {
    End(AttachmentsTest& test, bool consumer) : test(test), consumer(consumer) {}
    AttachmentsTest& test;
    const bool consumer;
    void peer_request(PeerSession& session, uint32_t id, const nlohmann::json& asked) override {
      test.lender.request(session, id, asked);
    }
    void peer_notice(PeerSession& session, const nlohmann::json& notice) override {
      if (consumer && test.attachments) test.attachments->peer_notice(session, notice);
    }
    void peer_channel_closed(PeerSession& session, uint32_t number, const Error& why) override {
      if (consumer) {
        if (test.attachments) test.attachments->channel_closed(session, number, why);
      } else {
        test.lender.channel_closed(session, number, why);
      }
    }
    void peer_driver_gone(PeerSession& session, uint32_t number) override {
      if (consumer && test.attachments) test.attachments->driver_gone(session, number);
    }
    void peer_paused(PeerSession& session, const ResumePoint&, const Error& why) override {
      session.close(why, SessionEnd::closed_by_peer);  // nobody resumes here
    }
    void peer_closed(PeerSession& session, const Error& why) override {
      if (!consumer) {
        test.lender.session_closed(session, why);
      } else {
        if (test.attachments) test.attachments->session_closed(session, why);
        std::erase_if(test.peers.sessions,
                      [&](const auto& one) { return one.second.get() == &session; });
      }
      std::erase_if(test.sessions, [&](const auto& one) { return one.get() == &session; });
    }
  };

  void SetUp() override {
    auto started = WorkerThread::start({}, "worker");
    ASSERT_TRUE(started) << started.error().message;
    worker = std::move(*started);
    auto made = std::make_unique<FakeProvider>();
    devices = made.get();
    catalogue.add(std::move(made));
    drivers.add("vhci", {{DeviceKind::usb}, [](const DriverRequest&) {
                           return Result<std::unique_ptr<Driver>>(std::make_unique<FakeDriver>());
                         }});
    loans.on_freed([this] { changed(); });
    lender.set_sessions([this] { return sessions; });
    allow(true);
    times.first = std::chrono::milliseconds(20);
    times.last = std::chrono::milliseconds(50);
    times.gap_max = std::chrono::milliseconds(5);
    loop.start();
    begin();
  }
  void TearDown() override {
    on_loop([&] { catalogue.stop(); });
    end();
    on_loop([&] {
      for (const auto& session : std::vector(sessions)) session->close({});
    });
    EXPECT_TRUE(eventually([&] { return sessions.empty(); }));
    loop.stop();
    worker->stop();
  }

  // A consumer's daemon starts, or starts again.
  void begin(std::vector<KeptAttachment> kept = {}) {
    on_loop([&] {
      attachments = std::make_unique<Attachments>(
          Attachments::Parts{loop, *worker, loans, peers, drivers, events, "beta",
                             [](const DeviceInfo&) { return uint64_t{0}; },
                             [](const Attachment&) {}, [](const Attachment&) {}, path, times});
      attachments->restore(kept);
    });
  }
  void end() {
    if (!attachments) return;
    std::promise<void> closed;
    on_loop([&] { attachments->close_all([&] { closed.set_value(); }); });
    closed.get_future().wait();
    on_loop([&] { attachments.reset(); });
  }

  void changed() {
    if (attachments) attachments->devices_changed("beta");
    lender.devices_changed();
  }
  void allow(bool allowed) {
    loans.set_rules([allowed](const DeviceInfo&,
                              const Consumer&) { return Access{allowed, "the rule of the test"}; },
                    [](const DeviceInfo&) { return Nominal{}; });
  }
  // These and no others are plugged in, and the catalogue knows: it lists on the pool, so what is
  // asked of it before that may be answered by the list of before.
  void plug(const std::vector<std::string>& names) {
    devices->set(names);
    devices->tell();
    ASSERT_TRUE(eventually([&] {
      std::vector<std::string> listed;
      for (const LocalDevice& one : catalogue.devices()) listed.push_back(one.info.name);
      return listed == names;
    }));
  }

  // A session of alpha and beta; the next one replaces it.
  void connect() {
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    ASSERT_EQ(bind(listener, generic, length), 0);
    ASSERT_EQ(listen(listener, 1), 0);
    ASSERT_EQ(getsockname(listener, generic, &length), 0);
    FileDescriptor near(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(near.get(), generic, length), 0);
    FileDescriptor far(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    ::close(listener);
    on_loop([&] {
      for (const auto& session : sessions) lender.session_ending(*session);
      SessionSettings beta{.host_name = "beta", .connecting = true};
      SessionSettings alpha{.host_name = "alpha"};
      Hello hello;
      hello.frame_data_bytes_max = limits::frame_data_bytes_max;
      hello.version_minor = wire::version_minor;
      hello.host_name = "alpha";
      sessions.push_back(PeerSession::start(loop, *worker, beta, hello,
                                            PeerConnection{std::move(near), "alpha:1"}, beta_end));
      hello.host_name = "beta";
      sessions.push_back(PeerSession::start(loop, *worker, alpha, hello,
                                            PeerConnection{std::move(far), "beta:1"}, alpha_end));
      latest = sessions[sessions.size() - 2];
      peers.sessions["alpha"] = latest;
      if (attachments) attachments->peer_opened(*latest);
    });
    ASSERT_TRUE(eventually([&] { return latest->open(); }));
  }
  void disconnect(SessionEnd how) {
    on_loop([&] { latest->close({ErrorCode::failed, "the test"}, how); });
  }

  // Runs on the control thread, and waits.
  template <class Work>
  std::invoke_result_t<Work> on_loop(Work work) {
    std::promise<std::invoke_result_t<Work>> answer;
    loop.post([&] {
      if constexpr (std::is_void_v<std::invoke_result_t<Work>>) {
        work();
        answer.set_value();
      } else {
        answer.set_value(work());
      }
    });
    return answer.get_future().get();
  }
  bool eventually(const std::function<bool()>& holds) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!on_loop(holds)) {
      if (std::chrono::steady_clock::now() > until) return false;
      poll(nullptr, 0, 2);
    }
    return true;
  }
  Result<Attachment> attach(const std::string& host, const std::string& device, bool persistent) {
    AttachRequest request;
    request.host = host;
    request.device = device;
    request.persistent = persistent;
    std::promise<Result<Attachment>> answer;
    on_loop([&] {
      attachments->attach(request, {0, 0, 0, "root", {"root"}},
                          [&](Result<Attachment> one) { answer.set_value(std::move(one)); });
    });
    return answer.get_future().get();
  }
  Result<void> detach(const std::string& id) {
    std::promise<Result<void>> answer;
    on_loop([&] {
      attachments->detach(id, {0, 0, 0, "root", {"root"}},
                          [&](Result<void> one) { answer.set_value(std::move(one)); });
    });
    return answer.get_future().get();
  }
  // "" when there is none.
  std::string state(const std::string& id = "att-1") {
    for (const Attachment& one : attachments->list()) {
      if (one.id == id) return one.state;
    }
    return "";
  }
  bool becomes(const std::string& wanted) {
    return eventually([&] { return state() == wanted; });
  }
  // Messages of events; the first on the control thread.
  std::vector<std::string> told_now(const std::string& type) {
    std::vector<std::string> messages;
    events.subscribe(0, [&](const Event& event) {
      if (event.type == type) messages.push_back(event.message);
    });
    return messages;
  }
  std::vector<std::string> told(const std::string& type) {
    return on_loop([&] { return told_now(type); });
  }

  ControlLoop loop;
  std::unique_ptr<WorkerThread> worker;
  EventLog events;
  DriverTypes drivers;
  FakePeers peers;
  FakeProvider* devices = nullptr;
  Catalogue catalogue{loop, [this](const Catalogue::Change& change) {
                        if (change.plugged) changed();
                      }};
  Loans loans{catalogue, events, "alpha"};
  Lender lender{loop, loans};
  RetryTimes times;
  std::string path;
  std::unique_ptr<Attachments> attachments;
  End beta_end{*this, true}, alpha_end{*this, false};
  std::vector<std::shared_ptr<PeerSession>> sessions;  // that are not closed
  std::shared_ptr<PeerSession> latest;                 // beta's end of it
};

}  // namespace farport::test
