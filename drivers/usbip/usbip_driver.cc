#include "drivers/usbip/usbip_driver.h"

#include <sys/socket.h>

#include "devices/usbip/device_record.h"

namespace farport {

namespace usbip {
void send_refusal(int socket, OpStatus status) {
  const auto reply =
      encode_op_header({protocol_version, OpCode::reply_import, static_cast<uint32_t>(status)});
  [[maybe_unused]] const auto sent =
      ::send(socket, reply.data(), reply.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}
}  // namespace usbip

UsbipDriver::UsbipDriver(FileDescriptor socket, std::string client)
    : socket_(std::move(socket)), client_(std::move(client)) {}

UsbipDriver::~UsbipDriver() {
  if (socket_) usbip::send_refusal(socket_.get(), usbip::OpStatus::device_error);
}

Result<void> UsbipDriver::start(Worker& worker, DriverPort& port) {
  port_ = &port;
  stream_.reset(new usbip::UrbStream(worker, port, *this));
  const auto reply = usbip::encode_import_reply(usbip::record_of(port.info()));
  stream_->start(std::move(socket_), reply);
  return {};
}

void UsbipDriver::unplugged(std::string_view) { stream_->unplugged(); }

void UsbipDriver::stream_ended(std::string_view reason) {
  port_->consumer_left("the USB/IP client " + client_ + " left: " + std::string(reason));
}

}  // namespace farport
