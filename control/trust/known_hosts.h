// The pinned keys of other hosts: a text file, like SSH's known_hosts.
//
//   # comments and empty lines are kept
//   NAME SHA256:base64 [comment]
//
// A name may have several keys, for the time of a renewal; a key has one name.
//
// Thread rule: the control thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/trust/overview.h"
#include "dataplane/error.h"

namespace farport {

class KnownHosts {
 public:
  static constexpr size_t bytes_max = 1 << 20;

  // A malformed line is an error that names it, as "known_hosts:3": whoever is left out by a
  // mistake should hear of it.
  static Result<KnownHosts> parse(std::string_view text, std::string_view file_name);
  // Nothing pinned when the file is not there.
  static Result<KnownHosts> load(const std::string& path);
  Result<void> save(const std::string& path) const;

  std::string text() const;
  std::vector<PinnedKey> keys() const;
  std::vector<PinnedKey> keys_of(std::string_view name) const;
  // Whose it is; empty: nobody's.
  std::string name_of(std::string_view fingerprint) const;

  // False: it is there already. usage: not a name or not a fingerprint; denied: it is another's.
  Result<bool> add(const PinnedKey& key);
  // All keys of the name when `fingerprint` is empty. How many there were.
  size_t remove(std::string_view name, std::string_view fingerprint = {});

 private:
  struct Line {
    std::string text;
    std::optional<PinnedKey> key;  // none: a comment
  };
  std::vector<Line> lines_;
};

}  // namespace farport
