// A configuration file, as someone's editor left it.

#include "control/config/reader.cc"
#include "tests/fuzz/fuzz.h"

namespace farport::fuzz {
std::vector<std::string> examples() {
  return {
      example_config(),
      "[host]\nname = 'a'\nlisten = ['127.0.0.1:0', '[::1]:7411']\nspin_us = 5\n",
      "[policy]\nthreshold = '50 %'\nwindow = '10 s'\n[limits]\nsessions = 4\n",
      "[[peer]]\nname = 'b'\naddress = '192.0.2.1'\n[[peer]]\nname = 'b'\n",
      "[[export]]\ndevice = 'usb:*'\nhosts = ['b']\ndeny = true\n",
      "[[vm]]\nname = 'v'\nallocation = '10 Mbit/s'\n[[vm.device]]\ndevice = 'usb:*'\n",
      "[[emulated]]\nname = 'D'\nkind = 'disk'\nsize = '64 MiB'\n[[nominal]]\nrate = 1e30\n",
      "[usbip.server]\nlisten = '0.0.0.0:3240'\n[[usbip.import]]\naddress = 'x'\n",
      "a = {b = {c = [1, 2.5, 1979-05-27, inf]}}\n\"\\u0000\" = true\n",
  };
}
}  // namespace farport::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace farport;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const ConfigReport report = parse_config(text, "fuzz.toml");
  for (const std::string& error : report.errors) {
    fuzz_check(!error.empty());
    // A person reads it, on a terminal.
    for (const unsigned char c : error) fuzz_check(c >= 0x20 || c == '\n');
  }
  if (report.errors.empty()) fuzz_check(diff(report.config, report.config).empty());
  return 0;
}
