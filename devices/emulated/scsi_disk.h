// The SCSI half of an emulated disk: one logical unit of 512-byte blocks, the commands that hosts
// send to USB disks (SPC-4, SBC-3, MMC-6), fixed-format sense data. Knows nothing of USB.
//
// A command runs in two steps: begin() checks it and says what data it wants to move; the transport
// then moves that much through read() or write(), in pieces of any size, in order. What goes wrong
// is kept as sense data for REQUEST SENSE.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "devices/emulated/disk_storage.h"

namespace farport {

// Sense key, additional sense code and qualifier (SPC-4, 4.5.6 and annex D).
struct ScsiSense {
  uint8_t key = 0;
  uint8_t code = 0;
  uint8_t qualifier = 0;
  bool operator==(const ScsiSense&) const = default;
};

namespace sense {
inline constexpr ScsiSense none{};
inline constexpr ScsiSense stopped{0x02, 0x04, 0x02};  // initializing command required
inline constexpr ScsiSense write_error{0x03, 0x0c, 0x00};
inline constexpr ScsiSense read_error{0x03, 0x11, 0x00};
inline constexpr ScsiSense invalid_command{0x05, 0x20, 0x00};
inline constexpr ScsiSense block_out_of_range{0x05, 0x21, 0x00};
inline constexpr ScsiSense invalid_field{0x05, 0x24, 0x00};
inline constexpr ScsiSense unit_not_supported{0x05, 0x25, 0x00};
inline constexpr ScsiSense saving_not_supported{0x05, 0x39, 0x00};
inline constexpr ScsiSense write_protected{0x07, 0x27, 0x00};
inline constexpr ScsiSense data_phase_error{0x0b, 0x4b, 0x00};
inline constexpr ScsiSense miscompare{0x0e, 0x1d, 0x00};
}  // namespace sense

class ScsiDisk {
 public:
  enum class Data : uint8_t { none, in, out };
  struct Command {
    Data data = Data::none;
    uint64_t length = 0;  // bytes of the data stage; 0 when data is none
    bool good = true;     // false: CHECK CONDITION, no data
  };

  // `serial_number` is shown in the VPD pages. The storage outlives the disk.
  ScsiDisk(DiskStorage& storage, bool read_only, std::string serial_number);

  // Begins a command. `cdb` is 1..16 bytes.
  Command begin(uint8_t unit, std::span<const uint8_t> cdb);
  // The command's data at `offset` bytes into its data stage. False: the command has failed.
  bool read(uint64_t offset, std::span<std::byte> data);
  bool write(uint64_t offset, std::span<const std::byte> data);

  const ScsiSense& sense() const { return sense_; }
  void set_sense(const ScsiSense& sense) { sense_ = sense; }
  // As after power-on: started, without sense data.
  void reset();

 private:
  struct Opcode;
  static const Opcode opcodes[];

  Command refuse(const ScsiSense& sense);
  Command reply(size_t length, size_t allocation_bytes);
  Command access(Data data, uint64_t block, uint64_t count);
  template <class Number>
  Number cdb_at(size_t index) const;

  Command test_unit_ready();
  Command request_sense();
  Command inquiry();
  Command vital_product_data(uint8_t page);
  size_t identification_page();
  Command mode_sense_6();
  Command mode_sense_10();
  Command mode_sense(size_t header_bytes, size_t allocation_bytes);
  Command start_stop_unit();
  Command prevent_allow();
  Command read_format_capacities();
  Command read_capacity_10();
  Command read_capacity_16();
  Command synchronize_cache();
  Command verify_10();
  Command report_luns();
  Command read_6();
  Command read_10();
  Command read_12();
  Command read_16();
  Command write_6();
  Command write_10();
  Command write_12();
  Command write_16();

  DiskStorage& storage_;
  const bool read_only_;
  const std::string serial_number_;
  ScsiSense sense_;
  bool stopped_ = false;

  // Of the present command.
  std::array<uint8_t, 16> cdb_{};
  std::array<uint8_t, 256> reply_{};
  bool from_storage_ = false;  // its data is the disk's blocks, not reply_
  bool compare_ = false;       // VERIFY: written data is compared
  uint64_t base_ = 0;          // bytes into the disk
};

}  // namespace farport
