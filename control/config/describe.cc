// What can be told from the table of keys alone: documentation, an example, and what changed.
#include <fmt/format.h>

#include "control/config/codec.h"
#include "control/config/schema.h"

namespace farport {
namespace {

using config::Key;
using config::Section;

std::string title(const Section& section, const std::string& path) {
  return section.array ? fmt::format("[[{}]]", path) : fmt::format("[{}]", path);
}

// `text` in lines of at most 96 characters, each after `indent`.
std::string wrap(std::string_view text, const std::string& indent) {
  constexpr size_t width = 96;
  std::string result, line = indent;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const bool first = line.size() == indent.size();
    if (!first && line.size() + 1 + end > width) {
      result += line + '\n';
      line = indent;
    }
    if (line.size() > indent.size()) line += ' ';
    line += text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result + line + '\n';
}

std::string default_words(const Section& section, const Key& key) {
  if (key.required) return "required";
  const std::string text = section.default_of(key);
  return text.empty() ? "no default" : "default " + text;
}

void describe(const Section& section, const std::string& path, std::string& text) {
  text += title(section, path) + '\n' + wrap(section.help, "  ") + '\n';
  for (const Key& key : section.keys) {
    text += fmt::format("  {} ({}, {}{})\n", key.name, key.type, default_words(section, key),
                        key.restart || section.restart ? ", needs a restart" : "");
    text += wrap(key.help, "      ");
  }
  text += '\n';
  for (const Section& inner : section.sections) describe(inner, path + "." + inner.name, text);
}

void write_example(const Section& section, const std::string& path, std::string& text) {
  text += wrap(section.help, "# ") + "#" + title(section, path) + "\n";
  for (const Key& key : section.keys) {
    std::string value = key.example;
    if (value.empty()) value = section.default_of(key);
    text += wrap(key.help, "# ") + fmt::format("#{} = {}\n", key.name, value);
  }
  text += '\n';
  for (const Section& inner : section.sections) write_example(inner, path + "." + inner.name, text);
}

void diff_table(const Section& section, const void* before, const void* after,
                std::vector<ConfigChange>& changes) {
  for (const Key& key : section.keys) {
    std::string old_text = key.print(before);
    std::string new_text = key.print(after);
    if (old_text == new_text) continue;
    changes.push_back({.key = section.name + "." + key.name,
                       .before = std::move(old_text),
                       .after = std::move(new_text),
                       .restart = key.restart});
  }
}

std::string count_words(size_t count) {
  return count == 0 ? "none" : fmt::format("{} of them", count);
}

void diff_elements(const Section& section, const std::vector<const void*>& before,
                   const std::vector<const void*>& after, std::vector<ConfigChange>& changes) {
  const auto print_all = [&](const std::vector<const void*>& elements) {
    std::string text;
    for (const void* element : elements) text += "[]\n" + print_table(section, element);
    return text;
  };
  if (print_all(before) == print_all(after)) return;
  changes.push_back({.key = section.name,
                     .before = count_words(before.size()),
                     .after = count_words(after.size()),
                     .restart = section.restart});
}

}  // namespace

std::string describe_config() {
  std::string text;
  for (const Section& section : config::schema().sections) describe(section, section.name, text);
  return text;
}

std::string example_config() {
  std::string text =
      "# /etc/farport/farport.toml. Everything here is commented out and shows the default, or an\n"
      "# example where there is none. conf.d/*.toml beside this file are read after it, in order\n"
      "# of name. `farport check-config` says whether it is right.\n\n";
  for (const Section& section : config::schema().sections) {
    write_example(section, section.name, text);
  }
  return text;
}

std::vector<ConfigChange> diff(const Config& before, const Config& after) {
  std::vector<ConfigChange> changes;
  for (const Section& section : config::schema().sections) {
    const auto old_elements = section.elements(&before);
    const auto new_elements = section.elements(&after);
    if (!section.array && old_elements.size() == 1 && new_elements.size() == 1) {
      diff_table(section, old_elements.front(), new_elements.front(), changes);
    } else {
      diff_elements(section, old_elements, new_elements, changes);
    }
  }
  return changes;
}

}  // namespace farport
