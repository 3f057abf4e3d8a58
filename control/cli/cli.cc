#include "control/cli/cli.h"

#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>

#include "control/cli/suggest.h"

namespace farport {

namespace {

constexpr const char* kSocketDefault = "/run/farport/farport.sock";
constexpr const char* kFooter =
    "\nA device is named HOST/NAME, as `farport devices` shows it. Every command takes --json and "
    "--socket;\n`farport COMMAND --help` tells more. Exit codes: 0 done, 1 failed, 2 usage, 3 not "
    "found, 4 busy, 5 denied,\n6 timed out or unreachable.";

void add_common_options(CLI::App& app, Session& session) {
  app.add_flag("--json", session.json, "Print the API's JSON");
  app.add_option("--socket", session.socket, "farportd's socket (FARPORT_SOCKET)")
      ->type_name("PATH");
}

// The word of the command line that is meant to be a command.
std::string command_word(const std::vector<std::string>& arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--socket") {
      ++i;
    } else if (!arguments[i].starts_with("-")) {
      return arguments[i];
    }
  }
  return {};
}

std::string unknown_command(const std::string& word, std::span<const Command> commands) {
  std::vector<std::string> names;
  for (const Command& command : commands) names.emplace_back(command.name);
  return fmt::format("there is no command \"{}\"{} `farport --help` lists them", word,
                     nearest(word, names).empty() ? ":" : did_you_mean(word, names));
}

// CLI11's exceptions end here.
struct Parsed {
  std::string printed;  // help: print it, and be done
  Error error;          // with a message when the words are wrong
};
Parsed parse(CLI::App& app, const std::vector<std::string>& arguments) {
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    return {};
  } catch (const CLI::ParseError& error) {
    std::ostringstream text, complaint;
    if (app.exit(error, text, complaint) == 0) return {text.str(), {}};
    const std::string name =
        app.get_subcommands().empty() ? "" : " " + app.get_subcommands()[0]->get_name();
    return {"", {ErrorCode::usage, fmt::format("{}: see `farport{} --help`", error.what(), name)}};
  }
}

}  // namespace

int run_cli(const std::vector<std::string>& arguments, std::span<const Command> commands,
            Output& output) {
  Session session(output);
  const char* socket = std::getenv("FARPORT_SOCKET");
  session.socket = socket != nullptr && *socket != '\0' ? socket : kSocketDefault;

  CLI::App app("Farport carries USB devices and serial ports between hosts.", "farport");
  app.require_subcommand(0, 1);
  app.footer(kFooter);
  app.set_version_flag("--version", "farport " FARPORT_VERSION);
  add_common_options(app, session);
  Run chosen;
  std::string known_words;
  bool known = false;
  const std::string word = command_word(arguments);
  for (const Command& command : commands) {
    CLI::App* sub = app.add_subcommand(std::string(command.name), std::string(command.description));
    sub->footer("");  // not the program's
    add_common_options(*sub, session);
    Run run = command.define(*sub);
    sub->callback([&chosen, run = std::move(run)] { chosen = run; });
    known = known || command.name == word;
  }

  Result<void> done;
  if (!word.empty() && !known) {
    done = fail(ErrorCode::usage, unknown_command(word, commands));
  } else {
    const Parsed parsed = parse(app, arguments);
    if (!parsed.error.message.empty()) {
      done = std::unexpected(parsed.error);
    } else if (!parsed.printed.empty() || !chosen) {
      const std::string text = chosen || !parsed.printed.empty() ? parsed.printed : app.help();
      std::istringstream lines(text);
      for (std::string line; std::getline(lines, line);) output.line(line);
    } else {
      done = chosen(session);
    }
  }
  output.clear_progress();
  output.flush();
  if (!done && !done.error().message.empty()) output.note(done.error().message);
  if (output.write_error() != 0) {
    output.note(
        fmt::format("cannot write to standard output: {}", std::strerror(output.write_error())));
    if (done) return exit_code(ErrorCode::failed);
  }
  return done ? 0 : exit_code(done.error().code);
}

}  // namespace farport
