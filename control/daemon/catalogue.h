// The devices of this host: what the providers list, kept up to date, found by any of their names.
//
// Thread rule: the control thread. Providers are called on the pool, each one call at a time.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "control/daemon/control_loop.h"
#include "dataplane/error.h"
#include "devices/provider.h"

namespace farport {

// A device and the provider that has it.
struct LocalDevice {
  DeviceInfo info;
  size_t provider = 0;
  std::string source;  // DeviceProvider::name()
};

class Catalogue {
 public:
  struct Change {
    bool plugged = false;
    DeviceInfo info;
  };

  Catalogue(ControlLoop& loop, std::function<void(const Change&)> changed);
  ~Catalogue();  // after the loop has stopped

  // `remote`: its list comes over the network and without notices of change. It is asked again now
  // and then, and nobody waits for it.
  void add(std::unique_ptr<DeviceProvider> provider, bool remote = false);
  // No more changes are reported.
  void stop();

  // As last listed.
  std::vector<LocalDevice> devices() const;
  // What providers could not list, for people.
  std::vector<std::string> problems() const;
  // By name, or by an alias that one device alone answers to.
  Result<LocalDevice> find(const std::string& name) const;

  // Asks the providers again; `done` when those of this machine have answered.
  void refresh(std::function<void()> done);
  void open(const LocalDevice& device, std::function<void(Result<std::unique_ptr<Device>>)> done);

 private:
  // Shared with calls on the pool.
  struct Provider {
    std::unique_ptr<DeviceProvider> provider;
    std::mutex one_at_a_time;
  };
  struct Source {
    std::shared_ptr<Provider> provider;
    std::string name;
    bool remote = false;
    std::vector<LocalDevice> devices;
    std::string problem;
    bool asking = false;
    bool listed = false;
    uint64_t asked_ns = 0;
    std::vector<std::function<void()>> waiting;  // for the listing under way
    std::vector<std::function<void()>> next;     // for the one after it
  };
  void ask(size_t index);
  void take(size_t index, Result<std::vector<DeviceInfo>> listed);

  ControlLoop& loop_;
  std::function<void(const Change&)> changed_;
  std::vector<Source> sources_;
  std::vector<std::unique_ptr<ControlTimer>> timers_;  // of remote ones
  bool stopped_ = false;
};

}  // namespace farport
