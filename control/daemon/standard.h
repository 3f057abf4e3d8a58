// What a configuration means for a daemon: the providers and drivers that this build has, rules,
// rates and peers.
#pragma once

#include "control/config/config.h"
#include "control/daemon/daemon.h"

namespace farport {

// Opens what the emulated devices and the providers need; errors name the setting.
Result<DaemonSettings> daemon_settings(const Config& config);
// The part that a reload takes over.
LiveSettings live_settings(const Config& config);

// vhci, pty and rfc2217.
void add_standard_drivers(DriverTypes& drivers, const std::string& run_dir);

}  // namespace farport
