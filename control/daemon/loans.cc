#include "control/daemon/loans.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace farport {

namespace {

std::string describe(const Consumer& consumer) {
  std::string text = "host " + consumer.host;
  if (!consumer.vm.empty()) text += ", VM " + consumer.vm;
  if (!consumer.user.empty()) text += ", user " + consumer.user;
  return text;
}

}  // namespace

Loans::Loans(Catalogue& catalogue, EventLog& events, std::string host)
    : catalogue_(catalogue), events_(events), host_(std::move(host)) {
  set_rules([](const DeviceInfo&, const Consumer&) { return Access{false, "no rule"}; },
            [](const DeviceInfo&) { return Nominal{}; });
}

void Loans::set_rules(AccessCheck access, NominalCheck nominal) {
  access_ = std::move(access);
  nominal_ = std::move(nominal);
}

void Loans::devices(const Consumer& consumer, std::function<void(std::vector<DeviceEntry>)> done) {
  catalogue_.refresh([this, consumer, done = std::move(done)] {
    std::vector<DeviceEntry> entries;
    for (const LocalDevice& device : catalogue_.devices()) {
      DeviceEntry entry;
      entry.host = host_;
      entry.info = device.info;
      entry.source = device.source;
      entry.nominal_bytes_s = nominal_(device.info).bytes_s;
      const Access access = access_(device.info, consumer);
      entry.allowed = access.allowed;
      entry.reason = access.reason;
      if (const auto held = held_.find(device.info.name); held != held_.end()) {
        entry.holder = held->second.holder;
      }
      entries.push_back(std::move(entry));
    }
    done(std::move(entries));
  });
}

std::string Loans::busy_message(const std::string& name, const Holder& holder) const {
  return fmt::format(
      "{}/{} is in use by {} since {}; detach it there first (`farport attachments` "
      "on {})",
      host_, name, describe({holder.host, holder.vm, holder.user, {}, {}}),
      format_time(holder.since_unix_ms), holder.host);
}

void Loans::borrow(const std::string& name, const Consumer& consumer, bool trusted,
                   std::function<void(Result<Loan>)> done) {
  if (const auto device = catalogue_.find(name)) {
    borrow_found(*device, consumer, trusted, false, std::move(done));
    return;
  }
  // It may have been plugged in a moment ago.
  catalogue_.refresh([this, name, consumer, trusted, done = std::move(done)]() mutable {
    const auto device = catalogue_.find(name);
    if (!device) {
      done(fail(device.error().code,
                fmt::format("host {}: {}; `farport devices {}` lists what there is", host_,
                            device.error().message, host_)));
      return;
    }
    borrow_found(*device, consumer, trusted, false, std::move(done));
  });
}

void Loans::borrow_found(const LocalDevice& device, const Consumer& consumer, bool trusted,
                         bool waited, std::function<void(Result<Loan>)> done) {
  const std::string& name = device.info.name;
  if (const Access access = access_(device.info, consumer); !trusted && !access.allowed) {
    done(fail(ErrorCode::denied,
              fmt::format("{}/{} is not exported to {}: {}; add an [[export]] to the configuration "
                          "of host {}",
                          host_, name, describe(consumer), access.reason, host_)));
    return;
  }
  if (const auto held = held_.find(name); held != held_.end()) {
    if (!held->second.ending || waited) {
      done(fail(ErrorCode::busy, busy_message(name, held->second.holder)));
      return;
    }
    held->second.waiting.push_back(
        [this, device, consumer, trusted, done = std::move(done)]() mutable {
          borrow_found(device, consumer, trusted, true, std::move(done));
        });
    return;
  }
  const uint64_t id = next_id_++;
  held_.emplace(name,
                Held{id, {consumer.host, consumer.vm, consumer.user, unix_now_ms()}, false, {}});
  catalogue_.open(device, [this, id, device, consumer,
                           done = std::move(done)](Result<std::unique_ptr<Device>> opened) {
    if (!opened) {
      give_back(id, "");
      done(std::unexpected(opened.error()));
      return;
    }
    Event event;
    event.type = "device.held";
    event.host = consumer.host;
    event.device = device.info.name;
    event.vm = consumer.vm;
    event.message = fmt::format("{} goes to {}", device.info.name, describe(consumer));
    events_.add(std::move(event));
    done(Loan{id, device, nominal_(device.info), std::move(*opened)});
  });
}

std::string Loans::device_where(const std::function<bool(const DeviceInfo&)>& fits) const {
  for (const LocalDevice& device : catalogue_.devices()) {
    if (fits(device.info)) return device.info.name;
  }
  return {};
}

void Loans::ending(uint64_t id) {
  for (auto& [name, held] : held_) {
    if (held.id == id) held.ending = true;
  }
}

void Loans::give_back(uint64_t id, const std::string& why) {
  const auto found = std::find_if(held_.begin(), held_.end(),
                                  [id](const auto& one) { return one.second.id == id; });
  if (found == held_.end()) return;
  const std::string name = found->first;
  const Held held = std::move(found->second);
  held_.erase(found);
  if (!why.empty()) {
    Event event;
    event.type = "device.freed";
    event.host = held.holder.host;
    event.device = name;
    event.vm = held.holder.vm;
    event.message = fmt::format("{} is free again: {}", name, why);
    events_.add(std::move(event));
  }
  for (const auto& next : held.waiting) next();
  // Without a reason it was never opened: whoever waits has had that answer.
  if (!why.empty() && freed_) freed_();
}

void Loans::explain(const std::string& name, const Consumer& consumer, bool trusted,
                    std::function<void(std::vector<Check>)> done) {
  catalogue_.refresh([this, name, consumer, trusted, done = std::move(done)] {
    std::vector<Check> checks;
    for (const std::string& problem : catalogue_.problems()) {
      checks.push_back(
          {"source", false, problem, "repair it, or remove it from the configuration"});
    }
    const auto device = catalogue_.find(name);
    if (!device) {
      checks.push_back(
          {"device", false, device.error().message,
           fmt::format("plug it in, or take a name that `farport devices {}` shows", host_)});
      return done(std::move(checks));
    }
    checks.push_back({"device", true,
                      fmt::format("{} ({}) is there", device->info.name, device->info.description),
                      ""});
    const Access access = access_(device->info, consumer);
    const bool allowed = trusted || access.allowed;
    checks.push_back(
        {"export rule", allowed,
         fmt::format("{}: {}", describe(consumer),
                     trusted && !access.allowed ? "root of the device's own host" : access.reason),
         allowed ? ""
                 : fmt::format("add an [[export]] for {} to the configuration of host {}",
                               device->info.name, host_)});
    const auto held = held_.find(device->info.name);
    checks.push_back({"holder", held == held_.end(),
                      held == held_.end() ? "nobody has it"
                                          : busy_message(device->info.name, held->second.holder),
                      held == held_.end() ? "" : "detach it there first"});
    done(std::move(checks));
  });
}

}  // namespace farport
