// The consumer's side: devices attached here, from another host over its session or from this host
// itself. An attachment is an object of its own and may outlive the channel that carries it:
//
//   opening --> open --> closing          detached, or lost for good
//      |         |  ^
//      |         v  |
//      +-----> waiting --> closing        detached, given up
//
// An *attempt* is one channel, from asking for the device to the last word of its end. In between
// attempts an attachment waits: a persistent one whatever happened; another only after its peer's
// daemon went away or started again, for a bounded time. Who waits tries again when its host
// connects, when that host says that a device came or was freed, and at growing intervals.
//
//   attachments.cc       attach, attempts, detach
//   attachments_wait.cc  what becomes of an attachment whose attempt is over; trying again
//   attachments_pause.cc  while the session is paused
//   attachments_keep.cc  persistent ones on disk, and back
//   attachments_figures.cc  what they move
//
// Thread rule: the control thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <random>
#include <string>
#include <vector>

#include "control/daemon/attachment_file.h"
#include "control/daemon/driver_maker.h"
#include "control/daemon/event_log.h"
#include "control/daemon/loans.h"
#include "control/daemon/local_run.h"
#include "control/daemon/peer_session.h"
#include "control/daemon/retry_times.h"
#include "control/daemon/service.h"
#include "drivers/ahead/ahead_driver.h"

namespace farport {

// Where a host's session is found.
class PeerDirectory {
 public:
  // not_found: no such host. unreachable: it is known, and why there is no session.
  virtual Result<std::shared_ptr<PeerSession>> session(const std::string& host) = 0;

 protected:
  ~PeerDirectory() = default;
};

class Attachments {
 public:
  struct Parts {
    ControlLoop& loop;
    WorkerThread& worker;
    Loans& loans;
    PeerDirectory& peers;
    const DriverTypes& drivers;
    EventLog& events;
    std::string host;
    // The rate that caps demand: what the device's bus carries; 0 when that is unknown.
    std::function<uint64_t(const DeviceInfo&)> bus_rate;
    // Told when an attachment has opened; and when it is not open any more, or over.
    std::function<void(const Attachment&)> opened, ended;
    std::string path = {};  // of the persistent ones; empty: they end with the daemon
    RetryTimes times = {};
  };
  explicit Attachments(Parts parts);

  // Those of an earlier daemon, before anything is attached.
  void restore(const std::vector<KeptAttachment>& kept);
  void attach(const AttachRequest& request, const Caller& caller, Callback<Attachment> done);
  void detach(const std::string& id, const Caller& caller, Callback<void> done);
  // Who may detach what others attached, besides root.
  void set_admin_groups(std::vector<std::string> groups) { admin_groups_ = std::move(groups); }

  // Which rules hide latency for a device of another host.
  void set_rule_switches(std::function<RuleSwitches(const DeviceInfo&)> switches) {
    rule_switches_ = std::move(switches);
  }

  std::vector<Attachment> list() const;
  Result<Stats> stats(const std::string& id) const;
  size_t open_count() const;
  void set_verdict(const std::string& vm, const std::string& verdict);

  // Asks the worker for fresh figures; `done` when they are there.
  void read_meters(std::function<void()> done);

  // --- what may give a device to those who wait ---
  // A session with the host is there (PeerDirectory::session() gives it).
  void peer_opened(PeerSession& session);
  void peer_notice(PeerSession& session, const nlohmann::json& notice);
  // A device of that host was plugged in or given back.
  void devices_changed(const std::string& host);

  void channel_closed(PeerSession& session, uint32_t number, const Error& why);
  void driver_gone(PeerSession& session, uint32_t number);
  // Those that are let go of do not wait for the peer.
  void session_paused(PeerSession& session);
  // Really over: a session that resumes is not.
  void session_closed(PeerSession& session, const Error& why);
  // Ends all of them; `done` when the last has ended. Persistent ones stay on disk.
  void close_all(std::function<void()> done);

