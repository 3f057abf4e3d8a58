// What an RFC 2217 client sends: telnet's framing, its options, and COM-PORT-OPTION's requests.

#include "drivers/rfc2217/com_port.cc"
#include "drivers/rfc2217/telnet.cc"
#include "tests/fuzz/fuzz.h"

using namespace farport;

namespace farport::fuzz {
std::vector<std::string> examples() {
  std::vector<uint8_t> text;
  telnet::Options().offer(text);
  telnet::append_data(text, std::vector<uint8_t>{1, 255, 2});
  for (const std::vector<uint8_t>& request : std::vector<std::vector<uint8_t>>{
           {1, 0, 1, 0xc2, 0}, {2, 7}, {3, 3}, {4, 2}, {5, 8}, {5, 5}, {10, 255}, {12, 3}, {0}}) {
    telnet::append_subnegotiation(text, telnet::option_com_port, request);
  }
  return {bytes_of(text), "plain text\xff\xf3", std::string("\xff\xfd\x2c\xff\xfb\x00", 6)};
}
}  // namespace farport::fuzz

namespace {

// Everything that the parser makes of the input, as text; `piece` bytes at a time.
std::string parse(std::span<const uint8_t> bytes, size_t piece) {
  using Kind = telnet::Event::Kind;
  telnet::Parser parser;
  std::string told;
  while (!bytes.empty()) {
    auto input = bytes.first(std::min(piece, bytes.size()));
    bytes = bytes.subspan(input.size());
    while (const auto event = parser.next(input)) {
      if (event->kind == Kind::error) return told + "error";
      if (event->kind != Kind::data) {
        told += {static_cast<char>(event->kind), static_cast<char>(event->command),
                 static_cast<char>(event->option)};
      }
      told.append(event->bytes.begin(), event->bytes.end());
    }
  }
  return told;
}

void serve(std::span<const uint8_t> input) {
  telnet::Parser parser;
  telnet::Options options;
  std::vector<uint8_t> out;
  com_port::PortState state;
  while (const auto event = parser.next(input)) {
    if (event->kind == telnet::Event::Kind::error) return;
    if (event->kind == telnet::Event::Kind::negotiation) {
      options.negotiate(event->command, event->option, out);
    }
    if (event->kind != telnet::Event::Kind::subnegotiation) continue;
    const auto request = com_port::decode(event->bytes);
    if (!request) continue;
    serial::ModemControl modem;
    const com_port::Change change = com_port::change_of(*request);
    if (change == com_port::Change::line) (void)com_port::apply(*request, state.line);
    if (change == com_port::Change::modem) com_port::apply(*request, modem);
    com_port::append_setting(out, *request, state);
    fuzz_check(state.line.data_bits >= 5 && state.line.data_bits <= 8);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span bytes(data, size);
  fuzz_check(parse(bytes, size) == parse(bytes, 1));  // where the network cuts changes nothing
  serve(bytes);
  return 0;
}
