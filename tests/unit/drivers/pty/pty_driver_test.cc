#include "drivers/pty/pty_driver.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "tests/unit/drivers/serial/serial_rig.h"

namespace farport {
namespace {

namespace fs = std::filesystem;
using serial::LineSettings;
using serial::SerialRig;

class PtyDriverTest : public testing::Test {
 protected:
  PtyDriverTest() {
    char pattern[] = "/tmp/farport-pty-XXXXXX";
    folder = ::mkdtemp(pattern);
    path = (folder / "port").string();
  }
  ~PtyDriverTest() override {
    if (rig.channel) rig.close();
    fs::remove_all(folder);
  }

  void start(std::function<void(PtySettings&)> change = {}) {
    PtySettings settings;
    settings.path = path;
    if (change) change(settings);
    auto driver = PtyDriver::create(settings);
    ASSERT_TRUE(driver) << driver.error().message;
    EXPECT_EQ((*driver)->path(), path);
    rig.start(std::move(*driver));
  }
  void open(int flags = O_RDWR) {
    consumer.reset(::open(path.c_str(), flags | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    ASSERT_TRUE(consumer);
    rig.wait_log("modem 3=3");
  }
  void write(std::string_view text) {
    ASSERT_EQ(::write(consumer.get(), text.data(), text.size()), ssize_t(text.size()));
  }
  std::string read(size_t size) {
    std::string text;
    rig.wait([&] {
      char buffer[4096];
      const ssize_t count =
          ::read(consumer.get(), buffer, std::min(sizeof buffer, size - text.size()));
      if (count > 0) text.append(buffer, static_cast<size_t>(count));
      return text.size() >= size;
    });
    return text;
  }
  void change_settings(const std::function<void(termios2&)>& change, unsigned long how = TCSETS2) {
    termios2 settings{};
    ASSERT_EQ(::ioctl(consumer.get(), TCGETS2, &settings), 0);
    change(settings);
    ASSERT_EQ(::ioctl(consumer.get(), how, &settings), 0);
  }
  static void set_baud(termios2& settings, uint32_t baud) {
    settings.c_cflag = (settings.c_cflag & ~(CBAUD | CBAUD << IBSHIFT)) | BOTHER;
    settings.c_ispeed = settings.c_ospeed = baud;
  }

  SerialRig rig;
  fs::path folder;
  std::string path;
  FileDescriptor consumer;
};

TEST_F(PtyDriverTest, EveryByteValuePassesBothWays) {
  start();
  open();
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  write(all);
  rig.wait([&] { return rig.written.size() >= all.size(); });
  EXPECT_TRUE(rig.written == all);
  rig.receive(all);
  EXPECT_TRUE(read(all.size()) == all);
}

TEST_F(PtyDriverTest, TheLinkIsThereWithModeAndGoesWithTheAttachment) {
  start([](PtySettings& settings) { settings.mode = 0600; });
  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_TRUE(S_ISCHR(status.st_mode));
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_TRUE(fs::is_symlink(path));
  rig.close();
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST_F(PtyDriverTest, ItShowsThePortsOwnSettings) {
  rig.line = {.baud = 19200,
              .stop_bits = serial::StopBits::two,
              .flow_control = serial::FlowControl::rts_cts};
  start();
  open();
  termios2 settings{};
  ASSERT_EQ(::ioctl(consumer.get(), TCGETS2, &settings), 0);
  EXPECT_EQ(settings.c_ospeed, 19200u);
  EXPECT_TRUE(settings.c_cflag & CSTOPB);
  EXPECT_TRUE(settings.c_cflag & CRTSCTS);
  EXPECT_EQ(settings.c_lflag & (ICANON | ECHO | ISIG), 0u);
}

TEST_F(PtyDriverTest, SettingsReachThePortBeforeBytesWrittenAfterThem) {
  start();
  open();
  for (uint32_t baud : {1200u, 250000u, 115200u, 31250u}) {
    change_settings([&](termios2& settings) { set_baud(settings, baud); });
    const std::string bytes = "at " + std::to_string(baud);
    write(bytes);
    const std::string line = SerialRig::text({.baud = baud});
    rig.wait_log("out " + bytes);
    EXPECT_LT(rig.log_index(line), rig.log_index("out " + bytes));
  }
}

TEST_F(PtyDriverTest, BytesWrittenBeforeAChangeLeaveThePortFirst) {
  start();
  open();
  rig.hold_output = true;
  write("early");
  rig.wait([&] { return rig.find(serial::endpoint_out) != nullptr; });
  change_settings([](termios2& settings) { set_baud(settings, 300); });
  write("late");
  rig.worker->run_until([] { return false; }, 20'000'000);
  EXPECT_EQ(rig.line.baud, 9600u);
  rig.release_output();
  rig.wait_log("out late");
  const size_t changed = rig.log_index(SerialRig::text({.baud = 300}));
  EXPECT_LT(rig.log_index("out early"), rig.log_index("drain"));
  EXPECT_LT(rig.log_index("drain"), changed);
  EXPECT_LT(changed, rig.log_index("out late"));
}

TEST_F(PtyDriverTest, StopBitsAndFlowControlCrossDataBitsAndParityStay) {
  rig.line = {.baud = 9600, .data_bits = 7, .parity = serial::Parity::even};
  start();
  open();
  change_settings([](termios2& settings) {
    settings.c_cflag |= CSTOPB;
    settings.c_iflag |= IXON | IXOFF;
  });
  rig.wait([&] { return rig.line.flow_control == serial::FlowControl::xon_xoff; });
  EXPECT_EQ(rig.line, (LineSettings{.baud = 9600,
                                    .data_bits = 7,
                                    .parity = serial::Parity::even,
                                    .stop_bits = serial::StopBits::two,
                                    .flow_control = serial::FlowControl::xon_xoff}));
}

TEST_F(PtyDriverTest, TheAttachmentCanSayDataBitsAndParity) {
  const LineSettings line{.baud = 4800, .data_bits = 7, .parity = serial::Parity::odd};
  start([&](PtySettings& settings) { settings.line = line; });
  EXPECT_EQ(rig.line, line);
}

// A line given at the attach was not shown on the pty: a consumer that changed anything, to raw
// mode say, set the port to the pty's own first rate.
TEST_F(PtyDriverTest, WhatTheAttachmentSaidOutlastsAConsumersChange) {
  const LineSettings line{.baud = 4800, .data_bits = 7, .parity = serial::Parity::odd};
  start([&](PtySettings& settings) { settings.line = line; });
  open();
  change_settings([](termios2& settings) { settings.c_cflag |= CSTOPB; });
  rig.wait([&] { return rig.line.stop_bits == serial::StopBits::two; });
  EXPECT_EQ(rig.line.baud, 4800u);
  EXPECT_EQ(rig.line.parity, serial::Parity::odd);
}

// A program that fills its termios from nothing clears EXTPROC, without which the kernel says
// nothing.
TEST_F(PtyDriverTest, SettingsMadeFromNothingAreSeenAndSoAreTheNext) {
  start();
  open();
  for (uint32_t baud : {2400u, 4800u, 38400u}) {
    change_settings([&](termios2& settings) {
      settings = {};
      settings.c_cflag = CS8 | CREAD | CLOCAL;
      set_baud(settings, baud);
    });
    rig.wait([&] { return rig.line.baud == baud; });
  }
}

TEST_F(PtyDriverTest, WhatThePortRefusesTheConsumerSeesRefused) {
  start();
  open();
  rig.accepts = [](const LineSettings& line) { return line.baud <= 115200; };
  change_settings([](termios2& settings) { set_baud(settings, 4'000'000); });
  rig.wait([&] {
    termios2 settings{};
    return ::ioctl(consumer.get(), TCGETS2, &settings) == 0 && settings.c_ospeed == 9600;
  });
  write("still here");
  rig.wait_log("out still here");
}

TEST_F(PtyDriverTest, LinesFollowOpenAndCloseAndAnotherOpenWorks) {
  start();
  rig.wait_log("modem 3=0");
  for (int round = 0; round < 3; ++round) {
    rig.log.clear();
    open();
    EXPECT_EQ(rig.lines, serial::line::dtr | serial::line::rts);
    const std::string bytes = "round " + std::to_string(round);
    write(bytes);
    rig.wait_log("out " + bytes);
    consumer.reset();
    rig.wait_log("modem 3=0");
    EXPECT_EQ(rig.lines, 0);
  }
  EXPECT_FALSE(rig.closed);
}

TEST_F(PtyDriverTest, WithoutHupclClosingLeavesTheLines) {
  start();
  open();
  change_settings([](termios2& settings) { settings.c_cflag &= ~HUPCL; });
  rig.log.clear();
  consumer.reset();
  consumer.reset(::open(path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK));
  write("again");
  rig.wait_log("out again");
  EXPECT_EQ(rig.lines, serial::line::dtr | serial::line::rts);
}

TEST_F(PtyDriverTest, ShortOpensLoseNothing) {
  start();
  for (int round = 0; round < 20; ++round) {
    consumer.reset(::open(path.c_str(), O_WRONLY | O_NOCTTY | O_NONBLOCK));
    write("x");
    consumer.reset();
  }
  rig.wait([&] { return rig.written.size() == 20; });
  EXPECT_EQ(rig.written, std::string(20, 'x'));
}

TEST_F(PtyDriverTest, WhatArrivesWhileClosedIsDropped) {
  start();
  rig.receive("nobody hears this");
  rig.wait([&] { return rig.device->in_flight.size() == 9; });  // eight reads and the notice rest
  open();
  rig.receive("but this");
  EXPECT_EQ(read(8), "but this");

  // Nor is what one consumer left unread given to the next.
  rig.receive("unread");
  rig.wait([&] {
    int waiting = 0;
    return ::ioctl(consumer.get(), FIONREAD, &waiting) == 0 && waiting == 6;
  });
  rig.log.clear();
  consumer.reset();
  rig.wait_log("modem 3=0");
  open();
  rig.receive("fresh");
  EXPECT_EQ(read(5), "fresh");
}

TEST_F(PtyDriverTest, AConsumerThatDoesNotReadStopsThePortWithoutLoss) {
  start();
  open();
  std::string sent;
  // More than the kernel's buffers and all reads hold: at the end no read rests on the port.
  while (sent.size() < 1'000'000 && rig.find(serial::endpoint_in) != nullptr) {
    std::string run(4000, '\0');
    for (char& byte : run) byte = static_cast<char>(sent.size() * 7 + (&byte - run.data()) % 251);
    rig.receive(run);
    sent += run;
    rig.worker->run_until([&] { return rig.find(serial::endpoint_in) != nullptr; }, 50'000'000);
  }
  EXPECT_EQ(rig.find(serial::endpoint_in), nullptr);
  EXPECT_LT(sent.size(), 1'000'000u);
  EXPECT_TRUE(read(sent.size()) == sent);
  rig.receive("after");
  EXPECT_EQ(read(5), "after");
}

TEST_F(PtyDriverTest, APortThatDoesNotTakeStopsTheConsumerWithoutLoss) {
  start();
  open();
  rig.hold_output = true;
  std::string sent;
  int full = 0;
  while (full < 20 && sent.size() < 1'000'000) {
    const std::string run(512, static_cast<char>('a' + sent.size() / 512 % 26));
    const ssize_t count = ::write(consumer.get(), run.data(), run.size());
    full = count > 0 ? 0 : full + 1;
    if (count > 0) sent.append(run, 0, static_cast<size_t>(count));
    rig.worker->run_until([] { return false; }, 1'000'000);
  }
  EXPECT_LT(sent.size(), 1'000'000u);
  rig.release_output();
  rig.wait([&] { return rig.written.size() >= sent.size(); });
  EXPECT_TRUE(rig.written == sent);
}

TEST_F(PtyDriverTest, FlushesReachThePort) {
  start();
  open();
  ASSERT_EQ(::ioctl(consumer.get(), TCFLSH, TCIFLUSH), 0);
  rig.wait_log("purge 1");
  ASSERT_EQ(::ioctl(consumer.get(), TCFLSH, TCOFLUSH), 0);
  rig.wait_log("purge 2");
  write("later");
  rig.wait_log("out later");
}

TEST_F(PtyDriverTest, AnOutputFlushFreesAStuckPort) {
  start();
  open();
  rig.hold_output = true;
  write("stuck");
  rig.wait([&] { return rig.find(serial::endpoint_out) != nullptr; });
  ASSERT_EQ(::ioctl(consumer.get(), TCFLSH, TCOFLUSH), 0);
  rig.wait_log("purge 2");
  EXPECT_EQ(rig.find(serial::endpoint_out), nullptr);
  rig.hold_output = false;
  write("free");
  rig.wait_log("out free");
  EXPECT_EQ(rig.written, "free");
}

TEST_F(PtyDriverTest, AnUnplugHangsUp) {
  start();
  open();
  rig.device->unplug("pulled out");
  rig.wait([&] { return rig.closed.has_value(); });
  EXPECT_EQ(rig.closed->code, ErrorCode::not_found);
  EXPECT_TRUE(fs::is_empty(folder));
  rig.wait([&] {
    char byte;
    const ssize_t count = ::read(consumer.get(), &byte, 1);
    return count == 0 || (count < 0 && errno == EIO);
  });
  EXPECT_LT(::write(consumer.get(), "x", 1), 0);
}

TEST_F(PtyDriverTest, APortWithoutModemLinesWorks) {
  rig.has_modem_lines = false;
  start();
  consumer.reset(::open(path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK));
  write("hello");
  rig.wait_log("out hello");
}

TEST_F(PtyDriverTest, DetachWithBytesUnderWay) {
  start();
  open();
  rig.hold_output = true;
  write("never taken");
  rig.wait([&] { return rig.find(serial::endpoint_out) != nullptr; });
  rig.channel->close();
  rig.wait([&] { return rig.closed.has_value(); });
  EXPECT_TRUE(rig.closed->message.empty());
}

class PtyLinkTest : public PtyDriverTest {
 protected:
  fs::path lock() const { return folder / ".port.lock"; }
};

TEST_F(PtyLinkTest, OnePathOneAttachment) {
  auto first = PtyLink::create(path, "/dev/pts/99999");
  ASSERT_TRUE(first) << first.error().message;
  auto second = PtyLink::create(path, "/dev/pts/99998");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::busy);
  first->remove();
  EXPECT_TRUE(PtyLink::create(path, "/dev/pts/99998"));
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST_F(PtyLinkTest, WhatIsNotOursIsNotTouched) {
  fs::create_symlink("/dev/null", path);
  EXPECT_EQ(PtyLink::create(path, "/dev/pts/1").error().code, ErrorCode::busy);
  EXPECT_EQ(fs::read_symlink(path), "/dev/null");
  EXPECT_FALSE(fs::exists(lock()));
  fs::remove(path);

  // A link to a terminal that lives, made by somebody else.
  FileDescriptor master(::posix_openpt(O_RDWR | O_NOCTTY));
  ASSERT_EQ(::unlockpt(master.get()), 0);
  char name[64];
  ASSERT_EQ(::ptsname_r(master.get(), name, sizeof name), 0);
  fs::create_symlink(name, path);
  EXPECT_EQ(PtyLink::create(path, "/dev/pts/1").error().code, ErrorCode::busy);
  EXPECT_EQ(fs::read_symlink(path), name);

  // The same link with the free lock of a daemon that was killed: ours, and stale.
  FileDescriptor left(::open(lock().c_str(), O_CREAT | O_RDWR, 0644));
  left.reset();
  auto link = PtyLink::create(path, "/dev/pts/12345");
  ASSERT_TRUE(link) << link.error().message;
  EXPECT_EQ(fs::read_symlink(path), "/dev/pts/12345");
}

TEST_F(PtyLinkTest, ADanglingLinkIsReplaced) {
  fs::create_symlink("/dev/pts/99999", path);
  auto link = PtyLink::create(path, "/dev/pts/88888");
  ASSERT_TRUE(link);
  EXPECT_EQ(fs::read_symlink(path), "/dev/pts/88888");
}

TEST_F(PtyLinkTest, ALinkThatSomebodyReplacedIsLeft) {
  auto link = PtyLink::create(path, "/dev/pts/88888");
  ASSERT_TRUE(link);
  fs::remove(path);
  fs::create_symlink("/dev/null", path);
  link->remove();
  EXPECT_EQ(fs::read_symlink(path), "/dev/null");
}

TEST_F(PtyLinkTest, PathsThatCannotBe) {
  for (const char* bad : {"", "relative", "/dev/farport/", "/"}) {
    auto link = PtyLink::create(bad, "/dev/pts/1");
    ASSERT_FALSE(link) << bad;
    EXPECT_EQ(link.error().code, ErrorCode::usage);
  }
  auto link = PtyLink::create("/dev/null/port", "/dev/pts/1");
  ASSERT_FALSE(link);
  EXPECT_NE(link.error().message.find("/dev/null"), std::string::npos);
}

TEST_F(PtyLinkTest, MissingFoldersAreMade) {
  auto link = PtyLink::create((folder / "a/b/port").string(), "/dev/pts/1");
  ASSERT_TRUE(link);
  EXPECT_TRUE(fs::is_symlink(folder / "a/b/port"));
}

}  // namespace
}  // namespace farport
