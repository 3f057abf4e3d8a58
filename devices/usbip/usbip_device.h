// A device imported from a stock usbipd (or from our own server): the client's side of USB/IP's
// request phase. The server is not trusted: whatever it sends that cannot be true ends the
// connection, and the device counts as unplugged.
//
// A stock server drops the whole connection when the host's USB stack refuses one request
// (drivers/usb/usbip/stub_rx.c, SDEV_EVENT_ERROR_SUBMIT): what it would refuse is refused here.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "devices/device.h"
#include "devices/usb/endpoint_table.h"
#include "devices/usbip/protocol.h"
#include "devices/usbip/socket_stream.h"

namespace farport {

class UsbipDevice final : public Device, private usbip::SocketStream::Events {
 public:
  // `socket`: its import is granted and no request is outstanding on it. `devid` as requests name
  // the device: busnum << 16 | devnum.
  UsbipDevice(FileDescriptor socket, DeviceInfo info, uint32_t devid);
  ~UsbipDevice() override;

  const DeviceInfo& info() const override { return info_; }
  void start(Worker& worker, DeviceEvents& events) override;
  void submit(Transfer& transfer) override;
  void cancel(Transfer& transfer) override;
  void stop() override;

 private:
  // A request and, perhaps, its UNLINK. It is free again when both are sent and both answered.
  struct Slot;
  struct Outgoing : usbip::SocketStream::Outgoing {
    usbip::Message message{};
    Slot* slot = nullptr;
  };
  struct Slot {
    Outgoing submit, unlink;
    Transfer* transfer = nullptr;  // until completed
    Buffer table;                  // isochronous: the wire's packet table
    uint32_t length = 0;           // as sent
    uint32_t seqnum = 0;           // generation << 13 | index << 1; the UNLINK's has bit 0 set
    bool in_use = false;
    bool submit_sent = false, answered = false;
    bool unlinking = false, unlink_sent = false, unlink_answered = false;
    Slot* next_free = nullptr;
  };

  // SocketStream::Events
  void received() override;
  void sent(usbip::SocketStream::Outgoing& message) override;
  void ended(std::string_view reason) override;
  void closed() override;

  bool check(const Transfer& transfer, usbip::Request& request) const;
  bool check_control(const Transfer& transfer, usbip::Request& request) const;
  bool check_periodic(const Transfer& transfer, const usb::Endpoint& endpoint,
                      usbip::Request& request) const;
  bool read_reply();
  void submit_reply(const usbip::Reply& reply);
  void unlink_reply(const usbip::Reply& reply);
  void reply_complete();
  void answered(Slot& slot, TransferStatus status, uint32_t actual);
  void settle(Slot& slot);
  void finish(Transfer& transfer, TransferStatus status, uint32_t actual);
  Slot* take_slot();
  Slot* find(uint32_t seqnum);

  DeviceInfo info_;
  uint32_t devid_;
  FileDescriptor socket_;
  usb::EndpointTable endpoints_;
  Worker* worker_ = nullptr;
  DeviceEvents* events_ = nullptr;
  std::unique_ptr<usbip::SocketStream> stream_;
  std::vector<std::unique_ptr<Slot>> slots_;  // grows to the most ever in flight
  Slot* free_ = nullptr;
  Slot* incoming_ = nullptr;  // the one whose payload is being read
  usbip::Reply incoming_reply_;
  std::string gone_reason_;
  bool gone_ = false;
  bool stopping_ = false;
  bool closed_ = false;
};

}  // namespace farport
