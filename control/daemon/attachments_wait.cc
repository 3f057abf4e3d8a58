// What becomes of an attachment whose attempt is over, and how one that waits comes back.
//
// Bounded work: at most kAttemptsMax automatic attempts are under way at once, whoever waits; the
// others stand in a queue. A host that is not connected is not asked for again and again: it is
// connected to by Peers, and its session wakes those who wait for it.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "control/daemon/attachments.h"
#include "control/daemon/peer_message.h"

namespace farport {

using std::chrono::milliseconds;

namespace {
constexpr size_t kAttemptsMax = 8;
}  // namespace

milliseconds RetryTimes::interval(unsigned failures, double random) const {
  const unsigned doublings = std::min(failures == 0 ? 0 : failures - 1, 20u);
  const auto plain = std::min<int64_t>(first.count() << doublings, last.count());
  return milliseconds(static_cast<int64_t>(static_cast<double>(plain) * (0.8 + 0.4 * random)));
}

milliseconds RetryTimes::gap(unsigned failures) const {
  return std::min(interval(failures, 0.5) / 4, gap_max);
}

bool Attachments::waits(const Record& record, const Attempt& last, const Error& why) const {
  if (stopping_) return false;
  const bool no_host = last.prompt == Prompt::peer && last.session == nullptr;
  if (record.shown.persistent) {
    // A request that is wrong in itself is told while somebody listens.
    const bool first = record.done && !record.kept;
    return !first ||
           !(why.code == ErrorCode::usage || (no_host && why.code == ErrorCode::not_found));
  }
  if (record.give_up == nullptr) return last.open && last.may_return;
  return no_host || (why.code != ErrorCode::denied && why.code != ErrorCode::not_found &&
                     why.code != ErrorCode::usage);
}

void Attachments::wait(Record& record, const Attempt& last, const Error& why) {
  const bool held = last.open && monotonic_ns() - record.opened_ns >=
                                     static_cast<uint64_t>(parts_.times.stable.count()) * 1'000'000;
  record.failures = held ? 0 : record.failures + 1;
  record.prompt = last.prompt;
  show_waiting(record, why, last.open);
  if (!record.shown.persistent && !record.give_up) arm_give_up(record);
  if (record.prompt != Prompt::peer) {
    const double random = std::uniform_real_distribution<double>(0, 1)(random_);
    try_after(record, last.again ? parts_.times.gap(record.failures)
                                 : parts_.times.interval(record.failures, random));
  } else if (last.session != nullptr) {
    queue(record);  // there may be another session already
  }
  const Attachment shown = record.shown;
  keep(record);
  if (last.open) parts_.ended(shown);
  answer(shown.id);
  pump();
}

// Made known once per reason; that a host is away has many wordings.
void Attachments::show_waiting(Record& record, const Error& why, bool was_open) {
  Attachment& shown = record.shown;
  const bool fresh = !shown.waiting.has_value();
  if (fresh) shown.waiting.emplace().since_unix_ms = unix_now_ms();
  shown.state = "waiting";
  shown.waiting->code = why.code;
  shown.waiting->reason = why.message;
  shown.waiting->next_try_unix_ms = 0;
  const std::string reason = why.code == ErrorCode::unreachable ? "unreachable" : why.message;
  if (record.told == reason) return;
  record.told = reason;
  const std::string text =
      fmt::format("{} {}: {}", name_of(record),
                  was_open ? "was unplugged here and waits to come back" : "waits", why.message);
  spdlog::info("{}: {}", shown.id, text);
  note(record, "attachment.waiting", text);
}

void Attachments::arm_give_up(Record& record) {
  record.shown.waiting->until_unix_ms = unix_now_ms() + parts_.times.give_up.count();
  record.give_up = std::make_unique<ControlTimer>(parts_.loop);
  record.give_up->after(parts_.times.give_up, [this, id = record.shown.id] { given_up(id); });
}

void Attachments::given_up(const std::string& id) {
  const Record* const record = find(id);
  if (record == nullptr) return;
  const double seconds = std::chrono::duration<double>(parts_.times.give_up).count();
  let_go(id, {ErrorCode::timed_out,
              fmt::format("it has not come back in {:g} s: {}", seconds,
                          record->shown.waiting ? record->shown.waiting->reason : "no reason")});
}

void Attachments::try_after(Record& record, milliseconds delay) {
  record.shown.waiting->next_try_unix_ms = unix_now_ms() + delay.count();
  record.retry->after(delay, [this, id = record.shown.id] {
    Record* const waiting = find(id);
    if (waiting == nullptr) return;
    queue(*waiting);
    pump();
  });
}

void Attachments::queue(Record& record) {
  if (record.queued || record.ending || record.attempt.number != 0) return;
  record.queued = true;
  record.retry->cancel();
  queue_.push_back(record.shown.id);
}

// An attempt may end, and call this, from inside its beginning.
void Attachments::pump() {
  if (pumping_) return;
  pumping_ = true;
  while (!stopping_ && automatic_ < kAttemptsMax && !queue_.empty()) {
    const std::string id = std::move(queue_.front());
    queue_.pop_front();
    Record* const record = find(id);
    if (record == nullptr) continue;
    record->queued = false;
    if (!record->ending && record->attempt.number == 0) begin(*record, true);
  }
  pumping_ = false;
}

void Attachments::peer_opened(PeerSession& session) {
  for (auto& [id, record] : records_) {
    if (record.shown.device_host == session.peer_name() && record.shown.state == "waiting") {
      queue(record);
    }
  }
  pump();
}

void Attachments::peer_notice(PeerSession& session, const nlohmann::json& notice) {
  const auto op = peer::string_field(notice, "op", 64);
  // Others may come with a later version.
  if (op && *op == "devices") devices_changed(session.peer_name());
}

void Attachments::devices_changed(const std::string& host) {
  const uint64_t now_ns = monotonic_ns();
  for (auto& [id, record] : records_) {
    if (record.shown.device_host != host || record.ending) continue;
    if (record.attempt.number != 0) {
      record.attempt.again = true;
      continue;
    }
    if (record.prompt != Prompt::devices || record.queued || !record.shown.waiting) continue;
    const auto due_ns = static_cast<int64_t>(record.tried_ns) +
                        std::chrono::nanoseconds(parts_.times.gap(record.failures)).count();
    const milliseconds delay(std::max<int64_t>(due_ns - static_cast<int64_t>(now_ns), 0) /
                             1'000'000);
    const int64_t armed_unix_ms = record.shown.waiting->next_try_unix_ms;
    if (armed_unix_ms == 0 || armed_unix_ms > unix_now_ms() + delay.count()) {
      try_after(record, delay);
    }
  }
}

}  // namespace farport
