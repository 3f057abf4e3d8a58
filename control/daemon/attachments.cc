#include "control/daemon/attachments.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "control/daemon/peer_message.h"

namespace farport {

using nlohmann::json;
using std::chrono::seconds;

namespace {

constexpr seconds kAttachLimit{30};
constexpr seconds kReleaseLimit{10};
// Over all that an attach needs, and for the consumer and the device to let go.
constexpr seconds kWholeLimit{35};
constexpr seconds kDetachLimit{20};

// A name for a file or a port, made of the device's: serial:by-id/usb-X -> usb-X.
std::string presented_name(const std::string& wanted, const DeviceInfo& info) {
  std::string name = wanted;
  if (name.empty()) {
    name = info.name;
    if (const size_t cut = name.find_last_of("/"); cut != std::string::npos) {
      name.erase(0, cut + 1);
    } else if (info.kind == DeviceKind::serial && name.starts_with("serial:")) {
      name.erase(0, 7);
    }
  }
  std::replace_if(
      name.begin(), name.end(),
      [](char c) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
        return !plain;
      },
      '-');
  if (name.empty()) name = "device";
  if (name.starts_with('.')) name[0] = '-';
  return name;
}

// By number, so that att-10 comes after att-9.
uint64_t number_of(const std::string& id) {
  uint64_t number = 0;
  const size_t dash = id.find('-');
  if (dash != std::string::npos) {
    std::from_chars(id.data() + dash + 1, id.data() + id.size(), number);
  }
  return number;
}

}  // namespace

Attachments::Record* Attachments::find(const std::string& id) {
  const auto found = records_.find(id);
  return found == records_.end() ? nullptr : &found->second;
}

void Attachments::attach(const AttachRequest& request, const Caller& caller,
                         Callback<Attachment> done) {
  if (auto known = parts_.drivers.check(request.driver); !known) {
    return done(std::unexpected(known.error()));
  }
  const std::string id = fmt::format("att-{}", next_id_++);
  Record& record = records_[id];
  record.request = request;
  record.gid = caller.gid;
  record.done = std::move(done);
  Attachment& shown = record.shown;
  shown.id = id;
  shown.device_host = request.host.empty() ? parts_.host : request.host;
  shown.device = request.device;
  shown.driver = request.driver;
  shown.vm = request.vm;
  shown.user = caller.user;
  shown.uid = caller.uid;
  shown.state = "opening";
  shown.since_unix_ms = unix_now_ms();
  record.limit = std::make_unique<ControlTimer>(parts_.loop);
  record.limit->after(kWholeLimit, [this, id] { took_too_long(id); });
  if (shown.device_host == parts_.host) {
    attach_local(record, caller);
  } else {
    attach_remote(record);
  }
}

// --- a device of another host ---

void Attachments::attach_remote(Record& record) {
  const std::string id = record.shown.id;
  auto session = parts_.peers.session(record.shown.device_host);
  if (!session) return end(id, session.error());
  record.session = *session;
  const json request =
      peer::encode_attach({0, record.request.device, record.request.vm, record.shown.user});
  auto number = record.session->attach(request, kAttachLimit, [this, id](Result<json> answer) {
    take_answer(id, std::move(answer));
  });
  if (!number) return end(id, number.error());
  record.number = *number;
}

void Attachments::take_answer(const std::string& id, Result<json> answer) {
  Record* const record = find(id);
  if (record == nullptr) return;
  const auto taken = answer ? peer::decode_answer(*answer)
                            : Result<peer::AttachAnswer>(std::unexpected(answer.error()));
  if (!taken) {
    // Whatever the peer has done of it, it is to undo.
    record->answered = answer.has_value();
    return close(*record, taken.error());
  }
  record->answered = true;
  if (record->shown.state == "closing") return;
  const DeviceInfo& info = taken->info;
  record->shown.device = info.name;
  record->shown.aliases = info.aliases;
  record->shown.description = info.description;
  record->shown.kind = info.kind;
  record->shown.nominal_bytes_s = taken->nominal_bytes_s;
  record->shown.nominal_source = taken->nominal_source;
  make_driver(
      *record, info, [this, id, answer = *taken](Record& opening, std::unique_ptr<Driver> driver) {
        RuleSwitches switches = rule_switches_ ? rule_switches_(answer.info) : RuleSwitches{};
        opening.session->start_driver(
            opening.number, answer.info, parts_.bus_rate(answer.info), answer.credit_bytes,
            AheadDriver::wrap(std::move(driver), answer.info, std::move(switches)),
            [this, id](const std::string& path) { started(id, path); });
      });
}

