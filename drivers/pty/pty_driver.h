// Presents a serial port as a pty at a stable path. What a pty can and cannot say: pty_terminal.h.
//
// Like a real port that nobody has open: what arrives while it is closed is dropped, DTR and RTS
// are low until it is opened and fall when it is closed (unless hang_up is off), its line settings
// outlast the close. Closing does not end the attachment; another open works. Opens are seen by
// inotify on the slave's node, or by looking every look_interval_ms where inotify has run out.
//
// When the device is unplugged the master is closed: readers see end of file, writers EIO, and the
// path is gone.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "dataplane/file_descriptor.h"
#include "dataplane/scheduler.h"
#include "dataplane/watch.h"
#include "drivers/driver.h"
#include "drivers/pty/pty_link.h"
#include "drivers/pty/pty_terminal.h"
#include "drivers/serial/serial_client.h"

namespace farport {

struct PtySettings {
  std::string path;                      // "/dev/farport/NAME": where the link is to be
  mode_t mode = 0660;                    // of the slave's node
  uid_t owner = static_cast<uid_t>(-1);  // -1: as made, the daemon's
  gid_t group = static_cast<gid_t>(-1);
  bool hang_up = true;  // DTR and RTS follow open and close (while HUPCL is set)
  // Set on the port at the start; without, the port's own are taken over. The only way to data
  // bits other than 8 and to parity, which a pty cannot say.
  std::optional<serial::LineSettings> line;
};

class PtyDriver final : public Driver, private serial::SerialClient::Events {
 public:
  static constexpr uint64_t look_interval_ms = 100;

  // Makes pty and link (off the worker: touches the file system).
  static Result<std::unique_ptr<PtyDriver>> create(const PtySettings& settings);
  ~PtyDriver() override;

  std::string_view name() const override { return "pty"; }
  std::string path() const override { return link_.path(); }
  Result<void> start(Worker& worker, DriverPort& port) override;
  void completed(Transfer& transfer) override { client_->completed(transfer); }
  void unplugged(std::string_view reason) override;
  void stop() override;

 private:
  PtyDriver(const PtySettings& settings, PtyTerminal terminal, PtyLink link);

  // serial::SerialClient::Events
  size_t received(std::span<const std::byte> bytes) override;
  void output_possible() override;
  void noticed(const serial::SerialNotice&) override {}  // a pty has no lines to show them on
  void request_done(const serial::ClientRequest& request, TransferStatus status) override;
  void client_idle() override;

  void look();
  void consumer_opened();
  void consumer_closed();
  void master_event(uint32_t events);
  void read_consumer();
  void handle_notices(uint8_t notices);
  void settings_changed();
  void show_line();
  void set_lines(bool on);
  void update_watch();
  void hang_up();

  const PtySettings settings_;
  PtyTerminal terminal_;
  PtyLink link_;
  FileDescriptor inotify_;
  DriverPort* port_ = nullptr;
  std::unique_ptr<serial::SerialClient> client_;
  std::unique_ptr<Timer> look_timer_;
  Watch master_watch_;
  Watch inotify_watch_;
  bool open_ = false;              // a consumer has the slave open, or left bytes to be read
  bool lines_raised_ = true;       // as opening the port left them
  bool want_writable_ = false;     // bytes for the consumer wait for room
  bool set_line_waiting_ = false;  // a set_line is under way
  bool settings_unsent_ = false;   // and the settings have changed since
  bool line_shown_ = false;        // the pty has had the port's settings once
  Transfer* unsent_ = nullptr;     // read from the consumer after a notice that is being dealt with
  uint32_t unsent_bytes_ = 0;
};

}  // namespace farport
