#include "control/config/config.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "control/config/exports.h"
#include "control/config/reader.h"

namespace farport {
namespace {

namespace fs = std::filesystem;

// No configuration is larger; a device or a log given by mistake is.
constexpr uintmax_t file_bytes_max = 4 << 20;

Result<std::string> read_file(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return fail_errno(errno, path);
  if (!S_ISREG(status.st_mode)) return fail(path + ": not a file");
  if (static_cast<uintmax_t>(status.st_size) > file_bytes_max) {
    return fail(path + ": too large for a configuration (over 4 MiB)");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail_errno(errno, path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void read_file_into(const std::string& path, ConfigReport& report) {
  const auto text = read_file(path);
  if (!text) {
    report.errors.push_back(text.error().message);
    return;
  }
  report.files.push_back(path);
  config::read_text(*text, path, report);
}

// conf.d/*.toml beside the main file, in order of name.
std::vector<std::string> drop_ins(const std::string& main_path, std::vector<std::string>& errors) {
  const fs::path folder = fs::path(main_path).parent_path() / "conf.d";
  std::vector<std::string> paths;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const fs::path& path = entry->path();
    // Hidden ones are an editor's.
    const bool hidden = path.filename().string().starts_with('.');
    if (path.extension() == ".toml" && !hidden) paths.push_back(path.string());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    errors.push_back(fmt::format("{}: {}", folder.string(), error.message()));
  }
  std::ranges::sort(paths);
  return paths;
}

void read_files(const ConfigSources& sources, ConfigReport& report) {
  std::error_code error;
  if (fs::exists(sources.path, error) || error || sources.must_exist) {
    read_file_into(sources.path, report);
  }
  for (const std::string& path : drop_ins(sources.path, report.errors)) {
    read_file_into(path, report);
  }
}

// FARPORT_HOST_LISTEN -> host.listen, when there is such a key.
std::string key_of_variable(const std::string& variable) {
  for (const config::Section& section : config::schema().sections) {
    if (section.array) continue;
    for (const config::Key& key : section.keys) {
      std::string name = fmt::format("FARPORT_{}_{}", section.name, key.name);
      for (char& c : name) {
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
      }
      if (name == variable) return fmt::format("{}.{}", section.name, key.name);
    }
  }
  return "";
}

void read_overrides(const ConfigSources& sources, ConfigReport& report) {
  for (const auto& [variable, text] : sources.environment) {
    const std::string key = key_of_variable(variable);
    if (key.empty()) continue;
    config::read_override(key, text, fmt::format("the environment ({})", variable), report);
  }
  for (const auto& [key, text] : sources.overrides) {
    if (config::read_override(key, text, "the command line", report)) continue;
    report.errors.push_back(fmt::format("the command line: unknown key \"{}\"", key));
  }
}

void lower(std::string& text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
}

// Fills in what follows from elsewhere, then checks the whole.
void finish(ConfigReport& report) {
  Config& config = report.config;
  if (config.host.name.empty()) {
    char name[256] = {};
    if (::gethostname(name, sizeof name - 1) == 0) config.host.name = name;
  }
  for (PeerConfig& peer : config.peers) {
    if (peer.address) peer.addresses.insert(peer.addresses.begin(), *peer.address);
    peer.address.reset();
  }
  for (NominalConfig& nominal : config.nominals) lower(nominal.device);
  if (report.errors.empty()) config::check_whole(report);
  // What was found is told as it was written, but not its control characters: a terminal obeys
  // them.
  for (std::vector<std::string>* texts : {&report.errors, &report.warnings}) {
    for (std::string& text : *texts) {
      std::ranges::replace_if(
          text, [](unsigned char c) { return (c < 0x20 && c != '\n') || c == 0x7f; }, '?');
    }
  }
}

}  // namespace

std::string format_origin(const Origin& origin) {
  return fmt::format("{}:{}", origin.file, origin.line);
}

std::map<std::string, std::string> farport_environment() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos || !text.starts_with("FARPORT_")) continue;
    variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

ConfigReport load_config(const ConfigSources& sources) {
  ConfigReport report;
  read_files(sources, report);
  read_overrides(sources, report);
  finish(report);
  return report;
}

ConfigReport parse_config(std::string_view text, std::string_view file_name) {
  ConfigReport report;
  report.files.emplace_back(file_name);
  config::read_text(text, report.files.front(), report);
  finish(report);
  return report;
}

Result<Config> config_or_error(ConfigReport report) {
  if (report.errors.empty()) return std::move(report.config);
  std::string message;
  for (const std::string& error : report.errors) {
    if (!message.empty()) message += '\n';
    message += error;
  }
  return fail(ErrorCode::usage, std::move(message));
}

std::optional<uint64_t> configured_nominal(const std::vector<NominalConfig>& nominals,
                                           const DeviceInfo& device) {
  if (device.kind != DeviceKind::usb) return std::nullopt;
  const std::string name = fmt::format("usb:{:04x}:{:04x}", device.vendor, device.product);
  for (const NominalConfig& nominal : nominals) {
    if (nominal.device == name) return nominal.bytes_s;
  }
  return std::nullopt;
}

std::optional<Percent> device_threshold(const VmConfig& vm, const std::vector<std::string>& names) {
  std::optional<Percent> threshold;
  for (const VmDeviceConfig& device : vm.devices) {
    if (matches_device(device.pattern, names)) threshold = device.threshold;
  }
  return threshold;
}

}  // namespace farport
