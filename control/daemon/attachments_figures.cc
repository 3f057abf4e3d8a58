// What attachments move: asked of the worker, shown as it was answered last.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "control/daemon/attachments.h"

namespace farport {

Result<Stats> Attachments::stats(const std::string& id) const {
  const auto found = records_.find(id);
  if (found == records_.end()) {
    return fail(ErrorCode::not_found,
                fmt::format("there is no attachment {}; `farport attachments` lists them", id));
  }
  const Record& record = found->second;
  const MeterReading& reading = record.reading;
  Stats stats{shown_now(record), record.read_unix_ms, reading.meter, reading.total,
              reading.service,   reading.channel,     reading.rules};
  stats.meter.nominal_bytes_s = record.shown.nominal_bytes_s;
  return stats;
}

void Attachments::take_reading(Record& record, const MeterReading& reading) {
  MeterReading fresh = reading;
  Meter::keep_measured(fresh.meter, record.reading.meter);
  record.reading = fresh;
  record.read_unix_ms = unix_now_ms();
}

// One question to the worker for each session and each local channel; the last answer ends it.
void Attachments::read_meters(std::function<void()> done) {
  // Shared by the questions; goes, on whichever thread, with the last answer.
  std::shared_ptr<void> finished(
      nullptr, [&loop = parts_.loop, done = std::move(done)](void*) { loop.post(done); });
  std::vector<std::shared_ptr<PeerSession>> sessions;
  for (const auto& [id, record] : records_) {
    const Attempt& attempt = record.attempt;
    if (!attempt.open) continue;
    if (attempt.local != nullptr) {
      attempt.local->read_meter(
          [this, key = key_of(record), finished](const MeterReading& reading) {
            if (Record* const open = find(key)) take_reading(*open, reading);
          });
    } else if (std::find(sessions.begin(), sessions.end(), attempt.session) == sessions.end()) {
      sessions.push_back(attempt.session);
    }
  }
  for (const auto& session : sessions) {
    session->read_meters([this, session, finished](const std::map<uint32_t, MeterReading>& all) {
      for (auto& [id, record] : records_) {
        const auto reading = all.find(record.attempt.channel);
        if (record.attempt.session != session || reading == all.end()) continue;
        take_reading(record, reading->second);
      }
    });
  }
}

}  // namespace farport
