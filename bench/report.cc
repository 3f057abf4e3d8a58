#include "bench/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>

namespace farport::bench {

std::string_view name(LinkKind link) { return link == LinkKind::netns ? "netns" : "loopback"; }
std::string_view name(Wait wait) { return wait == Wait::spin ? "spin" : "sleep"; }
std::string_view name(TransferType kind) {
  return kind == TransferType::interrupt ? "interrupt" : "bulk";
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Figures figures(const std::vector<Measurement>& repetitions, uint32_t size) {
  const auto over = [&](const std::function<double(const Measurement&)>& value) {
    std::vector<double> values;
    for (const Measurement& one : repetitions) values.push_back(value(one));
    return median(std::move(values));
  };
  // A run in which nothing moved has no cost per transfer: 0, beside a goodput of 0.
  const auto each = [](double total, const Measurement& one) {
    return one.transfers == 0 ? 0 : total / static_cast<double>(one.transfers);
  };
  const auto per_second = [](const Measurement& one) {
    return one.seconds > 0 ? static_cast<double>(one.transfers) / one.seconds : 0;
  };
  using M = const Measurement&;
  Figures result;
  result.goodput_bytes_s = over([&](M one) { return per_second(one) * size; });
  result.transfers_s = over(per_second);
  result.rtt_us_p50 = over([](M one) { return static_cast<double>(one.rtt_ns_p50) / 1e3; });
  result.rtt_us_p99 = over([](M one) { return static_cast<double>(one.rtt_ns_p99) / 1e3; });
  result.rtt_us_p999 = over([](M one) { return static_cast<double>(one.rtt_ns_p999) / 1e3; });
  result.cpu_us_per_transfer =
      over([&](M one) { return each(static_cast<double>(one.cpu_ns) / 1e3, one); });
  result.allocations_per_transfer =
      over([&](M one) { return each(static_cast<double>(one.allocations), one); });
  result.rss_bytes = over([](M one) { return static_cast<double>(one.rss_bytes); });
  return result;
}

double Row::goodput_ratio() const {
  return floor.goodput_bytes_s > 0 ? ours.goodput_bytes_s / floor.goodput_bytes_s : 0;
}
double Row::rtt_ratio() const {
  return floor.rtt_us_p50 > 0 ? ours.rtt_us_p50 / floor.rtt_us_p50 : 0;
}

nlohmann::json machine_json(const Machine& machine) {
  return {
      {"cpu", machine.cpu},
      {"cores", machine.cores},
      {"memory_bytes", machine.memory_bytes},
      {"kernel", machine.kernel},
      {"system", machine.system},
      {"compiler", machine.compiler},
      {"asserts", machine.asserts},
      {"version", machine.version},
  };
}

nlohmann::json to_json(const Machine& machine, const std::vector<Row>& rows) {
  nlohmann::json document;
  document["machine"] = machine_json(machine);
  document["runs"] = nlohmann::json::array();
  for (const Row& row : rows) {
    document["runs"].push_back({
        {"link", name(row.load.link)},
        {"kind", name(row.load.kind)},
        {"direction", row.load.in ? "in" : "out"},
        {"size", row.load.size},
        {"depth", row.load.depth},
        {"wait", name(row.load.wait)},
        {"tls", row.load.tls},
        {"goodput_bytes_s", row.ours.goodput_bytes_s},
        {"floor_goodput_bytes_s", row.floor.goodput_bytes_s},
        {"goodput_ratio", row.goodput_ratio()},
        {"rtt_us_p50", row.ours.rtt_us_p50},
        {"rtt_us_p99", row.ours.rtt_us_p99},
        {"rtt_us_p999", row.ours.rtt_us_p999},
        {"floor_rtt_us_p50", row.floor.rtt_us_p50},
        {"floor_rtt_us_p99", row.floor.rtt_us_p99},
        {"floor_rtt_us_p999", row.floor.rtt_us_p999},
        {"rtt_ratio", row.rtt_ratio()},
        {"transfers_s", row.ours.transfers_s},
        {"cpu_us_per_transfer", row.ours.cpu_us_per_transfer},
        {"floor_cpu_us_per_transfer", row.floor.cpu_us_per_transfer},
        {"allocations_per_transfer", row.ours.allocations_per_transfer},
        {"rss_bytes", static_cast<uint64_t>(row.ours.rss_bytes)},
        {"floor_rss_bytes", static_cast<uint64_t>(row.floor.rss_bytes)},
    });
  }
  return document;
}

std::string size_text(uint64_t bytes) {
  if (bytes >= 1u << 20 && bytes % (1u << 20) == 0) return fmt::format("{} MiB", bytes >> 20);
  if (bytes >= 1u << 10 && bytes % (1u << 10) == 0) return fmt::format("{} KiB", bytes >> 10);
  return fmt::format("{} B", bytes);
}

std::string rate_text(double bytes_s) {
  constexpr std::array units{"B/s", "kB/s", "MB/s", "GB/s"};
  size_t unit = 0;
  while (bytes_s >= 999.5 && unit + 1 < units.size()) {
    bytes_s /= 1000;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", bytes_s,
                     bytes_s < 9.95   ? 2
                     : bytes_s < 99.5 ? 1
                                      : 0,
                     units[unit]);
}

std::string table_head(const Machine& machine) {
  const std::string first = fmt::format(
      "{}, {} cores, {}, kernel {}\nfarport {} by {}{}; medians; floor: bare sockets in the same "
      "minute; ratio: ours / floor\n\n",
      machine.cpu, machine.cores, machine.system, machine.kernel, machine.version, machine.compiler,
      machine.asserts ? "" : ", no asserts");
  return first + fmt::format(
                     "{:<8} {:<9} {:<3} {:>7} {:>5} {:<5} {:<3} | {:>10} {:>10} {:>5} | {:>8} "
                     "{:>8} {:>5} {:>8} {:>8} | {:>9} {:>6} {:>6} {:>6} {:>7}\n",
                     "link", "kind", "dir", "size", "depth", "wait", "tls", "goodput", "floor",
                     "ratio", "p50 us", "floor", "ratio", "p99", "p99.9", "per s", "cpu us",
                     "floor", "alloc", "RSS");
}

std::string table_line(const Row& row) {
  const Figures& ours = row.ours;
  return fmt::format(
      "{:<8} {:<9} {:<3} {:>7} {:>5} {:<5} {:<3} | {:>10} {:>10} {:>5.2f} | {:>8.1f} {:>8.1f} "
      "{:>5.2f} "
      "{:>8.1f} {:>8.1f} | {:>9.0f} {:>6.2f} {:>6.2f} {:>6.3f} {:>4.0f} MB\n",
      name(row.load.link), name(row.load.kind), row.load.in ? "in" : "out",
      size_text(row.load.size), row.load.depth, name(row.load.wait), row.load.tls ? "on" : "off",
      rate_text(ours.goodput_bytes_s), rate_text(row.floor.goodput_bytes_s), row.goodput_ratio(),
      ours.rtt_us_p50, row.floor.rtt_us_p50, row.rtt_ratio(), ours.rtt_us_p99, ours.rtt_us_p999,
      ours.transfers_s, ours.cpu_us_per_transfer, row.floor.cpu_us_per_transfer,
      ours.allocations_per_transfer, ours.rss_bytes / 1e6);
}

namespace {

std::string judged(const Row& row, std::string_view what, double value, bool met) {
  return fmt::format("{:<6} {} {} depth {} {}{}: {} is {:.4g}\n", met ? "met" : "MISSED",
                     row.load.in ? "in" : "out", size_text(row.load.size), row.load.depth,
                     name(row.load.wait), row.load.tls ? " tls" : "", what, value);
}

bool same_but_for_tls(const Load& one, const Load& other) {
  return one.link == other.link && one.kind == other.kind && one.in == other.in &&
         one.size == other.size && one.depth == other.depth && one.wait == other.wait;
}

// What TLS costs: beside the same load without it, if that was measured.
std::string tls_targets(const Row& row, const std::vector<Row>& rows) {
  const auto plain = std::find_if(rows.begin(), rows.end(), [&](const Row& other) {
    return !other.load.tls && same_but_for_tls(other.load, row.load);
  });
  if (plain == rows.end()) return {};
  std::string text;
  if (row.load.kind == TransferType::bulk && row.load.size == 64 * 1024 && row.load.depth == 16 &&
      plain->ours.goodput_bytes_s > 0) {
    const double kept = row.ours.goodput_bytes_s / plain->ours.goodput_bytes_s;
    text += judged(row, "goodput / without TLS (at least 0.65)", kept, kept >= 0.65);
  }
  if (row.load.size == 64 && row.load.depth == 1) {
    const double added_us = row.ours.rtt_us_p50 - plain->ours.rtt_us_p50;
    text +=
        judged(row, "median round trip over without TLS (at most 10 us)", added_us, added_us <= 10);
  }
  return text;
}

}  // namespace

std::string targets(const std::vector<Row>& rows) {
  std::string text;
  for (const Row& row : rows) {
    const Load& load = row.load;
    if (load.tls) {
      text += tls_targets(row, rows);
    } else {
      if (load.kind == TransferType::bulk && load.size == 64 * 1024 && load.depth == 16) {
        text += judged(row, "goodput / floor (at least 0.85)", row.goodput_ratio(),
                       row.goodput_ratio() >= 0.85);
      }
      if (load.size == 64 && load.depth == 1) {
        text += judged(row, "median round trip / floor (at most 1.3)", row.rtt_ratio(),
                       row.rtt_ratio() <= 1.3);
      }
      if (load.size == 64 && load.depth == 64) {
        text += judged(row, "transfers/s (at least 500 k)", row.ours.transfers_s,
                       row.ours.transfers_s >= 500e3);
      }
    }
    if (row.ours.allocations_per_transfer >= 0.01) {  // not one that happened once
      text +=
          judged(row, "allocations per transfer (none)", row.ours.allocations_per_transfer, false);
    }
  }
  return text;
}

}  // namespace farport::bench
