// The lab's agent: process 1 of a guest, runs commands for the host over a virtio-serial port.
//
//   agent CONTROL_PORT KERNEL_LOG_PORT
//
// Both directions carry frames: kind, id, length (u32 little-endian each), then length bytes.
//
//   host -> guest                                   guest -> host
//   R  u32 time limit in ms, then a shell command   H  ready (id 0)
//   I  bytes for its standard input; none: close    O  bytes of its standard output
//   K  u32 signal for its process group             E  bytes of its standard error
//                                                   X  i32 exit status; 128 + signal; -1 time limit
//                                                   passed
//
// A command that its time limit ends is reported at once, even if the kernel does not let it die:
// that is how the host notices a hang. A process that a command leaves in the background does not
// delay its exit.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {

constexpr std::uint32_t kMaxFrame =
    1 << 20;  // far above any command; a longer one means lost framing
constexpr std::size_t kReadSize = 32 << 10;

struct Header {
  std::uint32_t kind;
  std::uint32_t id;
  std::uint32_t length;
};
static_assert(sizeof(Header) == 12);

struct Command {
  pid_t pid;
  int input;
  int output;
  int error;
  std::string pending_input;
  bool input_ended = false;
  std::int64_t deadline_ms;
};

int control;
std::map<std::uint32_t, Command> commands;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);  // process 1 ends: the kernel panics and the host sees the guest go
}

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void write_all(int file, const void* data, std::size_t size) {
  auto* bytes = static_cast<const char*>(data);
  while (size > 0) {
    ssize_t n = write(file, bytes, size);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
      pollfd writable{file, POLLOUT, 0};
      poll(&writable, 1, 1000);
      continue;
    }
    if (n < 0) fail("agent: write");
    bytes += n;
    size -= static_cast<std::size_t>(n);
  }
}

void send(char kind, std::uint32_t id, const void* data, std::size_t size) {
  Header header{static_cast<std::uint32_t>(kind), id, static_cast<std::uint32_t>(size)};
  write_all(control, &header, sizeof header);
  write_all(control, data, size);
}

void start(std::uint32_t id, const std::string& payload) {
  std::uint32_t limit_ms;
  std::memcpy(&limit_ms, payload.data(), sizeof limit_ms);
  std::string text = payload.substr(sizeof limit_ms);

  int in[2], out[2], err[2];
  if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) fail("agent: pipe");
  pid_t pid = fork();
  if (pid < 0) fail("agent: fork");
  if (pid == 0) {
    setsid();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    signal(SIGPIPE, SIG_DFL);
    dup2(in[0], 0);
    dup2(out[1], 1);
    dup2(err[1], 2);
    execl("/bin/sh", "sh", "-c", text.c_str(), nullptr);
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  close(err[1]);
  for (int file : {in[1], out[0], err[0]}) fcntl(file, F_SETFL, O_NONBLOCK);
  commands[id] = {pid, in[1], out[0], err[0], {}, false, now_ms() + limit_ms};
}

// Sends on what a command printed; closes the descriptor at its end.
void forward(char kind, std::uint32_t id, int& file) {
  char data[kReadSize];
  while (file >= 0) {
    ssize_t n = read(file, data, sizeof data);
    if (n > 0) {
      send(kind, id, data, static_cast<std::size_t>(n));
    } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
      return;
    } else {
      close(file);
      file = -1;
    }
  }
}

void feed(Command& command) {
  while (command.input >= 0 && !command.pending_input.empty()) {
    ssize_t n = write(command.input, command.pending_input.data(), command.pending_input.size());
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) command.input_ended = true, command.pending_input.clear();
    if (n > 0) command.pending_input.erase(0, static_cast<std::size_t>(n));
  }
  if (command.input >= 0 && command.input_ended) {
    close(command.input);
    command.input = -1;
  }
}

void finish(std::uint32_t id, std::int32_t status) {
  Command& command = commands.at(id);
  forward('O', id, command.output);
  forward('E', id, command.error);
  for (int file : {command.input, command.output, command.error})
    if (file >= 0) close(file);
  commands.erase(id);
  send('X', id, &status, sizeof status);
}

