#include "control/config/reader.h"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>
#include <set>
#include <sstream>

namespace farport::config {
namespace {

// How many letters must be changed, added, left out or swapped (Levenshtein, and swaps).
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before = std::exchange(above, row);
  }
  return above[b.size()];
}

Other other(std::string type) { return {std::move(type)}; }

Value value_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::boolean:
      return **node.as_boolean();
    case toml::node_type::integer:
      return **node.as_integer();
    case toml::node_type::floating_point:
      return **node.as_floating_point();
    case toml::node_type::string:
      return **node.as_string();
    case toml::node_type::table:
      return other("a table");
    case toml::node_type::array:
      break;
    default:
      return other("a date or time");
  }
  const toml::array& array = *node.as_array();
  if (array.is_array_of_tables()) return other("an array of tables");
  std::vector<std::string> items;
  for (const toml::node& element : array) {
    const auto* text = element.as_string();
    if (text == nullptr) return other("a list with something else than texts");
    items.push_back(text->get());
  }
  return items;
}

class Reader {
 public:
  Reader(std::string file, ConfigReport& report) : file_(std::move(file)), report_(report) {}

  void read(const toml::table& table, const Section& section, void* object, const std::string& path,
            uint32_t line) {
    std::set<std::string_view> seen;
    for (const auto& [name, node] : table) {
      const uint32_t at = name.source().begin.line;
      seen.insert(name.str());
      const auto key = std::ranges::find(section.keys, name.str(), &Key::name);
      if (key != section.keys.end()) {
        read_key(*key, node, object, section, path, at);
        continue;
      }
      const auto inner = std::ranges::find(section.sections, name.str(), &Section::name);
      if (inner != section.sections.end()) {
        read_section(*inner, node, object, path, at);
        continue;
      }
      unknown(name.str(), section, path, at);
    }
    for (const Key& key : section.keys) {
      if (!key.required || seen.contains(key.name)) continue;
      error(line, fmt::format("{} needs {}, as {} = {}", title(path, section), key.name, key.name,
                              key.example));
    }
  }

 private:
  void error(uint32_t line, const std::string& words) {
    report_.errors.push_back(fmt::format("{}:{}: {}", file_, line, words));
  }

  static std::string title(const std::string& path, const Section& section) {
    return section.array ? fmt::format("[[{}]]", path) : fmt::format("[{}]", path);
  }

  void read_key(const Key& key, const toml::node& node, void* object, const Section& section,
                const std::string& path, uint32_t line) {
    const Value value = value_of(node);
    const std::string name = fmt::format("{}.{}", path, key.name);
    if (auto result = key.read(object, value); !result) {
      error(line,
            fmt::format("{}: found {}, expected {}", name, value_words(value), result.error()));
      return;
    }
    if (!section.array) report_.config.set_by[name] = format_origin({file_, line});
  }

  void read_section(const Section& section, const toml::node& node, void* object,
                    const std::string& path, uint32_t line) {
    const std::string inner = path.empty() ? section.name : path + "." + section.name;
    if (!section.array) {
      const toml::table* table = node.as_table();
      if (table == nullptr) {
        return error(line, fmt::format("{}: found {}, expected a table: write [{}]", inner,
                                       value_words(value_of(node)), inner));
      }
      return read(*table, section, section.open(object, {file_, line}), inner, line);
    }
    const toml::array* tables = node.as_array();
    // An empty array says nothing.
    if (tables == nullptr || (!tables->empty() && !tables->is_array_of_tables())) {
      return error(line, fmt::format("{}: found {}, expected an array of tables: write [[{}]]",
                                     inner, value_words(value_of(node)), inner));
    }
    for (const toml::node& element : *tables) {
      const uint32_t at = element.source().begin.line;
      read(*element.as_table(), section, section.open(object, {file_, at}), inner, at);
    }
  }

  void unknown(std::string_view name, const Section& section, const std::string& path,
               uint32_t line) {
    std::vector<std::string> known;
    for (const Key& key : section.keys) known.push_back(key.name);
    for (const Section& inner : section.sections) known.push_back(inner.name);
    std::string hint = nearest(name, known);
    if (hint.empty()) {
      // The right key in the wrong place.
      for (const Section& other : schema().sections) {
        if (std::ranges::find(other.keys, name, &Key::name) == other.keys.end()) continue;
        hint = fmt::format("{}, under {}", name, title(other.name, other));
        break;
      }
    }
    const std::string place = path.empty() ? "" : fmt::format(" in {}", title(path, section));
    error(line, fmt::format("unknown key \"{}\"{}{}", name, place,
                            hint.empty() ? "" : fmt::format(": did you mean {}?", hint)));
  }

  std::string file_;
  ConfigReport& report_;
};

}  // namespace

std::string nearest(std::string_view unknown, const std::vector<std::string>& known) {
  size_t best = std::max<size_t>(2, unknown.size() / 3) + 1;
  std::string name;
  for (const std::string& candidate : known) {
    const size_t far = distance(unknown, candidate);
    if (far >= best || far >= candidate.size()) continue;
    best = far;
    name = candidate;
  }
  return name;
}

void read_text(std::string_view text, const std::string& file, ConfigReport& report) {
  // toml++ as Debian builds it throws: here, and nowhere else.
  try {
    const toml::table table = toml::parse(text, file);
    Reader(file, report).read(table, schema(), &report.config, "", 1);
  } catch (const toml::parse_error& error) {
    report.errors.push_back(
        fmt::format("{}:{}: {}", file, error.source().begin.line, error.description()));
  }
}

bool read_override(const std::string& name, const std::string& text, const std::string& source,
                   ConfigReport& report) {
  const size_t dot = name.find('.');
  if (dot == std::string::npos) return false;
  const auto& sections = schema().sections;
  const auto section = std::ranges::find(sections, name.substr(0, dot), &Section::name);
  if (section == sections.end() || section->array) return false;
  const auto key = std::ranges::find(section->keys, name.substr(dot + 1), &Key::name);
  if (key == section->keys.end()) return false;
  const Value value = Text{text};
  if (auto result = key->read(section->open(&report.config, {}), value); !result) {
    report.errors.push_back(fmt::format("{}: {}: found {}, expected {}", source, name,
                                        value_words(value), result.error()));
  } else {
    report.config.set_by[name] = source;
  }
  return true;
}

}  // namespace farport::config
