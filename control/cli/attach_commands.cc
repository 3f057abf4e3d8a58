// attach and detach: they wait for what they began, show that they wait, and when a person gives up
// waiting they say what they leave.
#include <fmt/format.h>

#include <memory>

#include "control/cli/cli.h"
#include "control/cli/figures.h"
#include "control/cli/interrupt.h"
#include "control/cli/names.h"
#include "control/daemon/service.h"

namespace farport {

using nlohmann::json;
using std::chrono::milliseconds;

namespace {

// The daemon's own steps end sooner; this is for one that hangs.
constexpr std::chrono::seconds kLimit{120};
constexpr milliseconds kQuiet{700};      // what ends sooner needs no word
constexpr milliseconds kSayOnce{5'000};  // where lines cannot be redrawn

ApiClient::Waiting show_waiting(Output& out, std::string what) {
  return [&out, what = std::move(what), said = false](milliseconds passed) mutable {
    const double seconds = std::chrono::duration<double>(passed).count();
    if (out.settings().terminal) {
      if (passed < kQuiet) return;
      out.progress({{fmt::format("{} ... {:.0f} s", what, seconds), Colour::dim}});
    } else if (passed >= kSayOnce && !said) {
      said = true;
      out.note(fmt::format("{}: still waiting after {:.0f} s", what, seconds));
    }
  };
}

// Whether the one who waited gave up, rather than the daemon.
bool gave_up(const Error& error) { return interrupted() || error.code == ErrorCode::timed_out; }

// What the daemon says of an attachment after nobody waits for it any more.
Error what_is_left(const ApiClient& api, const DeviceReference& wanted, Error error) {
  const std::string name = full_name(wanted.host, wanted.device);
  set_interrupted(false);  // or this question would end at once
  const auto attachments = api.get("/v1/attachments", std::chrono::seconds(3));
  if (!attachments) {
    error.message += fmt::format(
        "; whether {} is attached is not known: `farport attachments` tells, once farportd answers",
        name);
    return error;
  }
  for (const json& one : *attachments) {
    if (text_of(one, "device") != wanted.device) continue;
    if (!wanted.host.empty() && text_of(one, "device_host") != wanted.host) continue;
    error.message += fmt::format("; {} is {} as {}, and goes on: `farport detach {}` ends it", name,
                                 text_of(one, "state"), text_of(one, "id"), text_of(one, "id"));
    return error;
  }
  error.message += fmt::format("; {} is not attached", name);
  return error;
}

Error suggest_for_attach(const ApiClient& api, Error error, const AttachRequest& request) {
  if (error.code != ErrorCode::not_found) return error;
  const auto vms = vm_names(api);
  if (!request.vm.empty() && std::find(vms.begin(), vms.end(), request.vm) == vms.end()) {
    return with_suggestion(error, request.vm, vms);
  }
  const auto hosts = host_names(api);
  if (!request.host.empty() && std::find(hosts.begin(), hosts.end(), request.host) == hosts.end()) {
    return with_suggestion(error, request.host, hosts);
  }
  return with_suggestion(error, full_name(request.host, request.device), device_names(api));
}

void print_attached(Output& out, const json& attachment) {
  const std::string path = text_of(attachment, "path");
  std::vector<Cell> parts{
      {text_of(attachment, "id"), Colour::bold},
      "  ",
      full_name(text_of(attachment, "device_host"), text_of(attachment, "device"))};
  if (!path.empty()) parts.insert(parts.end(), {" is at ", {path, Colour::bold}});
  parts.push_back({fmt::format(" (driver {})", text_of(attachment, "driver")), Colour::dim});
  out.line(parts);
}

void print_waiting(Output& out, const json& attachment) {
  out.line({{text_of(attachment, "id"), Colour::bold},
            "  ",
            full_name(text_of(attachment, "device_host"), text_of(attachment, "device")),
            {" waits for its device", Colour::yellow}});
  out.line(waiting_words(attachment));
}

// Of a persistent one: it may be waiting, which is an error only to who asked to wait for it.
Result<void> show_attached(Session& session, const AttachRequest& request, const json& attachment) {
  const bool waiting = text_of(attachment, "state") == "waiting";
  if (waiting && request.wait_s != 0) {
    return fail(ErrorCode::timed_out,
                fmt::format("{} did not come in {} s: {}; it is waited for on as {}, and `farport "
                            "detach {}` ends that",
                            full_name(request.host, request.device), request.wait_s,
                            text_of(object_of(attachment, "waiting"), "reason"),
                            text_of(attachment, "id"), text_of(attachment, "id")));
  }
  if (session.json) {
    session.out.json(attachment);
  } else if (waiting) {
    print_waiting(session.out, attachment);
  } else {
    print_attached(session.out, attachment);
  }
  return {};
}

Result<void> attach(Session& session, const AttachRequest& request) {
  const ApiClient api = session.api();
  json body = {{"host", request.host}, {"device", request.device}, {"driver", request.driver},
               {"name", request.name}, {"vm", request.vm},         {"listen", request.listen},
               {"line", request.line}};
  // Only when wanted: an older daemon knows neither.
  if (request.persistent) body["persistent"] = true;
  if (request.wait_s != 0) body["wait"] = request.wait_s;
  const std::string name = full_name(request.host, request.device);
  const auto attached =
      api.post("/v1/attachments", body, kLimit + std::chrono::seconds(request.wait_s),
               show_waiting(session.out, "attaching " + name));
  session.out.clear_progress();
  if (!attached) {
    if (gave_up(attached.error())) {
      return std::unexpected(what_is_left(api, {request.host, request.device}, attached.error()));
    }
    return std::unexpected(suggest_for_attach(api, attached.error(), request));
  }
  return show_attached(session, request, *attached);
}

}  // namespace

Run define_attach(CLI::App& app) {
  const auto request = std::make_shared<AttachRequest>();
  const auto device = std::make_shared<std::string>();
  app.add_option("device", *device, "The device; without HOST/, one of this host")
      ->required()
      ->type_name("HOST/DEVICE");
  app.add_option(
         "--driver", request->driver,
         "How it is presented here: vhci, pty or rfc2217; without, vhci for USB devices and "
         "pty for serial ports")
      ->type_name("DRIVER");
  app.add_option("--name", request->name, "Name of what is presented, such as the pty's file")
      ->type_name("NAME");
  app.add_option("--vm", request->vm, "The VM that uses it, whose allocation is weighed")
      ->type_name("VM");
  app.add_option("--listen", request->listen,
                 "rfc2217: where to listen; without, 127.0.0.1 and a free port")
      ->type_name("ADDRESS:PORT");
  app.add_option("--line", request->line,
                 "pty: baud rate and frame to set on the port, such as \"2400 7E2\"; a pty itself "
                 "cannot say data bits and parity")
      ->type_name("LINE");
  auto* const persistent = app.add_flag(
      "--persistent", request->persistent,
      "Keep it until it is detached: wait for the device, attach it again after a loss, and after "
      "restarts of either host");
  app.add_option(
         "--wait", request->wait_s,
         "With --persistent: wait so long for the device; exit status 6 when it did not come")
      ->type_name("SECONDS")
      ->check(CLI::Range(1u, attach_wait_s_max))
      ->needs(persistent);
  return [request, device](Session& session) -> Result<void> {
    const auto reference = parse_device_reference(*device);
    if (!reference) return std::unexpected(reference.error());
    request->host = reference->host;
    request->device = reference->device;
    return attach(session, *request);
  };
}

Run define_detach(CLI::App& app) {
  const auto word = std::make_shared<std::string>();
  app.add_option("attachment", *word, "Its id, its device, or where it is found")
      ->required()
      ->type_name("ID|DEVICE");
  return [word](Session& session) -> Result<void> {
    const ApiClient api = session.api();
    auto attachment = find_attachment(api, *word);
    if (!attachment) return std::unexpected(attachment.error());
    const std::string id = text_of(*attachment, "id");
    const auto detached = api.remove("/v1/attachments/" + percent_encode(id), kLimit,
                                     show_waiting(session.out, fmt::format("detaching {}", id)));
    session.out.clear_progress();
    if (!detached) {
      Error error = detached.error();
      if (gave_up(error)) {
        error.message += fmt::format(
            "; {} is being detached, and that goes on: `farport "
            "attachments` tells when it is gone",
            id);
      }
      return std::unexpected(error);
    }
    if (session.json) {
      (*attachment)["state"] = "detached";
      session.out.json(*attachment);
    } else {
      const bool waited = text_of(*attachment, "state") == "waiting";
      session.out.line(fmt::format(
          "{} is detached: {} is {}", id,
          full_name(text_of(*attachment, "device_host"), text_of(*attachment, "device")),
          waited ? "waited for no more" : "free"));
    }
    return {};
  };
}

}  // namespace farport