void reap() {
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    for (auto& [id, command] : commands) {
      if (command.pid != pid) continue;
      finish(id, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
      break;
    }
  }
}

void expire() {
  std::vector<std::uint32_t> late;
  for (auto& [id, command] : commands)
    if (now_ms() >= command.deadline_ms) late.push_back(id);
  for (std::uint32_t id : late) {
    kill(-commands.at(id).pid, SIGKILL);
    finish(id, -1);
  }
}

void handle(const Header& header, const std::string& payload) {
  if (header.kind == 'R' && payload.size() >= 4) return start(header.id, payload);
  auto found = commands.find(header.id);
  if (found == commands.end()) return;  // it ended while the host was writing
  Command& command = found->second;
  if (header.kind == 'I') {
    command.pending_input += payload;
    command.input_ended |= payload.empty();
    feed(command);
  } else if (header.kind == 'K' && payload.size() == 4) {
    std::uint32_t number;
    std::memcpy(&number, payload.data(), sizeof number);
    kill(-command.pid, static_cast<int>(number));
  }
}

void receive(std::string& buffer) {
  char data[kReadSize];
  ssize_t n = read(control, data, sizeof data);
  if (n < 0 && errno != EAGAIN && errno != EINTR) fail("agent: read");
  if (n > 0) buffer.append(data, static_cast<std::size_t>(n));
  for (Header header; buffer.size() >= sizeof header;) {
    std::memcpy(&header, buffer.data(), sizeof header);
    if (header.length > kMaxFrame) fail("agent: framing lost");
    if (buffer.size() < sizeof header + header.length) return;
    std::string payload = buffer.substr(sizeof header, header.length);
    buffer.erase(0, sizeof header + header.length);
    handle(header, payload);
  }
}

// Copies the kernel's log to the host as it is written, so that it is there even if this guest
// dies. A record is "priority,sequence,microseconds,flags;text\n key=value\n".
void copy_kernel_log(const char* port) {
  if (fork() != 0) return;
  int log = open("/dev/kmsg", O_RDONLY | O_CLOEXEC);
  int file = open(port, O_WRONLY | O_CLOEXEC);
  if (log < 0 || file < 0) _exit(1);
  char record[8192];
  for (;;) {
    ssize_t n = read(log, record, sizeof record - 1);
    if (n < 0 && (errno == EPIPE || errno == EINTR))
      continue;  // EPIPE: records were overwritten before we read them
    if (n <= 0) _exit(1);
    record[n] = 0;
    unsigned long long microseconds = 0;
    std::sscanf(record, "%*[^,],%*[^,],%llu", &microseconds);
    const char* text = std::strchr(record, ';');
    text = text ? text + 1 : record;
    char line[8192];
    int size = std::snprintf(line, sizeof line, "[%11.6f] %.*s\n", double(microseconds) / 1e6,
                             static_cast<int>(std::strcspn(text, "\n")), text);
    write_all(file, line, static_cast<std::size_t>(size));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  copy_kernel_log(argv[2]);
  control = open(argv[1], O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (control < 0) fail(argv[1]);
  signal(SIGPIPE, SIG_IGN);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, nullptr);
  int deaths = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  send('H', 0, nullptr, 0);

  std::string buffer;
  for (;;) {
    std::vector<pollfd> files{{control, POLLIN, 0}, {deaths, POLLIN, 0}};
    int wait_ms = 10000;
    for (auto& [id, command] : commands) {
      if (command.output >= 0) files.push_back({command.output, POLLIN, 0});
      if (command.error >= 0) files.push_back({command.error, POLLIN, 0});
      if (command.input >= 0 && !command.pending_input.empty())
        files.push_back({command.input, POLLOUT, 0});
      auto left = command.deadline_ms - now_ms();
      wait_ms = static_cast<int>(left < 0 ? 0 : left < wait_ms ? left : wait_ms);
    }
    poll(files.data(), files.size(), wait_ms);
    if (files[0].revents) receive(buffer);
    for (auto& [id, command] : commands) {
      forward('O', id, command.output);
      forward('E', id, command.error);
      feed(command);
    }
    signalfd_siginfo death;
    while (read(deaths, &death, sizeof death) > 0) {
    }
    reap();
    expire();
  }
}
