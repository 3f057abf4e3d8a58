// The master side of a pty in packet mode, and what the kernel tells about its slave (tty_ioctl(2),
// TIOCPKT; ioctl_tty(2)).
//
// With EXTPROC in the slave's c_lflag, every change of its settings is told by TIOCPKT_IOCTL,
// before any byte written later. EXTPROC also keeps the slave from acting on XON/XOFF itself: that
// is for the real port to do. A program that builds its settings from nothing clears EXTPROC; that
// is told too, and the driver puts it back.
//
// What a pty cannot say (drivers/tty/pty.c, pty_set_termios): its data bits are always 8, and it
// has no parity. The kernel drops a program's wish for others without an error; the program sees it
// by reading its settings back. Modem lines and breaks do not exist (ENOTTY; a break is ignored).
// rfc2217 carries all of them.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "dataplane/error.h"
#include "dataplane/file_descriptor.h"
#include "devices/serial_requests.h"

namespace farport {

class PtyTerminal {
 public:
  // Raw, nobody has it open. `mode` and owner (-1: as it is) apply to the slave's node.
  static Result<PtyTerminal> create(mode_t mode, uid_t owner, gid_t group);

  int master() const { return master_.get(); }
  const std::string& slave_path() const { return slave_path_; }
  void close() { master_.reset(); }

  // What of the slave's settings a pty can say, over `base` for the rest. `hang_up`: HUPCL.
  struct Settings {
    serial::LineSettings line;
    bool hang_up = false;
  };
  Settings settings(const serial::LineSettings& base) const;
  void set_line(const serial::LineSettings& line);
  void set_hang_up(bool on);
  // Puts EXTPROC back when it is missing.
  void keep_notices();

  // One packet: either `notices` (TIOCPKT_* bits) or bytes of data; 0 or an errno value (EAGAIN:
  // none; EIO: nobody has the slave open, and all it wrote has been read).
  struct Packet {
    uint8_t notices = 0;
    size_t bytes = 0;
  };
  int read(std::span<std::byte> data, Packet& packet);
  // Notices that came after the last packet; 0 when there are none.
  uint8_t read_notices();
  // poll(2) events that hold now, of `events`; POLLHUP: nobody has the slave open.
  short poll_now(short events) const;
  // Drops what the slave's readers have not read, as closing a port does.
  void drop_unread();

 private:
  FileDescriptor master_;
  std::string slave_path_;
};

}  // namespace farport
