// check-config: reads a configuration, and the keys and certificates it leads to, as farportd
// would, without a daemon and without making anything.
#include <fmt/format.h>

#include <memory>

#include "control/cli/cli.h"
#include "control/config/config.h"
#include "control/trust/host_trust.h"

namespace farport {

namespace {

void print_text(Output& out, const std::string& text) {
  size_t begin = 0;
  for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    out.line(std::string_view(text).substr(begin, end - begin));
  }
  if (begin < text.size()) out.line(std::string_view(text).substr(begin));
}

// The files of trust that it names, which a start reads, too.
void check_trust(ConfigReport& report) {
  const Config& config = report.config;
  const TrustConfig& trust = config.trust;
  for (const TrustFault& fault :
       check_trust_files({config.host.name,
                          trust_folder(config.host.state_dir),
                          {trust.authority, trust.certificate, trust.key, trust.revoked},
                          {}})) {
    const auto set_by = config.set_by.find(fault.key);
    const std::string where = set_by == config.set_by.end() ? "default of " + fault.key
                                                            : set_by->second + ": " + fault.key;
    (fault.unseen ? report.warnings : report.errors)
        .push_back(fmt::format("{}: {}", where, fault.message));
  }
}

Result<void> check(Session& session, const ConfigSources& sources) {
  ConfigReport report = load_config(sources);
  // Of a configuration with errors it is not known where they are.
  if (report.errors.empty()) check_trust(report);
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
