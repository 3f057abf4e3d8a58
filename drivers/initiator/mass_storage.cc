#include "drivers/initiator/mass_storage.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

namespace farport {

namespace {

uint64_t get_be(std::span<const std::byte> bytes) {
  uint64_t value = 0;
  for (const std::byte b : bytes) value = value << 8 | static_cast<uint8_t>(b);
  return value;
}

void put_be(std::span<uint8_t> bytes, uint64_t value) {
  for (size_t i = bytes.size(); i-- > 0; value >>= 8) bytes[i] = static_cast<uint8_t>(value);
}

std::string text_field(std::span<const std::byte> bytes) {
  std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

constexpr size_t kInquiryBytes = 36;
constexpr size_t kCapacity10Bytes = 8;
constexpr size_t kCapacity16Bytes = 32;

}  // namespace

MassStorage::MassStorage(Initiator& initiator, uint32_t command_bytes)
    : initiator_(initiator), command_bytes_(command_bytes) {
  initiator_.add(*this);
  const UsbInterfaceInfo* interface = initiator.layout().find_class(0x08, 0x06, 0x50);
  if (interface == nullptr) return;
  const UsbEndpointInfo* in = interface->find(TransferType::bulk, true);
  const UsbEndpointInfo* out = interface->find(TransferType::bulk, false);
  if (in == nullptr || out == nullptr) return;
  interface_ = interface->number;
  endpoint_in_ = in->address;
  endpoint_out_ = out->address;
}

MassStorage::~MassStorage() {
  *alive_ = false;
  for (Slot* slot : {&wrapper_, &data_, &status_}) {
    if (slot->transfer == nullptr) continue;
    if (slot->in_flight) {
      initiator_.abandon(*slot->transfer);
    } else {
      initiator_.release(*slot->transfer);
    }
  }
  initiator_.remove(*this);
}

// SPC-4, 6.4.2.
void MassStorage::inquiry(Done<Identity> done) {
  auto data = std::make_shared<std::array<std::byte, kInquiryBytes>>();
  execute({.cdb = {0x12, 0, 0, 0, kInquiryBytes},
           .cdb_bytes = 6,
           .into = *data,
           .done = [data, done = std::move(done)](Result<uint32_t> moved) {
             if (!moved) return done(std::unexpected(moved.error()));
             if (*moved < kInquiryBytes) return done(fail("INQUIRY: too short an answer"));
             const auto bytes = std::span<const std::byte>(*data);
             done(Identity{.vendor = text_field(bytes.subspan(8, 8)),
                           .product = text_field(bytes.subspan(16, 16)),
                           .revision = text_field(bytes.subspan(32, 4))});
           }});
}

void MassStorage::test_unit_ready(Done<void> done) {
  execute({.cdb_bytes = 6, .done = [done = std::move(done)](Result<uint32_t> moved) {
             if (!moved) return done(std::unexpected(moved.error()));
             done({});
           }});
}

// SBC-3, 5.15 and, when that says the disk is too large for it, 5.16.
void MassStorage::capacity(Done<Capacity> done) {
  auto data = std::make_shared<std::array<std::byte, kCapacity16Bytes>>();
  const auto learn = [this, done](std::span<const std::byte> last,
                                  std::span<const std::byte> size) {
    capacity_ = {.blocks = get_be(last) + 1, .block_bytes = static_cast<uint32_t>(get_be(size))};
    if (capacity_.block_bytes == 0 || capacity_.block_bytes > command_bytes_) {
      capacity_ = {};
      return done(fail("READ CAPACITY: an impossible block size"));
    }
    done(capacity_);
  };
  execute({.cdb = {0x25},
           .cdb_bytes = 10,
           .into = std::span(*data).first(kCapacity10Bytes),
           .done = [this, data, done, learn](Result<uint32_t> moved) {
             if (!moved) return done(std::unexpected(moved.error()));
             if (*moved < kCapacity10Bytes) return done(fail("READ CAPACITY: too short an answer"));
             const auto bytes = std::span<const std::byte>(*data);
             if (get_be(bytes.first(4)) != 0xffffffff) {
               return learn(bytes.first(4), bytes.subspan(4, 4));
             }
             execute({.cdb = {0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, kCapacity16Bytes},
                      .cdb_bytes = 16,
                      .into = *data,
                      .done = [data, done, learn](Result<uint32_t> more) {
                        if (!more) return done(std::unexpected(more.error()));
                        if (*more < 12) return done(fail("READ CAPACITY: too short an answer"));
                        const auto all = std::span<const std::byte>(*data);
                        learn(all.first(8), all.subspan(8, 4));
                      }});
           }});
}

void MassStorage::synchronize(Done<void> done) {
  execute(
      {.cdb = {0x35}, .cdb_bytes = 10, .done = [done = std::move(done)](Result<uint32_t> moved) {
         if (!moved) return done(std::unexpected(moved.error()));
         done({});
       }});
}

void MassStorage::read(uint64_t block, std::span<std::byte> into, Done<void> done) {
  with_capacity(into.size(), done, [this, block, into, done] { read_from(block, into, done); });
}

void MassStorage::write(uint64_t block, std::span<const std::byte> from, Done<void> done) {
  with_capacity(from.size(), done, [this, block, from, done] { write_from(block, from, done); });
}

// `go` when the block size is known, and divides `bytes`.
void MassStorage::with_capacity(size_t bytes, Done<void> failed, std::function<void()> go) {
  const auto check = [this, bytes, failed, go] {
    if (bytes % capacity_.block_bytes != 0) {
      return failed(fail(ErrorCode::usage, fmt::format("{} bytes are not whole blocks of {} bytes",
                                                       bytes, capacity_.block_bytes)));
    }
    go();
  };
  if (capacity_.block_bytes != 0) return check();
  capacity([failed, check](Result<Capacity> known) {
    if (!known) return failed(std::unexpected(known.error()));
    check();
  });
}

void MassStorage::read_from(uint64_t block, std::span<std::byte> into, Done<void> done) {
  if (into.empty()) return done({});
  Command command = access(false, block, piece_bytes(into.size()));
  command.into = into.first(piece_bytes(into.size()));
  command.done = [this, block, into, done](Result<uint32_t> moved) {
    if (!moved) return done(std::unexpected(moved.error()));
    const uint64_t blocks = *moved / capacity_.block_bytes;
    if (blocks == 0) return done(fail("READ: the disk gave no data"));
    read_from(block + blocks, into.subspan(blocks * capacity_.block_bytes), done);
  };
  execute(std::move(command));
}

void MassStorage::write_from(uint64_t block, std::span<const std::byte> from, Done<void> done) {
  if (from.empty()) return done({});
  Command command = access(true, block, piece_bytes(from.size()));
  command.from = from.first(piece_bytes(from.size()));
  command.done = [this, block, from, done](Result<uint32_t> moved) {
    if (!moved) return done(std::unexpected(moved.error()));
    const uint64_t blocks = *moved / capacity_.block_bytes;
    if (blocks == 0) return done(fail("WRITE: the disk took no data"));
    write_from(block + blocks, from.subspan(blocks * capacity_.block_bytes), done);
  };
  execute(std::move(command));
}

// Whole blocks of what one command may move.
size_t MassStorage::piece_bytes(size_t bytes) const {
  return std::min<size_t>(bytes, command_bytes_ / capacity_.block_bytes * capacity_.block_bytes);
}

// READ or WRITE, of 10 bytes where that reaches, or of 16 (SBC-3, 5.11, 5.13, 5.32, 5.34).
MassStorage::Command MassStorage::access(bool write, uint64_t block, size_t bytes) const {
  const uint64_t count = bytes / capacity_.block_bytes;
  Command command;
  const std::span<uint8_t> cdb(command.cdb);
  if (block + count <= 0xffffffff && count <= 0xffff) {
    command.cdb_bytes = 10;
    cdb[0] = write ? 0x2a : 0x28;
    put_be(cdb.subspan(2, 4), block);
    put_be(cdb.subspan(7, 2), count);
  } else {
    command.cdb_bytes = 16;
    cdb[0] = write ? 0x8a : 0x88;
    put_be(cdb.subspan(2, 8), block);
    put_be(cdb.subspan(10, 4), count);
  }
  return command;
}

void MassStorage::execute(Command command) {
  assert(command.length() <= command_bytes_);
  queue_.push_back(std::move(command));
  begin_next();
}

}  // namespace farport
