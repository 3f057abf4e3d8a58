// The fake of the seam to the daemon (control/daemon/service.h): answers with what a test has put
// in, and remembers what it was asked. Everything on the control thread, as the seam says.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "control/daemon/service.h"

namespace farport::test {

class FakeService final : public Service {
 public:
  // --- what it answers ---
  bool ready = true;
  std::vector<HostEntry> host_list;
  Result<DeviceList> device_list = DeviceList{};
  std::vector<Attachment> attached;
  std::map<std::string, Stats> stats_by_id;
  std::vector<VmEntry> vm_list;
  std::vector<DecisionEntry> decision_list;
  Result<Attachment> attach_answer = Attachment{};
  Result<void> detach_answer;
  Result<std::vector<Check>> checks = std::vector<Check>{};
  Result<TrustReport> trust_report = TrustReport{};
  Result<bool> trust_add_answer = true;
  Result<size_t> trust_remove_answer = size_t{1};
  Result<std::string> trust_renew_answer = std::string("SHA256:new");
  std::vector<Event> kept;
  bool hold = false;  // attach and detach answer only by answer_held()

  // --- what it was asked ---
  std::vector<AttachRequest> attach_requests;
  std::vector<std::string> detach_requests;
  std::vector<std::string> device_hosts;                          // of devices()
  std::vector<std::pair<std::string, std::string>> explanations;  // host, device
  std::vector<size_t> decision_limits;
  std::vector<TrustAddition> trust_additions;
  std::vector<std::pair<std::string, std::string>> trust_removals;  // host, fingerprint
  std::vector<bool> trust_renewals;                                 // whether only prepared
  Caller last_caller;

  size_t subscriptions() const { return subscribers_.size(); }
  size_t held() const { return held_.size(); }

  void emit(const Event& event) {
    kept.push_back(event);
    const auto now = subscribers_;  // a callback may end a subscription
    for (const auto& [number, callback] : now) {
      if (subscribers_.contains(number)) callback(event);
    }
  }
  void answer_held() {
    for (const auto& answer : std::exchange(held_, {})) answer();
  }

  // Service
  VersionInfo version() const override {
    VersionInfo info;
    info.version = "9.8.7";
    info.api_version = "v1";
    info.protocol_version = "1.1";
    info.host = "desk";
    info.pid = 4711;
    return info;
  }
  Health health() const override { return {ready, {{"devices", ready, "known", ""}}}; }
  void hosts(Callback<std::vector<HostEntry>> done) override { done(host_list); }
  std::vector<Attachment> attachments() const override { return attached; }
  Result<Stats> stats(const std::string& id) const override {
    const auto found = stats_by_id.find(id);
    if (found == stats_by_id.end()) return fail(ErrorCode::not_found, "no stats of " + id);
    return found->second;
  }
  std::vector<VmEntry> vms() const override { return vm_list; }
  std::vector<DecisionEntry> decisions(size_t limit) const override {
    const_cast<FakeService*>(this)->decision_limits.push_back(limit);
    const size_t count = std::min(limit, decision_list.size());
    return {decision_list.end() - static_cast<std::ptrdiff_t>(count), decision_list.end()};
  }
  void devices(const std::string& host, const Caller& caller, Callback<DeviceList> done) override {
    device_hosts.push_back(host);
    last_caller = caller;
    done(device_list);
  }
  void attach(const AttachRequest& request, const Caller& caller,
              Callback<Attachment> done) override {
    attach_requests.push_back(request);
    last_caller = caller;
    answer([this, done = std::move(done)] { done(attach_answer); });
  }
  void detach(const std::string& id, const Caller& caller, Callback<void> done) override {
    detach_requests.push_back(id);
    last_caller = caller;
    answer([this, done = std::move(done)] { done(detach_answer); });
  }
  void explain(const std::string& host, const std::string& device, const Caller& caller,
               Callback<std::vector<Check>> done) override {
    explanations.emplace_back(host, device);
    last_caller = caller;
    done(checks);
  }
  Result<TrustReport> trust() const override { return trust_report; }
  Result<bool> trust_add(const TrustAddition& addition, const Caller& caller) override {
    trust_additions.push_back(addition);
    last_caller = caller;
    return trust_add_answer;
  }
  Result<size_t> trust_remove(const std::string& host, const std::string& fingerprint,
                              const Caller& caller) override {
    trust_removals.emplace_back(host, fingerprint);
    last_caller = caller;
    return trust_remove_answer;
  }
  Result<std::string> trust_renew(bool prepare, const Caller& caller) override {
    trust_renewals.push_back(prepare);
    last_caller = caller;
    return trust_renew_answer;
  }
  std::unique_ptr<EventSubscription> subscribe(
      uint64_t after, std::function<void(const Event&)> callback) override {
    for (const Event& event : std::vector<Event>(kept)) {
      if (event.sequence > after) callback(event);
    }
    auto subscription = std::make_unique<Subscription>(*this, next_number_++);
    subscribers_[subscription->number] = std::move(callback);
    return subscription;
  }
  uint64_t last_event() const override { return kept.empty() ? 0 : kept.back().sequence; }

 private:
  struct Subscription final : EventSubscription {
    Subscription(FakeService& service, uint64_t number) : service(service), number(number) {}
    ~Subscription() override { service.subscribers_.erase(number); }
    FakeService& service;
    uint64_t number;
  };
  void answer(std::function<void()> answer) {
    if (hold) {
      held_.push_back(std::move(answer));
    } else {
      answer();
    }
  }

  std::map<uint64_t, std::function<void(const Event&)>> subscribers_;
  std::vector<std::function<void()>> held_;
  uint64_t next_number_ = 1;
};

inline Event make_event(uint64_t sequence, std::string type = "attached",
                        std::string message = "something happened") {
  Event event;
  event.sequence = sequence;
  event.at_unix_ms = 1769860800123;
  event.type = std::move(type);
  event.message = std::move(message);
  return event;
}

}  // namespace farport::test
