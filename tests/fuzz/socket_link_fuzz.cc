// What comes on a link's socket: heads, bodies, data, compressed and not, cut anywhere. Whatever
// comes, memory is written only where place() said, a frame is delivered as it was announced, and
// the link ends in order.

#include <sys/socket.h>

#include "dataplane/compression.cc"
#include "dataplane/socket_link.h"
#include "tests/fuzz/fuzz.h"

using namespace farport;

namespace {
struct Events final : LinkEvents {
  Result<std::span<std::byte>> place(const wire::FrameHeader& header,
                                     std::span<const std::byte> body) override {
    fuzz_check(!lost && !placed);
    fuzz_check(wire::header_fault(header, limits::frame_data_bytes_max) == nullptr);
    fuzz_check((header.flags & wire::frame_flags::compressed) == 0);
    fuzz_check(body.size() == header.body_bytes);
    placed = true;
    memory = std::make_unique<std::byte[]>(header.data_bytes());  // exactly: ASan guards its ends
    return std::span(memory.get(), header.data_bytes());
  }
  Result<void> deliver(const wire::FrameHeader& header, std::span<const std::byte>,
                       std::span<std::byte> data) override {
    fuzz_check(placed && data.data() == memory.get() && data.size() == header.data_bytes());
    placed = false;
    for (const std::byte byte : data) sum = sum * 31 + static_cast<unsigned>(byte);
    return {};
  }
  void link_ready() override {}
  void link_lost(Error) override { lost = true; }
  void link_broken(Error) override { lost = true; }
  void link_closed() override { closed = true; }
  std::unique_ptr<std::byte[]> memory;
  bool placed = false;
  bool lost = false;
  bool closed = false;
  volatile unsigned sum = 0;
};

std::string frame(std::string_view data, uint16_t flags) {
  const wire::DataBody body{};
  const wire::FrameHeader header{.bytes = static_cast<uint32_t>(sizeof body + data.size()),
                                 .type = static_cast<uint8_t>(wire::FrameType::data),
                                 .body_bytes = sizeof body,
                                 .flags = flags,
                                 .number = 1,
                                 .acknowledged = 0,
                                 .channel = 1,
                                 .transfer = 1};
  return fuzz::bytes_of(std::span(&header, 1)) + fuzz::bytes_of(std::span(&body, 1)) +
         std::string(data);
}
}  // namespace

namespace farport::fuzz {
std::vector<std::string> examples() {
  const std::vector<std::byte> data(3000, std::byte{7});
  std::vector<std::byte> packed(4000);
  packed.resize(Packer().pack(data, packed));
  const std::string block(reinterpret_cast<const char*>(packed.data()), packed.size());
  const std::string compressed = frame(block, wire::frame_flags::compressed);
  return {"\1" + compressed, "\1" + frame("plain", 0) + compressed + frame("", 0),
          "\2" + compressed};
}
}  // namespace farport::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr uint64_t kTimeLimitNs = 10'000'000'000;
  static const auto worker = Worker::create({});
  fuzz::Input input(data, size);
  LinkOptions options;
  options.compress = (input.byte() & 1) != 0;
  int pair[2];
  fuzz_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  FileDescriptor peer(pair[1]);
  const auto bytes = input.rest().first(std::min<size_t>(input.rest().size(), 100'000));
  fuzz_check(::send(peer.get(), bytes.data(), bytes.size(), MSG_DONTWAIT) == ssize_t(bytes.size()));
  peer.reset();
  Events events;
  SocketLink link(**worker, FileDescriptor(pair[0]), "fuzzer", std::move(options));
  link.start(events);
  fuzz_check((*worker)->run_until([&] { return events.lost; }, kTimeLimitNs));
  link.close();
  fuzz_check((*worker)->run_until([&] { return events.closed; }, kTimeLimitNs));
  return 0;
}
