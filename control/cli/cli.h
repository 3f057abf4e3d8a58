// `farport`: the table of commands, which is dispatcher and help at once.
//
// A command's `define` declares its options on its own CLI::App and returns what is to be run when
// they have been read. Adding a command is adding a line to the table in commands.cc.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/cli/api_client.h"
#include "control/cli/output.h"
#include "dataplane/error.h"

namespace farport {

// What a command runs with.
class Session {
 public:
  explicit Session(Output& output) : out(output) {}

  Output& out;
  bool json = false;   // --json
  std::string socket;  // --socket, FARPORT_SOCKET, or the default

  ApiClient api() const { return ApiClient(socket); }
};

// An error is printed as one line and becomes the exit code; one without a message only becomes the
// exit code, because everything has been said.
using Run = std::function<Result<void>(Session&)>;

struct Command {
  std::string_view name;
  Run (*define)(CLI::App& app);
  std::string_view description;
};

// All but the demo, which stands on the daemon.
std::span<const Command> commands();

// Runs `arguments` (without the program's name) and gives the exit code (DESIGN.md, Interfaces).
int run_cli(const std::vector<std::string>& arguments, std::span<const Command> commands,
            Output& output);

// --- the commands, by file ---
Run define_devices(CLI::App& app);  // list_commands.cc
Run define_hosts(CLI::App& app);
Run define_vms(CLI::App& app);
Run define_attachments(CLI::App& app);
Run define_version(CLI::App& app);
Run define_attach(CLI::App& app);  // attach_commands.cc
Run define_detach(CLI::App& app);
Run define_stats(CLI::App& app);         // stats_command.cc
Run define_decisions(CLI::App& app);     // decision_commands.cc
Run define_events(CLI::App& app);        // event_commands.cc
Run define_doctor(CLI::App& app);        // doctor.cc
Run define_check_config(CLI::App& app);  // check_config.cc
Run define_trust(CLI::App& app);         // trust_command.cc

}  // namespace farport
