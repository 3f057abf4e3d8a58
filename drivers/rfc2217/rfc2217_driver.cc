#include "drivers/rfc2217/rfc2217_driver.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <utility>

namespace farport {

using serial::ClientRequest;
using serial::SerialClient;
using serial::SerialRequest;

Result<std::unique_ptr<Rfc2217Driver>> Rfc2217Driver::create(const Rfc2217Settings& settings) {
  auto listener = Listener::create(settings.address);
  if (!listener) return std::unexpected(listener.error());
  return std::unique_ptr<Rfc2217Driver>(new Rfc2217Driver(settings, std::move(*listener)));
}

Rfc2217Driver::Rfc2217Driver(const Rfc2217Settings& settings, Listener listener)
    : settings_(settings), listener_(std::move(listener)) {
  output_.reserve(output_bytes_max + 4096);
}

Rfc2217Driver::~Rfc2217Driver() = default;

Result<void> Rfc2217Driver::start(Worker& worker, DriverPort& port) {
  worker_ = &worker;
  port_ = &port;
  port_side_.reset(new SerialClient(worker, port, *this));
  if (!port_side_->start()) {
    return fail(ErrorCode::busy, "no memory for the transfers of a serial port; detach something");
  }
  port_side_->request({});  // get_line
  if (settings_.hang_up) set_lines(0);
  refused_timer_ = std::make_unique<Timer>(
      worker, [](void* self) { static_cast<Rfc2217Driver*>(self)->close_refused(); }, this);
  break_timer_ = std::make_unique<Timer>(
      worker, [](void* self) { static_cast<Rfc2217Driver*>(self)->set_break(false); }, this);
  listener_watch_ = Watch(
      worker, listener_.socket.get(), POLLIN,
      [](void* self, uint32_t) { static_cast<Rfc2217Driver*>(self)->accept_clients(); }, this);
  return {};
}

void Rfc2217Driver::accept_clients() {
  for (;;) {
    Listener::Accepted accepted;
    const int error = listener_.accept(accepted);
    if (error == ECONNABORTED || error == EINTR) continue;
    if (error != 0) {  // out of descriptors, say: ready for ever, so look again later
      listener_watch_.set_events(0);
      refused_timer_->arm_after(refused_linger_ns);
      return;
    }
    if (!accepted.socket) return;
    // A client that has finished, but whose bytes the port does not take, gives way. What is at the
    // port already stays: the next client may purge it.
    if (half_closed_) disconnect();
    if (socket_) {
      refuse(std::move(accepted.socket));
    } else {
      connect(std::move(accepted.socket), std::move(accepted.peer));
    }
  }
}

// With a line to read. Closed a little later: closing a socket with unread bytes resets the
// connection, and the line would be lost on its way.
void Rfc2217Driver::refuse(FileDescriptor socket) {
  const std::string line =
      fmt::format("farport: this serial port is in use by {}; try again later\r\n", peer_);
  (void)!::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL);
  ::shutdown(socket.get(), SHUT_WR);
  for (FileDescriptor& slot : refused_) {
    if (slot) continue;
    slot = std::move(socket);
    refused_timer_->arm_after(refused_linger_ns);
    return;
  }
}

void Rfc2217Driver::close_refused() {
  char unread[1024];
  for (FileDescriptor& socket : refused_) {
    while (socket && ::recv(socket.get(), unread, sizeof unread, 0) > 0) {
    }
    socket.reset();
  }
  if (listener_watch_) listener_watch_.set_events(POLLIN);
}

void Rfc2217Driver::connect(FileDescriptor socket, std::string peer) {
  socket_ = std::move(socket);
  peer_ = std::move(peer);
  parser_ = {};
  options_ = {};
  rest_ = data_ = {};
  half_closed_ = suspended_ = announced_ = false;
  line_state_mask_ = 0;
  modem_state_mask_ = 255;
  output_.clear();
  output_sent_ = 0;
  changed_ = conditions_ = 0;
  options_.offer(output_);
  if (settings_.hang_up) set_lines(serial::line::dtr | serial::line::rts);
  port_side_->hurry();  // past what its predecessor left
  socket_watch_ = Watch(
      *worker_, socket_.get(), POLLIN,
      [](void* self, uint32_t events) { static_cast<Rfc2217Driver*>(self)->socket_event(events); },
      this);
  send_output();
}

