#include "devices/usb/endpoint_table.h"

#include "devices/usb/requests.h"

namespace farport::usb {

EndpointTable::EndpointTable(const DeviceInfo& info) : configurations_(parse_configurations(info)) {
  set_configuration(info.configuration_value);
}

bool EndpointTable::set_configuration(uint8_t value) {
  value_ = value;
  configuration_ = value == 0 ? nullptr : find_configuration(value);
  alternates_.fill(0);
  rebuild();
  return value == 0 || configuration_ != nullptr;
}

bool EndpointTable::set_interface(uint8_t interface_number, uint8_t alternate) {
  if (!configuration_ || !configuration_->find(interface_number, alternate)) return false;
  alternates_[interface_number] = alternate;  // the parser keeps interface numbers under 32
  rebuild();
  return true;
}

void EndpointTable::observe(const std::array<uint8_t, 8>& setup) {
  const Request request(setup);
  if (request.is_set_configuration()) {
    set_configuration(static_cast<uint8_t>(request.value));
  } else if (request.is_set_interface()) {
    set_interface(static_cast<uint8_t>(request.index), static_cast<uint8_t>(request.value));
  }
}

const Endpoint* EndpointTable::find(uint8_t address) const {
  return entries_[index(address)].endpoint;
}

int EndpointTable::interface_of(uint8_t address) const {
  const Entry& entry = entries_[index(address)];
  return entry.endpoint ? entry.interface_number : -1;
}

TransferType EndpointTable::type_of(uint8_t address, TransferType otherwise) const {
  if ((address & 0x0f) == 0) return TransferType::control;
  const Endpoint* endpoint = find(address);
  return endpoint ? endpoint->type : otherwise;
}

const Configuration* EndpointTable::find_configuration(uint8_t value) const {
  for (const Configuration& configuration : configurations_) {
    if (configuration.value == value) return &configuration;
  }
  return nullptr;
}

uint8_t EndpointTable::alternate_of(uint8_t interface_number) const {
  return interface_number < alternates_.size() ? alternates_[interface_number] : 0;
}

void EndpointTable::rebuild() {
  entries_ = {};
  if (!configuration_) return;
  for (const Interface& interface : configuration_->interfaces) {
    if (interface.alternate != alternates_[interface.number]) continue;
    for (const Endpoint& endpoint : interface.endpoints) {
      entries_[index(endpoint.address)] = {&endpoint, interface.number};
    }
  }
}

}  // namespace farport::usb
