// check-config: reads a configuration as farportd would, without a daemon.
#include <fmt/format.h>

#include <memory>

#include "control/cli/cli.h"
#include "control/config/config.h"

namespace farport {

namespace {

void print_text(Output& out, const std::string& text) {
  size_t begin = 0;
  for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    out.line(std::string_view(text).substr(begin, end - begin));
  }
  if (begin < text.size()) out.line(std::string_view(text).substr(begin));
}

Result<void> check(Session& session, const ConfigSources& sources) {
  const ConfigReport report = load_config(sources);
  const bool good = report.errors.empty();
  if (session.json) {
    session.out.json({{"ok", good},
                      {"files", report.files},
                      {"errors", report.errors},
                      {"warnings", report.warnings}});
    return good ? Result<void>() : fail(ErrorCode::failed, "");
  }
  for (const std::string& warning : report.warnings) session.out.note("warning: " + warning);
  for (const std::string& error : report.errors) session.out.note(error);
  if (!good) return fail(ErrorCode::failed, "");
  if (report.files.empty()) {
    session.out.line(
        fmt::format("{} does not exist: farportd would start with its defaults", sources.path));
  } else {
    for (const std::string& file : report.files) session.out.line("good: " + file);
  }
  return {};
}

}  // namespace

Run define_check_config(CLI::App& app) {
  const auto sources = std::make_shared<ConfigSources>();
  const auto describe = std::make_shared<bool>(false), example = std::make_shared<bool>(false);
  auto* file = app.add_option("file", sources->path, "The configuration (" + sources->path + ")")
                   ->type_name("FILE");
  app.add_flag("--describe", *describe, "Tell every key, its type, default and meaning");
  app.add_flag("--example", *example, "Print a configuration with everything at its default");
  return [sources, describe, example, file](Session& session) -> Result<void> {
    if (*describe || *example) {
      const std::string text = *describe ? describe_config() : example_config();
      if (session.json) {
        session.out.json({{"text", text}});
      } else {
        print_text(session.out, text);
      }
      return {};
    }
    sources->must_exist = file->count() > 0;
    sources->environment = farport_environment();
    return check(session, *sources);
  };
}

}  // namespace farport
