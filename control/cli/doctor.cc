// doctor: every step between a person and a device, in order; the first that fails is what to
// repair.
#include <fmt/format.h>

#include <memory>

#include "control/cli/cli.h"
#include "control/cli/figures.h"
#include "control/cli/local_checks.h"
#include "control/cli/names.h"

namespace farport {

using nlohmann::json;

namespace {

void print_check(Output& out, const json& check) {
  const bool ok = flag_of(check, "ok"), needed = flag_of(check, "needed");
  const Cell mark = ok       ? Cell{"ok  ", Colour::green}
                    : needed ? Cell{"FAIL", Colour::red}
                             : Cell{"--  ", Colour::yellow};
  out.paragraph({mark, "  ", {fmt::format("{:<13}", text_of(check, "name")), Colour::bold}, " "},
                text_of(check, "message"));
  const std::string advice = text_of(check, "advice");
  if (!ok && !advice.empty()) out.paragraph({fmt::format("{:20}to do: ", "")}, advice);
}

json with_need(json check, bool needed) {
  check["needed"] = needed;
  return check;
}

// The daemon's own checks, or the one that says why it cannot be asked.
json daemon_checks(const ApiClient& api, const DeviceReference& what, Error& unreachable) {
  std::string target = "/v1/explain";
  if (!what.host.empty() || !what.device.empty()) {
    target +=
        fmt::format("?host={}&device={}", percent_encode(what.host), percent_encode(what.device));
  }
  json checks = json::array();
  const auto answer = api.get(target, std::chrono::seconds(30));
  if (!answer) {
    unreachable = answer.error();
    std::string message = unreachable.message, advice;
    if (const auto colon = message.rfind(": "); colon != std::string::npos) {
      advice = message.substr(colon + 2);
      message.resize(colon);
    }
    checks.push_back(with_need(Check{"socket", false, message, advice}, true));
    return checks;
  }
  checks.push_back(with_need(
      Check{"socket", true, fmt::format("farportd answers on {}", api.socket_path()), ""}, true));
  for (const json& check : *answer) {
    if (check.is_object()) checks.push_back(with_need(check, true));
  }
  return checks;
}

Result<void> examine(Session& session, const DeviceReference& what) {
  const ApiClient api = session.api();
  Error unreachable;
  json checks = daemon_checks(api, what, unreachable);
  for (const Check& check : local_checks()) checks.push_back(with_need(check, false));
  if (session.json) {
    session.out.json(checks);
  } else {
    bool needed = true;
    for (const json& check : checks) {
      if (needed && !flag_of(check, "needed")) {
        needed = false;
        session.out.line();
        session.out.line({{"What this machine has, for whom needs it:", Colour::dim}});
      }
      print_check(session.out, check);
    }
  }
  if (!unreachable.message.empty()) return std::unexpected(Error{unreachable.code, ""});
  for (const json& check : checks) {
    if (flag_of(check, "ok") || !flag_of(check, "needed")) continue;
    Error error{ErrorCode::failed, ""};
    const std::string name = text_of(check, "name");
    if (!session.json && name == "device") {
      error.message = did_you_mean_device(api, full_name(what.host, what.device));
    } else if (!session.json && name == "host") {
      error.message = did_you_mean_host(api, what.host);
    }
    return std::unexpected(error);
  }
  return {};
}

}  // namespace

Run define_doctor(CLI::App& app) {
  const auto word = std::make_shared<std::string>();
  app.add_option("device", *word, "A device, or a host as HOST/")->type_name("HOST/DEVICE");
  return [word](Session& session) -> Result<void> {
    DeviceReference what;
    if (word->size() > 1 && word->ends_with("/")) {
      what.host = word->substr(0, word->size() - 1);
    } else if (!word->empty()) {
      const auto reference = parse_device_reference(*word);
      if (!reference) return std::unexpected(reference.error());
      what = *reference;
    }
    return examine(session, what);
  };
}

}  // namespace farport
