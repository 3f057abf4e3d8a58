// What a session tells of the compression on its connections.
#include "tests/unit/dataplane/session_fixture.h"

namespace farport {
namespace {

class SessionCompressionTest : public SessionFixture {};

// An operator asks what a session has compressed, and not what its present connection has.
TEST_F(SessionCompressionTest, IsCountedOverAllConnections) {
  start();
  a_.link->compressed = {
      .frames = 3, .bytes_before = 300, .bytes_after = 30, .frames_received = 1, .on = true};
  EXPECT_EQ(a_.session->compression().bytes_before, 300u);
  EXPECT_TRUE(a_.session->compression().on);
  cut();
  EXPECT_EQ(a_.session->compression().frames, 3u);
  EXPECT_FALSE(a_.session->compression().on) << "there is no connection to compress for";
  resume();
  a_.link->compressed = {.frames = 2, .bytes_before = 200, .bytes_after = 50, .on = true};
  const CompressionCounters all = a_.session->compression();
  EXPECT_EQ(all.frames, 5u);
  EXPECT_EQ(all.bytes_before, 500u);
  EXPECT_EQ(all.bytes_after, 80u);
  EXPECT_EQ(all.frames_received, 1u);
  EXPECT_TRUE(all.on);
}

}  // namespace
}  // namespace farport
