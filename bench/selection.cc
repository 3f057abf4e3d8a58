#include "bench/selection.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "dataplane/limits.h"

namespace farport::bench {

namespace {

Result<uint64_t> parse_number(std::string_view& text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return fail(ErrorCode::usage, "");
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return number;
}

// Each text turned into a value by `parse`; `otherwise` when there is none.
template <class Value, class Parse>
Result<std::vector<Value>> parse_all(const std::vector<std::string>& texts, const Parse& parse,
                                     std::vector<Value> otherwise) {
  if (texts.empty()) return otherwise;
  std::vector<Value> values;
  for (const std::string& text : texts) {
    Result<Value> value = parse(text);
    if (!value) return std::unexpected(value.error());
    values.push_back(*value);
  }
  return values;
}

// A parser of one of two words.
template <class Value>
auto choice(std::string_view option, std::string_view first, Value first_value,
            std::string_view second, Value second_value) {
  return [=](std::string_view text) -> Result<Value> {
    if (text == first) return first_value;
    if (text == second) return second_value;
    return fail(ErrorCode::usage,
                fmt::format("{} is {} or {}, not '{}'", option, first, second, text));
  };
}

// What the speed goals speak of, a little around it, and the other directions.
std::vector<Load> quick_table() {
  const auto load = [](TransferType kind, bool in, uint32_t size, uint32_t depth) {
    Load one;
    one.kind = kind;
    one.in = in;
    one.size = size;
    one.depth = depth;
    return one;
  };
  constexpr auto bulk = TransferType::bulk;
  return {
      load(bulk, true, 64, 1),          load(TransferType::interrupt, true, 64, 1),
      load(bulk, true, 64, 64),         load(bulk, false, 64, 64),
      load(bulk, true, 4096, 16),       load(bulk, true, 64 * 1024, 16),
      load(bulk, false, 64 * 1024, 16), load(bulk, true, 1024 * 1024, 4),
  };
}

}  // namespace

Result<uint32_t> parse_size(std::string_view text) {
  const auto wrong = [given = text] {
    return fail(
        ErrorCode::usage,
        fmt::format("a size is a number of bytes from 1 to 16M, such as 64, 4K or 1M, not '{}'",
                    given));
  };
  Result<uint64_t> number = parse_number(text);
  if (!number || *number > limits::transfer_bytes_max) return wrong();
  if (text == "K" || text == "KiB") {
    *number <<= 10;
  } else if (text == "M" || text == "MiB") {
    *number <<= 20;
  } else if (!text.empty()) {
    return wrong();
  }
  if (*number == 0 || *number > limits::transfer_bytes_max) return wrong();
  return static_cast<uint32_t>(*number);
}

Result<uint32_t> parse_depth(std::string_view text) {
  const std::string_view given = text;
  const Result<uint64_t> number = parse_number(text);
  if (!number || !text.empty() || *number == 0 || *number > limits::transfers_per_channel_max) {
    return fail(ErrorCode::usage,
                fmt::format("a depth is a number of transfers in flight from 1 to {}, not '{}'",
                            limits::transfers_per_channel_max, given));
  }
  return static_cast<uint32_t>(*number);
}

Result<std::vector<Load>> loads_of(const Selection& selection) {
  const auto links = parse_all<LinkKind>(
      selection.links, choice("--link", "loopback", LinkKind::loopback, "netns", LinkKind::netns),
      {LinkKind::loopback});
  if (!links) return std::unexpected(links.error());
  const auto kinds = parse_all<TransferType>(
      selection.kinds,
      choice("--kind", "bulk", TransferType::bulk, "interrupt", TransferType::interrupt),
      {TransferType::bulk});
  if (!kinds) return std::unexpected(kinds.error());
  const auto directions =
      parse_all<char>(selection.directions, choice("--direction", "in", 'i', "out", 'o'), {'i'});
  if (!directions) return std::unexpected(directions.error());
  const auto waits = parse_all<Wait>(
      selection.waits, choice("--wait", "sleep", Wait::sleep, "spin", Wait::spin),
      selection.selects() ? std::vector{Wait::sleep} : std::vector{Wait::sleep, Wait::spin});
  if (!waits) return std::unexpected(waits.error());
  const auto tls = parse_all<char>(selection.tls, choice("--tls", "off", '\0', "on", '\1'), {'\0'});
  if (!tls) return std::unexpected(tls.error());
  const auto sizes = parse_all<uint32_t>(
      selection.sizes, parse_size,
      selection.full
          ? std::vector<uint32_t>{64, 512, 4u << 10, 16u << 10, 64u << 10, 256u << 10, 1u << 20}
          : std::vector<uint32_t>{64, 4u << 10, 64u << 10, 1u << 20});
  if (!sizes) return std::unexpected(sizes.error());
  const auto depths = parse_all<uint32_t>(
      selection.depths, parse_depth,
      selection.full ? std::vector<uint32_t>{1, 4, 16, 64} : std::vector<uint32_t>{1, 16, 64});
  if (!depths) return std::unexpected(depths.error());

  std::vector<Load> shapes;
  if (!selection.selects()) {
    shapes = quick_table();
  } else {
    for (const TransferType kind : *kinds) {
      for (const char direction : *directions) {
        for (const uint32_t size : *sizes) {
          for (const uint32_t depth : *depths) {
            if (uint64_t{size} * depth > in_flight_bytes_max) continue;
            Load load;
            load.kind = kind;
            load.in = direction == 'i';
            load.size = size;
            load.depth = depth;
            shapes.push_back(load);
          }
        }
      }
    }
  }
  std::vector<Load> loads;
  for (const LinkKind link : *links) {
    for (const Wait wait : *waits) {
      for (Load load : shapes) {
        load.link = link;
        load.wait = wait;
        load.seconds = selection.seconds;
        for (const char on : *tls) {
          load.tls = on != 0;
          loads.push_back(load);
        }
      }
    }
  }
  if (loads.empty()) {
    return fail(ErrorCode::usage,
                fmt::format("size times depth is over {}, what one channel may have in flight: "
                            "choose smaller ones",
                            in_flight_bytes_max));
  }
  return loads;
}

}  // namespace farport::bench
