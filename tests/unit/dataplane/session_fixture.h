// Two hosts with a session between them over a simulated link: A connects and has the consumers, B
// has the devices.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/session.h"
#include "dataplane/worker.h"
#include "tests/unit/dataplane/simulated_link.h"
#include "tests/unit/fake_device.h"
#include "tests/unit/fake_driver.h"

namespace farport {

// Records what one host's session and channels report.
struct Host final : SessionEvents, ChannelEvents {
  struct Message {
    wire::MessageKind kind;
    uint32_t id;
    std::string text;
  };
  bool closed = false;
  int pauses = 0;
  Error why;        // of the end
  Error paused_by;  // of the last pause
  std::vector<Message> messages;
  std::vector<Error> channels_closed;
  int drivers_gone = 0;
  SimulatedLink* link = nullptr;
  std::unique_ptr<Session> session;

  void session_paused(Session&, const ResumePoint&, const Error& error) override {
    ++pauses;
    paused_by = error;
    link = nullptr;
  }
  void session_message(Session&, wire::MessageKind kind, uint32_t id, std::string text) override {
    messages.push_back({kind, id, std::move(text)});
  }
  void session_closed(Session&, Error error) override {
    closed = true;
    why = std::move(error);
  }
  void channel_closed(Channel&, Error error) override {
    channels_closed.push_back(std::move(error));
  }
  void driver_gone(Channel&) override { ++drivers_gone; }
};

class SessionFixture : public testing::Test {
 protected:
  SessionFixture() {
    auto worker = Worker::create({});  // only its address is used: fakes run nothing on it
    if (!worker) throw std::runtime_error(worker.error().message);
    worker_ = std::move(*worker);
    auto ends = SimulatedLink::pair(loop_);
    make(a_, "alpha", true, std::move(ends[0]));
    make(b_, "beta", false, std::move(ends[1]));
  }
  ~SessionFixture() override {
    for (Host* host : {&a_, &b_}) {
      if (host->session && !host->closed) host->session->close({ErrorCode::failed, "test over"});
    }
    run();
    EXPECT_TRUE(a_.closed && b_.closed);
    a_.session.reset();
    b_.session.reset();
    EXPECT_EQ(loop_.buffers().bytes_in_use(), 0u) << "memory of a transfer was not given back";
  }

  void make(Host& host, std::string name, bool connecting, std::unique_ptr<SimulatedLink> link) {
    SessionSettings settings;
    settings.host_name = std::move(name);
    settings.connecting = connecting;
    Hello peer;
    peer.host_name = connecting ? "beta" : "alpha";
    peer.boot.fill(connecting ? 2 : 1);
    peer.session.fill(7);
    peer.frame_data_bytes_max = limits::frame_data_bytes_max;
    host.link = link.get();
    host.session = std::make_unique<Session>(*worker_, loop_, std::move(settings), std::move(peer),
                                             std::move(link), host);
  }
  // Cuts the connection in mid-frame, wherever it is; both sessions pause.
  void cut() {
    if (linked(a_)) a_.link->cut();
    for (int i = 0; i < 4; ++i) loop_.flush();
  }
  bool both_paused() const {
    return !a_.closed && !b_.closed && a_.session->paused() && b_.session->paused();
  }
  // What control does: the two tell each other what they took, and go on over a new connection.
  void resume() {
    ASSERT_TRUE(both_paused());
    auto ends = SimulatedLink::pair(loop_);
    ends[0]->frames_max = a_frames_max_;
    ends[1]->frames_max = b_frames_max_;
    a_.link = ends[0].get();
    b_.link = ends[1].get();
    const ResumePoint a = a_.session->resume_point();
    const ResumePoint b = b_.session->resume_point();
    ASSERT_TRUE(check_resume(a, b.received));
    ASSERT_TRUE(check_resume(b, a.received));
    b_.session->resume(std::move(ends[1]), a.received);
    a_.session->resume(std::move(ends[0]), b.received);
  }
  void start() {
    b_.session->start();
    a_.session->start();
    run();
  }
  // Lets everything happen that can, without moving the clock.
  void run() {
    for (int idle = 0; idle < 2;) {
      const bool moves = loop_.flush_waiting() || moving(a_) || moving(b_);
      idle = moves ? 0 : idle + 1;
      loop_.flush();
      if (linked(a_) && a_.link->has_frames()) a_.link->arrive();
      if (linked(b_) && b_.link->has_frames()) b_.link->arrive();
    }
  }
  bool moving(const Host& host) const {
    const Host& other = &host == &a_ ? b_ : a_;
    return linked(host) && host.link->has_frames() && linked(other) && !other.link->closing();
  }
  // Whether its link is still there to be asked.
  static bool linked(const Host& host) { return !host.closed && host.link != nullptr; }
  // A channel from a FakeDevice at B to a FakeDriver at A.
  struct Ends {
    DriverChannel* channel;
    FakeDevice* device;
    FakeDriver* driver;
    DeviceChannel* device_channel;
  };
  Ends open_channel(uint32_t number, uint64_t credit = limits::usb_channel_credit_bytes) {
    auto device = std::make_unique<FakeDevice>();
    auto driver = std::make_unique<FakeDriver>();
    Ends ends{a_.session->add_driver_channel(number, a_), device.get(), driver.get(), nullptr};
    ends.device_channel = b_.session->add_device_channel(number, std::move(device), 0, credit, b_);
    if (ends.channel != nullptr) ends.channel->start({}, 0, credit, std::move(driver));
    return ends;
  }

  SimulatedLoop loop_;
  std::unique_ptr<Worker> worker_;
  Host a_;
  Host b_;
  size_t a_frames_max_ = 64;
  size_t b_frames_max_ = 64;
};

// And transfers through its channels.
class SessionTest : public SessionFixture {
 protected:
  Transfer* make(Ends& ends, uint8_t endpoint, TransferType type, uint32_t length,
                 uint16_t packets = 0) {
    Transfer* transfer = ends.driver->port->allocate(length, packets);
    if (transfer == nullptr) return nullptr;
    transfer->endpoint = endpoint;
    transfer->type = type;
    return transfer;
  }
  Transfer* submit(Ends& ends, uint8_t endpoint, TransferType type, uint32_t length) {
    Transfer* transfer = make(ends, endpoint, type, length);
    ends.driver->port->submit(*transfer);
    return transfer;
  }
};

}  // namespace farport
