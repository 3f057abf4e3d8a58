// events: those that are kept, and those to come.
#include <fmt/format.h>

#include <memory>
#include <optional>

#include "control/cli/cli.h"
#include "control/cli/figures.h"
#include "control/cli/interrupt.h"

namespace farport {

using nlohmann::json;

namespace {

Colour event_colour(const std::string& type) {
  if (type == "attachment.failed" || type == "peer.lost" || type == "device.unplugged") {
    return Colour::red;
  }
  const bool notable = type == "decision" || type == "attachment.waiting";
  return notable ? Colour::yellow : Colour::none;
}

void print_event(Output& out, const json& event) {
  const std::string type = text_of(event, "type");
  out.line({{fmt::format("{:>6}  {}  ", count_of(event, "sequence"),
                         format_local_time(text_of(event, "at"))),
             Colour::dim},
            {fmt::format("{:<18}", type), event_colour(type)},
            "  ",
            text_of(event, "message")});
}

}  // namespace

Run define_events(CLI::App& app) {
  const auto after = std::make_shared<std::optional<uint64_t>>();
  const auto follow = std::make_shared<bool>(false);
  app.add_option("--after", *after, "Only those with a higher number")->type_name("N");
  app.add_flag("-f,--follow", *follow, "Go on with each new one, until Ctrl-C");
  return [after, follow](Session& session) -> Result<void> {
    Output& out = session.out;
    Result<void> wrong;
    const auto done = session.api().lines(
        fmt::format("/v1/events?after={}&follow={}", after->value_or(0), *follow),
        [&](const std::string& line) {
          const json event = json::parse(line, nullptr, false);
          if (event.is_discarded()) {
            wrong = fail("farportd sent an event that is not JSON");
            return false;
          }
          if (session.json) {
            out.json_line(event);
          } else {
            print_event(out, event);
          }
          if (*follow) out.flush();
          return !out.closed();
        });
    if (!wrong) return wrong;
    if (interrupted()) return {};  // the way to end it
    return done;
  };
}

}  // namespace farport
