// The bulk-only transport of USB disks, the device's side: USB Mass Storage Class, Bulk-Only
// Transport, revision 1.0 ("BOT"). A command wrapper (CBW) comes on the OUT endpoint, then data in
// one direction, then a status wrapper (CSW) on the IN endpoint.
//
// Where the specification leaves a choice (6.7), this device
//   - moves no data at all when host and device disagree in a way that ends in a phase error,
//   - never pads: it stalls the endpoint when it moves less than the host expects, and ends the
//     host's IN transfer with a short packet where the data gives one by itself,
//   - after an invalid or meaningless CBW (6.2, 6.6.1) stalls both endpoints, and keeps them
//   stalled
//     until the host resets (a wedge: clearing the halt alone does not help).
//
// Knows the stages and the lengths; the endpoints' queues and halts are the caller's.
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/transfer.h"
#include "devices/emulated/scsi_disk.h"

namespace farport {

namespace bot {
inline constexpr uint32_t command_signature = 0x43425355;  // "USBC" (BOT 5.1)
inline constexpr uint32_t status_signature = 0x53425355;   // "USBS" (BOT 5.2)
inline constexpr uint32_t command_bytes = 31;
inline constexpr uint32_t status_bytes = 13;
inline constexpr uint8_t status_passed = 0;
inline constexpr uint8_t status_failed = 1;
inline constexpr uint8_t status_phase_error = 2;
inline constexpr uint8_t request_reset = 0xff;        // BOT 3.1
inline constexpr uint8_t request_get_max_lun = 0xfe;  // BOT 3.2
}  // namespace bot

class BulkOnly {
 public:
  enum class Stage : uint8_t { command, data_out, data_in, status, reset_needed };

  // What became of one transfer, and which endpoints halt right after it.
  struct Step {
    TransferStatus status = TransferStatus::ok;
    uint32_t actual = 0;
    bool halt_in = false;
    bool halt_out = false;
  };

  explicit BulkOnly(ScsiDisk& disk) : disk_(disk) {}

  Stage stage() const { return stage_; }
  bool wants_out() const { return stage_ == Stage::command || stage_ == Stage::data_out; }
  bool wants_in() const { return stage_ == Stage::data_in || stage_ == Stage::status; }
  bool in_data_stage() const { return stage_ == Stage::data_in || stage_ == Stage::data_out; }
  // Bytes that a transfer of `length` would move in the present data stage.
  uint64_t data_bytes(uint32_t length) const {
    const uint64_t left = wanted_ - moved_;
    return length < left ? length : left;
  }

  // An OUT transfer of `data`, when wants_out(). `ends_short`: its last packet is a short one.
  // `max_packet_bytes` is the endpoint's.
  Step take(std::span<const std::byte> data, bool ends_short, uint32_t max_packet_bytes);
  // An IN transfer with room for `data`, when wants_in().
  Step give(std::span<std::byte> data, uint32_t max_packet_bytes);

  // Faults in the data stage. The endpoint halts before anything moves, and the command fails
  // (aborted command, data phase error: hosts repeat it).
  Step fault_stall();
  // The data stage ends after half of what this transfer could move; the command passes, with a
  // residue. Call it, then take() or give().
  void fault_half(uint32_t length);

  // Bulk-Only Mass Storage Reset (BOT 3.1): ready for a CBW; halts stay as they are.
  void reset() { stage_ = Stage::command; }

 private:
  Step take_command(std::span<const std::byte> data, uint32_t max_packet_bytes);
  Step begin(std::span<const std::byte> data);
  Step give_status(std::span<std::byte> data);
  Step end_data(Step step);

  ScsiDisk& disk_;
  Stage stage_ = Stage::command;
  uint32_t tag_ = 0;
  uint64_t expected_ = 0;  // dCBWDataTransferLength
  uint64_t wanted_ = 0;    // of which the device moves
  uint64_t moved_ = 0;     // of which it has
  uint8_t status_ = bot::status_passed;
};

}  // namespace farport
