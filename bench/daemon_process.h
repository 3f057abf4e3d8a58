// A farportd of our own, in a folder of its own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "dataplane/error.h"

namespace farport::bench {

// Runs a program to its end, its output going to the end of `log`; its exit status, or an error
// when it cannot be started.
Result<int> run_program(const std::vector<std::string>& words, const std::filesystem::path& log);

class DaemonProcess {
 public:
  // `folder` exists and is the daemon's alone; `config` is what its configuration has beyond
  // [host].
  DaemonProcess(std::filesystem::path programs, std::filesystem::path folder, std::string name);
  ~DaemonProcess();  // ends it
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  // Starts it and waits until it answers.
  Result<void> start(const std::string& config);
  // `farport WORDS...` against it; an error when that fails.
  Result<void> command(std::vector<std::string> words) const;
  // The same, again while what it needs cannot be reached (exit code 6); its error after 20 s, or
  // when the daemon has ended.
  Result<void> command_in_time(const std::vector<std::string>& words);

  uint16_t port() const { return port_; }
  // Resident memory; CPU time of all its threads so far.
  uint64_t rss_bytes() const;
  uint64_t cpu_ns() const;

 private:
  std::string log_text() const;

  std::filesystem::path programs_;
  std::filesystem::path folder_;
  std::string name_;
  uint16_t port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace farport::bench
