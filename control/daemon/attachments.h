// The consumer's side: devices attached here, from another host over its session or from this host
// itself. An attachment is an object of its own and does not belong to the session that carries it.
//
// Thread rule: the control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/daemon/driver_maker.h"
#include "control/daemon/event_log.h"
#include "control/daemon/loans.h"
#include "control/daemon/local_run.h"
#include "control/daemon/peer_session.h"
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
    // Told when an attachment has opened, and when it has ended.
    std::function<void(const Attachment&)> opened, ended;
  };
  explicit Attachments(Parts parts) : parts_(std::move(parts)) {}

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
  size_t count() const { return records_.size(); }
  void set_verdict(const std::string& vm, const std::string& verdict);

  // Asks the worker for fresh figures; `done` when they are there.
  void read_meters(std::function<void()> done);

  void channel_closed(PeerSession& session, uint32_t number, const Error& why);
  void session_closed(PeerSession& session, const Error& why);
  // Ends all of them; `done` when the last has ended.
  void close_all(std::function<void()> done);

 private:
  struct Record {
    Attachment shown;
    AttachRequest request;
    gid_t gid = 0;
    std::shared_ptr<PeerSession> session;  // of a device elsewhere
    uint32_t number = 0;
    bool answered = false;            // the peer has said yes
    std::shared_ptr<LocalRun> local;  // of a device here
    uint64_t loan = 0;
    bool step_under_way = false;          // a device here is being opened, or a driver made
    Callback<Attachment> done;            // until the attach is answered
    std::unique_ptr<ControlTimer> limit;  // of the attach, or of the detach
    std::vector<Callback<void>> detached;
    Error why;  // set when we end it
    MeterReading reading;
    int64_t read_unix_ms = 0;
  };
  Record* find(const std::string& id);
  void attach_remote(Record& record);
  void take_answer(const std::string& id, Result<nlohmann::json> answer);
  void attach_local(Record& record, const Caller& caller);
  void take_loan(const std::string& id, Result<Loans::Loan> loan);
  void make_driver(Record& record, const DeviceInfo& info,
                   std::function<void(Record&, std::unique_ptr<Driver>)> made);
  void started(const std::string& id, const std::string& path);
  void close(Record& record, Error why);
  void took_too_long(const std::string& id);
  void end(const std::string& id, const Error& why);
  void note(const Record& record, std::string type, std::string message);
  Stats stats_of(const Record& record) const;

  Parts parts_;
  std::map<std::string, Record> records_;  // by id
  std::vector<std::string> admin_groups_;
  std::function<RuleSwitches(const DeviceInfo&)> rule_switches_;
  std::vector<std::function<void()>> all_closed_;
  uint64_t next_id_ = 1;
};

}  // namespace farport
