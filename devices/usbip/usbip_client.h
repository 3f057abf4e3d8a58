// A blocking client of USB/IP's operation phase, and of single control requests right after an
// import: what is needed to list and open devices. For control's threads, never for a worker.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dataplane/error.h"
#include "dataplane/file_descriptor.h"
#include "devices/usbip/protocol.h"
#include "devices/usbip/tcp.h"

namespace farport::usbip {

class UsbipClient {
 public:
  // Connects, by name or number; every operation, connecting included, may take `timeout_ms`.
  // unreachable or timed_out when nobody answers.
  static Result<UsbipClient> connect(const Address& address, uint32_t timeout_ms);

  // The server closes the connection after a list.
  Result<std::vector<DeviceRecord>> list();
  // not_found, busy, failed as the server says. The connection then carries requests.
  Result<DeviceRecord> import(const std::string& busid);

  // After import(): one control request of direction IN on endpoint 0; `setup` as on the bus. The
  // bytes that came; failed when the device refuses.
  Result<std::vector<uint8_t>> control_in(uint32_t devid, const std::array<uint8_t, 8>& setup);

  // Gives the connection on, with no request outstanding.
  FileDescriptor release() { return std::move(socket_); }

 private:
  UsbipClient(FileDescriptor socket, std::string server, uint32_t timeout_ms)
      : socket_(std::move(socket)), server_(std::move(server)), timeout_ms_(timeout_ms) {}

  void begin();  // of an operation: sets its deadline
  Result<void> wait(short events);
  Result<void> send(std::span<const std::byte> bytes);
  Result<void> receive(std::span<std::byte> bytes);
  Result<void> receive_header(OpCode code);

  FileDescriptor socket_;
  std::string server_;  // for messages
  uint32_t timeout_ms_;
  uint64_t deadline_ns_ = 0;
  uint32_t seqnum_ = 0;
};

}  // namespace farport::usbip
