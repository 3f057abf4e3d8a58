#include "control/daemon/attachments.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <utility>

#include "control/daemon/peer_message.h"

namespace farport {

using nlohmann::json;
using std::chrono::seconds;

namespace {

constexpr seconds kAttachLimit{30};
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

// Errors that the coming and going of devices can mend.
bool may_change(ErrorCode code) {
  return code == ErrorCode::not_found || code == ErrorCode::busy || code == ErrorCode::denied;
}

}  // namespace

Attachments::Attachments(Parts parts)
    : parts_(std::move(parts)),
      file_(parts_.loop, parts_.path),
      random_(static_cast<uint32_t>(monotonic_ns())) {}

Attachments::Record* Attachments::find(const std::string& id) {
  const auto found = records_.find(id);
  return found == records_.end() ? nullptr : &found->second;
}

Attachments::Record* Attachments::find(const Key& key) {
  Record* const record = find(key.id);
  return record != nullptr && record->attempt.number == key.attempt ? record : nullptr;
}

Attachments::Record* Attachments::find(const PeerSession& session, uint32_t channel) {
  for (auto& [id, record] : records_) {
    if (record.attempt.session.get() == &session && record.attempt.channel == channel) {
      return &record;
    }
  }
  return nullptr;
}

std::string Attachments::name_of(const Record& record) {
  return fmt::format("{}/{}", record.shown.device_host, record.shown.device);
}

Attachments::Record& Attachments::add(const std::string& id, const AttachRequest& request,
                                      const Caller& caller) {
  Record& record = records_[id];
  record.request = request;
  record.caller = caller;
  record.limit = std::make_unique<ControlTimer>(parts_.loop);
  record.retry = std::make_unique<ControlTimer>(parts_.loop);
  Attachment& shown = record.shown;
  shown.id = id;
  shown.device_host = request.host.empty() ? parts_.host : request.host;
  shown.device = request.device;
  shown.driver = request.driver;
  shown.vm = request.vm;
  shown.user = caller.user;
  shown.uid = caller.uid;
  shown.persistent = request.persistent;
  shown.state = "opening";
  shown.since_unix_ms = unix_now_ms();
  next_id_ = std::max(next_id_, number_of(id) + 1);
  return record;
}

// Two that wait for the same device would take it from each other.
Result<void> Attachments::check_persistent(const AttachRequest& request,
                                           const Caller& caller) const {
  size_t count = 0;
  for (const auto& [id, record] : records_) {
    if (!record.shown.persistent) continue;
    ++count;
    const Attachment& shown = record.shown;
    const std::string& host = request.host.empty() ? parts_.host : request.host;
    const bool named = shown.device == request.device ||
                       std::find(shown.aliases.begin(), shown.aliases.end(), request.device) !=
                           shown.aliases.end();
    if (shown.uid != caller.uid || shown.device_host != host || !named || record.ending) continue;
    return fail(ErrorCode::busy,
                fmt::format("{} is attached to {} persistently and is {}; `farport detach {}` ends "
                            "that",
                            id, name_of(record), shown.state, id));
  }
  if (count < persistent_attachments_max) return {};
  return fail(ErrorCode::busy,
              fmt::format("there are {} persistent attachments, the most there can be; detach one "
                          "first",
                          count));
}

void Attachments::attach(const AttachRequest& request, const Caller& caller,
                         Callback<Attachment> done) {
  if (auto known = parts_.drivers.check(request.driver); !known) {
    return done(std::unexpected(known.error()));
  }
  if (request.persistent) {
    if (auto fits = check_persistent(request, caller); !fits) {
      return done(std::unexpected(fits.error()));
    }
  }
  const std::string id = fmt::format("att-{}", next_id_);
  Record& record = add(id, request, caller);
  record.done = std::move(done);
  if (request.wait_s != 0) {
    record.patience = std::make_unique<ControlTimer>(parts_.loop);
    record.patience->after(seconds(request.wait_s), [this, id] {
      if (Record* const waiting = find(id)) waiting->patience.reset();
      answer(id);
    });
  }
  begin(record, false);
}

// One attempt; end() is its last word. It may come from inside here.
void Attachments::begin(Record& record, bool automatic) {
  record.attempt = {};
  record.attempt.number = next_attempt_++;
  record.attempt.automatic = automatic;
  if (automatic) ++automatic_;
  record.tried_ns = monotonic_ns();
  record.retry->cancel();
  record.limit->after(kWholeLimit, [this, id = record.shown.id] { took_too_long(id); });
  if (is_local(record)) {
    attach_local(record);
  } else {
    attach_remote(record);
  }
}

// --- a device of another host ---

void Attachments::attach_remote(Record& record) {
  const Key key = key_of(record);
  auto session = parts_.peers.session(record.shown.device_host);
  if (!session || !(*session)->open()) {
    record.attempt.prompt = Prompt::peer;
    return end(key, session ? Error{ErrorCode::unreachable, fmt::format("host {} is not connected",
                                                                        record.shown.device_host)}
                            : session.error());
  }
  record.attempt.session = *session;
  const json request =
      peer::encode_attach({0, record.request.device, record.request.vm, record.shown.user});
  auto channel = (*session)->attach(request, kAttachLimit, [this, key](Result<json> answer) {
    take_answer(key, std::move(answer));
  });
  if (!channel) return end(key, channel.error());
  record.attempt.channel = *channel;
}

void Attachments::take_answer(const Key& key, Result<json> answer) {
  Record* const record = find(key);
  if (record == nullptr) return;
  Attempt& attempt = record->attempt;
  const auto taken = answer ? peer::decode_answer(*answer)
                            : Result<peer::AttachAnswer>(std::unexpected(answer.error()));
  if (!taken) {
    // Whatever the peer has done of it, it is to undo.
    attempt.answered = answer.has_value();
    if (!answer && may_change(answer.error().code)) attempt.prompt = Prompt::devices;
    return close(*record, taken.error());
  }
  attempt.answered = true;
  if (attempt.closing) return;
  show_device(*record, taken->info, taken->nominal_bytes_s, taken->nominal_source);
  make_driver(
      *record, taken->info,
      [this, key, answer = *taken](Record& opening, std::unique_ptr<Driver> driver) {
        RuleSwitches switches = rule_switches_ ? rule_switches_(answer.info) : RuleSwitches{};
        // A device end of wire version 1.0 runs no chains.
        if (opening.attempt.session->peer().version_minor >= 1) {
          driver = AheadDriver::wrap(std::move(driver), answer.info, std::move(switches));
        }
        opening.attempt.session->start_driver(
            opening.attempt.channel, answer.info, parts_.bus_rate(answer.info), answer.credit_bytes,
            std::move(driver), [this, key](const std::string& path) { started(key, path); });
      });
}

// --- a device of this host ---

void Attachments::attach_local(Record& record) {
  const Caller& caller = record.caller;
  const Consumer consumer{parts_.host, record.request.vm, caller.user, caller.uid, caller.groups};
  record.attempt.step_under_way = true;
  parts_.loans.borrow(
      record.request.device, consumer, caller.uid == 0,
      [this, key = key_of(record)](Result<Loans::Loan> loan) { take_loan(key, std::move(loan)); });
}

void Attachments::take_loan(const Key& key, Result<Loans::Loan> loan) {
  Record* const record = find(key);
  assert(record != nullptr && "an attempt is not over while a step of it is under way");
  Attempt& attempt = record->attempt;
  attempt.step_under_way = false;
  if (!loan) {
    if (may_change(loan.error().code)) attempt.prompt = Prompt::devices;
    return end(key, loan.error());
  }
  attempt.loan = loan->id;
  if (attempt.closing) {
    loan->opened.reset();
    return end(key, attempt.why);
  }
  const DeviceInfo info = loan->opened->info();
  show_device(*record, info, loan->nominal.bytes_s, loan->nominal.source);
  auto held = std::make_shared<std::unique_ptr<Device>>(std::move(loan->opened));
  make_driver(
      *record, info,
      [this, key, info, held = std::move(held)](Record& opening, std::unique_ptr<Driver> driver) {
        opening.attempt.local = LocalRun::start(
            parts_.loop, parts_.worker, std::move(*held), std::move(driver), parts_.bus_rate(info),
            [this, key](const std::string& path) { started(key, path); },
            [this, key](const Error& why) { end(key, why); });
      });
}

// --- both ---

void Attachments::show_device(Record& record, const DeviceInfo& info, uint64_t nominal_bytes_s,
                              const std::string& nominal_source) {
  record.shown.device = info.name;
  record.shown.aliases = info.aliases;
  record.shown.description = info.description;
  record.shown.kind = info.kind;
  record.shown.nominal_bytes_s = nominal_bytes_s;
  record.shown.nominal_source = nominal_source;
}

// `made` is called only when there is a driver and the attempt is still wanted. It may hold the
// device, so it goes before the loan is given back.
void Attachments::make_driver(Record& record, const DeviceInfo& info,
                              std::function<void(Record&, std::unique_ptr<Driver>)> made) {
  const auto chosen = parts_.drivers.choose(record.request.driver, info.kind);
  if (!chosen) {
    made = nullptr;
    return close(record, chosen.error());
  }
  record.shown.driver = *chosen;
  record.attempt.step_under_way = true;
  DriverRequest request{info,
                        record.shown.device_host,
                        presented_name(record.request.name, info),
                        record.request.listen,
                        record.request.line,
                        record.path,
                        record.shown.uid,
                        record.caller.gid};
  parts_.loop.offload([make = parts_.drivers.at(*chosen).make,
                       request = std::move(request)] { return make(request); },
                      [this, key = key_of(record),
                       made = std::move(made)](Result<std::unique_ptr<Driver>> driver) mutable {
                        Record* const opening = find(key);
                        if (opening == nullptr) return;  // it ended meanwhile
                        Attempt& attempt = opening->attempt;
                        attempt.step_under_way = false;
                        if (driver && !attempt.closing) return made(*opening, std::move(*driver));
                        made = nullptr;
                        if (!attempt.closing) return close(*opening, driver.error());
                        if (attempt.session == nullptr) end(key, attempt.why);
                      });
}

void Attachments::started(const Key& key, const std::string& path) {
  Record* record = find(key);
  if (record == nullptr || record->attempt.closing) return;
  record->limit->cancel();
  record->give_up.reset();
  record->attempt.open = true;
  record->opened_ns = monotonic_ns();
  record->told.clear();
  if (std::exchange(record->attempt.automatic, false)) --automatic_;
  // From now on by its stable name, and where it has been found.
  const bool moved = record->path != path || record->request.device != record->shown.device;
  record->request.device = record->shown.device;
  record->path = path;
  record->shown.state = "open";
  record->shown.waiting.reset();
  record->shown.path = path;
  const Attachment shown = record->shown;
  note(*record, "attached",
       fmt::format("{} is attached by {}{}{}", name_of(*record), shown.driver,
                   path.empty() ? "" : " at ", path));
  parts_.opened(shown);
  // parts_.opened() may have decided on it: answer with that.
  record = find(key);
  if (record != nullptr && record->kept && moved) keep_again();
  if (record != nullptr) keep(*record);
  answer(key.id);
  pump();
}

// To the one who asked for the attach, once there is something to say and, of a persistent one, it
// is on disk.
void Attachments::answer(const std::string& id) {
  Record* const record = find(id);
  if (record == nullptr || !record->done || record->ending) return;
  const bool waiting = record->shown.state == "waiting";
  if (!record->attempt.open && !waiting) return;
  if (record->shown.persistent && !record->saved) return;
  if (waiting && record->patience) return;
  record->patience.reset();
  const auto done = std::exchange(record->done, nullptr);
  done(shown_now(*record));
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
  // First of all it must not come back after a power cut.
  forget(*record, [this, id, user = caller.user, done = std::move(done)](Result<void> forgotten) {
    Record* const detaching = find(id);
    if (!forgotten || detaching == nullptr) return done(std::move(forgotten));
    detaching->detached.push_back(done);
    detaching->limit->after(kDetachLimit, [this, id] { took_too_long(id); });
    let_go(id, {ErrorCode::failed, fmt::format("detached by {}", user)});
  });
}

// The end for good, wherever the attachment has got to; finish() follows.
void Attachments::let_go(const std::string& id, Error why) {
  Record* const record = find(id);
  if (record == nullptr || record->ending) return;
  record->ending = true;
  record->why = why;
  record->shown.state = "closing";
  record->shown.waiting.reset();
  record->retry->cancel();
  record->give_up.reset();
  record->patience.reset();
  if (record->attempt.number == 0) return finish(id, {}, why);
  close(*record, std::move(why));
  if (const Record* const closing = find(id)) part(*closing);
}

// Begins the end of the attempt; end() follows.
void Attachments::close(Record& record, Error why) {
  Attempt& attempt = record.attempt;
  if (attempt.closing) return;
  attempt.closing = true;
  attempt.why = std::move(why);
  if (attempt.session != nullptr) {
    if (!attempt.answered) {
      // The channel has no device end yet, and may get one any moment.
      attempt.session->release(attempt.channel, [] {});
    }
    attempt.session->close_channel(attempt.channel, attempt.why);
  } else if (attempt.local != nullptr) {
    attempt.local->close();
  } else if (!attempt.step_under_way) {
    end(key_of(record), attempt.why);
  }
  // Otherwise a device is being opened or a driver made: that step finds the state and ends it.
}

// Whoever waits is told; what is under way goes on and ends when it can.
void Attachments::took_too_long(const std::string& id) {
  Record* record = find(id);
  if (record == nullptr) return;
  if (record->ending) {
    const Error error{
        ErrorCode::timed_out,
        fmt::format("{} is still being let go of after {} s; `farport attachments` shows when it "
                    "is gone",
                    name_of(*record), kDetachLimit.count())};
    for (const auto& one : std::exchange(record->detached, {})) one(std::unexpected(error));
    return;
  }
  const Error error{ErrorCode::timed_out,
                    fmt::format("{} could not be opened in {} s; `farport doctor` may say why",
                                name_of(*record), kWholeLimit.count())};
  if (record->shown.persistent || record->give_up) {
    show_waiting(*record, error, false);
    close(*record, error);  // may end it
    record = find(id);
    if (record != nullptr) keep(*record);
    return;
  }
  const auto done = std::exchange(record->done, nullptr);
  let_go(id, error);
  if (done) done(std::unexpected(error));
}

void Attachments::channel_closed(PeerSession& session, uint32_t number, const Error& why) {
  if (const Record* const record = find(session, number)) end(key_of(*record), why);
}

void Attachments::session_closed(PeerSession& session, const Error& why) {
  const SessionEnd how = session.how_it_ended();
  const bool may_return = how == SessionEnd::closed_by_peer || how == SessionEnd::peer_restarted ||
                          how == SessionEnd::replaced;
  std::vector<Key> keys;
  for (auto& [id, record] : records_) {
    if (record.attempt.session.get() != &session) continue;
    record.attempt.prompt = Prompt::peer;
    record.attempt.may_return = may_return;
    keys.push_back(key_of(record));
  }
  for (const Key& key : keys) {
    end(key, {ErrorCode::unreachable, fmt::format("the connection to host {} ended: {}",
                                                  session.peer_name(), why.message)});
  }
}

// The attempt is over: nothing of it is left here or at the device's host.
void Attachments::end(const Key& key, const Error& why) {
  Record* record = find(key);
  if (record == nullptr) return;
  const Attempt last = std::exchange(record->attempt, {});
  record->limit->cancel();
  if (last.automatic) --automatic_;
  const Error error = last.closing ? last.why : why;
  record->reading = {};
  record->read_unix_ms = 0;
  record->shown.path.clear();
  if (last.loan != 0) parts_.loans.give_back(last.loan, error.message);
  record = find(key.id);
  if (record == nullptr) return;
  if (record->ending || !waits(*record, last, error)) {
    return finish(key.id, last, record->ending ? record->why : error);
  }
  if (last.session != nullptr && last.answered) {
    // As in finish(): the next attempt is not to hear "busy" of our own.
    last.session->release(last.channel, [] {});
  }
  wait(*record, last, error);
}

// The attachment is over.
// By value: the reason is often the record's own, which goes.
void Attachments::finish(const std::string& id, const Attempt& last, Error why) {
  const auto found = records_.find(id);
  const Record record = std::move(found->second);
  records_.erase(found);
  if (record.done) {
    note(record, "attachment.failed",
         fmt::format("{} was not attached: {}", name_of(record), why.message));
    record.done(std::unexpected(why));
  } else {
    note(record, "detached", fmt::format("{} is detached: {}", name_of(record), why.message));
    parts_.ended(record.shown);
  }
  const auto answer = [detached = record.detached] {
    for (const auto& done : detached) done({});
  };
  if (last.session != nullptr && last.answered) {
    // The device's host hears of the end by the channel, but maybe later than of the next request
    // for the device, which it would call busy. Once this is answered, such a request waits there.
    last.session->release(last.channel, answer);
  } else {
    answer();
  }
  pump();
  if (!records_.empty()) return;
  for (const auto& done : std::exchange(all_closed_, {})) file_.idle(done);
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
  for (const auto& [id, record] : records_) shown.push_back(shown_now(record));
  std::sort(shown.begin(), shown.end(), [](const Attachment& a, const Attachment& b) {
    return number_of(a.id) < number_of(b.id);
  });
  return shown;
}

size_t Attachments::open_count() const {
  return static_cast<size_t>(std::count_if(
      records_.begin(), records_.end(), [](const auto& one) { return one.second.attempt.open; }));
}

void Attachments::set_verdict(const std::string& vm, const std::string& verdict) {
  for (auto& [id, record] : records_) {
    if (record.shown.vm == vm) record.shown.verdict = verdict;
  }
}

void Attachments::close_all(std::function<void()> done) {
  stopping_ = true;
  queue_.clear();
  if (records_.empty()) return file_.idle(std::move(done));
  all_closed_.push_back(std::move(done));
  std::vector<std::string> ids;
  for (const auto& [id, record] : records_) ids.push_back(id);
  for (const std::string& id : ids) let_go(id, {ErrorCode::failed, "the daemon stops"});
}

}  // namespace farport
