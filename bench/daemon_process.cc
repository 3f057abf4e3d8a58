#include "bench/daemon_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <iterator>

#include "dataplane/file_descriptor.h"

namespace farport::bench {

namespace {

constexpr int kPatienceMs = 20'000;
constexpr int kUnreachable = 6;  // farport's exit code: no daemon, or the other host is away
constexpr int kLookMs = 20;      // between two looks at whether something has happened

// A TCP port of loopback that nobody had just now.
uint16_t free_port() {
  FileDescriptor probe(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(probe.get(), generic, length) != 0) return 0;
  return getsockname(probe.get(), generic, &length) == 0 ? ntohs(address.sin_port) : 0;
}

Result<pid_t> spawn(const std::vector<std::string>& words, const std::filesystem::path& log) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return fail_errno(error, "cannot start " + words[0]);
  return pid;
}

}  // namespace

Result<int> run_program(const std::vector<std::string>& words, const std::filesystem::path& log) {
  const Result<pid_t> pid = spawn(words, log);
  if (!pid) return std::unexpected(pid.error());
  int status = 0;
  while (waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

DaemonProcess::DaemonProcess(std::filesystem::path programs, std::filesystem::path folder,
                             std::string name)
    : programs_(std::move(programs)),
      folder_(std::move(folder)),
      name_(std::move(name)),
      port_(free_port()) {}

DaemonProcess::~DaemonProcess() {
  if (pid_ < 0) return;
  kill(pid_, SIGTERM);
  for (int waited_ms = 0; waitpid(pid_, nullptr, WNOHANG) == 0; waited_ms += kLookMs) {
    if (waited_ms == kPatienceMs) kill(pid_, SIGKILL);
    poll(nullptr, 0, kLookMs);
  }
}

Result<void> DaemonProcess::start(const std::string& config) {
  const auto file = folder_ / "farport.toml";
  std::ofstream(file) << fmt::format(
      "[host]\nname = \"{0}\"\nlisten = [\"127.0.0.1:{1}\"]\nrun_dir = \"{2}\"\n"
      "state_dir = \"{2}\"\nsocket = \"{2}/farport.sock\"\n\n{3}",
      name_, port_, folder_.string(), config);
  const auto pid = spawn({(programs_ / "farportd").string(), "--config", file}, folder_ / "log");
  if (!pid) return std::unexpected(pid.error());
  pid_ = *pid;
  // Unlike `version` this fails without a daemon.
  if (const auto answered = command_in_time({"hosts"}); !answered) {
    return fail(fmt::format("farportd does not answer: {}; its log:\n{}", answered.error().message,
                            log_text()));
  }
  return {};
}

Result<void> DaemonProcess::command_in_time(const std::vector<std::string>& words) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  for (;;) {
    auto done = command(words);
    if (done || done.error().code != ErrorCode::unreachable) return done;
    if (waitpid(pid_, nullptr, WNOHANG) != 0) {
      pid_ = -1;
      return fail("farportd has ended; before that: " + done.error().message);
    }
    if (std::chrono::steady_clock::now() >= limit) return done;
    poll(nullptr, 0, kLookMs);
  }
}

Result<void> DaemonProcess::command(std::vector<std::string> words) const {
  words.insert(words.begin(),
               {(programs_ / "farport").string(), "--socket", (folder_ / "farport.sock").string()});
  const auto output = folder_ / "command.log";
  std::ofstream(output, std::ios::trunc);
  const Result<int> status = run_program(words, output);
  if (!status) return std::unexpected(status.error());
  if (*status == 0) return {};
  std::ifstream log(output);
  return std::unexpected(Error{*status == kUnreachable ? ErrorCode::unreachable : ErrorCode::failed,
                               std::string(std::istreambuf_iterator<char>(log), {})});
}

std::string DaemonProcess::log_text() const {
  std::ifstream log(folder_ / "log");
  return {std::istreambuf_iterator<char>(log), {}};
}

uint64_t DaemonProcess::rss_bytes() const {
  std::ifstream file(fmt::format("/proc/{}/statm", pid_));
  uint64_t pages = 0;
  uint64_t resident = 0;
  file >> pages >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// /proc/PID/schedstat is of one thread: nanoseconds on a core, then others.
uint64_t DaemonProcess::cpu_ns() const {
  uint64_t total = 0;
  std::error_code error;
  const auto tasks = std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid_), error);
  for (const auto& task : tasks) {
    uint64_t running = 0;
    std::ifstream(task.path() / "schedstat") >> running;
    total += running;
  }
  return total;
}

}  // namespace farport::bench
