// stats: what each attachment moves, what its device could, and where the time goes.
#include <fmt/format.h>
#include <poll.h>

#include <memory>
#include <optional>

#include "control/cli/cli.h"
#include "control/cli/figures.h"
#include "control/cli/interrupt.h"
#include "control/cli/names.h"
#include "control/policy/words.h"

namespace farport {

using nlohmann::json;

namespace {

std::string latency(const json& stats, const char* part) {
  const json& figures = object_of(stats, part);
  return fmt::format("{} / {}", format_latency(number_of(figures, "p50_ns")),
                     format_latency(number_of(figures, "p99_ns")));
}

const json& window(const json& stats, size_t index) {
  static const json none = json::object();
  const json& windows = array_of(object_of(stats, "meter"), "windows");
  return index < windows.size() ? windows[index] : none;
}

std::string device_of(const json& stats) {
  const json& attachment = object_of(stats, "attachment");
  return full_name(text_of(attachment, "device_host"), text_of(attachment, "device"));
}

unsigned print_table(Output& out, const json& all) {
  Table table({{"ID"},
               {"ACHIEVED", Align::right},
               {"DEMAND", Align::right},
               {"DEVICE p50 / p99", Align::right},
               {"CHANNEL p50 / p99", Align::right},
               {"DEVICE"}});
  for (const json& stats : all) {
    if (text_of(object_of(stats, "attachment"), "state") == "waiting") {
      table.add({text_of(object_of(stats, "attachment"), "id"),
                 "-",
                 "-",
                 "-",
                 {"waiting", Colour::yellow},
                 device_of(stats)});
      continue;
    }
    table.add({text_of(object_of(stats, "attachment"), "id"),
               format_measured_rate(number_of(window(stats, 0), "achieved_bytes_s")),
               format_measured_rate(number_of(window(stats, 0), "demand_bytes_s")),
               latency(stats, "service"), latency(stats, "channel"), device_of(stats)});
  }
  if (table.empty()) {
    out.line("Nothing is attached. `farport devices` shows what could be.");
    return 1;
  }
  table.print(out);
  return static_cast<unsigned>(table.rows()) + 1;
}

unsigned print_one(Output& out, const json& stats) {
  const json& meter = object_of(stats, "meter");
  const json& attachment = object_of(stats, "attachment");
  out.line({{text_of(attachment, "id"), Colour::bold}, "  ", device_of(stats)});
  if (text_of(attachment, "state") == "waiting") {
    out.line("waits for its device " + waiting_words(attachment));
    return 2;
  }
  Table windows({{"WINDOW", Align::right},
                 {"ACHIEVED", Align::right},
                 {"DEMAND", Align::right},
                 {"TRANSFERS", Align::right}});
  for (size_t i = 0; i < array_of(meter, "windows").size(); ++i) {
    const json& one = window(stats, i);
    windows.add({fmt::format("{} s{}", count_of(one, "window_s"),
                             flag_of(one, "full") ? "" : " (not full)"),
                 format_measured_rate(number_of(one, "achieved_bytes_s")),
                 format_measured_rate(number_of(one, "demand_bytes_s")),
                 fmt::format("{:.0f} /s", number_of(one, "transfers_s"))});
  }
  windows.print(out);
  Table times({{"TIME", Align::left},
               {"p50", Align::right},
               {"p99", Align::right},
               {"p99.9", Align::right},
               {"max", Align::right}});
  for (const auto& [key, title] :
       {std::pair{"service", "at the device"}, std::pair{"channel", "in the channel"},
        std::pair{"total", "in all"}}) {
    const json& figures = object_of(stats, key);
    times.add({title, format_latency(number_of(figures, "p50_ns")),
               format_latency(number_of(figures, "p99_ns")),
               format_latency(number_of(figures, "p999_ns")),
               format_latency(number_of(figures, "max_ns"))});
  }
  times.print(out);
  const std::string source = text_of(attachment, "nominal_source");
  out.line(fmt::format("nominal requirement {}{}, {} moved in {} transfers",
                       format_rate_or_dash(number_of(attachment, "nominal_bytes_s")),
                       source.empty() ? "" : " (" + source + ")",
                       format_bytes(count_of(meter, "bytes")),
                       format_count(count_of(meter, "transfers"))));
  out.line(
      fmt::format("in flight {}, errors {}, stalls {}, cancelled {}, retransmitted {}, resumed "
                  "{}",
                  count_of(meter, "in_flight"), count_of(meter, "errors"),
                  count_of(meter, "stalls"), count_of(meter, "cancellations"),
                  count_of(meter, "retransmissions"), count_of(meter, "resumes")));
  for (const json& rule : array_of(stats, "rules")) {
    out.line(fmt::format("{} ahead: {} ({}), {} round trips saved, {} deviations",
                         text_of(rule, "rule"), flag_of(rule, "on") ? "on" : "off",
                         text_of(rule, "why"), format_count(count_of(rule, "round_trips_saved")),
                         format_count(count_of(rule, "deviations"))));
  }
  return static_cast<unsigned>(windows.rows() + times.rows() + array_of(stats, "rules").size()) + 5;
}

// Of one attachment, or of all as an array.
Result<json> fetch(const ApiClient& api, const std::string& word) {
  const auto stats_of = [&api](const json& attachment) {
    return api.get("/v1/attachments/" + percent_encode(text_of(attachment, "id")) + "/stats");
  };
  if (!word.empty()) {
    const auto attachment = find_attachment(api, word);
    if (!attachment) return std::unexpected(attachment.error());
    return stats_of(*attachment);
  }
  const auto attachments = api.get("/v1/attachments");
  if (!attachments) return std::unexpected(attachments.error());
  json all = json::array();
  for (const json& attachment : *attachments) {
    auto stats = stats_of(attachment);
    if (stats) {
      all.push_back(std::move(*stats));
    } else if (stats.error().code != ErrorCode::not_found) {  // it was detached meanwhile
      return stats;
    }
  }
  return all;
}

Result<void> show(Session& session, const std::string& word, std::optional<double> watch_s) {
  Output& out = session.out;
  unsigned drawn = 0;
  while (true) {
    const auto stats = fetch(session.api(), word);
    if (!stats && interrupted()) return {};
    if (!stats) return std::unexpected(stats.error());
    if (session.json) {
      watch_s ? out.json_line(*stats) : out.json(*stats);
    } else {
      out.rewind(drawn);
      drawn = stats->is_array() ? print_table(out, *stats) : print_one(out, *stats);
    }
    out.flush();
    if (!watch_s || out.closed()) return {};
    poll(nullptr, 0, static_cast<int>(*watch_s * 1000));  // ended early by Ctrl-C
    if (interrupted()) return {};
  }
}

}  // namespace

Run define_stats(CLI::App& app) {
  const auto word = std::make_shared<std::string>();
  const auto watch_s = std::make_shared<std::optional<double>>();
  app.add_option("attachment", *word, "Only this one, in full")->type_name("ID|DEVICE");
  app.add_option("--watch", *watch_s, "Show them again every so many seconds, until Ctrl-C")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 86'400.0));
  return [word, watch_s](Session& session) { return show(session, *word, *watch_s); };
}

}  // namespace farport
