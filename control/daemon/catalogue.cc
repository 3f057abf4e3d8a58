#include "control/daemon/catalogue.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "control/daemon/event_log.h"

namespace farport {

namespace {
// A remote source is asked again so often, and when somebody lists, no sooner than so.
constexpr std::chrono::seconds kRemoteInterval{10};
constexpr uint64_t kRemoteFreshNs = 1'000'000'000;
}  // namespace

Catalogue::Catalogue(ControlLoop& loop, std::function<void(const Change&)> changed)
    : loop_(loop), changed_(std::move(changed)) {}

Catalogue::~Catalogue() = default;

void Catalogue::add(std::unique_ptr<DeviceProvider> provider, bool remote) {
  const size_t index = sources_.size();
  provider->on_change([this, index] {
    loop_.post([this, index] {
      if (!stopped_) ask(index);
    });
  });
  Source source;
  source.name = provider->name();
  source.remote = remote;
  source.provider = std::make_shared<Provider>();
  source.provider->provider = std::move(provider);
  sources_.push_back(std::move(source));
  timers_.push_back(remote ? std::make_unique<ControlTimer>(loop_) : nullptr);
}

void Catalogue::stop() {
  stopped_ = true;
  for (const auto& timer : timers_) {
    if (timer) timer->cancel();
  }
  for (const auto& source : sources_) source.provider->provider->on_change({});
}

std::vector<LocalDevice> Catalogue::devices() const {
  std::vector<LocalDevice> devices;
  for (const Source& source : sources_) {
    devices.insert(devices.end(), source.devices.begin(), source.devices.end());
  }
  return devices;
}

std::vector<std::string> Catalogue::problems() const {
  std::vector<std::string> problems;
  for (const Source& source : sources_) {
    if (!source.problem.empty()) problems.push_back(source.name + ": " + source.problem);
  }
  return problems;
}

Result<LocalDevice> Catalogue::find(const std::string& name) const {
  std::vector<const LocalDevice*> found;
  for (const Source& source : sources_) {
    for (const LocalDevice& device : source.devices) {
      if (device.info.name == name) return device;
      const auto& aliases = device.info.aliases;
      if (std::find(aliases.begin(), aliases.end(), name) != aliases.end()) {
        found.push_back(&device);
      }
    }
  }
  if (found.size() == 1) return *found.front();
  if (found.empty()) {
    return fail(ErrorCode::not_found, fmt::format("there is no device {} here", name));
  }
  return fail(ErrorCode::usage, fmt::format("{} devices answer to {}: say {} or {}", found.size(),
                                            name, found[0]->info.name, found[1]->info.name));
}

void Catalogue::refresh(std::function<void()> done) {
  auto finished = std::make_shared<std::pair<size_t, std::function<void()>>>(1, std::move(done));
  const auto one_done = [finished] {
    if (--finished->first == 0) finished->second();
  };
  for (size_t index = 0; index < sources_.size(); ++index) {
    Source& source = sources_[index];
    if (source.remote) {
      if (!source.asking && monotonic_ns() - source.asked_ns > kRemoteFreshNs) ask(index);
      continue;
    }
    ++finished->first;
    // What a listing under way has seen may be older than this question.
    (source.asking ? source.next : source.waiting).push_back(one_done);
    if (!source.asking) ask(index);
  }
  one_done();
}

void Catalogue::ask(size_t index) {
  Source& source = sources_[index];
  if (source.asking) {
    source.next.emplace_back([] {});
    return;
  }
  source.asking = true;
  source.asked_ns = monotonic_ns();
  loop_.offload(
      [provider = source.provider] {
        const std::lock_guard lock(provider->one_at_a_time);
        return provider->provider->list();
      },
      [this, index](Result<std::vector<DeviceInfo>> listed) { take(index, std::move(listed)); });
}

// A provider that cannot list now keeps what it listed before: a device in use does not vanish
// because of it.
void Catalogue::take(size_t index, Result<std::vector<DeviceInfo>> listed) {
  Source& source = sources_[index];
  source.problem = listed ? "" : listed.error().message;
  std::vector<Change> changes;
  if (listed) {
    std::vector<LocalDevice> fresh;
    for (DeviceInfo& info : *listed) fresh.push_back({std::move(info), index, source.name});
    const auto before = std::exchange(source.devices, std::move(fresh));
    const auto compare = [&changes](const auto& these, const auto& those, bool plugged) {
      for (const LocalDevice& one : these) {
        const bool known = std::any_of(those.begin(), those.end(), [&](const LocalDevice& other) {
          return other.info.name == one.info.name;
        });
        if (!known) changes.push_back({plugged, one.info});
      }
    };
    compare(before, source.devices, false);
    compare(source.devices, before, true);
  }
  const bool first = !source.listed;
  source.listed = true;
  source.asking = false;
  const auto answered = std::exchange(source.waiting, std::exchange(source.next, {}));
  if (!source.waiting.empty() && !stopped_) ask(index);
  if (source.remote && !stopped_)
    timers_[index]->after(kRemoteInterval, [this, index] { ask(index); });
  for (const Change& change : changes) {
    if (!first && !stopped_) changed_(change);
  }
  for (const auto& done : answered) done();
}

void Catalogue::open(const LocalDevice& device,
                     std::function<void(Result<std::unique_ptr<Device>>)> done) {
  loop_.offload(
      [provider = sources_[device.provider].provider, name = device.info.name] {
        const std::lock_guard lock(provider->one_at_a_time);
        return provider->provider->open(name);
      },
      std::move(done));
}

}  // namespace farport
