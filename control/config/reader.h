// Reads TOML and overrides into a Config by the table of keys, and says what does not fit it.
#pragma once

#include <string>
#include <string_view>

#include "control/config/config.h"
#include "control/config/schema.h"

namespace farport::config {

// Both add to report.errors and go on.
void read_text(std::string_view text, const std::string& file, ConfigReport& report);
// `key` is "host.listen", `source` "the environment (FARPORT_HOST_LISTEN)". False: no such key.
bool read_override(const std::string& key, const std::string& text, const std::string& source,
                   ConfigReport& report);

// The known name that was probably meant: "did you mean ...?"; empty if none is near.
std::string nearest(std::string_view unknown, const std::vector<std::string>& known);

// What fits no single key: names twice, addresses beyond loopback, and the like. reader.cc's work
// must have left no errors.
void check_whole(ConfigReport& report);

}  // namespace farport::config
