// Line settings as people write them: "2400 7E2", "115200,8N1", "115200".
#pragma once

#include <string_view>

#include "dataplane/error.h"
#include "devices/serial_requests.h"

namespace farport::serial {

// BAUD, then, after a space or comma, data bits (5-8), parity (N, O, E, M, S) and stop bits
// (1, 1.5, 2); 8N1 without. Letters of either case. `usage` with an example for anything else.
Result<LineSettings> parse_line_settings(std::string_view text);

}  // namespace farport::serial
