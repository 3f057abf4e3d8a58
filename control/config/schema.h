// The table of keys: what the configuration may hold. One entry gives a key its name, its type, its
// help and the member it fills; checks, documentation and the comparison of two configurations all
// come from here. The entries are in schema.cc.
#pragma once

#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "control/config/config.h"

namespace farport::config {

// A value as found in a file, or as text in the environment or a flag.
struct Text {
  std::string text;
};
struct Other {
  std::string type;  // "a table", "a date", "an array of tables"
};
using Value =
    std::variant<bool, int64_t, double, std::string, std::vector<std::string>, Text, Other>;

// "the text \"yes\"", "the number 7": for "found ..., expected ...".
std::string value_words(const Value& value);

struct Key {
  std::string name;
  std::string type;  // for people: "size", "list of addresses"
  std::string help;
  bool required = false;
  bool restart = false;  // a change takes effect when the daemon is started again
  std::string example;   // for keys without a default
  // Fills the member of `table`, or says what was expected.
  std::function<std::expected<void, std::string>(void* table, const Value& value)> read;
  // The member as TOML; empty when it is not set.
  std::function<std::string(const void* table)> print;
};

// A table, or an array of tables.
struct Section {
  std::string name;  // "host", "vm"; within another section, "device"
  std::string help;
  bool array = false;
  bool restart = false;  // arrays: a change takes effect when the daemon is started again
  std::vector<Key> keys;
  std::vector<Section> sections;
  // The struct to fill: a member of `parent`, or a new element of it.
  std::function<void*(void* parent, const Origin& origin)> open;
  // One with all defaults, for documentation.
  std::function<std::string(const Key& key)> default_of;
  // Elements of an array, or the table if it is there.
  std::function<std::vector<const void*>(const void* parent)> elements;
};

// The whole file: a section without a name, whose table is a Config.
const Section& schema();

// The element as comparable text: all keys and all sections within.
std::string print_table(const Section& section, const void* table);

}  // namespace farport::config
