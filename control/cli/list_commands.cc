// Commands that list: devices, hosts, vms, attachments, version.
#include <fmt/format.h>

#include <memory>

#include "control/cli/cli.h"
#include "control/cli/figures.h"
#include "control/cli/names.h"
#include "control/policy/words.h"

namespace farport {

using nlohmann::json;

namespace {

Cell verdict_cell(const json& object) {
  const std::string verdict = text_of(object, "verdict");
  if (verdict.empty()) return {"-", Colour::dim};
  return {verdict, verdict == "migrate" ? Colour::yellow : Colour::green};
}

Cell device_state(const json& device) {
  const json& holder = object_of(device, "holder");
  if (!holder.empty()) {
    const std::string vm = text_of(holder, "vm");
    return {fmt::format("in use by {}{}", text_of(holder, "host"), vm.empty() ? "" : ", VM " + vm),
            Colour::yellow};
  }
  if (flag_of(device, "allowed")) return {"free", Colour::green};
  return {"not for you: " + text_of(device, "reason"), Colour::dim};
}

void print_devices(Output& out, const json& answer) {
  Table table({{"DEVICE"}, {"KIND"}, {"NEEDS", Align::right}, {"DESCRIPTION"}, {"STATE"}});
  for (const json& device : array_of(answer, "devices")) {
    table.add({full_name(text_of(device, "host"), text_of(device, "name")), text_of(device, "kind"),
               format_rate_or_dash(number_of(device, "nominal_bytes_s")),
               text_of(device, "description"), device_state(device)});
  }
  if (table.empty()) {
    out.line("No devices. `farport doctor` says where they are looked for.");
  } else {
    table.print(out);
  }
}

Cell host_state(const json& host) {
  const std::string state = text_of(host, "state");
  if (state == "unreachable") return {state, Colour::red};
  return {state, state == "connecting" || state == "resuming" ? Colour::yellow : Colour::green};
}

// A command that gets one list and prints it; `what` is said when there is nothing in it.
Run list_command(const char* target, void (*print)(Output&, const json&)) {
  return [target, print](Session& session) -> Result<void> {
    const auto answer = session.api().get(target);
    if (!answer) return std::unexpected(answer.error());
    if (session.json) {
      session.out.json(*answer);
    } else {
      print(session.out, *answer);
    }
    return {};
  };
}

// "; also 198.51.100.7:7411 (well)": what a session could use instead.
std::string other_paths(const json& host) {
  std::string text;
  const json& paths = host.contains("paths") ? host["paths"] : json::array();
  for (const json& path : paths) {
    if (text_of(path, "state") == "in use" || paths.size() < 2) continue;
    text += fmt::format("{}{}{}", text.empty() ? "" : ", ", text_of(path, "address"),
                        text_of(path, "state") == "well" ? " (well)" : "");
  }
  return text.empty() ? "" : "; also " + text;
}

// "on, 9.1 MB as 1.2 MB": what this host sent compressed.
std::string compression_words(const json& host) {
  const json& compression = object_of(host, "compression");
  if (count_of(compression, "frames_sent") == 0) return "-";
  return fmt::format("{}, {} as {}", flag_of(compression, "on") ? "on" : "off",
                     format_bytes(count_of(compression, "bytes_before")),
                     format_bytes(count_of(compression, "bytes_after")));
}

}  // namespace

Run define_devices(CLI::App& app) {
  const auto host = std::make_shared<std::string>();
  app.add_option("host", *host, "Only those of this host")->type_name("HOST");
  return [host](Session& session) -> Result<void> {
    const ApiClient api = session.api();
    const auto answer =
        api.get(host->empty() ? "/v1/devices" : "/v1/devices?host=" + percent_encode(*host));
    if (!answer) return std::unexpected(with_suggestion(answer.error(), *host, host_names(api)));
    if (session.json) {
      session.out.json(*answer);
      return {};
    }
    print_devices(session.out, *answer);
    for (const json& problem : array_of(*answer, "problems")) {
      session.out.note(fmt::format("host {} is left out: {}", text_of(problem, "host"),
                                   text_of(problem, "message")));
    }
    return {};
  };
}

Run define_hosts(CLI::App&) {
  return list_command("/v1/hosts", [](Output& out, const json& hosts) {
    Table table({{"HOST"},
                 {"STATE"},
                 {"SINCE"},
                 {"CHANNELS", Align::right},
                 {"RESUMED", Align::right},
                 {"ENCRYPTED"},
                 {"COMPRESSED"},
                 {"ADDRESS"},
                 {""}});
    for (const json& host : hosts) {
      const bool self = host.value("self", false);
      table.add({text_of(host, "name"), host_state(host), format_local_time(text_of(host, "since")),
                 std::to_string(count_of(host, "channels")),
                 self ? "-" : std::to_string(count_of(host, "resumes")),
                 self                                   ? "-"
                 : text_of(host, "fingerprint").empty() ? "no"
                                                        : "yes",
                 compression_words(host), text_of(host, "address") + other_paths(host),
                 text_of(host, "error")});
    }
    table.print(out);
  });
}

Run define_vms(CLI::App&) {
  return list_command("/v1/vms", [](Output& out, const json& vms) {
    Table table({{"VM"},
                 {"HOST"},
                 {"ALLOCATION", Align::right},
                 {"DEMAND", Align::right},
                 {"THRESHOLD", Align::right},
                 {"VERDICT"},
                 {"ATTACHMENTS"}});
    for (const json& vm : vms) {
      std::string attachments;
      for (const json& id : array_of(vm, "attachments")) {
        if (id.is_string()) attachments += (attachments.empty() ? "" : " ") + id.get<std::string>();
      }
      table.add({text_of(vm, "name"), text_of(vm, "host"),
                 format_rate_or_dash(number_of(vm, "allocation_bytes_s")),
                 format_rate_or_dash(number_of(vm, "demand_bytes_s")),
                 fmt::format("{} %", number_of(vm, "threshold_percent")), verdict_cell(vm),
                 attachments});
    }
    if (table.empty()) {
      out.line("No VMs. A [[vm]] in the configuration names one, with its allocation.");
    } else {
      table.print(out);
    }
  });
}

Run define_attachments(CLI::App&) {
  return list_command("/v1/attachments", [](Output& out, const json& attachments) {
    Table table({{"ID"}, {"DEVICE"}, {"DRIVER"}, {"STATE"}, {"VM"}, {"VERDICT"}, {"FOUND AT"}});
    for (const json& one : attachments) {
      const std::string state = text_of(one, "state"), vm = text_of(one, "vm");
      const std::string path = text_of(one, "path");
      const bool persistent = flag_of(one, "persistent");
      table.add({text_of(one, "id"),
                 full_name(text_of(one, "device_host"), text_of(one, "device")),
                 text_of(one, "driver"),
                 {persistent ? state + ", persistent" : state,
                  state == "open" ? Colour::green : Colour::yellow},
                 vm.empty() ? "-" : vm,
                 verdict_cell(one),
                 state == "waiting" ? Cell{waiting_words(one), Colour::dim}
                                    : Cell{path.empty() ? "-" : path}});
    }
    if (table.empty()) {
      out.line("Nothing is attached. `farport devices` shows what could be.");
    } else {
      table.print(out);
    }
  });
}

// Answers without a daemon too: then it is null.
Run define_version(CLI::App&) {
  return [](Session& session) -> Result<void> {
    const auto daemon = session.api().get("/v1/version");
    if (session.json) {
      session.out.json({{"version", FARPORT_VERSION}, {"daemon", daemon ? *daemon : json()}});
      return {};
    }
    session.out.line("farport " FARPORT_VERSION);
    if (daemon) {
      session.out.line(
          fmt::format("farportd {} on host {} (API {}, protocol {}), process {}, since {}",
                      text_of(*daemon, "version"), text_of(*daemon, "host"),
                      text_of(*daemon, "api_version"), text_of(*daemon, "protocol_version"),
                      count_of(*daemon, "pid"), format_local_time(text_of(*daemon, "started"))));
    } else {
      session.out.note(daemon.error().message);
    }
    return {};
  };
}

}  // namespace farport
