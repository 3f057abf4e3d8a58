#include "control/daemon/catalogue.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farport {

Catalogue::Catalogue(ControlLoop& loop, std::function<void(const Change&)> changed)
    : loop_(loop), changed_(std::move(changed)) {}

Catalogue::~Catalogue() = default;

void Catalogue::add(std::unique_ptr<DeviceProvider> provider) {
  provider->on_change([this] {
    loop_.post([this] {
      if (!stopped_) refresh([] {});
    });
  });
  auto source = std::make_shared<Source>();
  source->provider = std::move(provider);
  sources_.push_back(std::move(source));
}

void Catalogue::stop() {
  stopped_ = true;
  for (const auto& source : sources_) source->provider->on_change({});
}

std::vector<std::string> Catalogue::problems() const {
  std::vector<std::string> problems;
  for (const auto& one : problems_) {
    if (!one.empty()) problems.push_back(one);
  }
  return problems;
}

Result<LocalDevice> Catalogue::find(const std::string& name) const {
  std::vector<const LocalDevice*> found;
  for (const LocalDevice& device : devices_) {
    if (device.info.name == name) return device;
    const auto& aliases = device.info.aliases;
    if (std::find(aliases.begin(), aliases.end(), name) != aliases.end()) found.push_back(&device);
  }
  if (found.size() == 1) return *found.front();
  if (found.empty()) {
    return fail(ErrorCode::not_found, fmt::format("there is no device {} here", name));
  }
  return fail(ErrorCode::usage, fmt::format("{} devices answer to {}: say {} or {}", found.size(),
                                            name, found[0]->info.name, found[1]->info.name));
}

void Catalogue::refresh(std::function<void()> done) {
  if (asking_) {
    // What the listing under way has seen may be older than this question.
    next_.push_back(std::move(done));
    return;
  }
  waiting_.push_back(std::move(done));
  ask();
}

void Catalogue::ask() {
  asking_ = true;
  loop_.offload([sources = sources_, known = devices_] { return list(sources, known); },
                [this](Listing listing) { take(std::move(listing)); });
}

// A provider that cannot list now keeps what it listed before: a device in use does not vanish
// because of it.
Catalogue::Listing Catalogue::list(const std::vector<std::shared_ptr<Source>>& sources,
                                   const std::vector<LocalDevice>& known) {
  Listing listing;
  for (size_t index = 0; index < sources.size(); ++index) {
    Source& source = *sources[index];
    const std::lock_guard lock(source.one_at_a_time);
    auto found = source.provider->list();
    const std::string name(source.provider->name());
    listing.problems.push_back(found ? std::string()
                                     : fmt::format("{}: {}", name, found.error().message));
    if (found) {
      for (DeviceInfo& info : *found) listing.devices.push_back({std::move(info), index, name});
    } else {
      std::copy_if(known.begin(), known.end(), std::back_inserter(listing.devices),
                   [index](const LocalDevice& one) { return one.provider == index; });
    }
  }
  return listing;
}

void Catalogue::take(Listing listing) {
  const auto before = std::exchange(devices_, std::move(listing.devices));
  problems_ = std::move(listing.problems);
  const auto report = [this](const auto& these, const auto& those, bool plugged) {
    for (const LocalDevice& one : these) {
      const bool known = std::any_of(those.begin(), those.end(), [&](const LocalDevice& other) {
        return other.info.name == one.info.name;
      });
      if (!known && listed_ && !stopped_) changed_({plugged, one.info});
    }
  };
  report(before, devices_, false);
  report(devices_, before, true);
  listed_ = true;
  asking_ = false;
  const auto answered = std::exchange(waiting_, std::exchange(next_, {}));
  if (!waiting_.empty()) ask();
  for (const auto& done : answered) done();
}

void Catalogue::open(const LocalDevice& device,
                     std::function<void(Result<std::unique_ptr<Device>>)> done) {
  loop_.offload(
      [source = sources_[device.provider], name = device.info.name] {
        const std::lock_guard lock(source->one_at_a_time);
        return source->provider->open(name);
      },
      std::move(done));
}

}  // namespace farport
