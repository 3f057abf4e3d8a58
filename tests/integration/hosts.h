// Daemons in this process, for tests: each with a run folder of its own, emulated devices, and
// ports that the system chose. Calls of a Service are made on its control thread and waited for.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "control/daemon/daemon.h"
#include "devices/emulated/provider.h"
#include "drivers/initiator/blocking.h"
#include "drivers/initiator/initiator.h"

namespace farport::test {

inline constexpr std::chrono::seconds patience{20};

// A folder that goes with its test.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "farport-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Waits until it holds; false when it did not within the time limit.
inline bool eventually(const std::function<bool()>& holds) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > until) return false;
    poll(nullptr, 0, 5);  // milliseconds
  }
  return true;
}

inline Caller root() { return {0, 0, getpid(), "root", {"root"}}; }
inline Caller user(uid_t uid, const std::string& name) {
  return {uid, uid, getpid(), name, {name}};
}

// The initiators that attachments have made, by the device's name.
struct Initiators {
  std::mutex mutex;
  std::map<std::string, Initiator*> made;

  DriverType type() {
    return {{DeviceKind::usb, DeviceKind::serial},
            [this](const DriverRequest& request) -> Result<std::unique_ptr<Driver>> {
              auto driver = std::make_unique<Initiator>();
              const std::lock_guard lock(mutex);
              made[request.info.name] = driver.get();
              return driver;
            }};
  }
  Initiator& at(const std::string& device) {
    const std::lock_guard lock(mutex);
    return *made.at(device);
  }
};

struct HostSettings {
  std::string name;
  std::vector<DirectoryHost> peers;
  std::vector<EmulatedDeviceSettings> devices;
  std::vector<std::string> exported_to;  // hosts; all devices
  uint16_t port = 0;
  std::vector<DirectoryVm> vms;
  PolicySettings policy;
  RetryTimes retry;
};

inline AccessCheck exported_to(std::vector<std::string> hosts) {
  return [hosts = std::move(hosts)](const DeviceInfo&, const Consumer& consumer) {
    for (const std::string& host : hosts) {
      if (host == consumer.host) return Access{true, "the rule of the test"};
    }
    return Access{false, "no rule names it"};
  };
}

class Host {
 public:
  explicit Host(const HostSettings& settings) {
    DaemonSettings daemon;
    daemon.host = settings.name;
    daemon.run_dir = folder_.path();
    daemon.listen = {{"127.0.0.1", settings.port}};
    daemon.drivers.add("initiator", initiators.type());
    auto provider = EmulatedProvider::create(settings.devices);
    EXPECT_TRUE(provider) << provider.error().message;
    devices_ = provider->get();
    daemon.providers.push_back(std::move(*provider));
    daemon.live.peers = settings.peers;
    daemon.live.vms = settings.vms;
    daemon.live.policy = settings.policy;
    daemon.retry = settings.retry;
    daemon.live.access = exported_to(settings.exported_to);
    auto started = Daemon::start(std::move(daemon));
    EXPECT_TRUE(started) << started.error().message;
    if (started) daemon_ = std::move(*started);
  }
  ~Host() { stop(); }

  void stop() {
    if (daemon_) {
      EXPECT_TRUE(daemon_->stop());
    }
    daemon_.reset();
  }

  Daemon& daemon() { return *daemon_; }
  EmulatedProvider& devices() { return *devices_; }
  std::string address() const { return daemon_->addresses().at(0); }

  // Runs on the control thread, and waits.
  template <class Work>
  auto ask(Work work) {
    std::promise<decltype(work(daemon_->service()))> answer;
    daemon_->loop().post([&] { answer.set_value(work(daemon_->service())); });
    return answer.get_future().get();
  }
  // An operation with a callback.
  template <class T>
  Result<T> call(std::function<void(Service&, Callback<T>)> operation) {
    auto answer = std::make_shared<std::promise<Result<T>>>();
    auto future = answer->get_future();
    daemon_->loop().post([&service = daemon_->service(), operation, answer] {
      operation(service, [answer](Result<T> result) { answer->set_value(std::move(result)); });
    });
    if (future.wait_for(patience) != std::future_status::ready) {
      return fail(ErrorCode::timed_out, "the service did not answer");
    }
    return future.get();
  }

  Result<Attachment> attach(const AttachRequest& request, const Caller& caller = root()) {
    return call<Attachment>([&](Service& service, Callback<Attachment> done) {
      service.attach(request, caller, std::move(done));
    });
  }
  Result<void> detach(const std::string& id, const Caller& caller = root()) {
    return call<void>([&](Service& service, Callback<void> done) {
      service.detach(id, caller, std::move(done));
    });
  }
  Result<DeviceList> list(const std::string& host = "", const Caller& caller = root()) {
    return call<DeviceList>([&](Service& service, Callback<DeviceList> done) {
      service.devices(host, caller, std::move(done));
    });
  }
  std::vector<Attachment> attachments() {
    return ask([](Service& service) { return service.attachments(); });
  }
  std::vector<Event> events() {
    return ask([](Service& service) {
      std::vector<Event> events;
      service.subscribe(0, [&events](const Event& event) { events.push_back(event); });
      return events;
    });
  }
  bool wait_event(const std::string& type, const std::string& words = "") {
    return eventually([&] {
      for (const Event& event : events()) {
        if (event.type == type && event.message.find(words) != std::string::npos) return true;
      }
      return false;
    });
  }
  // As this host sees another; empty: not at all.
  HostEntry host(const std::string& name) {
    const auto all = call<std::vector<HostEntry>>(
        [](Service& service, auto done) { service.hosts(std::move(done)); });
    for (const HostEntry& entry : *all) {
      if (entry.name == name) return entry;
    }
    return {};
  }
  bool wait_connected(const std::string& name) {
    return eventually([&] { return host(name).state == "connected"; });
  }

  Initiators initiators;

 private:
  Folder folder_;
  EmulatedProvider* devices_ = nullptr;
  std::unique_ptr<Daemon> daemon_;
};

}  // namespace farport::test
