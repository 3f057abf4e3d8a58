// Reads and writes a disk in a lab guest, checks every byte, and knows how long each took.
//
//   blocks fill  PATH FIRST COUNT SIZE GENERATION   writes the blocks, once
//   blocks check PATH FIRST COUNT SIZE GENERATION   reads and checks them, once
//   blocks read  PATH FIRST COUNT SIZE GENERATION   the same over and over, until SIGTERM
//   blocks write PATH FIRST COUNT SIZE GENERATION   passes until SIGTERM: writes all blocks, reads
//                                                   them back; each pass in the next generation
//   blocks rate  PATH read|write|random SIZE MILLISECONDS SEED
//                                                   how much goes through; nothing is checked
//
// A block's content follows from its number and its generation, so that a block in the wrong place,
// an old one and half a one all show. Past the cache (O_DIRECT) on block devices. An error is
// counted and the block tried again, up to a limit. At the end one line of JSON; the exit status is
// 0 whatever was found, because the host judges.
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

constexpr std::uint64_t kErrorsMax = 20;  // a disk that is gone gives no more than this
constexpr std::size_t kAlignment = 4096;  // of O_DIRECT's memory

volatile sig_atomic_t stopped = 0;

// CLOCK_MONOTONIC, as the kernel's log.
double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::uint64_t mix(std::uint64_t x) {  // splitmix64's finalizer
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

struct Found {
  std::uint64_t transfers = 0;
  std::uint64_t bytes = 0;
  std::uint64_t errors = 0;
  std::uint64_t wrong_bytes = 0;
  int last_errno = 0;
  double longest_s = 0;  // of one transfer
  double longest_at_s = 0;
};

class Disk {
 public:
  Disk(const char* path, std::size_t size) : size_(size) {
    struct stat what{};
    const bool device = stat(path, &what) == 0 && S_ISBLK(what.st_mode);
    file_ = open(path, O_RDWR | O_CLOEXEC | (device ? O_DIRECT : 0));
    if (file_ < 0) {
      std::perror(path);
      std::exit(1);
    }
    bytes_ = static_cast<std::uint64_t>(what.st_size);
    if (device) ioctl(file_, BLKGETSIZE64, &bytes_);
    memory_ = static_cast<char*>(std::aligned_alloc(kAlignment, 2 * size_));
  }

  std::uint64_t blocks() const { return bytes_ / size_; }
  bool gave_up() const { return found.errors >= kErrorsMax; }

  // False: it failed, and was counted.
  bool read_block(std::uint64_t block) {
    return timed([&] { return pread(file_, memory_, size_, offset(block)); });
  }
  bool write_block(std::uint64_t block, std::uint64_t generation) {
    fill(memory_, block, generation);
    return timed([&] { return pwrite(file_, memory_, size_, offset(block)); });
  }
  void compare(std::uint64_t block, std::uint64_t generation) {
    char* const right = memory_ + size_;
    fill(right, block, generation);
    if (std::memcmp(memory_, right, size_) == 0) return;
    std::uint64_t wrong = 0;
    for (std::size_t i = 0; i < size_; ++i) wrong += memory_[i] != right[i];
    found.wrong_bytes += wrong;
    std::fprintf(stderr, "block %llu of generation %llu: %llu wrong bytes at %.3f s\n",
                 static_cast<unsigned long long>(block),
                 static_cast<unsigned long long>(generation),
                 static_cast<unsigned long long>(wrong), now_s());
  }
  void flush() {
    if (fsync(file_) != 0) count_error();
  }

  Found found;

 private:
  off_t offset(std::uint64_t block) const { return static_cast<off_t>(block * size_); }

  void fill(char* to, std::uint64_t block, std::uint64_t generation) const {
    std::uint64_t state = mix(mix(block + 1) + generation);
    for (std::size_t i = 0; i < size_; i += sizeof state) {
      const std::uint64_t word = mix(state += 0x9e3779b97f4a7c15);
      std::memcpy(to + i, &word, sizeof word);
    }
  }

  template <class Transfer>
  bool timed(Transfer transfer) {
    const double start = now_s();
    errno = 0;
    const ssize_t n = transfer();
    const double took = now_s() - start;
    if (took > found.longest_s) found.longest_s = took, found.longest_at_s = start;
    if (n != static_cast<ssize_t>(size_)) {
      count_error();
      return false;
    }
    ++found.transfers;
    found.bytes += size_;
    return true;
  }

  void count_error() {
    ++found.errors;
    found.last_errno = errno;
    std::fprintf(stderr, "error at %.3f s: %s\n", now_s(), std::strerror(errno));
  }

  std::size_t size_;
  int file_ = -1;
  std::uint64_t bytes_ = 0;
  char* memory_ = nullptr;
};

void report(const Disk& disk, std::uint64_t generation, double seconds) {
  const Found& found = disk.found;
  std::printf(
      "{\"transfers\": %llu, \"bytes\": %llu, \"errors\": %llu, \"error\": \"%s\", "
      "\"wrong_bytes\": %llu, \"longest_s\": %.3f, \"longest_at_s\": %.3f, "
      "\"generation\": %llu, \"seconds\": %.6f}\n",
      static_cast<unsigned long long>(found.transfers),
      static_cast<unsigned long long>(found.bytes), static_cast<unsigned long long>(found.errors),
      found.errors ? std::strerror(found.last_errno) : "",
      static_cast<unsigned long long>(found.wrong_bytes), found.longest_s, found.longest_at_s,
      static_cast<unsigned long long>(generation), seconds);
}

struct Run {
  std::uint64_t first, count, generation;
};

void write_all(Disk& disk, const Run& run) {
  for (std::uint64_t i = 0; i < run.count && !disk.gave_up();)
    i += disk.write_block(run.first + i, run.generation);
  disk.flush();
}

// `may_stop`: between two blocks.
void check_all(Disk& disk, const Run& run, bool may_stop) {
  for (std::uint64_t i = 0; i < run.count && !disk.gave_up() && !(may_stop && stopped);) {
    if (!disk.read_block(run.first + i)) continue;
    disk.compare(run.first + i, run.generation);
    ++i;
  }
}

// A pass is finished when SIGTERM comes, so that the disk then holds one generation.
void write_on(Disk& disk, Run& run) {
  while (!stopped && !disk.gave_up()) {
    ++run.generation;
    write_all(disk, run);
    check_all(disk, run, false);
  }
}

void measure(Disk& disk, const std::string& how, double limit_s, std::uint64_t seed) {
  const std::uint64_t blocks = disk.blocks();
  const double end = now_s() + limit_s;
  for (std::uint64_t i = 0; now_s() < end && !disk.gave_up(); ++i) {
    const std::uint64_t block = how == "random" ? mix(seed + i) % blocks : i % blocks;
    how == "write" ? disk.write_block(block, seed) : disk.read_block(block);
  }
  if (how == "write") disk.flush();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  const std::string mode = argv[1], how = argv[3];
  const auto number = [&](int index) { return std::strtoull(argv[index], nullptr, 10); };
  signal(SIGTERM, [](int) { stopped = 1; });
  const double start = now_s();
  if (mode == "rate") {
    Disk disk(argv[2], number(4));
    measure(disk, how, static_cast<double>(number(5)) / 1000, number(6));
    report(disk, 0, now_s() - start);
    return 0;
  }
  Run run{number(3), number(4), number(6)};
  Disk disk(argv[2], number(5));
  if (mode == "fill") {
    write_all(disk, run);
  } else if (mode == "check") {
    check_all(disk, run, false);
  } else if (mode == "read") {
    while (!stopped && !disk.gave_up()) check_all(disk, run, true);
  } else if (mode == "write") {
    write_on(disk, run);
  } else {
    return 2;
  }
  report(disk, run.generation, now_s() - start);
  return 0;
}
