// Which interfaces of a device are ours, and how the host had it before: kernel drivers, active
// configuration, alternate settings. Every call blocks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/error.h"
#include "devices/usb/usb_handle.h"

namespace farport {

// Used by one thread at a time (usb_handle.h). `handle` outlives it.
class InterfaceClaims {
 public:
  // `configuration`: the active one, 0 when unconfigured; `interfaces`: its interface numbers.
  InterfaceClaims(UsbHandle& handle, uint8_t configuration, std::vector<uint8_t> interfaces);

  // Detaches the kernel's drivers and claims every interface. When one cannot be had, everything is
  // as before, and the error says which and why. Interfaces without a kernel driver are claimed
  // first: when another program has the device, that shows before any driver is disturbed.
  Result<void> take();

  // SET_CONFIGURATION and SET_INTERFACE through the host (libusb's codes). A new configuration's
  // interfaces are claimed, and drivers that the kernel bound to them detached; an old
  // configuration that could not be left is claimed again.
  int set_configuration(uint8_t value, std::vector<uint8_t> interfaces);
  int set_alternate(uint8_t interface_number, uint8_t alternate);

  // Gives the device back as it was found; does what can be done, for an unplugged one nothing.
  // `used`: a consumer has spoken to it, and may have left it in the middle of a command, which the
  // host's driver would wait for: so it is reset first (QEMU's usb-host does the same).
  void give_back(bool used);

  const std::vector<uint8_t>& claimed() const { return claimed_; }

 private:
  struct Alternate {
    uint8_t interface_number, alternate;
  };
  Result<void> take_one(uint8_t number, bool driven);
  void claim_all(const std::vector<uint8_t>& interfaces);
  void release_all();

  UsbHandle& handle_;
  const uint8_t found_configuration_;
  const std::vector<uint8_t> found_interfaces_;
  uint8_t configuration_;
  std::vector<uint8_t> interfaces_;  // of the configuration in force
  std::vector<uint8_t> claimed_;
  std::vector<uint8_t> detached_;      // had a kernel driver when found
  std::vector<Alternate> alternates_;  // not 0
};

}  // namespace farport
