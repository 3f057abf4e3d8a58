#include "control/policy/decision_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace farport {
namespace {

// A line longer than this is no decision of ours: 64 KiB hold one with hundreds of devices.
constexpr size_t line_bytes_max = 1 << 20;

std::string file_error(std::string_view doing, const std::string& path) {
  return fmt::format("decision log: {} {}", doing, path);
}

}  // namespace

Result<DecisionLog> DecisionLog::open(DecisionLogSettings settings) {
  DecisionLog log(std::move(settings));
  const std::string& path = log.settings_.path;
  if (path.empty()) return log;
  for (const std::string& file : {path + ".1", path}) {
    if (auto loaded = log.load(file); !loaded) return std::unexpected(loaded.error());
  }
  if (auto opened = log.open_file(); !opened) return std::unexpected(opened.error());
  return log;
}

Result<void> DecisionLog::load(const std::string& path) {
  struct stat status{};
  torn_ = false;
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno(errno, file_error("cannot read", path));
  }
  // Opening a FIFO would wait for its writer.
  if (!S_ISREG(status.st_mode)) return fail(path + " is not a file: name another for decisions");
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail_errno(errno, file_error("cannot read", path));
  std::string line;
  while (std::getline(file, line)) {
    torn_ = file.eof();  // the last line has no end
    if (line.empty()) continue;
    auto decision = line.size() <= line_bytes_max ? decision_from_text(line)
                                                  : Result<Decision>(fail("line too long"));
    if (torn_ || !decision) {
      ++skipped_;
      continue;
    }
    sequence_ = std::max(sequence_, decision->sequence);
    keep(std::move(*decision));
  }
  return {};
}

Result<void> DecisionLog::open_file() {
  const std::string& path = settings_.path;
  // The state folder of a fresh host; what cannot be made is told by open().
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  file_.reset(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640));
  if (!file_) return fail_errno(errno, file_error("cannot open", path));
  struct stat status{};
  if (::fstat(file_.get(), &status) != 0) return fail_errno(errno, file_error("cannot read", path));
  file_bytes_ = static_cast<uint64_t>(status.st_size);
  return {};
}

Result<void> DecisionLog::append(Decision decision) {
  decision.sequence = ++sequence_;
  Result<void> written = write(decision);
  keep(std::move(decision));
  return written;
}

void DecisionLog::keep(Decision decision) {
  decisions_.push_back(std::move(decision));
  while (decisions_.size() > settings_.kept) decisions_.pop_front();
}

Result<void> DecisionLog::write(const Decision& decision) {
  if (settings_.path.empty()) return {};
  if (!file_) {
    // A rotation failed half-way; try again.
    if (auto opened = open_file(); !opened) return opened;
  }
  // Names come from devices and users: what is not UTF-8 is replaced rather than refused.
  std::string line =
      decision_to_json(decision).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  line += '\n';
  if (file_bytes_ > 0 && file_bytes_ + line.size() > settings_.file_bytes_max) {
    if (auto rotated = rotate(); !rotated) return rotated;
  }
  if (torn_) line.insert(0, 1, '\n');  // ends the torn line, which then is skipped alone
  const ssize_t count = ::write(file_.get(), line.data(), line.size());
  if (count < 0) return fail_errno(errno, file_error("cannot write", settings_.path));
  file_bytes_ += static_cast<uint64_t>(count);
  torn_ = static_cast<size_t>(count) != line.size();
  if (torn_) return fail_errno(ENOSPC, file_error("cannot write", settings_.path));
  return {};
}

Result<void> DecisionLog::rotate() {
  const std::string& path = settings_.path;
  if (std::rename(path.c_str(), (path + ".1").c_str()) != 0 && errno != ENOENT) {
    return fail_errno(errno, file_error("cannot rotate", path));
  }
  torn_ = false;
  file_.reset();
  return open_file();
}

const Decision* DecisionLog::find(uint64_t sequence) const {
  for (const Decision& decision : decisions_) {
    if (decision.sequence == sequence) return &decision;
  }
  return nullptr;
}

const Decision* DecisionLog::latest(const std::string& vm) const {
  for (auto decision = decisions_.rbegin(); decision != decisions_.rend(); ++decision) {
    if (decision->input.vm.name == vm) return &*decision;
  }
  return nullptr;
}

}  // namespace farport