// --- a device of this host ---

void Attachments::attach_local(Record& record, const Caller& caller) {
  const Consumer consumer{parts_.host, record.request.vm, caller.user, caller.uid, caller.groups};
  record.step_under_way = true;
  parts_.loans.borrow(
      record.request.device, consumer, caller.uid == 0,
      [this, id = record.shown.id](Result<Loans::Loan> loan) { take_loan(id, std::move(loan)); });
}

void Attachments::take_loan(const std::string& id, Result<Loans::Loan> loan) {
  Record* const record = find(id);
  if (!loan) {
    if (record != nullptr) end(id, loan.error());
    return;
  }
  record->loan = loan->id;
  record->step_under_way = false;
  if (record->shown.state == "closing") {
    loan->opened.reset();
    return end(id, Error(record->why));
  }
  const DeviceInfo info = loan->opened->info();
  record->shown.device = info.name;
  record->shown.aliases = info.aliases;
  record->shown.description = info.description;
  record->shown.kind = info.kind;
  record->shown.nominal_bytes_s = loan->nominal.bytes_s;
  record->shown.nominal_source = loan->nominal.source;
  auto held = std::make_shared<std::unique_ptr<Device>>(std::move(loan->opened));
  make_driver(
      *record, info,
      [this, id, info, held = std::move(held)](Record& opening, std::unique_ptr<Driver> driver) {
        opening.local = LocalRun::start(
            parts_.loop, parts_.worker, std::move(*held), std::move(driver), parts_.bus_rate(info),
            [this, id](const std::string& path) { started(id, path); },
            [this, id](const Error& why) { end(id, why); });
      });
}

// --- both ---

// `made` is called only when there is a driver and the attachment is still wanted. It may hold the
// device, so it goes before the loan is given back.
void Attachments::make_driver(Record& record, const DeviceInfo& info,
                              std::function<void(Record&, std::unique_ptr<Driver>)> made) {
  const std::string id = record.shown.id;
  const auto chosen = parts_.drivers.choose(record.request.driver, info.kind);
  if (!chosen) {
    made = nullptr;
    return close(record, chosen.error());
  }
  record.shown.driver = *chosen;
  record.step_under_way = true;
  DriverRequest request{info,
                        record.shown.device_host,
                        presented_name(record.request.name, info),
                        record.request.listen,
                        record.request.line,
                        record.shown.uid,
                        record.gid};
  parts_.loop.offload(
      [make = parts_.drivers.at(*chosen).make, request = std::move(request)] {
        return make(request);
      },
      [this, id, made = std::move(made)](Result<std::unique_ptr<Driver>> driver) mutable {
        Record* const opening = find(id);
        if (opening == nullptr) return;  // the session is gone meanwhile
        opening->step_under_way = false;
        if (driver && opening->shown.state == "opening") {
          return made(*opening, std::move(*driver));
        }
        made = nullptr;
        if (opening->shown.state == "opening") return close(*opening, driver.error());
        if (opening->session == nullptr) end(id, Error(opening->why));
      });
}

void Attachments::started(const std::string& id, const std::string& path) {
  Record* const record = find(id);
  if (record == nullptr || record->shown.state != "opening") return;
  record->shown.state = "open";
  record->limit->cancel();
  record->shown.path = path;
  const Attachment shown = record->shown;
  note(*record, "attached",
       fmt::format("{}/{} is attached by {}{}{}", shown.device_host, shown.device, shown.driver,
                   path.empty() ? "" : " at ", path));
  parts_.opened(shown);
  // parts_.opened() may have decided on it: answer with that.
  if (Record* const open = find(id); open != nullptr && open->done) {
    const auto done = std::exchange(open->done, nullptr);
    done(Attachment(open->shown));
  }
}

