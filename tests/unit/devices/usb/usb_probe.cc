// Drives a real USB device through UsbProvider and UsbDevice, by hand, where there is USB (a guest
// of tests/lab, a machine on a desk). Not a test by itself: the kernels' and the devices' answers
// are.
//
//   usb_probe list                    all devices, with speed and nominal requirement
//   usb_probe watch SECONDS           a line for every change
//   usb_probe read NAME               whole disk (bulk-only transport) to standard output
//   usb_probe write NAME              standard input to the disk, from block 0
//   usb_probe exercise NAME           what blocks, stalls and cancels, with a disk; "ok" at the end
//   usb_probe hold NAME SECONDS       keeps a disk open until it is unplugged; says how that ended
//   usb_probe isochronous NAME INTERFACE ALTERNATE ENDPOINT BYTES COUNT
//
// Exit status: 0 done, 1 failed, 2 usage; an error on standard error.
#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <semaphore>
#include <string>
#include <vector>

#include "dataplane/limits.h"
#include "dataplane/worker.h"
#include "devices/usb/nominal.h"
#include "devices/usb/usb_provider.h"

namespace farport {
namespace {

constexpr uint64_t second_ns = 1'000'000'000;
constexpr uint64_t limit_ns = 30 * second_ns;
constexpr uint32_t wrapper_bytes = 31;  // CBW, bulk-only transport 1.0, table 5.1
constexpr uint32_t status_bytes = 13;   // CSW, table 5.2
constexpr uint32_t run_blocks = 240;    // 120 KiB of 512-byte blocks

[[noreturn]] void give_up(const std::string& why) {
  fmt::print(stderr, "usb_probe: {}\n", why);
  std::exit(1);
}
void expect(bool holds, const std::string& what) {
  if (!holds) give_up(what);
}

// One device in service, its transfers carried out one or several at a time.
class Probe final : public DeviceEvents {
 public:
  explicit Probe(const std::string& name) : worker_(std::move(Worker::create({}).value())) {
    auto opened = provider_.open(name);
    if (!opened) give_up(opened.error().message);
    device_ = std::move(*opened);
    device_->start(*worker_, *this);
  }
  ~Probe() {
    device_->stop();
    expect(worker_->run_until([this] { return stopped_; }, limit_ns), "the device did not stop");
    transfers_.clear();
    device_.reset();
  }

  Transfer& make(TransferType type, uint8_t endpoint, uint32_t length) {
    auto transfer = std::make_unique<Transfer>();
    transfer->type = type;
    transfer->endpoint = endpoint;
    transfer->length = length;
    transfer->buffer = worker_->buffers().allocate(Transfer::headroom_bytes + length);
    transfers_.push_back(std::move(transfer));
    return *transfers_.back();
  }
  void submit(Transfer& transfer) {
    transfer.driver_cookie = 0;
    device_->submit(transfer);
  }
  void cancel(Transfer& transfer) { device_->cancel(transfer); }
  bool wait(const Transfer& transfer, uint64_t within_ns = limit_ns) {
    return worker_->run_until([&] { return transfer.driver_cookie == 1; }, within_ns);
  }
  TransferStatus control(std::array<uint8_t, 8> setup, std::vector<uint8_t>* data = nullptr) {
    Transfer& transfer = make(TransferType::control, setup[0] & 0x80, setup[6] | setup[7] << 8);
    transfer.setup = setup;
    submit(transfer);
    expect(wait(transfer), "a control transfer did not end");
    if (data) {
      const auto moved = transfer.moved();
      data->resize(moved.size());
      std::memcpy(data->data(), moved.data(), moved.size());
    }
    return transfer.status;
  }
  Transfer& make_isochronous(uint8_t endpoint, uint16_t packets, uint32_t bytes) {
    auto transfer = std::make_unique<Transfer>();
    transfer->type = TransferType::isochronous;
    transfer->endpoint = endpoint;
    transfer->flags = transfer_flags::iso_asap;
    transfer->packet_count = packets;
    transfer->length = packets * bytes;
    transfer->buffer = worker_->buffers().allocate(Transfer::headroom_bytes +
                                                   transfer->table_bytes() + transfer->length);
    for (IsoPacket& packet : transfer->packets()) packet = {bytes, 0, 0, 0};
    transfers_.push_back(std::move(transfer));
    return *transfers_.back();
  }
  bool wait_unplugged(uint64_t within_ns) {
    return worker_->run_until([this] { return unplugged_; }, within_ns);
  }
  void drop_transfers() { transfers_.clear(); }
  bool unplugged() const { return unplugged_; }
  const DeviceInfo& info() const { return device_->info(); }

 private:
  void completed(Transfer& transfer) override { transfer.driver_cookie = 1; }
  void unplugged(std::string_view) override { unplugged_ = true; }
  void device_stopped() override { stopped_ = true; }

