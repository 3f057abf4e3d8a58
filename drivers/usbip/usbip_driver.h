// A stock USB/IP client as the consumer: one accepted connection whose import request is granted.
#pragma once

#include <string>

#include "drivers/driver.h"
#include "drivers/usbip/urb_stream.h"

namespace farport {

// Made by UsbipImport::accept(). start() answers the client's import request with the port's
// device, and from there on carries out what it asks for. A driver that is destroyed without having
// been started refuses the client.
class UsbipDriver final : public Driver, private usbip::UrbStream::Events {
 public:
  // `socket`: connected, its OP_REQ_IMPORT read and not answered. `client`: its address.
  UsbipDriver(FileDescriptor socket, std::string client);
  ~UsbipDriver() override;

  std::string_view name() const override { return "usbip"; }
  std::string path() const override { return client_; }
  Result<void> start(Worker& worker, DriverPort& port) override;
  void completed(Transfer& transfer) override { stream_->completed(transfer); }
  void unplugged(std::string_view reason) override;
  void stop() override { stream_->finish(); }

 private:
  // UrbStream::Events
  void stream_ended(std::string_view reason) override;
  void stream_answered() override { stream_->close(); }
  void stream_closed() override { port_->driver_stopped(); }

  FileDescriptor socket_;
  std::string client_;
  DriverPort* port_ = nullptr;
  std::unique_ptr<usbip::UrbStream> stream_;
};

namespace usbip {
// Sends the refusal of an import, without waiting: 8 bytes always fit a fresh connection.
void send_refusal(int socket, OpStatus status);
}  // namespace usbip

}  // namespace farport
