// Devices that stock usbipd servers export, as devices of this host.
//
// Names: usb:port:BUSID@NAME ("usb:port:1-1@old"), NAME being the server's name in the
// configuration; the protocol's list tells no serial number. Alias: usb:VVVV:PPPP@NAME, where only
// one device of that server has those numbers.
#pragma once

#include <string>
#include <vector>

#include "devices/provider.h"

namespace farport {

struct UsbipHost {
  std::string name;     // unique: "old"
  std::string address;  // "192.0.2.9", "oldhost:3240", "[2001:db8::9]:3240"
};

class UsbipProvider final : public DeviceProvider {
 public:
  // Fails (usage) on an address that cannot be read, or a name given twice.
  static Result<std::unique_ptr<UsbipProvider>> create(std::vector<UsbipHost> hosts,
                                                       uint32_t timeout_ms = 5000);

  std::string_view name() const override { return "usbip"; }
  // A stock server leaves out devices that are in use. A server that does not answer is left out;
  // an error only when none does. Takes at most the timeout for each server. The list tells neither
  // descriptors nor serial numbers: those come with open().
  Result<std::vector<DeviceInfo>> list() override;
  Result<std::unique_ptr<Device>> open(const std::string& name) override;
  // The protocol has no such notice: `changed` is never called. Call list() again.
  void on_change(std::function<void()>) override {}

 private:
  struct Host {
    std::string name;
    std::string host;
    uint16_t port;
  };
  UsbipProvider(std::vector<Host> hosts, uint32_t timeout_ms)
      : hosts_(std::move(hosts)), timeout_ms_(timeout_ms) {}
  Result<std::vector<DeviceInfo>> list_host(const Host& host) const;
  Result<std::string> find_busid(const Host& host, const std::string& name) const;

  std::vector<Host> hosts_;
  uint32_t timeout_ms_;
};

}  // namespace farport
