#include "devices/emulated/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace farport {

namespace {

constexpr size_t kNameBytesMax = 64;
constexpr uint64_t kBlockBytes = 512;
// Memory is taken only as it is written, but a disk larger than this is surely a slip.
constexpr uint64_t kDiskBytesMax = 16ull << 40;

bool name_character(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

std::unexpected<Error> wrong(const EmulatedDeviceSettings& settings, std::string_view what) {
  return fail(ErrorCode::usage, fmt::format("emulated device \"{}\": {}", settings.name, what));
}

Result<void> check_disk(const EmulatedDeviceSettings& settings) {
  if (settings.size_bytes % kBlockBytes != 0) {
    return wrong(settings, "size_bytes must be a multiple of 512");
  }
  if (settings.size_bytes == 0 && settings.file.empty()) {
    return wrong(settings, "size_bytes must not be 0 for a disk in memory");
  }
  if (settings.size_bytes > kDiskBytesMax) {
    return wrong(settings, "size_bytes must be at most 16 TiB");
  }
  return {};
}

Result<void> check_faults(const EmulatedDeviceSettings& settings) {
  for (const EmulatedFault& fault : settings.faults) {
    if (!(fault.probability >= 0 && fault.probability <= 1)) {
      return wrong(settings, "a fault's probability must be between 0 and 1");
    }
    if (fault.every == 0 && fault.probability == 0) {
      return wrong(settings, "a fault needs `every` or `probability`");
    }
  }
  return {};
}

}  // namespace

Result<void> check(const EmulatedDeviceSettings& settings) {
  if (settings.name.empty() || settings.name.size() > kNameBytesMax ||
      !std::ranges::all_of(settings.name, name_character)) {
    return wrong(settings, "the name must be 1 to 64 letters, digits, '.', '_' or '-'");
  }
  if (settings.kind != EmulatedKind::serial && settings.speed != UsbSpeed::full &&
      settings.speed != UsbSpeed::high && settings.speed != UsbSpeed::super) {
    return wrong(settings, "speed must be full, high or super");
  }
  if (settings.kind == EmulatedKind::disk) {
    if (auto ok = check_disk(settings); !ok) return ok;
  }
  if (settings.kind == EmulatedKind::serial && settings.serial_mode == SerialMode::chatter &&
      (settings.lines_s == 0 || settings.lines_s > 1'000'000)) {
    return wrong(settings, "lines_s must be between 1 and 1000000");
  }
  return check_faults(settings);
}

UsbIdentity usb_identity(const EmulatedDeviceSettings& settings) {
  const bool disk = settings.kind == EmulatedKind::disk;
  return {.vendor = settings.vendor != 0 ? settings.vendor : uint16_t(disk ? 0x1d6b : 0x0525),
          .product = settings.product != 0 ? settings.product : uint16_t(disk ? 0x0104 : 0xa4a0)};
}

std::string device_name(const EmulatedDeviceSettings& settings) {
  if (settings.kind == EmulatedKind::serial) return "serial:" + settings.name;
  const UsbIdentity identity = usb_identity(settings);
  return fmt::format("usb:{:04x}:{:04x}:{}", identity.vendor, identity.product, settings.name);
}

}  // namespace farport
