// The parts of a daemon, put together (daemon.cc), and what it answers (daemon_service.cc).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "control/daemon/advice.h"
#include "control/daemon/attachments.h"
#include "control/daemon/catalogue.h"
#include "control/daemon/daemon.h"
#include "control/daemon/event_log.h"
#include "control/daemon/lender.h"
#include "control/daemon/loans.h"
#include "control/daemon/network.h"
#include "control/daemon/peers.h"
#include "control/daemon/run_lock.h"
#include "control/daemon/usbip_gateway.h"
#include "control/daemon/worker_thread.h"
#include "control/directory/file_directory.h"
#include "control/trust/refusals.h"

namespace farport {

class Daemon::Host final : public Service {
 public:
  static Result<std::unique_ptr<Host>> make(DaemonSettings settings);
  ~Host() override;

  void start();
  bool stop(std::chrono::milliseconds limit);
  ControlLoop& loop() { return *loop_; }
  Worker& worker() { return workers_.front()->worker(); }
  std::vector<std::string> addresses() const;
  std::string usbip_address() const { return gateway_.address(); }
  void set_live(const LiveSettings& live);
  void reload_trust(const AuthorityFiles& files);
  void announce(const std::string& type, const std::string& message);

  // Service
  VersionInfo version() const override;
  Health health() const override;
  void hosts(Callback<std::vector<HostEntry>> done) override;
  std::vector<Attachment> attachments() const override { return attachments_.list(); }
  Result<Stats> stats(const std::string& id) const override { return attachments_.stats(id); }
  std::vector<VmEntry> vms() const override { return advice_.vms(); }
  std::vector<DecisionEntry> decisions(size_t limit) const override {
    return advice_.decisions(limit);
  }
  void devices(const std::string& host, const Caller& caller, Callback<DeviceList> done) override;
  void attach(const AttachRequest& request, const Caller& caller,
              Callback<Attachment> done) override;
  void detach(const std::string& id, const Caller& caller, Callback<void> done) override;
  void explain(const std::string& host, const std::string& device, const Caller& caller,
               Callback<std::vector<Check>> done) override;
  Result<TrustReport> trust() const override;
  Result<bool> trust_add(const TrustAddition& addition, const Caller& caller) override;
  Result<size_t> trust_remove(const std::string& host, const std::string& fingerprint,
                              const Caller& caller) override;
  Result<std::string> trust_renew(bool prepare, const Caller& caller) override;
  std::unique_ptr<EventSubscription> subscribe(
      uint64_t after, std::function<void(const Event&)> callback) override {
    return events_.subscribe(after, std::move(callback));
  }
  uint64_t last_event() const override { return events_.last(); }

 private:
  Host(DaemonSettings settings, RunLock lock, std::unique_ptr<ControlLoop> loop,
       std::vector<std::unique_ptr<WorkerThread>> workers,
       std::vector<std::unique_ptr<PeerListener>> listeners, DecisionLog decisions,
       const Identity& boot);

  void device_changed(const Catalogue::Change& change);
  void devices_changed();
  void attached(const Attachment& attachment);
  void detached(const Attachment& attachment);
  void measure();
  void decide_later();

  void local_devices(const Caller& caller, std::function<void(std::vector<DeviceEntry>)> done);
  static void remote_devices(PeerSession& session, Callback<std::vector<DeviceEntry>> done);
  std::vector<Check> explain_self() const;
  Check explain_host(const std::string& host);
  // Of this host itself when `host` is empty; nothing without trust.
  std::vector<Check> explain_trust(const std::string& host) const;
  Result<void> may_change_trust(const Caller& caller) const;

  DaemonSettings settings_;
  std::vector<KeptAttachment> kept_;  // until start()
  LiveSettings live_;
  const Identity boot_;
  const int64_t started_unix_ms_;
  RunLock lock_;
  std::unique_ptr<ControlLoop> loop_;
  std::vector<std::unique_ptr<WorkerThread>> workers_;
  std::vector<std::unique_ptr<PeerListener>> listeners_;
  std::unique_ptr<Hypervisor> hypervisor_;
  EventLog events_;
  Refusals refusals_;
  FileDirectory directory_;
  Catalogue catalogue_;
  Loans loans_;
  Lender lender_;
  Peers peers_;
  Attachments attachments_;
  Advice advice_;
  UsbipGateway gateway_;
  ControlTimer meter_timer_;
  ControlTimer policy_timer_;
  bool listed_ = false;
  bool measuring_ = false;
  bool stopping_ = false;
  bool stopped_ = false;
  bool stuck_ = false;  // something did not let go
};

}  // namespace farport
