// A decoder with a mistake of the usual kind: it believes a length. A harness that does not find it
// finds nothing; canary.py sees to that.

#include "tests/fuzz/fuzz.h"

namespace {
// Volatile, so that no compiler may skip the read.
uint8_t last_byte(const uint8_t* message, size_t size) {
  if (size < 4 || message[0] != 'F') return 0;
  return static_cast<const volatile uint8_t*>(message)[3 + message[2]];
}
}  // namespace

namespace farport::fuzz {
std::vector<std::string> examples() { return {std::string("F\0\1abc", 6)}; }
}  // namespace farport::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return last_byte(data, size) == 0 ? 0 : 0;
}