void Attachments::detach(const std::string& id, const Caller& caller, Callback<void> done) {
  Record* const record = find(id);
  if (record == nullptr) {
    return done(
        fail(ErrorCode::not_found,
             fmt::format("there is no attachment {}; `farport attachments` lists them", id)));
  }
  const bool admin =
      std::any_of(admin_groups_.begin(), admin_groups_.end(), [&caller](const std::string& group) {
        return std::find(caller.groups.begin(), caller.groups.end(), group) != caller.groups.end();
      });
  if (caller.uid != 0 && caller.uid != record->shown.uid && !admin) {
    return done(fail(ErrorCode::denied,
                     fmt::format("{} was attached by {}; only that user, root and admins may "
                                 "detach it",
                                 id, record->shown.user)));
  }
  record->detached.push_back(std::move(done));
  record->limit->after(kDetachLimit, [this, id] { took_too_long(id); });
  close(*record, {ErrorCode::failed, fmt::format("detached by {}", caller.user)});
}

// Begins the end, wherever the attachment has got to; end() follows.
void Attachments::close(Record& record, Error why) {
  if (record.shown.state == "closing") return;
  const bool was_open = record.shown.state == "open";
  record.shown.state = "closing";
  record.why = std::move(why);
  if (record.session != nullptr) {
    if (!was_open && !record.answered) {
      // The channel has no device end yet, and may get one any moment.
      record.session->request({{"op", "release"}, {"channel", record.number}}, kReleaseLimit,
                              [](const Result<json>&) {});
    }
    record.session->close_channel(record.number, record.why);
  } else if (record.local != nullptr) {
    record.local->close();
  } else if (!record.step_under_way) {
    end(std::string(record.shown.id), Error(record.why));
  }
  // Otherwise a device is being opened or a driver made: that step finds the state and ends it.
}

// Whoever waits is told; what is under way goes on and ends the attachment when it can.
void Attachments::took_too_long(const std::string& id) {
  Record* const record = find(id);
  if (record == nullptr) return;
  const std::string what = fmt::format("{}/{}", record->shown.device_host, record->shown.device);
  const auto done = std::exchange(record->done, nullptr);
  const auto detached = std::exchange(record->detached, {});
  const Error error{
      ErrorCode::timed_out,
      done ? fmt::format("{} could not be opened in {} s; `farport doctor` may say why", what,
                         kWholeLimit.count())
           : fmt::format("{} is still being let go of after {} s; `farport attachments` shows when "
                         "it is gone",
                         what, kDetachLimit.count())};
  close(*record, error);  // may end it
  if (done) done(std::unexpected(error));
  for (const auto& one : detached) one(std::unexpected(error));
}

void Attachments::channel_closed(PeerSession& session, uint32_t number, const Error& why) {
  for (const auto& [id, record] : records_) {
    if (record.session.get() == &session && record.number == number) {
      return end(std::string(id), why);
    }
  }
}

void Attachments::session_closed(PeerSession& session, const Error& why) {
  std::vector<std::string> ids;
  for (const auto& [id, record] : records_) {
    if (record.session.get() == &session) ids.push_back(id);
  }
  for (const std::string& id : ids) {
    end(id, {ErrorCode::unreachable,
             fmt::format("the connection to host {} ended: {}", session.peer_name(), why.message)});
  }
}

