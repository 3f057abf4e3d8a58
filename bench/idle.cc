#include "bench/idle.h"

#include <fmt/format.h>
#include <poll.h>

#include <cstdlib>
#include <filesystem>

#include "bench/daemon_process.h"
#include "bench/report.h"
#include "bench/stage.h"

namespace farport::bench {

namespace {

namespace fs = std::filesystem;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (fs::temp_directory_path() / "farport-idle-XXXXXX").string();
    if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  fs::path make(const char* name) const {
    fs::create_directory(path_ / name);
    return path_ / name;
  }

 private:
  fs::path path_;
};

// Both daemons over the same time.
std::vector<IdleRow> watch(const std::vector<const DaemonProcess*>& daemons, double seconds) {
  std::vector<uint64_t> cpu_ns;
  const uint64_t begin_ns = now_ns();
  for (const DaemonProcess* one : daemons) cpu_ns.push_back(one->cpu_ns());
  poll(nullptr, 0, static_cast<int>(seconds * 1000));
  std::vector<IdleRow> rows;
  for (size_t i = 0; i < daemons.size(); ++i) {
    IdleRow row;
    row.rss_bytes = daemons[i]->rss_bytes();
    row.cpu_percent = 100.0 * static_cast<double>(daemons[i]->cpu_ns() - cpu_ns[i]) /
                      static_cast<double>(now_ns() - begin_ns);
    rows.push_back(row);
  }
  return rows;
}

Result<IdleRow> measure_alone(const IdleSettings& settings, const TemporaryFolder& folder) {
  DaemonProcess daemon(settings.programs, folder.make("alone"), "alone");
  if (auto started = daemon.start(""); !started) return std::unexpected(started.error());
  IdleRow row = watch({&daemon}, settings.seconds).front();
  row.daemon = "alone";
  return row;
}

Result<std::vector<IdleRow>> measure_attached(const IdleSettings& settings,
                                              const TemporaryFolder& folder) {
  DaemonProcess lender(settings.programs, folder.make("devices"), "devices");
  std::string config = "[[export]]\ndevice = \"*\"\nhosts = [\"consumer\"]\n";
  for (unsigned i = 0; i < settings.devices; ++i) {
    config += fmt::format("[[emulated]]\nname = \"P{}\"\nkind = \"serial\"\n", i);
  }
  if (auto started = lender.start(config); !started) return std::unexpected(started.error());
  DaemonProcess consumer(settings.programs, folder.make("consumer"), "consumer");
  config = fmt::format("[[peer]]\nname = \"devices\"\naddress = \"127.0.0.1:{}\"\n", lender.port());
  if (auto started = consumer.start(config); !started) return std::unexpected(started.error());

  const auto attach = [](unsigned i) {
    return std::vector<std::string>{"attach", fmt::format("devices/serial:P{}", i)};
  };
  // The first one waits until the hosts are connected. It also brings in what all of them use, so
  // the growth is counted from there.
  if (auto attached = consumer.command_in_time(attach(0)); !attached) {
    return std::unexpected(attached.error());
  }
  const uint64_t before[] = {lender.rss_bytes(), consumer.rss_bytes()};
  for (unsigned i = 1; i < settings.devices; ++i) {
    if (auto attached = consumer.command(attach(i)); !attached) {
      return std::unexpected(attached.error());
    }
  }
  std::vector<IdleRow> rows = watch({&lender, &consumer}, settings.seconds);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].daemon = i == 0 ? "device host" : "consumer host";
    rows[i].attached = settings.devices;
    if (settings.devices > 1) {
      rows[i].channel_bytes =
          (static_cast<double>(rows[i].rss_bytes) - static_cast<double>(before[i])) /
          (settings.devices - 1);
    }
  }
  return rows;
}

}  // namespace

Result<std::vector<IdleRow>> measure_idle(const IdleSettings& settings) {
  const TemporaryFolder folder;
  const Result<IdleRow> alone = measure_alone(settings, folder);
  if (!alone) return std::unexpected(alone.error());
  Result<std::vector<IdleRow>> rows = measure_attached(settings, folder);
  if (rows) rows->insert(rows->begin(), *alone);
  return rows;
}

std::string idle_table(const std::vector<IdleRow>& rows) {
  std::string text = fmt::format("{:<14} {:>8} {:>9} {:>14} {:>12}\n", "daemon", "attached", "RSS",
                                 "of a core", "per channel");
  for (const IdleRow& row : rows) {
    text += fmt::format("{:<14} {:>8} {:>6.1f} MB {:>12.3f} % {:>8.0f} KiB\n", row.daemon,
                        row.attached, static_cast<double>(row.rss_bytes) / 1e6, row.cpu_percent,
                        row.channel_bytes / 1024);
  }
  text += '\n';
  for (const IdleRow& row : rows) {
    const double cpu_percent_max = row.attached == 0 ? 0.5 : 1;
    const bool met = row.cpu_percent < cpu_percent_max &&
                     (row.attached != 0 || row.rss_bytes < 50'000'000) &&
                     row.channel_bytes <= 2 << 20;
    text += fmt::format("{:<6} {}: under {} % of a core{}\n", met ? "met" : "MISSED", row.daemon,
                        cpu_percent_max,
                        row.attached == 0 ? ", under 50 MB" : ", at most 2 MiB per channel");
  }
  return text;
}

nlohmann::json idle_json(const Machine& machine, const std::vector<IdleRow>& rows) {
  nlohmann::json document;
  document["machine"] = machine_json(machine);
  document["idle"] = nlohmann::json::array();
  for (const IdleRow& row : rows) {
    document["idle"].push_back({{"daemon", row.daemon},
                                {"attached", row.attached},
                                {"rss_bytes", row.rss_bytes},
                                {"cpu_percent", row.cpu_percent},
                                {"channel_bytes", row.channel_bytes}});
  }
  return document;
}

}  // namespace farport::bench
