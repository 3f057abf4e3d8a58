#include "control/demo/demo_host.h"

#include <poll.h>
#include <signal.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <future>
#include <thread>
#include <utility>

#include "control/api/unix_listener.h"
#include "control/cli/interrupt.h"
#include "control/daemon/standard.h"
#include "dataplane/file_descriptor.h"

namespace farport {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr seconds kStartLimit{15};
constexpr seconds kEndLimit{10};

void log_to(const std::string& path) {
  spdlog::drop_all();
  auto logger = spdlog::basic_logger_mt("demo", path);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

// Runs on the daemon's control thread, and waits.
void run_on(Daemon& daemon, const std::function<void()>& work) {
  std::promise<void> done;
  daemon.loop().post([&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

}  // namespace

Result<std::unique_ptr<DemoHost>> DemoHost::start(const std::string& config_path,
                                                  const std::string& log_path,
                                                  DriverType initiator) {
  log_to(log_path);
  ConfigSources sources;
  sources.path = config_path;
  sources.must_exist = true;
  auto config = config_or_error(load_config(sources));
  if (!config) return std::unexpected(config.error());
  auto settings = daemon_settings(*config);
  if (!settings) return std::unexpected(settings.error());
  std::erase_if(settings->providers,
                [](const auto& provider) { return provider->name() != "emulated"; });
  if (initiator.make) settings->drivers.add("initiator", std::move(initiator));
  auto daemon = Daemon::start(std::move(*settings));
  if (!daemon) return std::unexpected(daemon.error());
  std::unique_ptr<DemoHost> host(new DemoHost(std::move(*daemon)));
  if (auto served = host->serve(config->host); !served) return std::unexpected(served.error());
  return host;
}

Result<void> DemoHost::serve(const HostConfig& host) {
  auto listener = listen_unix({.path = host.socket, .group = {}, .mode = 0600});
  if (!listener) return std::unexpected(listener.error());
  run_on(*daemon_, [&] {
    api_ = std::make_unique<ApiServer>(daemon_->loop().context(), daemon_->service(),
                                       std::move(*listener), host.socket);
  });
  return {};
}

DemoHost::~DemoHost() {
  run_on(*daemon_, [this] { api_.reset(); });
  daemon_->stop();
}

// --- the child ---

namespace {

// "=127.0.0.1:40123" when it listens, else what went wrong.
[[noreturn]] void run_child(const std::string& config_path, const std::string& log_path,
                            FileDescriptor told, pid_t parent) {
  setpgid(0, 0);  // Ctrl-C is for the parent, which ends us when it has let go of our devices
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(1);
  auto host = DemoHost::start(config_path, log_path, {});
  const std::string text = host ? "=" + (*host)->daemon().addresses().at(0) : host.error().message;
  const bool heard = write(told.get(), text.data(), text.size()) > 0;
  told.reset();
  while (host && heard && !interrupted()) poll(nullptr, 0, 1000);  // ended early by a signal
  if (host) host->reset();
  _exit(host ? 0 : 1);
}

std::string hear(int pipe) {
  std::string text;
  std::array<char, 1024> piece{};
  const auto until = std::chrono::steady_clock::now() + kStartLimit;
  while (std::chrono::steady_clock::now() < until && !interrupted()) {
    pollfd waiting{pipe, POLLIN, 0};
    if (poll(&waiting, 1, 100) <= 0) continue;
    const ssize_t got = read(pipe, piece.data(), piece.size());
    if (got <= 0) break;
    text.append(piece.data(), static_cast<size_t>(got));
  }
  return text;
}

}  // namespace

Result<std::unique_ptr<ChildHost>> ChildHost::start(const std::string& config_path,
                                                    const std::string& log_path) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno(errno, "cannot make a pipe");
  FileDescriptor hears(ends[0]), tells(ends[1]);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return fail_errno(errno, "cannot start a second process");
  if (pid == 0) {
    hears.reset();
    run_child(config_path, log_path, std::move(tells), parent);
  }
  tells.reset();
  std::unique_ptr<ChildHost> child(new ChildHost(pid, ""));
  const std::string text = hear(hears.get());
  if (!text.starts_with("=")) {
    return fail(text.empty() ? "the second host did not start; its log: " + log_path : text);
  }
  child->address_ = text.substr(1);
  return child;
}

bool ChildHost::ended() {
  if (pid_ > 0 && waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = 0;
  return pid_ == 0;
}

ChildHost::~ChildHost() {
  if (ended()) return;
  kill(pid_, SIGTERM);
  const auto until = std::chrono::steady_clock::now() + kEndLimit;
  while (!ended()) {
    if (std::chrono::steady_clock::now() > until) kill(pid_, SIGKILL);
    std::this_thread::sleep_for(milliseconds(10));
  }
}

}  // namespace farport
