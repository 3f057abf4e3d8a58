// The seam to who is who: which hosts there are, and which VMs run where. `file` answers from the
// configuration (file_directory.h); etcd will from its keys. The fake is a FileDirectory that a
// test fills.
//
// Thread rule: the control thread. Nothing here blocks: a directory keeps what it knows.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "control/policy/words.h"

namespace farport {

struct DirectoryHost {
  std::string name;
  std::vector<std::string> addresses;  // "192.0.2.7:7411", in order of preference
  bool operator==(const DirectoryHost&) const = default;
};

struct DirectoryVm {
  std::string name;
  std::string host;                            // where it runs; empty: unknown
  std::optional<uint64_t> allocation_bytes_s;  // granted to it; none: unknown
  std::optional<Percent> threshold;            // its own, instead of the policy's
  std::optional<uint64_t> memory_bytes;
  std::optional<uint32_t> cpu_milli;  // thousandths of a CPU
  std::optional<uint64_t> dirty_bytes_s;
  bool operator==(const DirectoryVm&) const = default;
};

class Directory {
 public:
  virtual ~Directory() = default;

  // "file", "etcd": for messages.
  virtual std::string name() const = 0;
  // The other hosts, this one not among them.
  virtual std::vector<DirectoryHost> hosts() const = 0;
  virtual std::vector<DirectoryVm> vms() const = 0;
  // Called after hosts() or vms() have changed; one callback.
  virtual void on_change(std::function<void()> changed) = 0;
};

}  // namespace farport
