#include "devices/usbip/usbip_provider.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <optional>

#include "dataplane/limits.h"
#include "devices/usb/descriptors.h"
#include "devices/usbip/device_record.h"
#include "devices/usbip/tcp.h"
#include "devices/usbip/usbip_client.h"
#include "devices/usbip/usbip_device.h"

namespace farport {

using namespace usbip;

namespace {

constexpr std::string_view port_prefix = "usb:port:";
constexpr uint8_t get_descriptor = 6;       // USB 2.0, table 9-4
constexpr uint8_t configurations_max = 32;  // read at open; each costs two round trips

std::string numbers_of(const DeviceInfo& info) {
  return fmt::format("usb:{:04x}:{:04x}", info.vendor, info.product);
}

DeviceInfo info_of(const DeviceRecord& record, const std::string& host) {
  DeviceInfo info;
  info.kind = DeviceKind::usb;
  info.name = std::string(port_prefix) + record.busid + "@" + host;
  info.speed = speed_from_code(record.speed);
  info.vendor = record.vendor;
  info.product = record.product;
  info.port_path = record.busid;
  info.bus = static_cast<uint8_t>(record.busnum);
  info.address = static_cast<uint8_t>(record.devnum);
  info.configuration_value = record.configuration_value;
  info.description =
      fmt::format("USB device {:04x}:{:04x} on {}", record.vendor, record.product, host);
  return info;
}

// GET_DESCRIPTOR (USB 2.0, 9.4.3).
Result<std::vector<uint8_t>> read_descriptor(UsbipClient& client, uint32_t devid, uint8_t type,
                                             uint8_t index, uint16_t language, uint16_t length) {
  return client.control_in(devid,
                           {0x80, get_descriptor, index, type, static_cast<uint8_t>(language),
                            static_cast<uint8_t>(language >> 8), static_cast<uint8_t>(length),
                            static_cast<uint8_t>(length >> 8)});
}

// A string descriptor as text (USB 2.0, 9.6.7): UTF-16, of which what is not printable ASCII
// becomes '?'. Empty when there is none, or the device refuses.
std::string read_string(UsbipClient& client, uint32_t devid, uint8_t index, uint16_t language) {
  if (index == 0) return {};
  const auto bytes = read_descriptor(client, devid, 3, index, language, 255);
  if (!bytes || bytes->size() < 2) return {};
  std::string text;
  for (size_t i = 2; i + 1 < bytes->size(); i += 2) {
    const uint8_t low = (*bytes)[i];
    text += (*bytes)[i + 1] == 0 && std::isprint(low) != 0 ? static_cast<char>(low) : '?';
  }
  return text;
}

void read_texts(UsbipClient& client, uint32_t devid, DeviceInfo& info) {
  const auto languages = read_descriptor(client, devid, 3, 0, 0, 255);
  if (!languages || languages->size() < 4) return;
  const auto language = static_cast<uint16_t>((*languages)[2] | (*languages)[3] << 8);
  const auto& device = info.device_descriptor;  // iManufacturer, iProduct, iSerialNumber
  const std::string manufacturer = read_string(client, devid, device[14], language);
  const std::string product = read_string(client, devid, device[15], language);
  info.serial_number = read_string(client, devid, device[16], language);
  if (product.empty()) return;
  info.description = manufacturer.empty() ? product : manufacturer + " " + product;
}

// What the list does not tell, read from the device itself over endpoint 0.
Result<void> read_descriptors(UsbipClient& client, uint32_t devid, DeviceInfo& info) {
  auto device = read_descriptor(client, devid, 1, 0, 0, 18);
  if (!device) return std::unexpected(device.error());
  const auto parsed = usb::parse_device(*device);
  if (!parsed) return std::unexpected(parsed.error());
  info.device_descriptor = std::move(*device);
  const auto count = std::min(parsed->configuration_count, configurations_max);
  for (uint8_t index = 0; index < count; ++index) {
    const auto head = read_descriptor(client, devid, 2, index, 0, 9);
    if (!head) return std::unexpected(head.error());
    if (head->size() < 9) return fail("the device's configuration descriptor is cut short");
    const auto length = static_cast<uint16_t>((*head)[2] | (*head)[3] << 8);
    auto whole = read_descriptor(client, devid, 2, index, 0, length);
    if (!whole) return std::unexpected(whole.error());
    info.configurations.push_back(std::move(*whole));
  }
  read_texts(client, devid, info);
  return {};
}

}  // namespace

Result<std::unique_ptr<UsbipProvider>> UsbipProvider::create(std::vector<UsbipHost> hosts,
                                                             uint32_t timeout_ms) {
  std::vector<Host> parsed;
  for (const UsbipHost& host : hosts) {
    const auto address = parse_address(host.address, default_port);
    if (!address) return std::unexpected(address.error());
    if (host.name.empty() || host.name.find('@') != std::string::npos) {
      return fail(ErrorCode::usage,
                  "a USB/IP server needs a name without '@', not \"" + host.name + "\"");
    }
    for (const Host& other : parsed) {
      if (other.name == host.name) {
        return fail(ErrorCode::usage, "two USB/IP servers have the name \"" + host.name + "\"");
      }
    }
    parsed.push_back({host.name, address->host, address->port});
  }
  return std::unique_ptr<UsbipProvider>(new UsbipProvider(std::move(parsed), timeout_ms));
}

Result<std::vector<DeviceInfo>> UsbipProvider::list() {
  std::vector<DeviceInfo> all;
  std::optional<Error> error;
  bool answered = hosts_.empty();
  for (const Host& host : hosts_) {
    auto devices = list_host(host);
    if (!devices) {
      error = devices.error();
      continue;
    }
    answered = true;
    std::move(devices->begin(), devices->end(), std::back_inserter(all));
  }
  if (!answered) return std::unexpected(*error);
  return all;
}

Result<std::vector<DeviceInfo>> UsbipProvider::list_host(const Host& host) const {
  auto client = UsbipClient::connect({host.host, host.port}, timeout_ms_);
  if (!client) return std::unexpected(client.error());
  const auto records = client->list();
  if (!records) return std::unexpected(records.error());
  std::vector<DeviceInfo> devices;
  for (const DeviceRecord& record : *records) devices.push_back(info_of(record, host.name));
  for (DeviceInfo& info : devices) {
    const auto same = std::count_if(devices.begin(), devices.end(), [&](const DeviceInfo& other) {
      return other.vendor == info.vendor && other.product == info.product;
    });
    if (same == 1) info.aliases.push_back(numbers_of(info) + "@" + host.name);
  }
  return devices;
}

// A bus ID is asked for as it is, so that a device in use is reported as busy: a stock server's
// list would not have it.
Result<std::string> UsbipProvider::find_busid(const Host& host, const std::string& name) const {
  if (name.starts_with(port_prefix)) {
    return name.substr(port_prefix.size(), name.rfind('@') - port_prefix.size());
  }
  const auto devices = list_host(host);
  if (!devices) return std::unexpected(devices.error());
  for (const DeviceInfo& info : *devices) {
    if (std::find(info.aliases.begin(), info.aliases.end(), name) != info.aliases.end()) {
      return info.port_path;
    }
  }
  return fail(ErrorCode::not_found,
              "the USB/IP server " + host.name + " exports no single free device " + name);
}

Result<std::unique_ptr<Device>> UsbipProvider::open(const std::string& name) {
  const size_t at = name.rfind('@');
  const auto host = std::find_if(hosts_.begin(), hosts_.end(), [&](const Host& each) {
    return at != std::string::npos && each.name == name.substr(at + 1);
  });
  if (host == hosts_.end()) {
    return fail(ErrorCode::not_found, "no USB/IP server is configured that would have " + name);
  }
  const auto busid = find_busid(*host, name);
  if (!busid) return std::unexpected(busid.error());
  if (busid->empty() || busid->size() > busid_length_max) {
    return fail(ErrorCode::not_found, "\"" + *busid + "\" cannot be a bus ID");
  }
  auto client = UsbipClient::connect({host->host, host->port}, timeout_ms_);
  if (!client) return std::unexpected(client.error());
  const auto record = client->import(*busid);
  if (!record) return std::unexpected(record.error());
  DeviceInfo info = info_of(*record, host->name);
  const uint32_t devid = record->busnum << 16 | record->devnum;
  if (auto read = read_descriptors(*client, devid, info); !read) {
    return std::unexpected(Error{read.error().code, name + ": " + read.error().message});
  }
  return std::make_unique<UsbipDevice>(client->release(), std::move(info), devid);
}

}  // namespace farport
