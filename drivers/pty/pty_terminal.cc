#include "drivers/pty/pty_terminal.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "devices/serial/termios_settings.h"

namespace farport {

using serial::LineSettings;
using serial::StopBits;

namespace {

FileDescriptor open_slave(int master) {
  return FileDescriptor(::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
}

}  // namespace

Result<PtyTerminal> PtyTerminal::create(mode_t mode, uid_t owner, gid_t group) {
  PtyTerminal made;
  made.master_.reset(::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  const int master = made.master();
  if (master < 0) return fail_errno(errno, "opening /dev/ptmx for a pty");
  char name[64];
  if (::grantpt(master) < 0 || ::unlockpt(master) < 0 ||
      ::ptsname_r(master, name, sizeof name) != 0) {
    return fail_errno(errno, "making a pty");
  }
  made.slave_path_ = name;
  if (::chown(name, owner, group) < 0 || ::chmod(name, mode) < 0) {
    return fail_errno(errno, made.slave_path_);
  }
  termios2 settings{};
  if (::ioctl(master, TCGETS2, &settings) < 0) return fail_errno(errno, made.slave_path_);
  serial::make_raw(settings);
  settings.c_lflag = EXTPROC;
  serial::apply_line({}, settings);
  const int on = 1;
  if (::ioctl(master, TCSETS2, &settings) < 0 || ::ioctl(master, TIOCPKT, &on) < 0) {
    return fail_errno(errno, made.slave_path_);
  }
  // The kernel says "nobody has it open" only after somebody had.
  if (!open_slave(master)) return fail_errno(errno, made.slave_path_);
  return made;
}

PtyTerminal::Settings PtyTerminal::settings(const LineSettings& base) const {
  termios2 now{};
  if (::ioctl(master(), TCGETS2, &now) < 0) return {base, false};
  LineSettings line = serial::line_of(now);
  line.data_bits = base.data_bits;
  line.parity = base.parity;
  if (line.stop_bits != StopBits::one && base.data_bits == 5) {
    line.stop_bits = StopBits::one_and_half;
  }
  return {line, (now.c_cflag & HUPCL) != 0};
}

void PtyTerminal::set_line(const LineSettings& line) {
  termios2 now{};
  if (::ioctl(master(), TCGETS2, &now) < 0 || !serial::apply_line(line, now)) return;
  ::ioctl(master(), TCSETS2, &now);
}

void PtyTerminal::set_hang_up(bool on) {
  termios2 now{};
  if (::ioctl(master(), TCGETS2, &now) < 0) return;
  now.c_cflag = on ? now.c_cflag | HUPCL : now.c_cflag & ~HUPCL;
  ::ioctl(master(), TCSETS2, &now);
}

void PtyTerminal::keep_notices() {
  termios2 now{};
  if (::ioctl(master(), TCGETS2, &now) < 0 || (now.c_lflag & EXTPROC) != 0) return;
  now.c_lflag |= EXTPROC;
  ::ioctl(master(), TCSETS2, &now);
}

int PtyTerminal::read(std::span<std::byte> data, Packet& packet) {
  uint8_t notices = 0;
  iovec parts[2] = {{&notices, 1}, {data.data(), data.size()}};
  const ssize_t count = ::readv(master(), parts, 2);
  if (count < 0) return errno;
  if (count == 0) return EIO;
  packet = {notices, notices == 0 ? static_cast<size_t>(count) - 1 : 0};
  return 0;
}

uint8_t PtyTerminal::read_notices() {
  if ((poll_now(POLLPRI) & POLLPRI) == 0) return 0;
  uint8_t notices = 0;  // they come before any data, and one byte cannot hold both
  return ::read(master(), &notices, 1) == 1 ? notices : 0;
}

short PtyTerminal::poll_now(short events) const {
  pollfd now{master(), events, 0};
  return ::poll(&now, 1, 0) > 0 ? now.revents : short{0};
}

void PtyTerminal::drop_unread() {
  if (FileDescriptor slave = open_slave(master())) ::ioctl(slave.get(), TCFLSH, TCIFLUSH);
}

}  // namespace farport