 private:
  // What an attachment that waits is waiting for, besides its next interval.
  enum class Prompt : uint8_t { nothing, peer, devices };
  // Which attempt of which attachment a step belongs to: a late one finds nothing.
  struct Key {
    std::string id;
    uint64_t attempt = 0;
  };
  struct Attempt {
    uint64_t number = 0;  // 0: none is under way
    bool automatic = false;
    bool open = false;
    bool closing = false;
    std::shared_ptr<PeerSession> session;  // of a device elsewhere
    uint32_t channel = 0;
    bool answered = false;            // the peer has said yes
    std::shared_ptr<LocalRun> local;  // of a device here
    uint64_t loan = 0;
    bool step_under_way = false;  // a device here is being opened, or a driver made
    Prompt prompt = Prompt::nothing;
    bool may_return = false;  // it ended with a session whose peer may come back
    bool again = false;       // devices have come or were freed meanwhile
    Error why;                // set when we end it
  };
  struct Record {
    Attachment shown;
    AttachRequest request;
    Caller caller;
    Attempt attempt;
    bool ending = false;                  // for good
    Error why;                            // of that
    Callback<Attachment> done;            // until the attach is answered
    std::unique_ptr<ControlTimer> limit;  // of the attempt, or of the detach
    std::vector<Callback<void>> detached;
    std::string path;  // where it was found last
    // waiting
    unsigned failures = 0;  // in a row
    uint64_t tried_ns = 0;
    uint64_t opened_ns = 0;
    Prompt prompt = Prompt::nothing;
    bool queued = false;
    std::string told;                        // the last reason that was made known
    std::unique_ptr<ControlTimer> retry;     // armed: at shown.waiting->next_try_unix_ms
    std::unique_ptr<ControlTimer> give_up;   // set: it is not persistent and has been lost
    std::unique_ptr<ControlTimer> patience;  // set: the answer waits for the device
    // keeping
    bool kept = false;       // belongs into the file
    bool saved = false;      // and is there
    bool forgotten = false;  // being taken out: an attempt that ends meanwhile keeps it out
    MeterReading reading;
    int64_t read_unix_ms = 0;
  };

  Record* find(const std::string& id);
  Record* find(const Key& key);
  static Key key_of(const Record& record) { return {record.shown.id, record.attempt.number}; }
  bool is_local(const Record& record) const { return record.shown.device_host == parts_.host; }
  Record* find(const PeerSession& session, uint32_t channel);
  static std::string name_of(const Record& record);

  // attachments.cc
  Record& add(const std::string& id, const AttachRequest& request, const Caller& caller);
  Result<void> check_persistent(const AttachRequest& request, const Caller& caller) const;
  void begin(Record& record, bool automatic);
  void attach_remote(Record& record);
  void take_answer(const Key& key, Result<nlohmann::json> answer);
  void attach_local(Record& record);
  void take_loan(const Key& key, Result<Loans::Loan> loan);
  static void show_device(Record& record, const DeviceInfo& info, uint64_t nominal_bytes_s,
                          const std::string& nominal_source);
  void make_driver(Record& record, const DeviceInfo& info,
                   std::function<void(Record&, std::unique_ptr<Driver>)> made);
  void started(const Key& key, const std::string& path);
  void answer(const std::string& id);
  void let_go(const std::string& id, Error why);
  void close(Record& record, Error why);
  void took_too_long(const std::string& id);
  void end(const Key& key, const Error& why);
  void finish(const std::string& id, const Attempt& last, Error why);
  void note(const Record& record, std::string type, std::string message);

  // attachments_wait.cc
  bool waits(const Record& record, const Attempt& last, const Error& why) const;
  void wait(Record& record, const Attempt& last, const Error& why);
  void show_waiting(Record& record, const Error& why, bool was_open);
  void arm_give_up(Record& record);
  void given_up(const std::string& id);
  void try_after(Record& record, std::chrono::milliseconds delay);
  void queue(Record& record);
  void pump();

  // attachments_pause.cc
  static Attachment shown_now(const Record& record);
  static void part(const Record& record);

  // attachments_figures.cc
  static void take_reading(Record& record, const MeterReading& reading);

  // attachments_keep.cc
  std::vector<KeptAttachment> kept() const;
  void keep(Record& record);
  void keep_again();
  void forget(Record& record, Callback<void> done);

  Parts parts_;
  AttachmentFile file_;
  std::map<std::string, Record> records_;  // by id
  std::vector<std::string> admin_groups_;
  std::function<RuleSwitches(const DeviceInfo&)> rule_switches_;
  std::vector<std::function<void()>> all_closed_;
  uint64_t next_id_ = 1;
  uint64_t next_attempt_ = 1;
  std::deque<std::string> queue_;  // of those whose turn it is to try again
  size_t automatic_ = 0;           // attempts of theirs under way
  bool pumping_ = false;
  bool stopping_ = false;
  std::minstd_rand random_;
};

}  // namespace farport
