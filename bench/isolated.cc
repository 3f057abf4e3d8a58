#include "bench/isolated.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <type_traits>

#include "bench/stage.h"
#include "dataplane/file_descriptor.h"

namespace farport::bench {

namespace {

// What the child says, in one write of less than PIPE_BUF: a flag, then a Measurement or a message.
struct Answer {
  bool measured = false;
  Measurement measurement;
  std::array<char, 1024> message{};
};
static_assert(std::is_trivially_copyable_v<Answer> && sizeof(Answer) < 4096);

[[noreturn]] void child(const std::function<Result<Measurement>()>& body, int answer_fd) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const Result<Measurement> result = body();
  Answer answer;
  answer.measured = result.has_value();
  if (result) {
    answer.measurement = *result;
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    answer.measurement.rss_bytes = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  } else {
    const std::string& message = result.error().message;
    std::memcpy(answer.message.data(), message.data(),
                std::min(message.size(), answer.message.size() - 1));
  }
  const bool written = ::write(answer_fd, &answer, sizeof answer) == sizeof answer;
  _exit(written ? 0 : 1);
}

}  // namespace

Result<Measurement> isolated(const std::function<Result<Measurement>()>& body, double limit_s) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "cannot make a pipe");
  FileDescriptor reader(ends[0]);
  FileDescriptor writer(ends[1]);
  const pid_t pid = fork();
  if (pid < 0) return fail_errno(errno, "cannot start a process to measure in");
  if (pid == 0) child(body, writer.get());
  writer.reset();

  pollfd wait{reader.get(), POLLIN, 0};
  const uint64_t until_ns = now_ns() + static_cast<uint64_t>(limit_s * 1e9);
  int ready = 0;
  do {
    const uint64_t now = now_ns();
    ready = poll(&wait, 1, now < until_ns ? static_cast<int>((until_ns - now) / 1'000'000) + 1 : 0);
  } while (ready < 0 && errno == EINTR);
  Answer answer;
  const bool answered = ready > 0 && ::read(reader.get(), &answer, sizeof answer) == sizeof answer;
  if (!answered) kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!answered && ready == 0) {
    return fail(ErrorCode::timed_out, fmt::format("no result after {:.0f} s", limit_s));
  }
  if (!answered) return fail(fmt::format("the measured program died (wait status {})", status));
  if (!answer.measured) return fail(answer.message.data());
  return answer.measurement;
}

}  // namespace farport::bench
