#include "devices/usb/interface_claims.h"

#include <algorithm>
#include <utility>

namespace farport {

namespace {

Error claim_error(int result, uint8_t number) {
  const std::string interface = "interface " + std::to_string(number);
  switch (result) {
    case LIBUSB_ERROR_BUSY:
      return {ErrorCode::busy, interface + " is in use by another program"};
    case LIBUSB_ERROR_NO_DEVICE:
      return {ErrorCode::not_found, "the device was unplugged"};
    case LIBUSB_ERROR_ACCESS:
      return {ErrorCode::denied, interface + ": permission denied"};
    default:
      return {ErrorCode::failed, interface + " cannot be claimed: " + libusb_strerror(result)};
  }
}

}  // namespace

InterfaceClaims::InterfaceClaims(UsbHandle& handle, uint8_t configuration,
                                 std::vector<uint8_t> interfaces)
    : handle_(handle),
      found_configuration_(configuration),
      found_interfaces_(interfaces),
      configuration_(configuration),
      interfaces_(std::move(interfaces)) {}

Result<void> InterfaceClaims::take() {
  std::vector<bool> driven;
  for (const uint8_t number : interfaces_) {
    driven.push_back(handle_.kernel_driver_active(number) == 1);
  }
  for (const bool with_driver : {false, true}) {
    for (size_t i = 0; i < interfaces_.size(); ++i) {
      if (driven[i] != with_driver) continue;
      if (auto taken = take_one(interfaces_[i], with_driver); !taken) {
        give_back(false);
        return taken;
      }
    }
  }
  return {};
}

Result<void> InterfaceClaims::take_one(uint8_t number, bool driven) {
  if (driven) {
    const int detached = handle_.detach_kernel_driver(number);
    if (detached == 0) {
      detached_.push_back(number);
    } else if (detached !=
               LIBUSB_ERROR_NOT_FOUND) {  // not found: the driver has just gone by itself
      return std::unexpected(claim_error(detached, number));
    }
  }
  if (const int claimed = handle_.claim_interface(number); claimed != 0) {
    return std::unexpected(claim_error(claimed, number));
  }
  claimed_.push_back(number);
  return {};
}

void InterfaceClaims::claim_all(const std::vector<uint8_t>& interfaces) {
  for (const uint8_t number : interfaces) {
    // The kernel may have bound a driver since. None is fine.
    handle_.detach_kernel_driver(number);
    if (handle_.claim_interface(number) == 0) claimed_.push_back(number);
  }
}

void InterfaceClaims::release_all() {
  for (const uint8_t number : claimed_) handle_.release_interface(number);
  claimed_.clear();
}

int InterfaceClaims::set_configuration(uint8_t value, std::vector<uint8_t> interfaces) {
  release_all();  // usbfs refuses to change the configuration under a claim, its own included
  if (const int result = handle_.set_configuration(value == 0 ? -1 : value); result != 0) {
    claim_all(interfaces_);
    return result;
  }
  configuration_ = value;
  interfaces_ = std::move(interfaces);
  alternates_.clear();
  claim_all(interfaces_);
  return 0;
}

int InterfaceClaims::set_alternate(uint8_t interface_number, uint8_t alternate) {
  if (const int result = handle_.set_alternate(interface_number, alternate); result != 0) {
    return result;
  }
  std::erase_if(alternates_,
                [&](const Alternate& one) { return one.interface_number == interface_number; });
  if (alternate != 0) alternates_.push_back({interface_number, alternate});
  return 0;
}

void InterfaceClaims::give_back(bool used) {
  for (const Alternate& one : std::exchange(alternates_, {})) {
    handle_.set_alternate(one.interface_number, 0);
  }
  release_all();
  if (used) handle_.reset();
  if (configuration_ != found_configuration_) {
    // The kernel looks for drivers by itself after this.
    handle_.set_configuration(found_configuration_ == 0 ? -1 : found_configuration_);
    configuration_ = found_configuration_;
    interfaces_ = found_interfaces_;
  }
  for (const uint8_t number : std::exchange(detached_, {})) handle_.attach_kernel_driver(number);
}

}  // namespace farport
