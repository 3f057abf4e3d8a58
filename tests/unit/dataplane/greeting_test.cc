// Hellos and refusals: what is made is read again, and what no Farport daemon would send is told
// apart.
#include "dataplane/greeting.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace farport {
namespace {

struct Frame {
  wire::FrameHeader header;
  std::vector<std::byte> rest;
};

Frame taken_apart(const std::vector<std::byte>& bytes) {
  Frame frame;
  std::memcpy(&frame.header, bytes.data(), sizeof frame.header);
  frame.rest.assign(bytes.begin() + sizeof frame.header, bytes.end());
  return frame;
}

Result<Hello> read(const Frame& frame) {
  const auto bytes = greeting_bytes(frame.header);
  if (!bytes) return std::unexpected(bytes.error());
  EXPECT_LE(*bytes, frame.rest.size());
  return decode_greeting(frame.header, frame.rest);
}

Hello a_hello() {
  Hello hello;
  hello.host_name = "desk";
  hello.boot.fill(1);
  hello.session.fill(2);
  hello.purpose = wire::Purpose::resume;
  hello.connection = 7;
  hello.received = 4711;
  hello.compresses = true;
  return hello;
}

wire::HelloBody body_of(const Frame& frame) {
  return wire::decode<wire::HelloBody>(
      std::span(frame.rest).first(std::min<size_t>(frame.rest.size(), frame.header.body_bytes)));
}

TEST(Greeting, AHelloIsReadAsItWasWritten) {
  const auto read_back = read(taken_apart(encode_hello(a_hello())));
  ASSERT_TRUE(read_back) << read_back.error().message;
  EXPECT_EQ(read_back->host_name, "desk");
  EXPECT_EQ(read_back->boot[15], 1);
  EXPECT_EQ(read_back->session[15], 2);
  EXPECT_EQ(read_back->purpose, wire::Purpose::resume);
  EXPECT_EQ(read_back->connection, 7u);
  EXPECT_EQ(read_back->received, 4711u);
  EXPECT_TRUE(read_back->compresses);
}

TEST(Greeting, ARefusalIsAnErrorWithItsCodeAndReason) {
  const auto refused = read(taken_apart(encode_refusal({ErrorCode::denied, "not you"})));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::denied);
  EXPECT_EQ(refused.error().message, "not you");
}

TEST(Greeting, AHelloOfVersion10HasNoPurpose) {
  Frame frame = taken_apart(encode_hello(a_hello()));
  frame.rest.erase(frame.rest.begin() + wire::hello_body_bytes_min,
                   frame.rest.begin() + sizeof(wire::HelloBody));
  frame.header.body_bytes = wire::hello_body_bytes_min;
  frame.header.bytes -= sizeof(wire::HelloBody) - wire::hello_body_bytes_min;
  const auto hello = read(frame);
  ASSERT_TRUE(hello) << hello.error().message;
  EXPECT_EQ(hello->purpose, wire::Purpose::begin);
  EXPECT_EQ(hello->host_name, "desk");
}

TEST(Greeting, WhatIsNoHelloIsToldApart) {
  const auto with = [](auto change) {
    Frame frame = taken_apart(encode_hello(a_hello()));
    wire::HelloBody body = body_of(frame);
    change(frame.header, body);
    std::memcpy(frame.rest.data(), &body, sizeof body);
    return frame;
  };
  const std::pair<Frame, const char*> table[] = {
      {with([](auto&, auto& body) { body.magic = 1; }), "not a Farport daemon"},
      {with([](auto&, auto& body) { body.version_major = 9; }), "version 9.1 meets version 1."},
      {with([](auto&, auto& body) { body.frame_data_bytes_max = 100; }), "less than 4 KiB"},
      {with([](auto&, auto& body) { body.purpose = 3; }), "unknown purpose"},
      {with([](auto& header, auto&) { header.type = 18; }), "Is it a Farport daemon"},
      {with([](auto& header, auto&) { header.bytes = 0xffffffff; }), "Is it a Farport daemon"},
      {with([](auto& header, auto&) { header.body_bytes = 3; }), "Is it a Farport daemon"},
  };
  for (const auto& [frame, says] : table) {
    const auto hello = read(frame);
    ASSERT_FALSE(hello) << says;
    EXPECT_NE(hello.error().message.find(says), std::string::npos) << hello.error().message;
  }
}

TEST(Greeting, APeersNameIsSafeToPrint) {
  Hello hello = a_hello();
  hello.host_name = "de\x1b[31msk\n";
  const auto read_back = read(taken_apart(encode_hello(hello)));
  ASSERT_TRUE(read_back);
  EXPECT_EQ(read_back->host_name, "de?[31msk?");
}

TEST(Greeting, AnyBytesGetAnAnswerAndNoMore) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    Frame frame = taken_apart(encode_hello(a_hello()));
    auto* const bytes = reinterpret_cast<uint8_t*>(&frame.header);
    for (int flips = 0; flips < 3; ++flips) bytes[random() % 8] ^= 1u << (random() % 8);
    const auto size = greeting_bytes(frame.header);
    if (!size) continue;
    EXPECT_LE(*size, wire::body_bytes_max + wire::reason_bytes_max);
    frame.rest.resize(*size);
    static_cast<void>(decode_greeting(frame.header, frame.rest));
  }
}

}  // namespace
}  // namespace farport
