// Presents a serial port on a TCP address to RFC 2217 clients (pyserial's rfc2217://, ser2net, tio,
// telnet), modem lines and breaks included. Start here to read drivers/rfc2217:
//
//   telnet.h          framing and options (RFC 854, 855, 856)
//   com_port.h        the COM-PORT-OPTION's requests and answers
//   listener.h        the listening socket
//   rfc2217_driver    the server: one client at a time, in order
//
// What a client sends takes effect in the order it was sent: a setting waits for the output before
// it, what follows waits for the setting (serial_client.h). Settings that follow each other
// directly in one read are made by one request: baud rate, size and parity together, and DTR and
// RTS at the same instant, as the reset circuits of microcontrollers need. They are answered one by
// one, with the value in force afterwards.
//
// A port without modem lines answers DTR and RTS with what was asked, since clients (pyserial)
// refuse to open a port that does not. Inbound flow control apart from outbound is answered with
// what is.
//
// Like a port that nobody has open: without a client, what arrives is dropped and DTR and RTS are
// low (unless hang_up is off). There is no authentication in the protocol: listen on loopback.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/file_descriptor.h"
#include "dataplane/scheduler.h"
#include "dataplane/watch.h"
#include "drivers/driver.h"
#include "drivers/rfc2217/com_port.h"
#include "drivers/rfc2217/listener.h"
#include "drivers/rfc2217/telnet.h"
#include "drivers/serial/serial_client.h"

namespace farport {

struct Rfc2217Settings {
  std::string address = "127.0.0.1:0";  // "ADDRESS:PORT", "[::1]:PORT"; port 0: a free one
  bool hang_up = true;                  // DTR and RTS rise and fall with the client
};

class Rfc2217Driver final : public Driver, private serial::SerialClient::Events {
 public:
  // Listens (off the worker: may look up a name). `busy` when the address is in use.
  static Result<std::unique_ptr<Rfc2217Driver>> create(const Rfc2217Settings& settings);
  ~Rfc2217Driver() override;

  std::string_view name() const override { return "rfc2217"; }
  std::string path() const override { return listener_.address; }
  Result<void> start(Worker& worker, DriverPort& port) override;
  void completed(Transfer& transfer) override { port_side_->completed(transfer); }
  void unplugged(std::string_view reason) override;
  void stop() override;

 private:
  // To a client that does not read: received bytes beyond this wait at the port.
  static constexpr size_t output_bytes_max = 64u << 10;
  static constexpr size_t refused_max = 4;
  static constexpr uint64_t refused_linger_ns = 1'000'000'000;
  static constexpr uint64_t telnet_break_ns = 250'000'000;

  Rfc2217Driver(const Rfc2217Settings& settings, Listener listener);

  // serial::SerialClient::Events
  size_t received(std::span<const std::byte> bytes) override;
  void output_possible() override;
  void noticed(const serial::SerialNotice& notice) override;
  void request_done(const serial::ClientRequest& request, TransferStatus status) override;
  void client_idle() override;

  // rfc2217_driver.cc: the connection
  void accept_clients();
  void refuse(FileDescriptor socket);
  void close_refused();
  void connect(FileDescriptor socket, std::string peer);
  void disconnect();
  void socket_event(uint32_t events);
  void read_socket();
  void send_output();
  void update_watch();
  void shut();
  size_t backlog() const { return output_.size() - output_sent_; }

  // rfc2217_requests.cc: what the client says
  void parse();
  void handle(const telnet::Event& event);
  void handle_request(const com_port::Request& request);
  void answer(const com_port::Request& request);
  bool send_data();
  void end_data();
  bool submit_group();
  bool submit_lines(size_t first, size_t count);
  void group_done(TransferStatus status);
  void lines_done(TransferStatus status);
  void announce();
  void set_lines(uint8_t lines);
  void set_break(bool on);
  com_port::PortState state() const { return {port_side_->line(), own_lines_, break_on_}; }

  const Rfc2217Settings settings_;
  Listener listener_;
  DriverPort* port_ = nullptr;
  Worker* worker_ = nullptr;
  std::unique_ptr<serial::SerialClient> port_side_;
  Watch listener_watch_;
  std::unique_ptr<Timer> refused_timer_, break_timer_;
  std::array<FileDescriptor, refused_max> refused_;

  // The connection.
  FileDescriptor socket_;
  Watch socket_watch_;
  std::string peer_;
  telnet::Parser parser_;
  telnet::Options options_;
  std::array<uint8_t, 4096> input_{};
  std::span<const uint8_t> rest_;  // of input_, not parsed yet
  std::span<const uint8_t> data_;  // of input_, for the port
  Transfer* filling_ = nullptr;    // gathers data_ of one read
  uint32_t filled_ = 0;
  bool half_closed_ = false;  // the client has finished, but not all it sent is at the port
  bool suspended_ = false;    // FLOWCONTROL-SUSPEND
  bool announced_ = false;    // the first NOTIFY-MODEMSTATE has been sent
  uint8_t line_state_mask_ = 0, modem_state_mask_ = 255;  // RFC 2217: as a connection begins
  std::vector<uint8_t> output_;
  size_t output_sent_ = 0;

  // Requests of the client that are made, or will be, as one.
  std::array<com_port::Request, 16> group_{};
  size_t group_size_ = 0;
  size_t group_answered_ = 0;              // of which answered, when made one by one
  bool group_one_by_one_ = false;          // line settings that are refused when made together
  bool group_active_ = false;              // it is at the port
  std::optional<com_port::Request> held_;  // does not go with the group: comes after it

  // The port.
  bool lines_known_ = false;
  uint8_t lines_ = 0, own_lines_ = serial::line::dtr | serial::line::rts;
  uint8_t changed_ = 0, conditions_ = 0;  // not announced yet
  bool break_on_ = false;
};

}  // namespace farport
