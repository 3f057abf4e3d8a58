// Control messages of another host: requests as the device host takes them, responses as the
// consumer's host does.

#include "control/daemon/peer_message.cc"
#include "tests/fuzz/fuzz.h"

using namespace farport;

namespace farport::fuzz {
std::vector<std::string> examples() {
  DeviceInfo info;
  info.name = "usb:1d6b:0104:A1";
  info.aliases = {"usb:1d6b:0104"};
  info.device_descriptor.assign(18, 1);
  info.configurations = {{9, 2, 32, 0}};
  DeviceEntry entry;
  entry.info = info;
  entry.holder = Holder{"beta", "build", "ann", 7};
  return {peer::dump(peer::encode_attach({1, "usb:1:2", "build", "ann"})),
          peer::dump(peer::encode_answer({info, 7, "descriptors", 1 << 20})),
          peer::dump({{"ok", true}, {"devices", {peer::encode_entry(entry)}}}),
          peer::dump({{"ok", true}, {"checks", {Check{"device", true, "there", ""}}}}),
          peer::dump(peer::error_response({ErrorCode::busy, "in use"}))};
}
}  // namespace farport::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto message = peer::parse(text);
  if (!message) return 0;
  (void)peer::string_field(*message, "op", 64);
  if (const auto attach = peer::decode_attach(*message)) {
    fuzz_check(attach->channel != 0 && attach->device.size() <= peer::name_bytes_max);
  }
  (void)peer::check_response(*message);
  if (const auto answer = peer::decode_answer(*message)) {
    // What was taken can be sent on, and comes back the same.
    const auto again = peer::decode_answer(*peer::parse(peer::dump(peer::encode_answer(*answer))));
    fuzz_check(again && again->info.configurations == answer->info.configurations);
  }
  if (const auto entries = peer::decode_entries(*message, "alpha")) {
    fuzz_check(entries->size() <= peer::devices_max);
    for (const auto& entry : *entries) (void)peer::dump(peer::encode_entry(entry));
  }
  (void)peer::decode_checks(*message);
  return 0;
}