void Rfc2217Driver::disconnect() {
  if (!socket_) return;
  end_data();
  socket_watch_.reset();
  // The socket may live in the ring for a moment yet; the client shall know at once.
  ::shutdown(socket_.get(), SHUT_RDWR);
  socket_.reset();
  rest_ = data_ = {};
  half_closed_ = false;
  group_size_ = 0;
  group_active_ = group_one_by_one_ = false;
  held_.reset();
  break_timer_->disarm();
  if (break_on_) set_break(false);
  if (settings_.hang_up) set_lines(0);
  port_side_->resume_input();  // drops what is held
}

void Rfc2217Driver::socket_event(uint32_t events) {
  if ((events & POLLOUT) != 0) send_output();
  if (socket_ && (events & (POLLERR | POLLHUP)) != 0 && (events & POLLIN) == 0) return disconnect();
  if (socket_ && (events & POLLIN) != 0) read_socket();
  if ((events & POLLRDHUP) != 0 && (events & POLLIN) == 0) half_closed_ = true;
  if (socket_) update_watch();
}

void Rfc2217Driver::read_socket() {
  assert(rest_.empty() && data_.empty());
  const ssize_t count = ::recv(socket_.get(), input_.data(), input_.size(), 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) return disconnect();
  rest_ = std::span<const uint8_t>(input_).first(static_cast<size_t>(count));
  parse();
}

void Rfc2217Driver::send_output() {
  announce();
  while (socket_ && backlog() > 0) {
    const ssize_t count =
        ::send(socket_.get(), output_.data() + output_sent_, backlog(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno != EAGAIN) return disconnect();
    if (count < 0) break;
    output_sent_ += static_cast<size_t>(count);
    announce();  // what had no room before
  }
  if (!socket_) return;
  // What is left moves to the front, so that the memory stays what was reserved.
  output_.erase(output_.begin(), output_.begin() + static_cast<ptrdiff_t>(output_sent_));
  output_sent_ = 0;
  if (backlog() == 0) port_side_->resume_input();
  update_watch();
}

void Rfc2217Driver::update_watch() {
  if (!socket_watch_) return;
  const bool parsed = rest_.empty() && data_.empty() && group_size_ == 0;
  uint32_t events = backlog() > 0 ? POLLOUT : 0;
  if (parsed && backlog() < output_bytes_max) {
    events |= POLLIN;
  } else if (!half_closed_) {
    events |= POLLRDHUP;
  }
  socket_watch_.set_events(events);
}

size_t Rfc2217Driver::received(std::span<const std::byte> bytes) {
  if (!socket_) return bytes.size();
  if (suspended_ || backlog() >= output_bytes_max) return 0;
  // Each byte may take two.
  const size_t taken = std::min(bytes.size(), (output_bytes_max - backlog() + 1) / 2);
  telnet::append_data(output_, {reinterpret_cast<const uint8_t*>(bytes.data()), taken});
  send_output();
  return taken;
}

void Rfc2217Driver::noticed(const serial::SerialNotice& notice) {
  if (!lines_known_ && notice.changed == 0 && !settings_.hang_up) {
    own_lines_ = notice.lines & (serial::line::dtr | serial::line::rts);
  }
  lines_known_ = true;
  lines_ = notice.lines;
  changed_ |= notice.changed;
  conditions_ |= notice.conditions;
  send_output();
}

void Rfc2217Driver::shut() {
  disconnect();
  for (FileDescriptor& socket : refused_) socket.reset();
  if (refused_timer_) refused_timer_->disarm();
  listener_watch_.reset();
  listener_.socket.reset();
}

void Rfc2217Driver::unplugged(std::string_view) { shut(); }

void Rfc2217Driver::stop() {
  shut();
  port_side_->stop();
}

void Rfc2217Driver::client_idle() { port_->driver_stopped(); }

}  // namespace farport
