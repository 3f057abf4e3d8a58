// An emulated serial port, which speaks the contract of devices/serial_requests.h.
//
//   loopback  What is sent is received, at the baud rate and with the data bits set. Modem lines
//   are
//             wired as a null-modem plug does: DTR to DSR and DCD, RTS to CTS. A break sent is a
//             break received.
//   chatter   Sends numbered lines, "NAME 00000042\r\n", so many a second but no faster than the
//             baud rate; takes and drops what it is sent. DSR, DCD and CTS are raised. With rts_cts
//             it is silent while RTS is low. Lines nobody reads are lost whole, with an overrun.
//
// Bytes received and not read are kept up to limits::serial_run_bytes_max; then, in loopback,
// output is held back under flow control, and without it bytes are lost with an overrun.
//
// The port opens as a tty does: 9600 baud, 8N1, DTR and RTS raised.
//
// Faults strike OUT transfers in loopback, and lines in chatter: a stall comes as a framing error,
// short_data loses half of the bytes with an overrun.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "devices/emulated/byte_ring.h"
#include "devices/emulated/emulated_device.h"
#include "devices/emulated/transfer_queue.h"
#include "devices/serial_requests.h"

namespace farport {

class EmulatedSerial final : public EmulatedDevice {
 public:
  // Without a link the device stands alone, without a provider.
  explicit EmulatedSerial(const EmulatedDeviceSettings& settings,
                          std::shared_ptr<DeviceLink> link = std::make_shared<DeviceLink>());

  void submit(Transfer& transfer) override;
  void cancel(Transfer& transfer) override;

  const serial::LineSettings& line_settings() const { return line_; }
  uint8_t lines() const { return lines_; }

 private:
  void power_on(Scheduler& scheduler) override;
  Transfer* take_any() override;

  // Requests (serial.cc).
  void control(Transfer& transfer);
  bool set_line(const serial::LineSettings& line);
  bool set_modem(serial::ModemControl control);
  void set_break(bool on);
  void purge(uint8_t what);
  void set_lines(uint8_t lines);
  void give_notices();

  // Data (serial_data.cc).
  bool output_held() const;
  uint64_t bytes_ns(uint64_t count) const;
  void begin_output(uint64_t from_ns);
  void output_moved();
  void finish_drains();
  void take_in(std::span<const std::byte> data);
  void give_received();
  void begin_line(uint64_t from_ns);
  void line_sent();

  bool chatter() const { return settings_.serial_mode == SerialMode::chatter; }

  Scheduler* scheduler_ = nullptr;
  serial::LineSettings line_;
  uint8_t lines_ = 0;
  bool break_ = false;

  WaitingTransfers notices_;
  bool noticed_ = false;       // the first notice was given
  uint8_t noticed_lines_ = 0;  // as last told
  uint8_t conditions_ = 0;     // to be told

  WaitingTransfers reading_;
  ByteRing received_;
  WaitingTransfers writing_;  // device_cookie: bytes moved of each
  WaitingTransfers draining_;
  std::optional<Timer> output_timer_;  // armed: output_bytes_ of the first writing_ are on the line
  uint32_t output_bytes_ = 0;
  uint64_t output_end_ns_ = 0;
  std::optional<FaultKind> fault_;

  std::optional<Timer> line_timer_;  // chatter: armed until the present line has been sent
  uint64_t line_number_ = 0;
  uint64_t line_end_ns_ = 0;
};

}  // namespace farport
