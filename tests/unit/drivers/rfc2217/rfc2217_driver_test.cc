#include "drivers/rfc2217/rfc2217_driver.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <string>

#include "tests/unit/drivers/serial/serial_rig.h"

namespace farport {
namespace {

using serial::LineSettings;
using serial::Parity;
using serial::SerialNotice;
using serial::SerialRig;
using Bytes = std::vector<uint8_t>;
namespace line = serial::line;

// A client on a real socket: collects data, and the last value of each answer.
struct Client {
  FileDescriptor socket;
  telnet::Parser parser;
  std::string data;
  std::vector<Bytes> answers;  // COM-PORT-OPTION, as they came
  std::vector<std::pair<uint8_t, uint8_t>> negotiated;
  bool closed = false;

  explicit Client(const std::string& address) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    socket.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  }
  void send(const Bytes& bytes) {
    size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t count =
          ::send(socket.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      ASSERT_GT(count, 0);
      sent += static_cast<size_t>(count);
    }
  }
  void send(std::string_view text) { send(Bytes(text.begin(), text.end())); }
  void poll() {
    uint8_t buffer[4096];
    ssize_t count;
    while ((count = ::recv(socket.get(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
      std::span<const uint8_t> input(buffer, static_cast<size_t>(count));
      while (auto event = parser.next(input)) hear(*event);
    }
    if (count == 0 || errno != EAGAIN) closed = true;
  }
  bool answered(const Bytes& answer) {
    poll();
    return std::find(answers.begin(), answers.end(), answer) != answers.end();
  }

 private:
  void hear(const telnet::Event& event) {
    if (event.kind == telnet::Event::Kind::data)
      data.append(event.bytes.begin(), event.bytes.end());
    if (event.kind == telnet::Event::Kind::subnegotiation) {
      EXPECT_EQ(event.option, telnet::option_com_port);
      answers.emplace_back(event.bytes.begin(), event.bytes.end());
    }
    if (event.kind == telnet::Event::Kind::negotiation) {
      negotiated.emplace_back(event.command, event.option);
    }
  }
};

Bytes request(const Bytes& bytes) {
  Bytes out;
  telnet::append_subnegotiation(out, telnet::option_com_port, bytes);
  return out;
}
Bytes join(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}
Bytes text(std::string_view bytes) { return Bytes(bytes.begin(), bytes.end()); }
const Bytes agree{telnet::iac, telnet::will, telnet::option_com_port,
                  telnet::iac, telnet::do_,  telnet::option_com_port};

class Rfc2217DriverTest : public testing::Test {
 protected:
  ~Rfc2217DriverTest() override {
    if (rig.channel) rig.close();
  }
  void start(bool hang_up = true) {
    auto driver = Rfc2217Driver::create({.address = "127.0.0.1:0", .hang_up = hang_up});
    ASSERT_TRUE(driver) << driver.error().message;
    address = (*driver)->path();
    rig.start(std::move(*driver));
  }
  // Connected, past the opening, with the log empty.
  Client connect() {
    Client client(address);
    client.send(agree);
    rig.wait([&] { return client.answered({107, 0}) || !client.answers.empty(); });
    rig.wait([&] { return rig.lines == (line::dtr | line::rts) || !rig.has_modem_lines; });
    rig.log.clear();
    client.answers.clear();
    return client;
  }
  void present_state(uint8_t lines) { rig.notice({.lines = lines}); }
  void wait_answer(Client& client, const Bytes& answer) {
    rig.wait([&] { return client.answered(answer); });
  }

  SerialRig rig;
  std::string address;
};

TEST_F(Rfc2217DriverTest, EveryByteValuePassesBothWays) {
  start();
  present_state(0);
  Client client = connect();
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  Bytes escaped;
  telnet::append_data(escaped, Bytes(all.begin(), all.end()));
  client.send(escaped);
  rig.wait([&] { return rig.written.size() >= all.size(); });
  EXPECT_TRUE(rig.written == all);
  EXPECT_EQ(rig.log.size(), 1u) << "one read, one transfer";
  rig.receive(all);
  rig.wait([&] {
    client.poll();
    return client.data.size() >= all.size();
  });
  EXPECT_TRUE(client.data == all);
}

// What pyserial's client says on opening, in its order and its groups.
TEST_F(Rfc2217DriverTest, PyserialsDialogue) {
  start();
  present_state(line::cts);
  Client client(address);
  client.send({255, 253, 1, 255, 251, 3, 255, 253, 3, 255, 253, 44, 255, 251, 44});
  rig.wait([&] {
    client.poll();
    const auto has = [&](uint8_t command, uint8_t option) {
      return std::count(client.negotiated.begin(), client.negotiated.end(),
                        std::pair(command, option)) == 1;
    };
    return has(telnet::do_, 44) && has(telnet::will, 44) && has(telnet::do_, 0) &&
           has(telnet::will, 0) && has(telnet::will, 1);
  });
  client.send({255, 251, 0, 255, 253, 0});
  wait_answer(client, {107, 16});
  client.send(
      join({request({1, 0, 1, 0xc2, 0}), request({2, 7}), request({3, 3}), request({4, 2})}));
  wait_answer(client, {104, 2});
  EXPECT_TRUE(client.answered({101, 0, 1, 0xc2, 0}));
  EXPECT_TRUE(client.answered({102, 7}));
  EXPECT_TRUE(client.answered({103, 3}));
  EXPECT_EQ(rig.line, (LineSettings{.baud = 115200,
                                    .data_bits = 7,
                                    .parity = Parity::even,
                                    .stop_bits = serial::StopBits::two}));
  for (uint8_t value : {1, 11, 8}) {  // no flow control, RTS, DTR
    client.send(request({5, value}));
    wait_answer(client, {105, value});
  }
  client.send(request({12, 1}));
  wait_answer(client, {112, 1});
  client.send(request({12, 2}));
  wait_answer(client, {112, 2});
  client.send("hello");
  rig.wait_log("out hello");
  EXPECT_LT(rig.log_index("purge 1"), rig.log_index("purge 2"));
}

TEST_F(Rfc2217DriverTest, DtrAndRtsThatArriveTogetherChangeTogether) {
  start();
  present_state(0);
  Client client = connect();
  // The reset of an ESP32: EN low, then IO0 low with EN high.
  client.send(join({request({5, 9}), request({5, 11})}));
  wait_answer(client, {105, 11});
  EXPECT_TRUE(client.answered({105, 9}));
  EXPECT_EQ(rig.log, std::vector<std::string>{"modem 3=2"});
  rig.log.clear();
  client.send(join({request({5, 12}), request({5, 8})}));
  wait_answer(client, {105, 8});
  EXPECT_EQ(rig.log, std::vector<std::string>{"modem 3=1"});
}

TEST_F(Rfc2217DriverTest, LineSettingsThatArriveTogetherAreOneRequest) {
  start();
  present_state(0);
  Client client = connect();
  client.send(
      join({request({1, 0, 0, 0x12, 0xc0}), request({2, 7}), request({3, 2}), request({5, 3})}));
  wait_answer(client, {105, 3});
  EXPECT_EQ(rig.log, std::vector<std::string>{
                         SerialRig::text({.baud = 4800,
                                          .data_bits = 7,
                                          .parity = Parity::odd,
                                          .flow_control = serial::FlowControl::rts_cts})});
}

TEST_F(Rfc2217DriverTest, OfSettingsRefusedTogetherThosePossibleAreMade) {
  start();
  present_state(0);
  Client client = connect();
  rig.accepts = [](const LineSettings& wanted) { return wanted.data_bits == 8; };
  client.send(join({request({1, 0, 0, 0x12, 0xc0}), request({2, 5}), request({3, 2})}));
  wait_answer(client, {103, 2});
  EXPECT_EQ(client.answers, (std::vector<Bytes>{{101, 0, 0, 0x12, 0xc0}, {102, 8}, {103, 2}}));
  EXPECT_EQ(rig.line, (LineSettings{.baud = 4800, .parity = Parity::odd}));
  // One alone.
  client.answers.clear();
  client.send(request({2, 6}));
  wait_answer(client, {102, 8});
}

TEST_F(Rfc2217DriverTest, EverythingHappensInTheOrderItWasSent) {
  start();
  present_state(0);
  Client client = connect();
  client.send(
      join({text("one"), request({1, 0, 0, 1, 44}), text("two"), request({5, 9}), request({5, 5}),
            request({5, 6}), text("three"), request({12, 1}), text("four")}));
  rig.wait_log("out four");
  EXPECT_EQ(rig.log, (std::vector<std::string>{"out one", "drain", SerialRig::text({.baud = 300}),
                                               "out two", "drain", "modem 1=0", "break on",
                                               "break off", "out three", "purge 1", "out four"}));
}

TEST_F(Rfc2217DriverTest, SettingsWaitForOutputButNotForEver) {
  start();
  present_state(0);
  Client client = connect();
  rig.line = {.baud = 115200};
  client.send(request({1, 0, 1, 0xc2, 0}));
  wait_answer(client, {101, 0, 1, 0xc2, 0});
  rig.hold_drain = true;
  client.send(join({text("stuck"), request({5, 9})}));
  // A page at 115200 baud takes less than half a second, and half a second is added.
  wait_answer(client, {105, 9});
  EXPECT_EQ(rig.lines & line::dtr, 0);
}

TEST_F(Rfc2217DriverTest, ModemAndLineStatesAreToldAsTheMasksAllow) {
  start();
  present_state(line::dsr);
  Client client(address);
  client.send(agree);
  wait_answer(client, {107, 32});
  client.answers.clear();
  rig.notice({.lines = line::dsr | line::cts, .changed = line::cts});
  wait_answer(client, {107, 0x31});
  client.send(request({11, 128}));
  wait_answer(client, {111, 128});
  client.answers.clear();
  rig.notice({.lines = line::dsr, .changed = line::cts});
  rig.notice({.lines = line::dsr | line::dcd,
              .changed = line::dcd,
              .conditions = serial::condition::break_received});
  wait_answer(client, {107, 128});
  EXPECT_EQ(client.answers.size(), 1u);
  client.send(request({10, 16}));
  wait_answer(client, {110, 16});
  rig.notice({.lines = line::dsr | line::dcd,
              .conditions = serial::condition::break_received | serial::condition::overrun});
  wait_answer(client, {106, 16});
  // Asked for.
  client.send(request({7}));
  wait_answer(client, {107, 0xa0});
}

TEST_F(Rfc2217DriverTest, BreakAndTelnetsBreak) {
  start();
  present_state(0);
  Client client = connect();
  client.send(request({5, 5}));
  wait_answer(client, {105, 5});
  EXPECT_TRUE(rig.break_on);
  client.send(request({5, 4}));
  client.send(request({5, 6}));
  wait_answer(client, {105, 6});
  EXPECT_FALSE(rig.break_on);
  rig.log.clear();
  client.send({telnet::iac, telnet::brk});
  rig.wait_log("break off");
  EXPECT_EQ(rig.log, (std::vector<std::string>{"break on", "break off"}));
}

TEST_F(Rfc2217DriverTest, SuspendHoldsReceivedBytesAndResumeLetsThemGo) {
  start();
  present_state(0);
  Client client = connect();
  client.send(join({request({8}), request({0})}));
  rig.wait([&] {
    client.poll();
    return !client.answers.empty();
  });
  const std::string signature(client.answers[0].begin() + 1, client.answers[0].end());
  EXPECT_EQ(client.answers[0][0], 100);
  EXPECT_TRUE(signature.starts_with("farport")) << signature;
  rig.receive("held");
  client.send(request({5, 7}));  // answers come all the same
  wait_answer(client, {105, 8});
  EXPECT_EQ(client.data, "");
  client.send(request({9}));
  rig.wait([&] {
    client.poll();
    return client.data == "held";
  });
}

TEST_F(Rfc2217DriverTest, ASecondClientIsToldWhyItIsRefused) {
  start();
  present_state(0);
  Client first = connect();
  Client second(address);
  second.send(agree);
  rig.wait([&] {
    second.poll();
    return second.closed;
  });
  EXPECT_NE(second.data.find("in use by 127.0.0.1:"), std::string::npos) << second.data;
  first.send("still mine");
  rig.wait_log("out still mine");
}

TEST_F(Rfc2217DriverTest, LinesFollowTheClientAndTheNextIsWelcome) {
  start();
  rig.wait_log("modem 3=0");
  present_state(0);
  for (int round = 0; round < 3; ++round) {
    Client client = connect();
    client.send(join({request({11, 0}), request({5, 5}), text("x")}));
    wait_answer(client, {105, 5});
    rig.log.clear();
    client.socket.reset();
    rig.wait_log("modem 3=0");
    EXPECT_FALSE(rig.break_on);
  }
  EXPECT_FALSE(rig.closed);
  // The mask of the last client is not the next one's.
  Client client = connect();
  rig.notice({.lines = line::cts, .changed = line::cts});
  wait_answer(client, {107, 17});
}

TEST_F(Rfc2217DriverTest, WithoutHangUpTheLinesStay) {
  start(false);
  present_state(line::dtr);
  Client client(address);
  client.send(join({agree, request({5, 7}), request({5, 10})}));
  wait_answer(client, {105, 8});
  wait_answer(client, {105, 12});
  EXPECT_EQ(rig.log_index("modem 3=3"), rig.log.size());
}

TEST_F(Rfc2217DriverTest, APortWithoutModemLinesAnswersAsAsked) {
  rig.has_modem_lines = false;
  start();
  present_state(0);
  Client client = connect();
  for (uint8_t value : {9, 8, 12, 11}) {
    client.send(request({5, value}));
    wait_answer(client, {105, value});
  }
}

TEST_F(Rfc2217DriverTest, WhatItDoesNotUnderstandItSkips) {
  start();
  present_state(0);
  Client client = connect();
  client.send(join({request({}), request({1, 2}), request({99, 1}), request({2, 77}),
                    Bytes{255, 250, 24, 1, 255, 240}, text("fine")}));
  rig.wait_log("out fine");
  EXPECT_EQ(client.answers.size(), 0u);
  wait_answer(client, {102, 8});  // the value in force
}

TEST_F(Rfc2217DriverTest, AnEndlessSubnegotiationIsCutWithAnErrorAndTheNextClientWelcome) {
  start();
  present_state(0);
  {
    Client client = connect();
    Bytes endless{255, 250, 44};
    endless.insert(endless.end(), 1000, 1);
    client.send(join({text("before"), endless}));
    rig.wait([&] {
      client.poll();
      return client.closed;
    });
    EXPECT_NE(client.data.find("does not end"), std::string::npos) << client.data;
    rig.wait_log("out before");
  }
  Client next = connect();
  next.send("after");
  rig.wait_log("out after");
}

TEST_F(Rfc2217DriverTest, AClientThatDoesNotReadStopsThePortWithoutLoss) {
  start();
  present_state(0);
  Client client = connect();
  std::string sent;
  while (sent.size() < 50'000'000 && rig.find(serial::endpoint_in) != nullptr) {
    std::string run(4000, static_cast<char>(sent.size() / 4000));
    rig.receive(run);
    sent += run;
    rig.worker->run_until([&] { return rig.find(serial::endpoint_in) != nullptr; }, 50'000'000);
  }
  EXPECT_EQ(rig.find(serial::endpoint_in), nullptr);
  rig.wait([&] {
    client.poll();
    return client.data.size() >= sent.size();
  });
  EXPECT_TRUE(client.data == sent);
}

TEST_F(Rfc2217DriverTest, APortThatDoesNotTakeStopsTheClientAndAPurgeOfTheNextFreesIt) {
  start();
  present_state(0);
  rig.hold_output = true;
  {
    Client client = connect();
    client.send(std::string(60'000, 'x'));
    rig.wait([&] { return rig.device->in_flight.size() == 9 + 8; });
    client.socket.reset();
    // It left with bytes on their way. That keeps no other from the port.
    Client next(address);
    rig.wait([&] {
      next.poll();
      return !next.negotiated.empty() || next.closed;
    });
    EXPECT_FALSE(next.closed) << next.data;
    rig.hold_output = false;  // from now on; what is stuck stays stuck
    next.send(join({agree, request({12, 2}), text("mine")}));
    rig.wait_log("out mine");
    EXPECT_LT(rig.log_index("purge 2"), rig.log_index("out mine"));
  }
}

TEST_F(Rfc2217DriverTest, WhatArrivesWithoutAClientIsDropped) {
  start();
  present_state(0);
  rig.receive("nobody hears this");
  rig.wait([&] { return rig.device->in_flight.size() == 9; });
  Client client = connect();
  rig.receive("this");
  rig.wait([&] {
    client.poll();
    return client.data == "this";
  });
}

TEST_F(Rfc2217DriverTest, AnUnplugClosesClientAndAddress) {
  start();
  present_state(0);
  Client client = connect();
  rig.device->unplug("pulled out");
  rig.wait([&] { return rig.closed.has_value(); });
  EXPECT_EQ(rig.closed->code, ErrorCode::not_found);
  rig.wait([&] {
    client.poll();
    return client.closed;
  });
}

TEST_F(Rfc2217DriverTest, DetachWithBytesUnderWay) {
  start();
  present_state(0);
  Client client = connect();
  rig.hold_output = true;
  client.send(join({text("never taken"), request({5, 9})}));
  rig.wait([&] { return rig.find(serial::endpoint_out) != nullptr; });
  rig.channel->close();
  rig.wait([&] { return rig.closed.has_value(); });
  rig.wait([&] {
    client.poll();
    return client.closed;
  });
}

TEST(Listener, AddressesThatAreNone) {
  for (const char* bad : {"", ":", "4000", "127.0.0.1", "127.0.0.1:", ":4000", "127.0.0.1:http",
                          "127.0.0.1:65536", "127.0.0.1:-1", "::1:4000", "[]:1"}) {
    auto listener = Listener::create(bad);
    ASSERT_FALSE(listener) << bad;
    EXPECT_EQ(listener.error().code, ErrorCode::usage) << bad;
  }
}

TEST(Listener, APortInUse) {
  auto first = Listener::create("127.0.0.1:0");
  ASSERT_TRUE(first);
  auto second = Listener::create(first->address);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::busy);
  EXPECT_NE(second.error().message.find(first->address), std::string::npos);
}

TEST(Listener, Ipv6) {
  auto listener = Listener::create("[::1]:0");
  if (!listener) GTEST_SKIP() << "no IPv6 loopback: " << listener.error().message;
  EXPECT_TRUE(listener->address.starts_with("[::1]:"));
}

}  // namespace
}  // namespace farport
