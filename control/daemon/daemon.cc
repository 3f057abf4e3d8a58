#include "control/daemon/daemon.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>

#include <algorithm>
#include <future>
#include <utility>

#include "control/daemon/daemon_host.h"

namespace farport {

Daemon::Daemon(std::unique_ptr<Host> host) : host_(std::move(host)) {}

// What is stuck still refers to the host: then it must not go.
Daemon::~Daemon() {
  if (!stop()) static_cast<void>(host_.release());
}

Result<std::unique_ptr<Daemon>> Daemon::start(DaemonSettings settings) {
  auto host = Host::make(std::move(settings));
  if (!host) return std::unexpected(host.error());
  std::unique_ptr<Daemon> daemon(new Daemon(std::move(*host)));
  daemon->host_->start();
  return daemon;
}

bool Daemon::stop(std::chrono::milliseconds limit) { return host_->stop(limit); }

void Daemon::reload(LiveSettings live) {
  host_->loop().post([host = host_.get(), live = std::move(live)] {
    host->set_live(live);
    host->reload_trust(live.trust_files);
    host->announce("config.reloaded", "the configuration was read again");
  });
}

ControlLoop& Daemon::loop() { return host_->loop(); }
Worker& Daemon::worker() { return host_->worker(); }
Service& Daemon::service() { return *host_; }
std::vector<std::string> Daemon::addresses() const { return host_->addresses(); }
std::string Daemon::usbip_address() const { return host_->usbip_address(); }

// --- making one ---

namespace {

Identity random_boot() {
  Identity boot{};
  [[maybe_unused]] const auto got = getrandom(boot.data(), boot.size(), 0);
  return boot;
}

std::vector<WorkerThread*> pointers(const std::vector<std::unique_ptr<WorkerThread>>& workers) {
  std::vector<WorkerThread*> pointers;
  for (const auto& worker : workers) pointers.push_back(worker.get());
  return pointers;
}

Result<std::vector<std::unique_ptr<PeerListener>>> listen_all(ControlLoop& loop,
                                                              const DaemonSettings& settings) {
  std::vector<std::unique_ptr<PeerListener>> listeners;
  for (const HostPort& address : settings.listen) {
    auto listener = PeerListener::bind(loop, address);
    if (!listener) return std::unexpected(listener.error());
    if (!(*listener)->loopback() && settings.trust == nullptr) {
      return fail(ErrorCode::usage,
                  fmt::format("host.listen names {}, which other machines reach: that needs a host "
                              "key",
                              (*listener)->address()));
    }
    listeners.push_back(std::move(*listener));
  }
  return listeners;
}

}  // namespace

Result<std::unique_ptr<Daemon::Host>> Daemon::Host::make(DaemonSettings settings) {
  auto lock = RunLock::take(settings.run_dir);
  if (!lock) return std::unexpected(lock.error());
  auto decisions = DecisionLog::open({.path = settings.decisions_path});
  if (!decisions) return std::unexpected(decisions.error());
  auto kept = load_attachments(settings.attachments_path);
  if (!kept) return std::unexpected(kept.error());
  auto loop = std::make_unique<ControlLoop>();
  auto listeners = listen_all(*loop, settings);
  if (!listeners) return std::unexpected(listeners.error());
  std::vector<std::unique_ptr<WorkerThread>> workers;
  for (unsigned index = 0; index < std::max(settings.workers, 1u); ++index) {
    auto worker = WorkerThread::start(settings.worker, fmt::format("worker {}", index));
    if (!worker) return std::unexpected(worker.error());
    workers.push_back(std::move(*worker));
  }
  std::unique_ptr<Host> host(new Host(std::move(settings), std::move(*lock), std::move(loop),
                                      std::move(workers), std::move(*listeners),
                                      std::move(*decisions), random_boot()));
  host->kept_ = std::move(kept->attachments);
  for (const std::string& warning : kept->warnings) {
    spdlog::error("{}", warning);
    host->announce("attachment.failed", warning);
  }
  if (const auto& address = host->settings_.usbip_server) {
    if (auto listening = host->gateway_.listen(*address); !listening) {
      return std::unexpected(listening.error());
    }
  }
  return host;
}

Daemon::Host::Host(DaemonSettings settings, RunLock lock, std::unique_ptr<ControlLoop> loop,
                   std::vector<std::unique_ptr<WorkerThread>> workers,
                   std::vector<std::unique_ptr<PeerListener>> listeners, DecisionLog decisions,
                   const Identity& boot)
    : settings_(std::move(settings)),
      boot_(boot),
      started_unix_ms_(unix_now_ms()),
      lock_(std::move(lock)),
      loop_(std::move(loop)),
      workers_(std::move(workers)),
      listeners_(std::move(listeners)),
      hypervisor_(settings_.hypervisor ? std::move(settings_.hypervisor)
                                       : std::make_unique<NoHypervisor>()),
      catalogue_(*loop_, [this](const Catalogue::Change& change) { device_changed(change); }),
      loans_(catalogue_, events_, settings_.host),
      lender_(*loop_, loans_),
      peers_({*loop_, pointers(workers_), events_, lender_,
              Security{settings_.trust, settings_.encrypt_loopback, &refusals_}, refusals_,
              settings_.host, boot_, settings_.sessions_max, settings_.resume_timeout_ns,
              settings_.paths,
              std::ranges::all_of(listeners_, [](const auto& one) { return one->loopback(); })}),
      attachments_(
          {*loop_, *workers_.front(), loans_, peers_, settings_.drivers, events_, settings_.host,
           settings_.bus_rate ? settings_.bus_rate : [](const DeviceInfo&) { return uint64_t{0}; },
           [this](const Attachment& attachment) { attached(attachment); },
           [this](const Attachment& attachment) { detached(attachment); },
           settings_.attachments_path, settings_.retry}),
      advice_(settings_.host, std::move(decisions), directory_, attachments_, *hypervisor_,
              events_),
      gateway_(
          {*loop_, *workers_.front(), loans_,
           settings_.bus_rate ? settings_.bus_rate : [](const DeviceInfo&) { return uint64_t{0}; },
           [this](const std::string& address) { return peers_.host_at(address); }}),
      meter_timer_(*loop_),
      policy_timer_(*loop_) {
  peers_.set_attachments(attachments_);
  lender_.set_sessions([this] { return peers_.open_sessions(); });
  loans_.on_freed([this] { devices_changed(); });
  for (auto& provider : settings_.providers) catalogue_.add(std::move(provider));
  for (auto& provider : settings_.remote_providers) catalogue_.add(std::move(provider), true);
  directory_.on_change([this] { peers_.set_hosts(directory_.hosts()); });
}

Daemon::Host::~Host() = default;

void Daemon::Host::start() {
  loop_->start();
  loop_->post([this] {
    set_live(settings_.live);
    for (const auto& listener : listeners_) {
      listener->start(
          [this](PeerConnection connection) { peers_.accepted(std::move(connection)); });
      spdlog::info("listening for peers on {}", listener->address());
    }
    gateway_.start();
    attachments_.restore(std::exchange(kept_, {}));
    catalogue_.refresh([this] { listed_ = true; });
    announce("daemon.started",
             fmt::format("farportd {} on host {}", FARPORT_VERSION, settings_.host));
  });
}

void Daemon::Host::set_live(const LiveSettings& live) {
  live_ = live;
  loans_.set_rules(
      live.access ? live.access
                  : [](const DeviceInfo&, const Consumer&) { return Access{false, "no rule"}; },
      live.nominal ? live.nominal : [](const DeviceInfo&) { return Nominal{}; });
  attachments_.set_admin_groups(live.admin_groups);
  attachments_.set_rule_switches(live.rule_switches);
  advice_.set_policy(live.policy, live.policy_window_s, live.threshold);
  directory_.set(live.peers, live.vms);
}

// Consumers first, then the sessions, which give back what is lent; then the threads.
bool Daemon::Host::stop(std::chrono::milliseconds limit) {
  if (stopped_) return true;
  if (stuck_) return false;
  auto over = std::make_shared<std::promise<void>>();
  auto done = over->get_future();
  loop_->post([this, over] {
    announce("daemon.stopping", fmt::format("host {} stops", settings_.host));
    stopping_ = true;
    for (const auto& listener : listeners_) listener->stop();
    catalogue_.stop();
    meter_timer_.cancel();
    policy_timer_.cancel();
    peers_.end_paused({ErrorCode::unreachable, "the daemon stops"});
    attachments_.close_all([this, over] {
      gateway_.stop([this, over] {
        peers_.stop(
            {ErrorCode::unreachable, fmt::format("farportd on host {} stops", settings_.host)},
            [over] { over->set_value(); });
      });
    });
  });
  if (done.wait_for(limit) != std::future_status::ready) {
    stuck_ = true;
    spdlog::critical("a device or a consumer did not let go within {} s", limit.count() / 1000);
    return false;
  }
  stopped_ = true;
  loop_->stop();
  for (const auto& worker : workers_) worker->stop();
  return true;
}

std::vector<std::string> Daemon::Host::addresses() const {
  std::vector<std::string> addresses;
  for (const auto& listener : listeners_) addresses.push_back(listener->address());
  return addresses;
}

void Daemon::Host::announce(const std::string& type, const std::string& message) {
  Event event;
  event.type = type;
  event.host = settings_.host;
  event.message = message;
  events_.add(std::move(event));
}

void Daemon::Host::device_changed(const Catalogue::Change& change) {
  Event event;
  event.type = change.plugged ? "device.plugged" : "device.unplugged";
  event.host = settings_.host;
  event.device = change.info.name;
  event.message = fmt::format("{} ({}) was {}", change.info.name, change.info.description,
                              change.plugged ? "plugged in" : "unplugged");
  events_.add(std::move(event));
  if (change.plugged) devices_changed();
}

// Whoever waits for a device, here or elsewhere, may try again.
void Daemon::Host::devices_changed() {
  if (stopping_) return;
  lender_.devices_changed();
  attachments_.devices_changed(settings_.host);
}

// --- measuring and deciding, while anything is attached ---

void Daemon::Host::attached(const Attachment& attachment) {
  if (!attachment.vm.empty()) advice_.evaluate(attachment.vm, monotonic_ns());
  if (!measuring_) {
    measuring_ = true;
    measure();
    decide_later();
  }
}

void Daemon::Host::detached(const Attachment& attachment) {
  if (!stopping_) advice_.detached(attachment.vm, monotonic_ns());
  if (attachments_.open_count() != 0) return;
  measuring_ = false;
  meter_timer_.cancel();
  policy_timer_.cancel();
}

void Daemon::Host::measure() {
  attachments_.read_meters([] {});
  meter_timer_.after(std::chrono::seconds(1), [this] { measure(); });
}

void Daemon::Host::decide_later() {
  policy_timer_.after(std::chrono::seconds(live_.policy_interval_s), [this] {
    attachments_.read_meters([this] { advice_.evaluate_all(monotonic_ns()); });
    decide_later();
  });
}

}  // namespace farport
