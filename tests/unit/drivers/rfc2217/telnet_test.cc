#include "drivers/rfc2217/telnet.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

namespace farport::telnet {
namespace {

using Bytes = std::vector<uint8_t>;

// What a parser made of some input, as one line per event; adjacent data joined.
struct Heard {
  std::string text;
  Bytes data;
  bool failed = false;
};

void hear(Parser& parser, std::span<const uint8_t> input, Heard& heard) {
  while (auto event = parser.next(input)) {
    switch (event->kind) {
      case Event::Kind::data:
        heard.data.insert(heard.data.end(), event->bytes.begin(), event->bytes.end());
        break;
      case Event::Kind::command:
        heard.text += fmt::format("c{};", event->command);
        break;
      case Event::Kind::negotiation:
        heard.text += fmt::format("n{},{};", event->command, event->option);
        break;
      case Event::Kind::subnegotiation:
        heard.text += fmt::format("s{}", event->option);
        for (const uint8_t byte : event->bytes) heard.text += fmt::format(",{}", byte);
        heard.text += ";";
        break;
      case Event::Kind::error:
        heard.text += "error;";
        heard.failed = true;
        break;
    }
  }
  EXPECT_TRUE(input.empty());
}

struct Case {
  const char* name;
  Bytes input;
  std::string text;
  Bytes data;
};

const Case cases[] = {
    {"data", {1, 2, 3}, "", {1, 2, 3}},
    {"escaped 255", {1, iac, iac, 2}, "", {1, 255, 2}},
    {"only escaped", {iac, iac, iac, iac}, "", {255, 255}},
    {"carriage return and NUL are data", {'\r', 0, '\r', '\n'}, "", {'\r', 0, '\r', '\n'}},
    {"negotiation", {iac, will, 44, iac, dont, 1}, "n251,44;n254,1;", {}},
    {"negotiation of option 255", {iac, do_, iac}, "n253,255;", {}},
    {"commands", {'a', iac, brk, 'b', iac, are_you_there, iac, nop}, "c243;c246;c241;", {'a', 'b'}},
    {"subnegotiation", {iac, sb, 44, 5, 8, iac, se, 'x'}, "s44,5,8;", {'x'}},
    {"empty subnegotiation", {iac, sb, 44, iac, se}, "s44;", {}},
    {"255 in a subnegotiation",
     {iac, sb, 44, 1, iac, iac, 0, iac, iac, iac, se},
     "s44,1,255,0,255;",
     {}},
    {"240 in a subnegotiation", {iac, sb, 44, se, iac, se}, "s44,240;", {}},
    {"SE without SB", {iac, se, 'y'}, "", {'y'}},
    {"unknown command", {iac, 17, 'z'}, "error;", {}},
    {"subnegotiation broken off", {iac, sb, 44, 1, iac, will, 1}, "error;", {}},
    {"truncated command", {'q', iac}, "", {'q'}},
    {"truncated negotiation", {iac, will}, "", {}},
    {"truncated subnegotiation", {iac, sb, 44, 1, 2}, "", {}},
};

TEST(TelnetParser, Table) {
  for (const Case& c : cases) {
    // In one piece, and in two at every place.
    for (size_t cut = 0; cut <= c.input.size(); ++cut) {
      Parser parser;
      Heard heard;
      hear(parser, std::span(c.input).first(cut), heard);
      hear(parser, std::span(c.input).subspan(cut), heard);
      EXPECT_EQ(heard.text, c.text) << c.name << ", cut at " << cut;
      EXPECT_EQ(heard.data, c.data) << c.name << ", cut at " << cut;
    }
  }
}

TEST(TelnetParser, ASubnegotiationWithoutEndIsCut) {
  Parser parser;
  Heard heard;
  Bytes input{iac, sb, 44};
  input.insert(input.end(), subnegotiation_bytes_max, 7);
  hear(parser, input, heard);
  EXPECT_FALSE(heard.failed);
  hear(parser, Bytes{7}, heard);
  EXPECT_TRUE(heard.failed);
  // And nothing after it is believed.
  Heard after;
  hear(parser, Bytes{iac, se, 'a', iac, will, 1}, after);
  EXPECT_EQ(after.text, "");
  EXPECT_TRUE(after.data.empty());
}

TEST(TelnetParser, WhatIsEncodedIsDecoded) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  const auto bytes = [&](size_t length) {
    Bytes made(length);
    // Mostly the values that matter.
    for (uint8_t& byte : made)
      byte = static_cast<uint8_t>(random() % 2 ? random() : 240 + random() % 16);
    return made;
  };
  for (int round = 0; round < 200; ++round) {
    Bytes stream, data;
    std::string text;
    for (int part = 0; part < 8; ++part) {
      const auto option = static_cast<uint8_t>(random());
      switch (random() % 3) {
        case 0: {
          const Bytes run = bytes(random() % 50);
          append_data(stream, run);
          data.insert(data.end(), run.begin(), run.end());
          break;
        }
        case 1: {
          const auto command = static_cast<uint8_t>(will + random() % 4);
          append_negotiation(stream, command, option);
          text += fmt::format("n{},{};", command, option);
          break;
        }
        default: {
          const Bytes payload = bytes(random() % 20);
          append_subnegotiation(stream, option, payload);
          text += fmt::format("s{}", option);
          for (const uint8_t byte : payload) text += fmt::format(",{}", byte);
          text += ";";
        }
      }
    }
    Parser parser;
    Heard heard;
    for (size_t at = 0; at < stream.size();) {
      const size_t length = std::min<size_t>(1 + random() % 9, stream.size() - at);
      hear(parser, std::span(stream).subspan(at, length), heard);
      at += length;
    }
    ASSERT_EQ(heard.text, text);
    ASSERT_EQ(heard.data, data);
  }
}

TEST(TelnetParser, NoInputHarmsIt) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 500; ++round) {
    Parser parser;
    Heard heard;
    Bytes input(random() % 600);
    for (uint8_t& byte : input)
      byte = static_cast<uint8_t>(random() % 3 ? 240 + random() % 16 : random());
    hear(parser, input, heard);
    EXPECT_LE(heard.data.size(), input.size());
  }
}

