// farport-bench: what Farport's data plane gives on this machine, beside what bare sockets give.

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <functional>

#include "bench/floor.h"
#include "bench/forwarded_load.h"
#include "bench/idle.h"
#include "bench/isolated.h"
#include "bench/report.h"
#include "bench/selection.h"

namespace farport::bench {

namespace {

struct Options {
  Selection selection;
  int repetitions = 5;
  IdleSettings idle;
  bool json = false;
};

void say(std::FILE* to, const std::string& text) {
  std::fputs(text.c_str(), to);
  std::fflush(to);
}

// Ours and the floor in turn, so that whatever else the machine does meets both.
Result<Row> measure(const Load& load, int repetitions) {
  const double limit_s = load.warm_up_s + load.seconds + 30;
  std::vector<Measurement> ours;
  std::vector<Measurement> floor;
  for (int i = 0; i < repetitions; ++i) {
    const auto floor_once = isolated([&] { return run_floor(load); }, limit_s);
    if (!floor_once) return std::unexpected(floor_once.error());
    floor.push_back(*floor_once);
    const auto ours_once = isolated([&] { return run_forwarded(load); }, limit_s);
    if (!ours_once) return std::unexpected(ours_once.error());
    ours.push_back(*ours_once);
  }
  return Row{load, figures(ours, load.size), figures(floor, load.size)};
}

int report(const Error& error) {
  say(stderr, fmt::format("farport-bench: {}\n", error.message));
  return exit_code(error.code);
}

int transfer(const Options& options) {
  const Result<std::vector<Load>> loads = loads_of(options.selection);
  if (!loads) return report(loads.error());
  const Machine machine = this_machine();
  const bool progress = !options.json && isatty(STDOUT_FILENO) != 0;
  if (!options.json) say(stdout, table_head(machine));
  std::vector<Row> rows;
  for (const Load& load : *loads) {
    if (progress) say(stdout, fmt::format("measuring {} of {}\r", rows.size() + 1, loads->size()));
    const Result<Row> row = measure(load, options.repetitions);
    if (!row) return report(row.error());
    if (!options.json) say(stdout, table_line(*row));
    rows.push_back(*row);
  }
  if (options.json) {
    say(stdout, to_json(machine, rows).dump(2) + "\n");
  } else {
    say(stdout, "\n" + targets(rows));
  }
  return 0;
}

int idle(const Options& options) {
  const auto rows = measure_idle(options.idle);
  if (!rows) return report(rows.error());
  say(stdout, options.json ? idle_json(this_machine(), *rows).dump(2) + "\n" : idle_table(*rows));
  return 0;
}

// Beside this program, as it was built: BUILD/bench and BUILD/control. Installed, in one folder.
std::string programs_folder() {
  std::error_code error;
  const auto here = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  const auto built = here.parent_path() / "control";
  return std::filesystem::exists(built / "farportd", error) ? built.string() : here.string();
}

CLI::App* add_idle(CLI::App& app, Options& options) {
  CLI::App* command = app.add_subcommand("idle", "memory and CPU of daemons while nothing moves");
  options.idle.programs = programs_folder();
  command->add_option("--programs", options.idle.programs, "folder of farportd and farport");
  command->add_option("--devices", options.idle.devices, "how many are attached")
      ->check(CLI::Range(1, 200))
      ->capture_default_str();
  command->add_option("--seconds", options.idle.seconds, "length of each measurement")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  command->add_flag("--json", options.json, "for machines");
  return command;
}

CLI::App* add_transfer(CLI::App& app, Options& options) {
  CLI::App* command = app.add_subcommand(
      "transfer", "transfers between a device end and a driver end, beside bare sockets");
  Selection& selection = options.selection;
  const auto list = [command](const char* name, std::vector<std::string>& values,
                              const char* help) {
    command->add_option(name, values, help)->delimiter(',');
  };
  list("--size", selection.sizes, "bytes of a transfer: 64,4K,64K,1M");
  list("--depth", selection.depths, "transfers in flight: 1,16,64");
  list("--link", selection.links, "loopback (default), netns: namespaces joined by veth (root)");
  list("--wait", selection.waits, "how both ends wait: sleep, spin");
  list("--tls", selection.tls, "off (default), on: our side encrypted, the floor plain as ever");
  list("--kind", selection.kinds, "bulk (default), interrupt");
  list("--direction", selection.directions, "in (default), out");
  command->add_flag("--full", selection.full, "every size from 64 B to 1 MiB, depth 1 to 64");
  command->add_option("--seconds", selection.seconds, "length of each repetition")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
  command->add_option("--repetitions", options.repetitions, "of which the median is told")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--json", options.json, "for machines");
  return command;
}

}  // namespace

int main(int count, char** arguments) {
  CLI::App app("Measures Farport beside the floor of this machine.", "farport-bench");
  app.require_subcommand(1);
  Options options;
  const CLI::App* transfer_command = add_transfer(app, options);
  const CLI::App* idle_command = add_idle(app, options);
  try {
    app.parse(count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_code(ErrorCode::usage);
  }
  if (idle_command->parsed()) return idle(options);
  return transfer_command->parsed() ? transfer(options) : exit_code(ErrorCode::usage);
}

}  // namespace farport::bench

int main(int count, char** arguments) { return farport::bench::main(count, arguments); }
