#include "control/trust/known_hosts.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/trust/host_key.h"
#include "control/trust/private_file.h"

namespace farport {

namespace {

constexpr std::string_view kSpace = " \t";

// Takes the next word off the front of `rest`.
std::string take_word(std::string_view& rest) {
  rest.remove_prefix(std::min(rest.find_first_not_of(kSpace), rest.size()));
  const size_t end = std::min(rest.find_first_of(kSpace), rest.size());
  std::string word(rest.substr(0, end));
  rest.remove_prefix(end);
  return word;
}

std::string trimmed(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
  text.remove_prefix(begin);
  const size_t last = text.find_last_not_of(kSpace);
  return std::string(text.substr(0, last == std::string_view::npos ? 0 : last + 1));
}

// As it may be shown: a terminal obeys control characters.
std::string shown(std::string_view text) {
  std::string words(text.substr(0, 80));
  std::ranges::replace_if(words, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return words;
}

Result<void> check_key(const PinnedKey& key) {
  if (!is_host_name(key.name)) {
    return fail(ErrorCode::usage, fmt::format("\"{}\" is not a host's name: expected {}",
                                              shown(key.name), host_name_words));
  }
  if (!is_fingerprint(key.fingerprint)) {
    return fail(ErrorCode::usage,
                fmt::format("\"{}\" is not a fingerprint: expected SHA256: and 43 characters, as "
                            "`farport trust show` prints it on host {}",
                            shown(key.fingerprint), key.name));
  }
  return {};
}

}  // namespace

Result<KnownHosts> KnownHosts::parse(std::string_view text, std::string_view file_name) {
  KnownHosts known;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    while (line.ends_with('\r')) line.remove_suffix(1);
    std::string_view rest = line;
    PinnedKey key;
    key.name = take_word(rest);
    if (key.name.empty() || key.name.starts_with('#')) {
      known.lines_.push_back({std::string(line), {}});
      continue;
    }
    key.fingerprint = take_word(rest);
    key.comment = trimmed(rest);
    const auto added = known.add(key);
    if (!added) {
      return fail(added.error().code,
                  fmt::format("{}:{}: {}", file_name, number, added.error().message));
    }
    if (*added) known.lines_.back().text = std::string(line);
  }
  return known;
}

Result<KnownHosts> KnownHosts::load(const std::string& path) {
  const auto text = read_guarded(path, Guard::integrity, bytes_max);
  if (!text && text.error().code == ErrorCode::not_found) return KnownHosts();
  if (!text) return std::unexpected(text.error());
  return parse(*text, path);
}

Result<void> KnownHosts::save(const std::string& path) const { return write_private(path, text()); }

std::string KnownHosts::text() const {
  std::string all;
  for (const Line& line : lines_) all += line.text + "\n";
  return all;
}

std::vector<PinnedKey> KnownHosts::keys() const {
  std::vector<PinnedKey> keys;
  for (const Line& line : lines_) {
    if (line.key) keys.push_back(*line.key);
  }
  return keys;
}

std::vector<PinnedKey> KnownHosts::keys_of(std::string_view name) const {
  std::vector<PinnedKey> keys;
  for (const Line& line : lines_) {
    if (line.key && line.key->name == name) keys.push_back(*line.key);
  }
  return keys;
}

std::string KnownHosts::name_of(std::string_view fingerprint) const {
  for (const Line& line : lines_) {
    if (line.key && line.key->fingerprint == fingerprint) return line.key->name;
  }
  return "";
}

Result<bool> KnownHosts::add(const PinnedKey& key) {
  if (auto checked = check_key(key); !checked) return std::unexpected(checked.error());
  const std::string owner = name_of(key.fingerprint);
  if (owner == key.name) return false;
  if (!owner.empty()) {
    return fail(ErrorCode::denied,
                fmt::format("{} is the key of host {}, and a key has one name: run `farport trust "
                            "remove {}` first if it is host {} now",
                            key.fingerprint, owner, owner, key.name));
  }
  Line line{fmt::format("{} {}", key.name, key.fingerprint), key};
  line.key->comment = shown(trimmed(key.comment));
  if (!line.key->comment.empty()) line.text += " " + line.key->comment;
  lines_.push_back(std::move(line));
  return true;
}

size_t KnownHosts::remove(std::string_view name, std::string_view fingerprint) {
  return std::erase_if(lines_, [&](const Line& line) {
    return line.key && line.key->name == name &&
           (fingerprint.empty() || line.key->fingerprint == fingerprint);
  });
}

}  // namespace farport
