#include "drivers/pty/pty_driver.h"

#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <asm/ioctls.h>
#include <cassert>
#include <cerrno>
#include <utility>

namespace farport {

using serial::ClientRequest;
using serial::SerialClient;
using serial::SerialRequest;

Result<std::unique_ptr<PtyDriver>> PtyDriver::create(const PtySettings& settings) {
  auto terminal = PtyTerminal::create(settings.mode, settings.owner, settings.group);
  if (!terminal) return std::unexpected(terminal.error());
  terminal->set_hang_up(settings.hang_up);
  terminal->read_notices();  // of our own changes
  auto link = PtyLink::create(settings.path, terminal->slave_path());
  if (!link) return std::unexpected(link.error());
  return std::unique_ptr<PtyDriver>(
      new PtyDriver(settings, std::move(*terminal), std::move(*link)));
}

PtyDriver::PtyDriver(const PtySettings& settings, PtyTerminal terminal, PtyLink link)
    : settings_(settings), terminal_(std::move(terminal)), link_(std::move(link)) {
  inotify_.reset(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (inotify_ &&
      ::inotify_add_watch(inotify_.get(), terminal_.slave_path().c_str(), IN_OPEN) < 0) {
    inotify_.reset();
  }
}

PtyDriver::~PtyDriver() = default;

Result<void> PtyDriver::start(Worker& worker, DriverPort& port) {
  port_ = &port;
  client_.reset(new SerialClient(worker, port, *this));
  if (!client_->start()) {
    return fail(ErrorCode::busy, "no memory for the transfers of a serial port; detach something");
  }
  ClientRequest line;
  line.kind = settings_.line ? SerialRequest::set_line : SerialRequest::get_line;
  line.line = settings_.line.value_or(serial::LineSettings{});
  client_->request(line);
  set_line_waiting_ = true;
  if (settings_.hang_up) set_lines(false);
  master_watch_ = Watch(
      worker, terminal_.master(), 0,
      [](void* self, uint32_t events) { static_cast<PtyDriver*>(self)->master_event(events); },
      this);
  look_timer_ = std::make_unique<Timer>(
      worker, [](void* self) { static_cast<PtyDriver*>(self)->look(); }, this);
  if (inotify_) {
    inotify_watch_ = Watch(
        worker, inotify_.get(), POLLIN,
        [](void* self, uint32_t) { static_cast<PtyDriver*>(self)->look(); }, this);
  }
  look();
  return {};
}

// Has somebody opened the slave? That a program opened it, wrote, and closed it again is open too,
// until what it wrote has been read.
void PtyDriver::look() {
  if (inotify_) {
    alignas(inotify_event) char events[1024];
    while (::read(inotify_.get(), events, sizeof events) > 0) {
    }
  } else {
    look_timer_->arm_after(look_interval_ms * 1'000'000);
  }
  const short now = terminal_.poll_now(POLLIN | POLLPRI);
  if (!open_ && ((now & POLLHUP) == 0 || (now & (POLLIN | POLLPRI)) != 0)) consumer_opened();
}

void PtyDriver::consumer_opened() {
  open_ = true;
  if (terminal_.settings(client_->line()).hang_up) set_lines(true);
  client_->hurry();  // past what its predecessor left
  update_watch();
  read_consumer();
}

void PtyDriver::consumer_closed() {
  open_ = false;
  want_writable_ = false;
  update_watch();
  client_->resume_input();  // drops what is held
  terminal_.drop_unread();
  // The notice of our own flush; a consumer that has come meanwhile may have added to it.
  handle_notices(terminal_.read_notices() & static_cast<uint8_t>(~TIOCPKT_FLUSHREAD));
  if (terminal_.settings(client_->line()).hang_up) set_lines(false);
  look();
}

void PtyDriver::set_lines(bool on) {
  if (!settings_.hang_up || lines_raised_ == on) return;
  lines_raised_ = on;
  constexpr uint8_t both = serial::line::dtr | serial::line::rts;
  ClientRequest request;
  request.kind = SerialRequest::set_modem;
  request.modem = {.mask = both, .lines = on ? both : uint8_t{0}};
  client_->request(request);
}

void PtyDriver::master_event(uint32_t events) {
  if ((events & POLLOUT) != 0) {
    want_writable_ = false;
    client_->resume_input();
  }
  if ((events & ~uint32_t{POLLOUT}) != 0) read_consumer();
  update_watch();
}

// Not level-triggered for a closed slave or while the port cannot take more: output_possible() and
// look() come back to it.
void PtyDriver::update_watch() {
  if (!master_watch_) return;
  uint32_t events = 0;
  if (open_) {
    if (unsent_ == nullptr && client_->can_output()) events |= POLLIN | POLLPRI;
    if (want_writable_) events |= POLLOUT;
  }
  // A closed slave shows POLLHUP for ever, whatever is asked for.
  if (open_ && events == POLLOUT && (terminal_.poll_now(0) & POLLHUP) != 0) events = 0;
  master_watch_.set_events(events);
}

void PtyDriver::read_consumer() {
  while (open_ && unsent_ == nullptr && client_->can_output()) {
    Transfer* transfer = client_->begin_output();
    if (transfer == nullptr) break;
    PtyTerminal::Packet packet;
    const int error = terminal_.read(transfer->data(), packet);
    if (error != 0 || packet.bytes == 0) {
      client_->end_output(*transfer, 0);
      if (error == EIO) return consumer_closed();
      if (error != 0 && error != EINTR) break;
      handle_notices(packet.notices);
      continue;
    }
    // A notice that came between the kernel's own look and the data precedes what of the data was
    // written after it.
    const uint8_t late = terminal_.read_notices();
    if (late == 0) {
      client_->end_output(*transfer, static_cast<uint32_t>(packet.bytes));
    } else {
      unsent_ = transfer;
      unsent_bytes_ = static_cast<uint32_t>(packet.bytes);
      handle_notices(late);
      output_possible();
    }
  }
  update_watch();
}

void PtyDriver::output_possible() {
  if (unsent_ != nullptr && client_->can_output()) {
    client_->end_output(*std::exchange(unsent_, nullptr), unsent_bytes_);
  }
  if (open_ && unsent_ == nullptr) read_consumer();
}

void PtyDriver::handle_notices(uint8_t notices) {
  if ((notices & (TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE)) != 0) {
    ClientRequest purge;
    purge.kind = SerialRequest::purge;
    purge.purge_input = (notices & TIOCPKT_FLUSHREAD) != 0;
    purge.purge_output = (notices & TIOCPKT_FLUSHWRITE) != 0;
    client_->request(purge);
  }
  if ((notices & TIOCPKT_IOCTL) != 0) settings_changed();
}

void PtyDriver::settings_changed() {
  terminal_.keep_notices();
  if (set_line_waiting_) {
    settings_unsent_ = true;
    return;
  }
  settings_unsent_ = false;
  ClientRequest request;
  request.kind = SerialRequest::set_line;
  request.line = terminal_.settings(client_->line()).line;
  if (request.line == client_->line()) return;
  set_line_waiting_ = client_->request(request);
  settings_unsent_ = !set_line_waiting_;
}

void PtyDriver::request_done(const ClientRequest& request, TransferStatus status) {
  if (request.kind == SerialRequest::set_line || request.kind == SerialRequest::get_line) {
    set_line_waiting_ = false;
    // What the consumer has set meanwhile comes next. Otherwise it shall see what the port has,
    // also when that is not what it asked for.
    const bool present = request.kind == SerialRequest::get_line || status != TransferStatus::ok;
    // So that a consumer that changes something else does not undo what was set at the start.
    const bool first = !std::exchange(line_shown_, true);
    if ((present || first) && !settings_unsent_) show_line();
  }
  if (settings_unsent_) settings_changed();
}

void PtyDriver::show_line() {
  terminal_.set_line(client_->line());
  // The notice of our own change must not look like a consumer's.
  if (!open_) handle_notices(terminal_.read_notices());
}

size_t PtyDriver::received(std::span<const std::byte> bytes) {
  if (!open_) return bytes.size();
  const ssize_t count = ::write(terminal_.master(), bytes.data(), bytes.size());
  const size_t taken = count > 0 ? static_cast<size_t>(count) : 0;
  if (taken < bytes.size()) {
    want_writable_ = true;
    update_watch();
  }
  return taken;
}

// Closes the master: whoever has the slave open sees the port vanish.
void PtyDriver::hang_up() {
  open_ = false;
  master_watch_.reset();
  inotify_watch_.reset();
  if (look_timer_) look_timer_->disarm();
  link_.remove();
  terminal_.close();
}

void PtyDriver::unplugged(std::string_view) { hang_up(); }

void PtyDriver::stop() {
  hang_up();
  if (unsent_ != nullptr) client_->end_output(*std::exchange(unsent_, nullptr), 0);
  client_->stop();
}

void PtyDriver::client_idle() { port_->driver_stopped(); }

}  // namespace farport
