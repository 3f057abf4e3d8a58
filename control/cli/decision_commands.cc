// decisions: what was decided for each VM, and one decision explained in full.
#include <fmt/format.h>

#include <memory>
#include <optional>

#include "control/cli/cli.h"
#include "control/cli/decision_text.h"
#include "control/cli/figures.h"

namespace farport {

using nlohmann::json;

namespace {

constexpr uint64_t kDecisionsMax = 10'000;  // as the API gives them

Result<void> explain_one(Session& session, uint64_t number) {
  const auto all = session.api().get(fmt::format("/v1/decisions?limit={}", kDecisionsMax));
  if (!all) return std::unexpected(all.error());
  for (const json& decision : *all) {
    if (count_of(decision, "number") != number) continue;
    if (session.json) {
      session.out.json(decision);
    } else {
      print_decision(session.out, decision);
    }
    return {};
  }
  return fail(ErrorCode::not_found,
              fmt::format("there is no decision {}: `farport decisions` lists them", number));
}

Result<void> list(Session& session, uint64_t limit) {
  const auto all = session.api().get(fmt::format("/v1/decisions?limit={}", limit));
  if (!all) return std::unexpected(all.error());
  if (session.json) {
    session.out.json(*all);
    return {};
  }
  Table table({{"N", Align::right}, {"AT"}, {"VM"}, {"VERDICT"}, {"WHY"}});
  for (const json& decision : *all) {
    const json& reasons = array_of(decision, "reasons");
    table.add({std::to_string(count_of(decision, "number")),
               format_local_time(text_of(decision, "at")), text_of(decision, "vm"),
               verdict_words(decision),
               !reasons.empty() && reasons[0].is_string() ? reasons[0].get<std::string>() : ""});
  }
  if (table.empty()) {
    session.out.line("No decisions yet: one is made when a device is attached for a VM (--vm).");
  } else {
    table.print(session.out);
  }
  return {};
}

}  // namespace

Cell verdict_words(const json& decision) {
  if (text_of(decision, "verdict") != "migrate") return {"keep", Colour::green};
  return {"migrate to " + text_of(decision, "target"), Colour::yellow};
}

void print_decision(Output& out, const json& decision) {
  out.line({{fmt::format("decision {}", count_of(decision, "number")), Colour::bold},
            {fmt::format(" at {}: VM {} on host {}: ", format_local_time(text_of(decision, "at")),
                         text_of(decision, "vm"), text_of(decision, "vm_host"))},
            verdict_words(decision)});
  for (const json& reason : array_of(decision, "reasons")) {
    if (!reason.is_string()) continue;
    out.paragraph({"  - "}, reason.get<std::string>());
  }
}

Run define_decisions(CLI::App& app) {
  const auto limit = std::make_shared<uint64_t>(20);
  const auto number = std::make_shared<std::optional<uint64_t>>();
  app.add_option("--limit", *limit, "The latest N (20)")
      ->type_name("N")
      ->check(CLI::Range(uint64_t{1}, kDecisionsMax));
  app.add_option("--explain", *number, "This one, with all its reasons")->type_name("N");
  return [limit, number](Session& session) {
    return *number ? explain_one(session, **number) : list(session, *limit);
  };
}

}  // namespace farport
