// A USB disk as seen by its host: SCSI commands over the bulk-only transport (USB MSC BOT 1.0), one
// at a time, as the transport allows; but a command's wrapper, its data and its status are
// submitted together, so that a command costs one round trip, not three.
//
// The three transfers are made once and used for every command.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "drivers/initiator/initiator.h"

namespace farport {

class MassStorage final : private TransferUser {
 public:
  // Bytes moved by one command; longer reads and writes are cut into such commands. 128 KiB is what
  // Linux's usb-storage asks for at high speed and less.
  static constexpr uint32_t command_bytes_default = 128u << 10;

  struct Identity {
    std::string vendor;
    std::string product;
    std::string revision;
    bool operator==(const Identity&) const = default;
  };
  struct Capacity {
    uint64_t blocks = 0;
    uint32_t block_bytes = 0;
    bool operator==(const Capacity&) const = default;
  };
  template <class T>
  using Done = std::function<void(Result<T>)>;

  // `initiator` is ready(). Every command fails when the device has no bulk-only interface.
  explicit MassStorage(Initiator& initiator, uint32_t command_bytes = command_bytes_default);
  ~MassStorage();
  MassStorage(const MassStorage&) = delete;
  MassStorage& operator=(const MassStorage&) = delete;

  // Each calls `done` exactly once (at once, if the device is gone already); not if this is
  // destroyed first. Failed commands that a repetition may cure are repeated, up to 3 times.
  // Several reads and writes may wait; where one takes several commands, theirs alternate.
  void inquiry(Done<Identity> done);
  void test_unit_ready(Done<void> done);
  void capacity(Done<Capacity> done);
  // Whole blocks from `block` on. The memory must last until `done`. Learns the capacity first when
  // it is not known.
  void read(uint64_t block, std::span<std::byte> into, Done<void> done);
  void write(uint64_t block, std::span<const std::byte> from, Done<void> done);
  void synchronize(Done<void> done);

 private:
  // One SCSI command.
  struct Command {
    std::array<uint8_t, 16> cdb{};
    uint8_t cdb_bytes = 0;
    std::span<std::byte> into{};                   // IN data
    std::span<const std::byte> from{};             // OUT data
    std::function<void(Result<uint32_t>)> done{};  // bytes moved
    uint8_t attempts = 0;
    bool is_sense = false;  // a REQUEST SENSE of ours; the command behind it has failed
    uint32_t length() const { return static_cast<uint32_t>(into.size() + from.size()); }
  };
  // running: the three transfers are in flight; status: the status alone, after a stall.
  enum class Stage : uint8_t { idle, running, clearing, status, recovering };
  struct Slot {  // one of the three transfers
    Transfer* transfer = nullptr;
    bool in_flight = false;
    bool used = false;  // by the present command
  };
  using Next = void (MassStorage::*)();

  // TransferUser
  void transfer_done(Transfer& transfer) override;
  void initiator_stopping() override;

  // mass_storage.cc: commands
  void execute(Command command);
  void read_from(uint64_t block, std::span<std::byte> into, Done<void> done);
  void write_from(uint64_t block, std::span<const std::byte> from, Done<void> done);
  Command access(bool write, uint64_t block, size_t bytes) const;
  size_t piece_bytes(size_t bytes) const;
  void with_capacity(size_t bytes, Done<void> failed, std::function<void()> go);

  // mass_storage_transport.cc: the bulk-only transport
  bool make_transfers();
  void begin_next();
  void submit(Slot& slot, uint32_t length);
  void put_command_wrapper(const Command& command);
  void transfer_back(Slot& slot);
  bool is_status(const Slot& slot) const;
  void all_back();
  void clear_halt_then(uint8_t endpoint, Next next);
  void ask_status();
  void got_status() { evaluate_status(status_); }
  void evaluate_status(const Slot& slot);
  void request_sense();
  void got_sense(std::span<const std::byte> sense);
  void recover(std::string why);
  void clear_out();
  void recovered();
  void finish(Result<uint32_t> outcome);
  void fail_all();
  bool in_flight() const { return wrapper_.in_flight || data_.in_flight || status_.in_flight; }

  Initiator& initiator_;
  const uint32_t command_bytes_;
  uint8_t interface_ = 0;
  uint8_t endpoint_in_ = 0;
  uint8_t endpoint_out_ = 0;
  Capacity capacity_;

  std::deque<Command> queue_;  // the first is under way unless idle
  Stage stage_ = Stage::idle;
  Slot wrapper_, data_, status_;
  uint32_t tag_ = 0;
  std::string recovering_from_;
  bool stopping_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for callbacks that outlive this
};

}  // namespace farport
