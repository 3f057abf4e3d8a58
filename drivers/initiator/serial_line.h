// A serial port as seen by a program: bytes both ways, line settings, modem lines, over the
// contract of devices/serial_requests.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "devices/serial_requests.h"
#include "drivers/initiator/initiator.h"

namespace farport {

class SerialLine final : private TransferUser {
 public:
  using Done = std::function<void(Result<void>)>;
  // Called on the worker, the data valid inside only. Neither may destroy the line.
  struct Listener {
    std::function<void(std::span<const std::byte>)> received{};
    std::function<void(const serial::SerialNotice&)> noticed{};
  };

  // Begins to receive. `initiator` is ready().
  SerialLine(Initiator& initiator, Listener listener);
  ~SerialLine();
  SerialLine(const SerialLine&) = delete;
  SerialLine& operator=(const SerialLine&) = delete;

  // Each calls `done` exactly once (at once, if the port is gone already); not if this is destroyed
  // first. write() copies the data.
  void write(std::span<const std::byte> data, Done done);
  void set_line(const serial::LineSettings& line, Done done);
  void set_modem(serial::ModemControl control, Done done);
  void set_break(bool on, Done done);
  void purge(bool input, bool output, Done done);
  // Done when all that was written has left the port.
  void drain(Done done);
  void get_line(std::function<void(Result<serial::LineSettings>)> done);

  // As last noticed; nothing before the first notice.
  std::optional<uint8_t> lines() const { return lines_; }

 private:
  static constexpr uint32_t reads_in_flight = 4;
  static constexpr uint32_t read_bytes = 4096;

  void transfer_done(Transfer& transfer) override;
  void initiator_stopping() override;
  void forget(Transfer& transfer);
  void request(serial::SerialRequest request, uint16_t value, std::span<const std::byte> data,
               Done done);

  Initiator& initiator_;
  Listener listener_;
  std::vector<Transfer*> in_flight_;  // reads and the notice
  std::optional<uint8_t> lines_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for callbacks that outlive this
};

}  // namespace farport
