// `farport demo`: two hosts on this machine, one with an emulated disk and serial port, the other
// using them. Needs no root, no kernel module and no hardware; everything it shows is measured.
#pragma once

#include "control/cli/cli.h"

namespace farport {

Run define_demo(CLI::App& app);

}  // namespace farport