  UsbProvider provider_{{.record = "/run/farport/usb"}};
  std::unique_ptr<Worker> worker_;
  std::vector<std::unique_ptr<Transfer>> transfers_;
  std::unique_ptr<Device> device_;
  bool unplugged_ = false;
  bool stopped_ = false;
};

// A SCSI disk by bulk-only transport.
class Disk {
 public:
  explicit Disk(Probe& probe) : probe_(probe) {
    for (const auto& configuration : usb::parse_configurations(probe.info())) {
      for (const auto& interface : configuration.interfaces) {
        if (interface.interface_class != 0x08 || interface.interface_protocol != 0x50) continue;
        for (const auto& endpoint : interface.endpoints) {
          if (endpoint.type != TransferType::bulk) continue;
          (endpoint.in() ? in_ : out_) = endpoint.address;
        }
      }
    }
    expect(in_ != 0 && out_ != 0, "not a bulk-only disk");
  }

  uint8_t in() const { return in_; }
  uint8_t out() const { return out_; }

  // Wrapper, data, status, each after the other, as bulk-only transport 1.0 wants it (5.3). Returns
  // bCSWStatus; `data` is what came (IN) or what is sent (OUT).
  int command(std::initializer_list<uint8_t> block, bool in, uint32_t length, std::byte* data) {
    Transfer& wrapper = probe_.make(TransferType::bulk, out_, wrapper_bytes);
    fill_wrapper(reinterpret_cast<uint8_t*>(wrapper.data().data()), block, in, length);
    carry_out(wrapper, "the wrapper");
    expect(wrapper.status == TransferStatus::ok,
           fmt::format("the wrapper failed: {}", transfer_status_name(wrapper.status)));
    if (length > 0) {
      Transfer& body = probe_.make(TransferType::bulk, in ? in_ : out_, length);
      if (!in) std::memcpy(body.data().data(), data, length);
      carry_out(body, "the data");
      if (body.status == TransferStatus::stall) {
        clear_halt(body.endpoint);
      } else {
        expect(body.status == TransferStatus::ok,
               fmt::format("the data failed: {}", transfer_status_name(body.status)));
      }
      if (in) std::memcpy(data, body.data().data(), body.actual);
    }
    Transfer& status = probe_.make(TransferType::bulk, in_, status_bytes);
    carry_out(status, "the status");
    if (status.status == TransferStatus::stall) {  // once more after a stall: 6.7.2
      clear_halt(in_);
      carry_out(status, "the status");
    }
    expect(status.status == TransferStatus::ok && status.actual == status_bytes,
           fmt::format("the status failed: {}, {} bytes", transfer_status_name(status.status),
                       status.actual));
    return static_cast<int>(status.data()[12]);
  }

  void clear_halt(uint8_t endpoint) {
    ++stalls_;
    expect(probe_.control({0x02, 0x01, 0, 0, endpoint, 0, 0, 0}) == TransferStatus::ok,
           "CLEAR_HALT");
  }

  int stalls() const { return stalls_; }

  uint32_t block_count() {
    for (int attempt = 0; attempt < 5; ++attempt) {  // the first commands report "just reset"
      std::array<std::byte, 8> answer{};
      if (command({0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}, true, 8, answer.data()) == 0) {
        const auto at = [&](size_t i) { return static_cast<uint32_t>(answer[i]); };
        expect(at(6) == 2 && at(7) == 0, "blocks of other than 512 bytes");
        return (at(0) << 24 | at(1) << 16 | at(2) << 8 | at(3)) + 1;
      }
      std::array<std::byte, 18> sense{};
      command({0x03, 0, 0, 0, 18, 0}, true, 18, sense.data());
    }
    give_up("READ CAPACITY failed");
  }
  void run(bool in, uint32_t block, uint32_t count, std::byte* data) {
    const auto byte = [](uint32_t value, int shift) {
      return static_cast<uint8_t>(value >> shift);
    };
    const int status =
        command({static_cast<uint8_t>(in ? 0x28 : 0x2a), 0, byte(block, 24), byte(block, 16),
                 byte(block, 8), byte(block, 0), 0, byte(count, 8), byte(count, 0), 0},
                in, count * 512, data);
    expect(status == 0, fmt::format("block {}: status {}", block, status));
    probe_.drop_transfers();
  }

 private:
  void fill_wrapper(uint8_t* to, std::initializer_list<uint8_t> block, bool in, uint32_t length) {
    std::memset(to, 0, wrapper_bytes);
    std::memcpy(to, "USBC", 4);
    std::memcpy(to + 4, &++tag_, 4);
    std::memcpy(to + 8, &length, 4);
    to[12] = in ? 0x80 : 0;
    to[14] = static_cast<uint8_t>(block.size());
    std::copy(block.begin(), block.end(), to + 15);
  }
  void carry_out(Transfer& transfer, const char* what) {
    probe_.submit(transfer);
    expect(probe_.wait(transfer), fmt::format("{} did not end", what));
  }

