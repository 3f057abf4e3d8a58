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

  void add(std::unique_ptr<DeviceProvider> provider);
  // No more changes are reported.
  void stop();

  // As of the last refresh().
  const std::vector<LocalDevice>& devices() const { return devices_; }
  // What providers could not list, for people.
  std::vector<std::string> problems() const;
  // By name, or by an alias that one device alone answers to.
  Result<LocalDevice> find(const std::string& name) const;

  // Asks the providers again, then calls `done`.
  void refresh(std::function<void()> done);
  void open(const LocalDevice& device, std::function<void(Result<std::unique_ptr<Device>>)> done);

 private:
  // Shared with calls on the pool.
  struct Source {
    std::unique_ptr<DeviceProvider> provider;
    std::mutex one_at_a_time;
  };
  struct Listing {
    std::vector<LocalDevice> devices;
    std::vector<std::string> problems;  // by provider; empty: none
  };
  static Listing list(const std::vector<std::shared_ptr<Source>>& sources,
                      const std::vector<LocalDevice>& known);
  void ask();
  void take(Listing listing);

  ControlLoop& loop_;
  std::function<void(const Change&)> changed_;
  std::vector<std::shared_ptr<Source>> sources_;
  std::vector<LocalDevice> devices_;
  std::vector<std::string> problems_;
  std::vector<std::function<void()>> waiting_;  // for the listing under way
  std::vector<std::function<void()>> next_;     // for the one after it
  bool asking_ = false;
  bool stopped_ = false;
  bool listed_ = false;
};

}  // namespace farport