// The attachment is over: nothing of it is left here or at the device's host.
void Attachments::end(const std::string& id, const Error& why) {
  const auto found = records_.find(id);
  if (found == records_.end()) return;
  const Record record = std::move(found->second);
  records_.erase(found);
  const bool ours = !record.why.message.empty();
  const Error error = ours ? record.why : why;
  if (record.loan != 0) parts_.loans.give_back(record.loan, error.message);
  const std::string what = fmt::format("{}/{}", record.shown.device_host, record.shown.device);
  if (record.done) {
    note(record, "attachment.failed", fmt::format("{} was not attached: {}", what, error.message));
    record.done(std::unexpected(error));
  } else {
    note(record, "detached", fmt::format("{} is detached: {}", what, error.message));
    parts_.ended(record.shown);
  }
  const auto answer = [detached = record.detached] {
    for (const auto& done : detached) done({});
  };
  if (record.session != nullptr && record.answered) {
    // The device's host hears of the end by the channel, but maybe later than of the next request
    // for the device, which it would call busy. Once this is answered, such a request waits there.
    record.session->request({{"op", "release"}, {"channel", record.number}}, kReleaseLimit,
                            [answer](const Result<json>&) { answer(); });
  } else {
    answer();
  }
  if (records_.empty()) {
    for (const auto& done : std::exchange(all_closed_, {})) done();
  }
}

void Attachments::note(const Record& record, std::string type, std::string message) {
  Event event;
  event.type = std::move(type);
  event.host = record.shown.device_host;
  event.device = record.shown.device;
  event.attachment = record.shown.id;
  event.vm = record.shown.vm;
  event.message = std::move(message);
  parts_.events.add(std::move(event));
}

std::vector<Attachment> Attachments::list() const {
  std::vector<Attachment> shown;
  for (const auto& [id, record] : records_) shown.push_back(record.shown);
  std::sort(shown.begin(), shown.end(), [](const Attachment& a, const Attachment& b) {
    return number_of(a.id) < number_of(b.id);
  });
  return shown;
}

Stats Attachments::stats_of(const Record& record) const {
  const MeterReading& reading = record.reading;
  Stats stats{record.shown,
              record.read_unix_ms,
              reading.meter,
              reading.total,
              reading.service,
              reading.channel,
              {}};
  stats.rules = reading.rules;
  stats.meter.nominal_bytes_s = record.shown.nominal_bytes_s;
  return stats;
}

Result<Stats> Attachments::stats(const std::string& id) const {
  const auto found = records_.find(id);
  if (found == records_.end()) {
    return fail(ErrorCode::not_found,
                fmt::format("there is no attachment {}; `farport attachments` lists them", id));
  }
  return stats_of(found->second);
}

void Attachments::set_verdict(const std::string& vm, const std::string& verdict) {
  for (auto& [id, record] : records_) {
    if (record.shown.vm == vm) record.shown.verdict = verdict;
  }
}

// One question to the worker for each session and each local channel; the last answer ends it.
void Attachments::read_meters(std::function<void()> done) {
  // Shared by the questions; goes, on whichever thread, with the last answer.
  std::shared_ptr<void> finished(
      nullptr, [&loop = parts_.loop, done = std::move(done)](void*) { loop.post(done); });
  std::vector<std::shared_ptr<PeerSession>> sessions;
  for (const auto& [id, record] : records_) {
    if (record.shown.state != "open") continue;
    if (record.local != nullptr) {
      record.local->read_meter([this, id = id, finished](const MeterReading& reading) {
        if (Record* const open = find(id)) {
          open->reading = reading;
          open->read_unix_ms = unix_now_ms();
        }
      });
    } else if (std::find(sessions.begin(), sessions.end(), record.session) == sessions.end()) {
      sessions.push_back(record.session);
    }
  }
  for (const auto& session : sessions) {
    session->read_meters([this, session, finished](const std::map<uint32_t, MeterReading>& all) {
      for (auto& [id, record] : records_) {
        const auto reading = all.find(record.number);
        if (record.session != session || reading == all.end()) continue;
        record.reading = reading->second;
        record.read_unix_ms = unix_now_ms();
      }
    });
  }
}

void Attachments::close_all(std::function<void()> done) {
  if (records_.empty()) return done();
  all_closed_.push_back(std::move(done));
  std::vector<std::string> ids;
  for (const auto& [id, record] : records_) ids.push_back(id);
  for (const std::string& id : ids) {
    if (Record* const record = find(id)) {
      close(*record, {ErrorCode::failed, "the daemon stops"});
    }
  }
}

}  // namespace farport