  Probe& probe_;
  uint8_t in_ = 0, out_ = 0;
  uint32_t tag_ = 0;
  int stalls_ = 0;
};

void list() {
  const auto infos = UsbProvider().list();
  if (!infos) give_up(infos.error().message);
  for (const DeviceInfo& info : *infos) {
    fmt::print("{} speed={} configurations={} nominal={} \"{}\"\n", info.name,
               static_cast<int>(info.speed), info.configurations.size(), usb::nominal_bytes_s(info),
               info.description);
  }
}

void watch(int seconds) {
  UsbProvider provider;
  std::counting_semaphore<> told(0);
  provider.on_change([&] { told.release(); });
  fmt::print("watching\n");
  std::fflush(stdout);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (told.try_acquire_until(end)) {
    fmt::print("changed: {} devices\n", provider.list()->size());
    std::fflush(stdout);
  }
}

void read_all(const std::string& name) {
  Probe probe(name);
  Disk disk(probe);
  const uint32_t blocks = disk.block_count();
  std::vector<std::byte> data(run_blocks * 512);
  for (uint32_t at = 0; at < blocks; at += run_blocks) {
    const uint32_t count = std::min(run_blocks, blocks - at);
    disk.run(true, at, count, data.data());
    expect(std::fwrite(data.data(), 512, count, stdout) == count, "standard output");
  }
}

void write_all(const std::string& name) {
  Probe probe(name);
  Disk disk(probe);
  disk.block_count();
  std::vector<std::byte> data(run_blocks * 512);
  uint32_t at = 0;
  while (const size_t count = std::fread(data.data(), 512, run_blocks, stdin)) {
    disk.run(false, at, static_cast<uint32_t>(count), data.data());
    at += static_cast<uint32_t>(count);
  }
}

void exercise(const std::string& name) {
  Probe probe(name);
  Disk disk(probe);
  const auto ok = [](TransferStatus status) { return status == TransferStatus::ok; };

  std::vector<uint8_t> descriptor;
  expect(ok(probe.control({0x80, 6, 0, 1, 0, 0, 18, 0}, &descriptor)), "GET_DESCRIPTOR");
  expect(descriptor == probe.info().device_descriptor, "another device descriptor than sysfs's");
  expect(ok(probe.control({0x00, 5, 77, 0, 0, 0, 0, 0})), "SET_ADDRESS");
  expect(ok(probe.control({0x00, 9, 1, 0, 0, 0, 0, 0})), "SET_CONFIGURATION");
  expect(ok(probe.control({0x01, 11, 0, 0, 0, 0, 0, 0})), "SET_INTERFACE");
  expect(probe.control({0x00, 9, 99, 0, 0, 0, 0, 0}) == TransferStatus::stall,
         "a configuration that does not exist");
  expect(probe.control({0x80, 6, 99, 99, 0, 0, 18, 0}) == TransferStatus::stall,
         "a descriptor that does not exist");
  expect(ok(probe.control({0x02, 1, 0, 0, disk.in(), 0, 0, 0})), "CLEAR_HALT of IN");
  expect(ok(probe.control({0x02, 1, 0, 0, disk.out(), 0, 0, 0})), "CLEAR_HALT of OUT");
  const uint32_t blocks = disk.block_count();

  // Past the end of the disk: the device refuses, by a stall or by an early status.
  std::vector<std::byte> data(512);
  const int refused =
      disk.command({0x28, 0, 0xff, 0xff, 0xff, 0xf0, 0, 0, 1, 0}, true, 512, data.data());
  expect(refused == 1, fmt::format("a read past the end: status {}", refused));
  fmt::print("stalls {}\n", disk.stalls());

  std::vector<Transfer*> resting;
  for (int i = 0; i < 8; ++i) {
    resting.push_back(&probe.make(TransferType::bulk, disk.in(), 4096));
    probe.submit(*resting.back());
  }
  // Some disks let a read that follows no command rest, some stall it.
  const bool rests = !probe.wait(*resting[0], second_ns / 2);
  for (Transfer* transfer : resting) {
    if (transfer->driver_cookie == 0) probe.cancel(*transfer);
  }
  for (Transfer* transfer : resting) {
    expect(probe.wait(*transfer), "a cancelled read did not end");
    expect(transfer->status == (rests ? TransferStatus::cancelled : TransferStatus::stall) ||
               transfer->status == TransferStatus::cancelled,
           fmt::format("a read without a command ended as {}",
                       transfer_status_name(transfer->status)));
  }
  fmt::print("reads rest: {}\n", rests);
  if (!rests) disk.clear_halt(disk.in());

  // All memory of usbfs is 16 MB by default, bookkeeping included.
  Transfer& huge = probe.make(TransferType::bulk, disk.in(), limits::transfer_bytes_max);
  probe.submit(huge);
  const bool fits = !probe.wait(huge, second_ns / 2);
  if (fits) probe.cancel(huge);
  expect(probe.wait(huge), "a transfer of 16 MiB did not end");
  expect(fits || !rests || huge.status == TransferStatus::no_memory,
         fmt::format("a transfer of 16 MiB ended as {}", transfer_status_name(huge.status)));
  fmt::print("16 MiB at once: {}\n", fits ? "taken" : transfer_status_name(huge.status));

  Transfer& under_reset = probe.make(TransferType::bulk, disk.in(), 4096);
  probe.submit(under_reset);
  expect(ok(probe.control({0x23, 3, 4, 0, 1, 0, 0, 0})), "port reset");
  expect(probe.wait(under_reset), "what was in flight at a reset did not end");
  expect(under_reset.status == (rests ? TransferStatus::cancelled : TransferStatus::stall) ||
             under_reset.status == TransferStatus::cancelled,
         "what was in flight at a reset");
  expect(!probe.unplugged(), "a reset was taken for an unplug");
  expect(disk.block_count() == blocks, "another size after the reset");
  fmt::print("ok\n");
}

void hold(const std::string& name, int seconds) {
  Probe probe(name);
  Disk disk(probe);
  Transfer& resting = probe.make(TransferType::bulk, disk.in(), 4096);
  probe.submit(resting);
  fmt::print("holding\n");
  std::fflush(stdout);
  const bool gone = probe.wait_unplugged(static_cast<uint64_t>(seconds) * second_ns);
  Transfer& after = probe.make(TransferType::bulk, disk.in(), 4096);
  if (gone) {
    probe.submit(after);
    probe.wait(after);
  }
  fmt::print("read: {}, after: {}, unplugged: {}\n",
             resting.driver_cookie == 0 ? "resting" : transfer_status_name(resting.status),
             gone ? transfer_status_name(after.status) : "-", gone);
  std::fflush(stdout);
}

// Sends `count` isochronous transfers of 8 packets of `bytes`, four in flight; says what came of
// them.
void isochronous(const std::string& name, uint8_t interface, uint8_t alternate, uint8_t endpoint,
                 uint32_t bytes, int count) {
  Probe probe(name);
  expect(probe.control({0x01, 11, alternate, 0, interface, 0, 0, 0}) == TransferStatus::ok,
         "SET_INTERFACE");
  std::array<Transfer*, 4> ring;
  for (Transfer*& transfer : ring) transfer = &probe.make_isochronous(endpoint, 8, bytes);
  for (Transfer* transfer : ring) probe.submit(*transfer);
  uint64_t moved = 0, errors = 0;
  for (int i = 0; i < count; ++i) {
    Transfer& transfer = *ring[i % ring.size()];
    expect(probe.wait(transfer), "an isochronous transfer did not end");
    expect(
        transfer.status == TransferStatus::ok,
        fmt::format("an isochronous transfer ended as {}", transfer_status_name(transfer.status)));
    moved += transfer.actual;
    errors += transfer.error_count;
    probe.submit(transfer);
  }
  for (Transfer* transfer : ring) probe.cancel(*transfer);
  for (Transfer* transfer : ring) expect(probe.wait(*transfer), "a cancelled transfer did not end");
  fmt::print("{} bytes, {} packet errors\n", moved, errors);
}

}  // namespace
}  // namespace farport

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments + 1, arguments + count);
  const auto is = [&](const char* verb, size_t size) {
    return words.size() == size && words[0] == verb;
  };
  if (is("list", 1)) {
    farport::list();
  } else if (is("watch", 2)) {
    farport::watch(std::atoi(words[1].c_str()));
  } else if (is("read", 2)) {
    farport::read_all(words[1]);
  } else if (is("write", 2)) {
    farport::write_all(words[1]);
  } else if (is("exercise", 2)) {
    farport::exercise(words[1]);
  } else if (is("hold", 3)) {
    farport::hold(words[1], std::atoi(words[2].c_str()));
  } else if (is("isochronous", 7)) {
    const auto byte = [&](size_t i) {
      return static_cast<uint8_t>(std::stoul(words[i], nullptr, 0));
    };
    farport::isochronous(words[1], byte(2), byte(3), byte(4),
                         static_cast<uint32_t>(std::stoul(words[5])), std::stoi(words[6]));
  } else {
    fmt::print(
        stderr,
        "usage: usb_probe list | watch SECONDS | read NAME | write NAME | exercise NAME |\n"
        "       hold NAME SECONDS | isochronous NAME INTERFACE ALTERNATE ENDPOINT BYTES COUNT\n");
    return 2;
  }
  return 0;
}
