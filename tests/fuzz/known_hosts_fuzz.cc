// A known_hosts file, as someone's editor left it.
#include "control/trust/known_hosts.cc"
#include "tests/fuzz/fuzz.h"

namespace farport::fuzz {
std::vector<std::string> examples() {
  const std::string key = "SHA256:" + std::string(42, 'a') + "A";
  const std::string other = "SHA256:" + std::string(42, 'b') + "A";
  return {
      "# ours\n\nwest " + key + " in the cellar\n",
      "west " + key + "\r\n  west\t" + other + "\r\n",
      "west " + key + "\nwest " + key + "\n",
      "west " + key + "\neast " + key + "\n",
      "west SHA256:short\n",
      "# ours\r\r\r\n",
  };
}
}  // namespace farport::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace farport;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto known = KnownHosts::parse(text, "known_hosts");
  if (!known) {
    fuzz_check(known.error().message.starts_with("known_hosts:"));
    // A person reads it, on a terminal.
    for (const unsigned char c : known.error().message) fuzz_check(c >= 0x20);
    return 0;
  }
  const auto again = KnownHosts::parse(known->text(), "known_hosts");
  fuzz_check(again.has_value());
  fuzz_check(again->text() == known->text());
  fuzz_check(again->keys().size() == known->keys().size());
  for (const PinnedKey& key : known->keys())
    fuzz_check(known->name_of(key.fingerprint) == key.name);
  return 0;
}
