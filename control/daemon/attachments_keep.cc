// Persistent attachments: written down before they are answered, taken out before they are
// detached, brought back when the daemon starts.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "control/daemon/attachments.h"
#include "control/daemon/users.h"

namespace farport {

std::vector<KeptAttachment> Attachments::kept() const {
  std::vector<KeptAttachment> kept;
  for (const auto& [id, record] : records_) {
    if (!record.kept) continue;
    KeptAttachment one{
        id, record.request, record.shown.user, record.shown.uid, record.caller.gid, record.path};
    one.request.host = record.shown.device_host;
    kept.push_back(std::move(one));
  }
  return kept;
}

// Unless it is there already.
void Attachments::keep(Record& record) {
  if (!record.shown.persistent || record.kept || record.forgotten) return;
  record.kept = true;
  file_.save(kept(), [this, id = record.shown.id](const Result<void>& saved) {
    Record* const kept = find(id);
    if (kept == nullptr) return;
    if (saved) {
      kept->saved = true;
      return answer(id);
    }
    kept->kept = false;
    let_go(id, saved.error());
  });
}

// Something of those on disk has changed: what is there is worth less, not wrong.
void Attachments::keep_again() {
  file_.save(kept(), [](const Result<void>& saved) {
    if (!saved) spdlog::error("{}", saved.error().message);
  });
}

void Attachments::forget(Record& record, Callback<void> done) {
  if (!record.kept) return done({});
  record.kept = false;
  record.forgotten = true;
  file_.save(kept(), [this, id = record.shown.id, done = std::move(done)](Result<void> saved) {
    Record* const forgotten = find(id);
    // It stays attached: what cannot be taken out would come back at the next start.
    if (!saved && forgotten != nullptr) {
      forgotten->kept = true;
      forgotten->forgotten = false;
    }
    done(std::move(saved));
  });
}

// The users are looked up again: names and groups may have changed.
void Attachments::restore(const std::vector<KeptAttachment>& kept) {
  for (const KeptAttachment& one : kept) {
    Record& record = add(one.id, one.request, {one.uid, one.gid, 0, one.user, {}});
    record.kept = record.saved = true;
    record.path = one.path;
    show_waiting(record, {ErrorCode::failed, "farportd has started"}, false);
  }
  parts_.loop.offload(
      [kept] {
        std::vector<std::pair<std::string, Caller>> callers;
        for (const KeptAttachment& one : kept) {
          callers.emplace_back(one.id, look_up_caller(one.uid, one.gid));
        }
        return callers;
      },
      [this](const std::vector<std::pair<std::string, Caller>>& callers) {
        for (const auto& [id, caller] : callers) {
          Record* const record = find(id);
          if (record == nullptr) continue;
          record->caller = caller;
          record->shown.user = caller.user;
          queue(*record);
        }
        pump();
      });
}

}  // namespace farport
