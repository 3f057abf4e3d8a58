#include "devices/serial/tty.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/serial.h>
#include <linux/tty_flags.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "dataplane/file_descriptor.h"
#include "devices/serial/lock_file.h"
#include "devices/serial_requests.h"

namespace farport::serial {

namespace {

uint8_t lines_of(int bits) {
  return static_cast<uint8_t>(
      ((bits & TIOCM_DTR) ? line::dtr : 0) | ((bits & TIOCM_RTS) ? line::rts : 0) |
      ((bits & TIOCM_CTS) ? line::cts : 0) | ((bits & TIOCM_DSR) ? line::dsr : 0) |
      ((bits & TIOCM_CAR) ? line::dcd : 0) | ((bits & TIOCM_RNG) ? line::ring : 0));
}

int own_lines(uint8_t lines) {
  return ((lines & line::dtr) ? TIOCM_DTR : 0) | ((lines & line::rts) ? TIOCM_RTS : 0);
}

class LinuxTty final : public Tty {
 public:
  LinuxTty(FileDescriptor fd, std::optional<LockFile> lock)
      : fd_(std::move(fd)), lock_(std::move(lock)) {}
  ~LinuxTty() override { close(); }

  int fd() const override { return fd_.get(); }
  int get_settings(termios2& settings) override { return call(TCGETS2, &settings); }
  int set_settings(const termios2& settings) override { return call(TCSETS2, &settings); }

  int get_lines(uint8_t& lines) override {
    int bits = 0;
    if (const int error = call(TIOCMGET, &bits)) return error;
    lines = lines_of(bits);
    return 0;
  }

  // The tty layer hands TIOCMBIS, TIOCMBIC and TIOCMSET to the driver as one (set, clear) pair:
  // both lines then change in one register write or one USB request. A mixed change needs TIOCMSET,
  // which also wants the present state of the lines that are to stay.
  int set_lines(uint8_t mask, uint8_t lines) override {
    const int all = own_lines(mask), on = own_lines(mask & lines);
    if (on == all) return call(TIOCMBIS, &on);
    if (on == 0) return call(TIOCMBIC, &all);
    int bits = 0;
    if (const int error = call(TIOCMGET, &bits)) return error;
    bits = (bits & ~all) | on;
    return call(TIOCMSET, &bits);
  }

  int wait_for_change() override {
    const auto lines = static_cast<unsigned long>(TIOCM_CTS | TIOCM_DSR | TIOCM_CAR | TIOCM_RNG);
    return ::ioctl(fd_.get(), TIOCMIWAIT, lines) < 0 ? errno : 0;
  }

  int get_counters(LineCounters& counters) override {
    serial_icounter_struct counts{};
    if (const int error = call(TIOCGICOUNT, &counts)) return error;
    counters = {counts.cts,   counts.dsr,     counts.rng,    counts.dcd,
                counts.frame, counts.overrun, counts.parity, counts.brk};
    return 0;
  }

  int set_break(bool on) override {
    return ::ioctl(fd_.get(), on ? TIOCSBRK : TIOCCBRK) < 0 ? errno : 0;
  }

  int flush(bool input, bool output) override {
    if (!input && !output) return 0;
    const int queue = input && output ? TCIOFLUSH : input ? TCIFLUSH : TCOFLUSH;
    return ::ioctl(fd_.get(), TCFLSH, queue) < 0 ? errno : 0;
  }

  int output_pending(int& bytes) override { return call(TIOCOUTQ, &bytes); }

  int transmitter_empty(bool& empty) override {
    unsigned status = 0;
    if (const int error = call(TIOCSERGETLSR, &status)) return error;
    empty = (status & TIOCSER_TEMT) != 0;
    return 0;
  }

  int set_low_latency(bool on, bool& before) override {
    serial_struct settings{};
    if (const int error = call(TIOCGSERIAL, &settings)) return error;
    before = (settings.flags & ASYNC_LOW_LATENCY) != 0;
    if (before == on) return 0;
    settings.flags ^= ASYNC_LOW_LATENCY;
    return call(TIOCSSERIAL, &settings);
  }

  void close() override {
    if (!fd_) return;
    // Explicitly, not by close(): the worker's ring may refer to the open file a little longer.
    ::ioctl(fd_.get(), TIOCNXCL);
    ::flock(fd_.get(), LOCK_UN);
    lock_.reset();
    fd_.reset();
  }

 private:
  template <class T>
  int call(unsigned long request, T* argument) {
    return ::ioctl(fd_.get(), request, argument) < 0 ? errno : 0;
  }

  FileDescriptor fd_;
  std::optional<LockFile> lock_;
};

std::string group_name(gid_t group) {
  char buffer[4096];
  struct group entry{};
  struct group* found = nullptr;
  if (::getgrgid_r(group, &entry, buffer, sizeof buffer, &found) != 0 || found == nullptr) {
    return fmt::format("{}", group);
  }
  return entry.gr_name;
}

std::unexpected<Error> open_error(int number, const std::string& path) {
  if (number == EBUSY) {
    return fail(ErrorCode::busy, fmt::format("{}: in use by another program (it holds the port "
                                             "exclusively); `fuser -v {}` names it",
                                             path, path));
  }
  if (number != EACCES && number != EPERM) return fail_errno(number, path);
  struct stat status{};
  std::string advice = "run the daemon as a user who may";
  if (::stat(path.c_str(), &status) == 0) {
    const std::string group = group_name(status.st_gid);
    advice = fmt::format(
        "it belongs to group {0} (Debian: dialout): add the daemon's user to it "
        "(usermod -aG {0} USER) and restart",
        group);
  }
  return fail(
      ErrorCode::denied,
      fmt::format("{}: no permission to open it for reading and writing; {}", path, advice));
}

}  // namespace

Result<std::unique_ptr<Tty>> open_tty(const std::string& path, const std::string& lock_folder) {
  auto lock = LockFile::acquire(path, lock_folder);
  if (!lock) return std::unexpected(lock.error());
  // O_NONBLOCK: do not wait for a carrier; and reads and writes are driven by readiness.
  FileDescriptor fd(::open(path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return open_error(errno, path);
  termios2 settings{};
  if (::ioctl(fd.get(), TCGETS2, &settings) < 0) {
    if (errno == ENOTTY) return fail(fmt::format("{}: not a serial port", path));
    return fail_errno(errno, path);
  }
  int exclusive = 0;
  if (::ioctl(fd.get(), TIOCGEXCL, &exclusive) == 0 && exclusive != 0) {
    return open_error(EBUSY, path);  // open() let us in only because we are root
  }
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) < 0) {
    return open_error(errno == EWOULDBLOCK ? EBUSY : errno, path);
  }
  ::ioctl(fd.get(), TIOCEXCL);
  return std::unique_ptr<Tty>(new LinuxTty(std::move(fd), std::move(*lock)));
}

}  // namespace farport::serial
