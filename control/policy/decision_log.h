// Keeps decisions: the last ones in memory, all of them in a file of JSON lines that is rotated
// once (PATH, then PATH.1), so that it takes at most twice its limit.
//
// A line is written by one write(2) after the last, with no fsync: it survives the daemon's death,
// and a power cut may cost the last lines. What cannot be read back (a torn line, say) is skipped
// and counted. Thread rule: one of control's threads.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "control/policy/decision.h"
#include "dataplane/error.h"
#include "dataplane/file_descriptor.h"

namespace farport {

struct DecisionLogSettings {
  std::string path;    // empty: in memory only
  size_t kept = 1000;  // in memory
  uint64_t file_bytes_max = 4 << 20;
};

class DecisionLog {
 public:
  // Reads what an earlier daemon left and goes on numbering after it. Fails when the file cannot be
  // opened for appending.
  static Result<DecisionLog> open(DecisionLogSettings settings);

  // Numbers the decision and keeps it. An error means that the file could not be written (a full
  // disk, say); the decision is in memory all the same.
  Result<void> append(Decision decision);

  // Oldest first.
  const std::deque<Decision>& decisions() const { return decisions_; }
  const Decision* find(uint64_t sequence) const;
  // Of one VM, or nullptr.
  const Decision* latest(const std::string& vm) const;
  // Lines that were there and could not be read.
  uint64_t skipped() const { return skipped_; }

 private:
  explicit DecisionLog(DecisionLogSettings settings) : settings_(std::move(settings)) {}
  Result<void> load(const std::string& path);
  Result<void> open_file();
  Result<void> write(const Decision& decision);
  Result<void> rotate();
  void keep(Decision decision);

  DecisionLogSettings settings_;
  std::deque<Decision> decisions_;
  uint64_t sequence_ = 0;
  uint64_t skipped_ = 0;
  FileDescriptor file_;
  uint64_t file_bytes_ = 0;
  bool torn_ = false;  // the file does not end with a whole line
};

}  // namespace farport
