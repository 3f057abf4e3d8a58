// Holds a serial port open in a lab guest and does what its standard input says, a line at a time.
//
//   tty PATH            opens it raw
//   tty PATH inspect    opens it and leaves its settings and lines as they are
//
//   set BAUD FRAME      for example: set 115200 8N1, set 2400 7E2
//   show                BAUD FRAME
//   lines               those that are on, of: dtr rts cts dcd dsr ri
//   raise LINE...       drop LINE...
//   break MS
//   send HEX
//   receive COUNT MS    HEX: what came until COUNT bytes or MS milliseconds
//
// Each line is answered by one line: "ok ANSWER" or "error REASON". The end of standard input
// closes the port.
#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>

namespace {

struct Line {
  const char* name;
  int bit;
};
constexpr int kDtr = 0x002, kRts = 0x004, kCts = 0x020, kDcd = 0x040, kRi = 0x080, kDsr = 0x100;
constexpr Line kLines[] = {{"dtr", kDtr}, {"rts", kRts}, {"cts", kCts},
                           {"dcd", kDcd}, {"dsr", kDsr}, {"ri", kRi}};

int port;

std::string ok(const std::string& answer = {}) { return "ok " + answer; }
std::string error() { return std::string("error ") + std::strerror(errno); }

bool make_raw() {
  termios2 settings;
  if (ioctl(port, TCGETS2, &settings)) return false;
  settings.c_iflag = IGNPAR;
  settings.c_oflag = 0;
  settings.c_lflag = 0;
  settings.c_cflag |= CREAD | CLOCAL;
  settings.c_cc[VMIN] = 1;
  settings.c_cc[VTIME] = 0;
  return ioctl(port, TCSETS2, &settings) == 0;
}

std::string set(const std::string& words) {
  unsigned baud;
  char bits, parity, stop;
  if (std::sscanf(words.c_str(), "%u %c%c%c", &baud, &bits, &parity, &stop) != 4)
    return "error usage: set BAUD FRAME";
  termios2 settings;
  if (ioctl(port, TCGETS2, &settings)) return error();
  settings.c_cflag &=
      ~unsigned(CBAUD | (CBAUD << IBSHIFT) | CSIZE | PARENB | PARODD | CMSPAR | CSTOPB);
  settings.c_cflag |= BOTHER;
  settings.c_ispeed = settings.c_ospeed = baud;
  settings.c_cflag |= bits == '5' ? CS5 : bits == '6' ? CS6 : bits == '7' ? CS7 : CS8;
  if (parity == 'E' || parity == 'S') settings.c_cflag |= PARENB;
  if (parity == 'O' || parity == 'M') settings.c_cflag |= PARENB | PARODD;
  if (parity == 'M' || parity == 'S') settings.c_cflag |= CMSPAR;
  if (stop == '2') settings.c_cflag |= CSTOPB;
  return ioctl(port, TCSETS2, &settings) ? error() : ok();
}

std::string show() {
  termios2 settings;
  if (ioctl(port, TCGETS2, &settings)) return error();
  auto flags = settings.c_cflag;
  char bits = "5678"[(flags & CSIZE) >> 4];
  char parity = !(flags & PARENB) ? 'N'
                : flags & CMSPAR  ? (flags & PARODD ? 'M' : 'S')
                                  : (flags & PARODD ? 'O' : 'E');
  return ok(std::to_string(settings.c_ospeed) + ' ' + bits + parity + (flags & CSTOPB ? '2' : '1'));
}

std::string lines() {
  int bits;
  if (ioctl(port, TIOCMGET, &bits)) return error();
  std::string on;
  for (auto& line : kLines)
    if (bits & line.bit) on += (on.empty() ? "" : " ") + std::string(line.name);
  return ok(on);
}

std::string change(unsigned long request, const std::string& words) {
  int bits = 0;
  for (auto& line : kLines)
    if (words.find(line.name) != std::string::npos) bits |= line.bit;
  return ioctl(port, request, &bits) ? error() : ok();
}

std::string send(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += char(std::stoi(hex.substr(i, 2), nullptr, 16));
  for (std::size_t sent = 0; sent < bytes.size();) {
    pollfd writable{port, POLLOUT, 0};
    if (poll(&writable, 1, 10000) == 0)
      return "error the port took " + std::to_string(sent) + " bytes, no more in 10 s";
    ssize_t n = write(port, bytes.data() + sent, bytes.size() - sent);
    if (n < 0 && errno != EAGAIN) return error();
    if (n > 0) sent += std::size_t(n);
  }
  return ok();
}

std::string receive(std::size_t count, int limit_ms) {
  std::string hex;
  auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(limit_ms);
  while (hex.size() < 2 * count) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                    end - std::chrono::steady_clock::now())
                    .count();
    pollfd readable{port, POLLIN, 0};
    if (left <= 0 || poll(&readable, 1, int(left)) == 0) break;
    unsigned char data[4096];
    ssize_t n = read(port, data, std::min(sizeof data, count - hex.size() / 2));
    if (n == 0) return "error hung up";
    if (n < 0 && errno != EAGAIN) return error();
    for (ssize_t i = 0; i < n; ++i) {
      char pair[3];
      std::snprintf(pair, sizeof pair, "%02x", data[i]);
      hex += pair;
    }
  }
  return ok(hex);
}

std::string send_break(int ms) {
  if (ioctl(port, TIOCSBRK)) return error();
  poll(nullptr, 0, ms);
  return ioctl(port, TIOCCBRK) ? error() : ok();
}

std::string obey(const std::string& line) {
  std::string verb = line.substr(0, line.find(' '));
  std::string rest = verb.size() < line.size() ? line.substr(verb.size() + 1) : "";
  if (verb == "set") return set(rest);
  if (verb == "show") return show();
  if (verb == "lines") return lines();
  if (verb == "raise") return change(TIOCMBIS, rest);
  if (verb == "drop") return change(TIOCMBIC, rest);
  if (verb == "break") return send_break(std::atoi(rest.c_str()));
  if (verb == "send") return send(rest);
  unsigned long count;
  int ms;
  if (verb == "receive" && std::sscanf(rest.c_str(), "%lu %d", &count, &ms) == 2)
    return receive(count, ms);
  return "error unknown command: " + line;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  bool inspect = argc == 3 && std::strcmp(argv[2], "inspect") == 0;
  port = open(argv[1], O_RDWR | O_NOCTTY | O_NONBLOCK);
  bool ready = port >= 0 && (inspect || make_raw());
  std::puts(ready ? "ok" : error().c_str());
  std::fflush(stdout);
  if (!ready) return 1;
  std::string line;
  for (int c; (c = std::getchar()) != EOF;) {
    if (c != '\n') {
      line += char(c);
      continue;
    }
    std::puts(obey(line).c_str());
    std::fflush(stdout);
    line.clear();
  }
}