std::string answers(Options& options, uint8_t command, uint8_t option) {
  Bytes out;
  options.negotiate(command, option, out);
  Parser parser;
  Heard heard;
  hear(parser, out, heard);
  return heard.text;
}

TEST(TelnetOptions, AgreesToWhatASerialPortNeedsAndToNothingElse) {
  Options options;
  EXPECT_EQ(answers(options, will, option_com_port), "n253,44;");
  EXPECT_EQ(answers(options, do_, option_com_port), "n251,44;");
  EXPECT_EQ(answers(options, do_, option_echo), "n251,1;");
  EXPECT_EQ(answers(options, will, option_echo), "n254,1;");
  EXPECT_EQ(answers(options, do_, 31), "n252,31;");
  EXPECT_EQ(answers(options, will, 24), "n254,24;");
  EXPECT_EQ(answers(options, wont, 24), "");
  EXPECT_TRUE(options.on(option_com_port, true));
  EXPECT_TRUE(options.on(option_com_port, false));
  EXPECT_FALSE(options.on(24, false));
}

TEST(TelnetOptions, AnAnswerIsNotAnsweredAndARepetitionNeither) {
  Options options;
  Bytes offered;
  options.offer(offered);
  EXPECT_FALSE(offered.empty());
  EXPECT_EQ(answers(options, do_, option_binary), "");
  EXPECT_EQ(answers(options, will, option_binary), "");
  EXPECT_EQ(answers(options, wont, option_com_port), "");
  EXPECT_EQ(answers(options, will, option_com_port), "n253,44;");
  EXPECT_EQ(answers(options, will, option_com_port), "");
  EXPECT_EQ(answers(options, dont, option_binary), "n252,0;");
  EXPECT_EQ(answers(options, dont, option_binary), "");
}

}  // namespace
}  // namespace farport::telnet
