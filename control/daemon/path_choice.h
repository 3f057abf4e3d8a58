// Which of a peer's addresses a session uses: in order of preference, to the next one when one is
// lost, back when a better one has been well for a while; and the longer, the more often it has
// disappointed, so that a network that comes and goes moves nothing.
//
// Pure: times come from the caller, in nanoseconds of one monotonic clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace farport {

struct PathSettings {
  uint64_t return_after_ns = 10'000'000'000;  // a better path must be well for so long
  uint64_t return_after_max_ns = 600'000'000'000;
  uint64_t forget_after_ns = 300'000'000'000;  // on a path without a loss: its past is forgotten
};

class PathChoice {
 public:
  explicit PathChoice(size_t paths = 0, PathSettings settings = {});

  // All paths, in the order to try them. After a loss the lost one comes last.
  std::vector<size_t> order() const;
  void connected(size_t path, uint64_t now_ns);
  // The path in use is lost.
  void lost(uint64_t now_ns);
  // The other host has made the connection that is in use now.
  void given_up() { in_use_.reset(); }
  // One answer to the question whether a path works.
  void probed(size_t path, bool well, uint64_t now_ns);
  // Paths to ask about: those better than the one in use.
  std::vector<size_t> better() const;
  // The path to go back to now.
  std::optional<size_t> go_back(uint64_t now_ns) const;
  std::optional<size_t> in_use() const { return in_use_; }
  // For people: since when the path has been well, by probes.
  bool well(size_t path) const { return paths_[path].well_since_ns.has_value(); }

 private:
  struct Path {
    std::optional<uint64_t> well_since_ns;
    uint64_t hold_ns = 0;  // how long it must be well before it is gone back to
  };
  PathSettings settings_;
  std::vector<Path> paths_;
  std::optional<size_t> in_use_;
  std::optional<size_t> lost_;  // since then nothing has connected
  uint64_t connected_ns_ = 0;
};

}  // namespace farport
