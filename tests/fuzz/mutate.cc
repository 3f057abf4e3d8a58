// Runs a fuzzer without libFuzzer: mutations of its examples, the same ones for the same seed.
//
//   fuzz_NAME [--seed N] [--runs N] [--only RUN] [FILE...]   FILE: inputs to replay instead
//
// On a failure it prints the seed, the run and the input; `--seed S --only R` repeats that run.

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>

#include "tests/fuzz/fuzz.h"

extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace farport::fuzz {
namespace {

constexpr size_t kInputBytesMax = 64 * 1024;
constexpr unsigned kHangSeconds = 20;

uint64_t seed = 1;
uint64_t run = 0;
std::string input;

void tell_input() {
  std::fprintf(stderr, "fuzz: seed %llu run %llu, input of %zu bytes:",
               static_cast<unsigned long long>(seed), static_cast<unsigned long long>(run),
               input.size());
  for (size_t i = 0; i < std::min<size_t>(input.size(), 512); ++i) {
    std::fprintf(stderr, " %02x", static_cast<uint8_t>(input[i]));
  }
  std::fputc('\n', stderr);
}

void on_signal(int signal) {
  std::signal(signal, SIG_DFL);
  tell_input();
  std::raise(signal);
}

// Numbers at which arithmetic turns over, in every width.
std::string interesting(std::mt19937_64& random) {
  static constexpr uint64_t values[] = {0,      1,          2,          0x7f,       0x80,    0xff,
                                        0x7fff, 0x8000,     0xffff,     0x7fffffff, 1024,    4096,
                                        65536,  0x80000000, 0xffffffff, 0xfffffffe, 1u << 24};
  const uint64_t value = values[random() % std::size(values)];
  std::string bytes(size_t{1} << random() % 4, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(value >> 8 * i);
  if (random() % 2 != 0) std::reverse(bytes.begin(), bytes.end());
  return bytes;
}

void mutate(std::string& text, const std::vector<std::string>& seeds, std::mt19937_64& random) {
  const auto place = [&] { return text.empty() ? 0 : random() % text.size(); };
  const size_t at = place();
  switch (random() % 9) {
    case 0:
      if (!text.empty()) text[at] = static_cast<char>(text[at] ^ 1 << random() % 8);
      break;
    case 1:
      if (!text.empty()) text[at] = static_cast<char>(random());
      break;
    case 2:
      text.insert(at, 1 + random() % 8, static_cast<char>(random()));
      break;
    case 3:
      text.erase(at, 1 + random() % 16);
      break;
    case 4:
      text.resize(at);
      break;
    case 5:
      text.insert(at, text.substr(place(), random() % 64));
      break;
    case 6: {
      const std::string number = interesting(random);
      text.replace(at, std::min(number.size(), text.size() - at), number);
      break;
    }
    case 7: {
      const std::string& other = seeds[random() % seeds.size()];
      if (!other.empty()) text.insert(at, other.substr(random() % other.size(), random() % 256));
      break;
    }
    case 8:
      text += seeds[random() % seeds.size()];
      break;
  }
  if (text.size() > kInputBytesMax) text.resize(kInputBytesMax);
}

void one_input() {
  // Memory of exactly this size, so that a read past its end is seen.
  const auto exact = std::make_unique<uint8_t[]>(input.size());
  std::memcpy(exact.get(), input.data(), input.size());
  alarm(kHangSeconds);
  LLVMFuzzerTestOneInput(exact.get(), input.size());
}

void run_mutations(uint64_t first, uint64_t last) {
  std::vector<std::string> seeds = examples();
  seeds.emplace_back();
  for (run = first; run < last; ++run) {
    std::seed_seq mix{seed, run};
    std::mt19937_64 random(mix);
    input = seeds[run % seeds.size()];
    // The first round is the examples as they are.
    // Mostly one change: more of them seldom leave anything valid.
    const size_t changes = random() % 3 != 0 ? 1 : 2 + random() % 5;
    for (size_t n = run < seeds.size() ? 0 : changes; n > 0; --n) {
      mutate(input, seeds, random);
    }
    one_input();
  }
}

int main(int count, char** arguments) {
  uint64_t first = 0;
  uint64_t last = 50'000;
  std::vector<std::string> files;
  for (int i = 1; i < count; ++i) {
    const std::string word = arguments[i];
    const uint64_t number = i + 1 < count ? std::strtoull(arguments[i + 1], nullptr, 10) : 0;
    if (word == "--seed") {
      seed = number;
    } else if (word == "--runs") {
      last = number;
    } else if (word == "--only") {
      first = number;
      last = number + 1;
    } else {
      files.push_back(word);
      continue;
    }
    ++i;
  }
  for (const int signal : {SIGABRT, SIGALRM}) std::signal(signal, on_signal);
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(tell_input);

  for (const std::string& path : files) {
    std::ifstream file(path, std::ios::binary);
    input.assign(std::istreambuf_iterator<char>(file), {});
    one_input();
  }
  if (files.empty()) {
    std::printf("seed %llu, runs %llu to %llu\n", static_cast<unsigned long long>(seed),
                static_cast<unsigned long long>(first), static_cast<unsigned long long>(last));
    std::fflush(stdout);
    run_mutations(first, last);
  }
  return 0;
}

}  // namespace
}  // namespace farport::fuzz

int main(int count, char** arguments) { return farport::fuzz::main(count, arguments); }
