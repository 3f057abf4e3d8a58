// What comes on a TLS connection after its handshake: records that a peer with the keys has made,
// of any type, content and padding, key updates, and bytes that are none of it. Whatever comes,
// memory is written only where it was asked to be, and only data that was sealed as data is given.

#include "dataplane/tls_records.cc"

#include <sys/socket.h>

#include "dataplane/file_descriptor.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/dataplane/record_forger.h"

using namespace farport;

namespace {
TlsTraffic traffic(Aead::Kind cipher, bool connecting) {
  TlsTraffic made;
  made.cipher = cipher;
  made.connecting = connecting;
  made.opening = TlsSecret(std::vector<std::byte>(32, std::byte{1}));
  made.sealing = TlsSecret(std::vector<std::byte>(32, std::byte{2}));
  return made;
}

// Opens what is there; false once it has ended. `first_bytes`: memory of exactly that: ASan guards
// its ends.
bool open_some(TlsRecords& records, size_t first_bytes, std::string& got) {
  records.begin_round();
  for (;;) {
    const auto first = std::make_unique<std::byte[]>(first_bytes);
    const auto rest = std::make_unique<std::byte[]>(TlsRecords::record_bytes_max + 1);
    const auto opened =
        records.open({first.get(), first_bytes}, {rest.get(), TlsRecords::record_bytes_max + 1});
    if (!opened) {
      fuzz_check(!opened.error().message.empty());
      return false;
    }
    if (*opened == 0) return true;
    fuzz_check(*opened <= TlsRecords::record_bytes_max);
    const size_t direct = std::min(first_bytes, *opened);
    got.append(reinterpret_cast<const char*>(first.get()), direct);
    got.append(reinterpret_cast<const char*>(rest.get()), *opened - direct);
  }
}
}  // namespace

namespace farport::fuzz {
// First byte: cipher and side. Then steps of four bytes: kind, type, padding, length of what
// follows.
std::vector<std::string> examples() {
  return {std::string("\0\1\x17\0\5hello\1\x17\x10\4more\1\x15\0\2\1\0", 24),
          std::string("\1\2\0\0\0\1\x17\0\3abc\2\1\0\0\1\x17\xff\2de", 22),
          std::string("\3\1\x16\0\5\4\0\0\1\0\1\x17\0\1x\1\x16\0\5\x18\0\0\1\1", 24),
          std::string("\2\0\0\0\6\x17\3\3\0\1z", 11)};
}
}  // namespace farport::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kSentMax = 100'000;
  fuzz::Input input(data, size);
  const uint8_t settings = input.byte();
  const auto cipher = (settings & 1) != 0 ? Aead::Kind::chacha20_poly1305 : Aead::Kind::aes_128_gcm;
  const size_t first_bytes = size_t{settings} * 70;
  int pair[2];
  fuzz_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  const FileDescriptor ours(pair[0]);
  FileDescriptor peer(pair[1]);
  TlsRecords records(traffic(cipher, (settings & 2) != 0), ours.get(), "fuzzer");
  RecordForger forger(cipher, traffic(cipher, false).opening);
  std::string sealed_as_data;
  std::string got;
  size_t sent = 0;
  bool open = true;
  while (open && !input.empty() && sent < kSentMax) {
    const uint8_t kind = input.byte();
    const uint8_t type = input.byte();
    const size_t padding = size_t{input.byte()} * 65;
    const auto content = input.take(input.byte());
    std::vector<std::byte> bytes;
    if (kind % 4 == 0) {
      const auto raw = std::as_bytes(std::span(content));
      bytes.assign(raw.begin(), raw.end());
    } else if (kind % 4 == 2) {
      bytes = forger.key_update((type & 1) != 0);
    } else {
      bytes = forger.record(type, std::as_bytes(std::span(content)), padding);
      // The last byte that is not zero is the type: of the content, if what is forged has none.
      std::string inner(reinterpret_cast<const char*>(content.data()), content.size());
      inner += static_cast<char>(type);
      inner.resize(inner.find_last_not_of('\0') + 1);
      if (!inner.empty() && inner.back() == RecordForger::data) {
        sealed_as_data.append(inner, 0, inner.size() - 1);
      }
      if (kind % 4 == 3 && padding != 0) bytes[padding % bytes.size()] ^= std::byte{4};
    }
    fuzz_check(::send(peer.get(), bytes.data(), bytes.size(), MSG_DONTWAIT) ==
               ssize_t(bytes.size()));
    sent += bytes.size();
    if ((kind & 0x80) == 0) open = open_some(records, first_bytes, got);
  }
  peer.reset();
  // Without an end of its own the stream ends in an error, too.
  for (int round = 0; open && round < 100; ++round) open = open_some(records, first_bytes, got);
  fuzz_check(!open);
  fuzz_check(sealed_as_data.starts_with(got));
  return 0;
}
