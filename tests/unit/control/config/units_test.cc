#include "control/config/units.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>

namespace farport {
namespace {

constexpr uint64_t huge = std::numeric_limits<uint64_t>::max();

struct Case {
  const char* text;
  uint64_t value;
};

TEST(Units, Sizes) {
  const Case cases[] = {{"0", 0},
                        {"4096", 4096},
                        {"4096B", 4096},
                        {"1kB", 1'000},
                        {"64KB", 64'000},
                        {"1.5GB", 1'500'000'000},
                        {"64KiB", 65'536},
                        {"1GiB", 1u << 30},
                        {"1 GiB", 1u << 30},
                        {" 2 MiB ", 2u << 20},
                        {"64K", 65'536},
                        {"1g", 1u << 30},
                        {"0.5KiB", 512},
                        {"2TiB", uint64_t{2} << 40},
                        {"18446744073709551615", huge}};
  for (const Case& c : cases) {
    const auto size = parse_size(c.text);
    ASSERT_TRUE(size) << c.text;
    EXPECT_EQ(*size, c.value) << c.text;
  }
}

TEST(Units, WrongSizes) {
  for (const char* text : {"", " ", "x", "-1", "1.", ".5GB", "1.2.3", "1GX", "1Gib", "1Gbit",
                           "0.3B", "18446744073709551616", "20000PiB", "1e3", "0x10", "1 0",
                           "1GiB1", "0.0000000001GB", "99999999999999999999999"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.error().code, ErrorCode::usage);
    EXPECT_NE(size.error().message.find("is not a size: write 4096"), std::string::npos);
  }
}

TEST(Units, Rates) {
  const Case cases[] = {{"0", 0},
                        {"1000", 1'000},
                        {"1000B/s", 1'000},
                        {"12.5MB/s", 12'500'000},
                        {"12.5 MB/s", 12'500'000},
                        {"10MiB/s", 10u << 20},
                        {"100Mbit/s", 12'500'000},
                        {"100mbit/s", 12'500'000},
                        {"1Gbit/s", 125'000'000},
                        {"1Gibit/s", 134'217'728},
                        {"100Mbps", 12'500'000},
                        {"2400bit/s", 300},
                        {"7bit/s", 0},
                        {"9bit/s", 1},
                        {"115.2kbit/s", 14'400}};
  for (const Case& c : cases) {
    const auto rate = parse_rate(c.text);
    ASSERT_TRUE(rate) << c.text;
    EXPECT_EQ(*rate, c.value) << c.text;
  }
}

TEST(Units, WrongRates) {
  for (const char* text : {"", "fast", "12.5MB", "100Mb/s", "100MBps", "1Xbit/s", "-1MB/s",
                           "0.1B/s", "MB/s", "10MB/h", "18446744073709551616"}) {
    ASSERT_FALSE(parse_rate(text)) << text;
  }
}

TEST(Units, Durations) {
  const Case cases[] = {{"100ns", 100},
                        {"50us", 50'000},
                        {"10ms", 10'000'000},
                        {"0.5 s", 500'000'000},
                        {"5s", 5'000'000'000},
                        {"2min", 120'000'000'000},
                        {"1h", 3'600'000'000'000},
                        {"1d", 86'400'000'000'000}};
  for (const Case& c : cases) {
    const auto duration = parse_duration(c.text);
    ASSERT_TRUE(duration) << c.text;
    EXPECT_EQ(*duration, c.value) << c.text;
  }
  for (const char* text : {"", "5", "5m", "s", "-5s", "0.1ns", "1y", "999999999d"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(Units, Percentages) {
  const Case cases[] = {{"50", 5000}, {"12.5", 1250}, {"0.25 %", 25}, {"100%", 10'000}, {"0", 0}};
  for (const Case& c : cases) {
    const auto percent = parse_percent_hundredths(c.text);
    ASSERT_TRUE(percent) << c.text;
    EXPECT_EQ(*percent, c.value) << c.text;
  }
  for (const char* text : {"", "%", "half", "-1", "0.001", "50 percent", "99999999999"}) {
    EXPECT_FALSE(parse_percent_hundredths(text)) << text;
  }
}

TEST(Units, Addresses) {
  struct AddressCase {
    const char* text;
    HostPort address;
    bool loopback;
    const char* written;
  };
  const AddressCase cases[] = {
      {"127.0.0.1:7411", {"127.0.0.1", 7411}, true, "127.0.0.1:7411"},
      {"127.9.9.9", {"127.9.9.9", 99}, true, "127.9.9.9:99"},
      {"[::1]:7411", {"::1", 7411}, true, "[::1]:7411"},
      {"[::1]", {"::1", 99}, true, "[::1]:99"},
      {"[::ffff:127.0.0.1]:1", {"::ffff:127.0.0.1", 1}, true, "[::ffff:127.0.0.1]:1"},
      {"localhost:0", {"localhost", 0}, true, "localhost:0"},
      {"0.0.0.0:7411", {"0.0.0.0", 7411}, false, "0.0.0.0:7411"},
      {"[::]:7411", {"::", 7411}, false, "[::]:7411"},
      {"[::ffff:192.0.2.1]:1", {"::ffff:192.0.2.1", 1}, false, "[::ffff:192.0.2.1]:1"},
      {"[fe80::1%eth0]:7411", {"fe80::1%eth0", 7411}, false, "[fe80::1%eth0]:7411"},
      {"192.0.2.7:65535", {"192.0.2.7", 65535}, false, "192.0.2.7:65535"},
      {"host-b", {"host-b", 99}, false, "host-b:99"},
      {"127.0.0.1.example.org:80",
       {"127.0.0.1.example.org", 80},
       false,
       "127.0.0.1.example.org:80"}};
  for (const AddressCase& c : cases) {
    const auto address = parse_host_port(c.text, 99);
    ASSERT_TRUE(address) << c.text << ": " << address.error().message;
    EXPECT_EQ(*address, c.address) << c.text;
    EXPECT_EQ(is_loopback(*address), c.loopback) << c.text;
    EXPECT_EQ(format_host_port(*address), c.written);
    EXPECT_EQ(*parse_host_port(c.written, 1), *address);
  }
}

TEST(Units, WrongAddresses) {
  for (const char* text : {"", ":7411", "host:", "host:x", "host:65536", "host:-1", "host:1 ",
                           "::1", "::1:7411", "[::1", "[::1]7411", "[::1]:", "[host]:1", "[]:1",
                           "a b:1", "tcp://host:1", "host:1:2", "1/2"}) {
    EXPECT_FALSE(parse_host_port(text, 99)) << text;
  }
  EXPECT_NE(parse_host_port("::1:7411", 99).error().message.find("put an IPv6 address in brackets"),
            std::string::npos);
}

// Nothing in here may crash, loop or overflow, whatever it is given.
TEST(Units, AnyTextIsAnswered) {
  std::mt19937_64 random(21);
  const std::string letters = "0123456789.:[]%/ kKMGTibBtps-+e\xff";
  for (int i = 0; i < 100'000; ++i) {
    std::string text;
    for (auto n = random() % 12; n > 0; --n) text += letters[random() % letters.size()];
    for (const auto& number : {parse_size(text), parse_rate(text), parse_duration(text)}) {
      ASSERT_TRUE(number || !number.error().message.empty());
    }
    if (const auto address = parse_host_port(text, 99)) {
      ASSERT_EQ(parse_host_port(format_host_port(*address), 1), *address) << text;
    }
  }
}

}  // namespace
}  // namespace farport
