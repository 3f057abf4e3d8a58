// What a fuzzer is: one function that feeds untrusted bytes to the real source, and a few valid
// inputs to begin from. The same file serves libFuzzer (meson option `fuzz`) and mutate.cc, which
// every `./dev test` runs for a moment.
//
// Whatever is given, the code under test answers with a result or an error. A fuzzer fails by a
// sanitizer's report, an assertion, an exception or a hang; and it checks (fuzz_check) what must
// hold of an accepted input, such as that encoding it again gives the same bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace farport::fuzz {

std::vector<std::string> examples();

template <class T>
std::string bytes_of(const T& value) {
  const auto bytes = std::as_bytes(std::span(value));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: does not hold: %s\n", what);
  std::abort();
}
#define fuzz_check(condition) ::farport::fuzz::check((condition), #condition)

// The input as the code under test wants it, taken from its beginning: 0 once there is no more.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(data, size) {}
  uint8_t byte() {
    if (rest_.empty()) return 0;
    const uint8_t value = rest_[0];
    rest_ = rest_.subspan(1);
    return value;
  }
  std::span<const uint8_t> take(size_t bytes) {
    const auto taken = rest_.first(bytes < rest_.size() ? bytes : rest_.size());
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  std::span<const uint8_t> rest() const { return rest_; }
  bool empty() const { return rest_.empty(); }

 private:
  std::span<const uint8_t> rest_;
};

}  // namespace farport::fuzz
