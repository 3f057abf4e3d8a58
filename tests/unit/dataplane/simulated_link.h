// The link seam under simulation: two ends of one connection, whose frames arrive when the test
// says so, in steps. Data is read from the sender's memory when it arrives, not when it was sent,
// so that memory given back too early shows as wrong bytes.
#pragma once

#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "dataplane/link.h"
#include "tests/unit/dataplane/simulated_loop.h"

namespace farport {

class SimulatedLink final : public Link {
 public:
  explicit SimulatedLink(SimulatedLoop& loop) : loop_(loop) {}
  ~SimulatedLink() override {
    loop_.forget(report_);
    if (other_ != nullptr) other_->other_ = nullptr;
  }
  static std::array<std::unique_ptr<SimulatedLink>, 2> pair(SimulatedLoop& loop) {
    std::array ends{std::make_unique<SimulatedLink>(loop), std::make_unique<SimulatedLink>(loop)};
    ends[0]->other_ = ends[1].get();
    ends[1]->other_ = ends[0].get();
    return ends;
  }

  uint64_t unanswered = 0;         // what unanswered_ns() says
  CompressionCounters compressed;  // what compression() says
  size_t frames_max = 64;          // taken and not arrived: ready() until then

  void start(LinkEvents& events) override { events_ = &events; }
  bool ready() const override { return !closing_ && frames_.size() < frames_max; }
  void send(std::span<const std::byte> head, std::span<const std::byte> data) override {
    frames_.push_back({{head.begin(), head.end()}, data, false});
  }
  void flush() override {
    for (Frame& frame : frames_) frame.flushed = true;
  }
  void close() override {
    if (closing_) return;
    closing_ = true;
    placed_ = {};
    report_.link = this;
    loop_.flush_later(report_);
  }
  void abort() override { close(); }
  const char* peer() const override { return "simulated"; }
  uint64_t unanswered_ns() const override { return unanswered; }
  CompressionCounters compression() const override { return compressed; }
  Result<void> export_key(std::string_view, std::span<const std::byte>,
                          std::span<std::byte>) override {
    return fail(ErrorCode::usage, "not encrypted");
  }

  // --- the test's side ---

  // Whether a frame of this end, handed over by flush(), has not fully arrived yet.
  bool has_frames() const { return !frames_.empty() && frames_.front().flushed; }
  // One step of the oldest frame's arrival at the other end: its head first, then its data.
  void arrive() {
    if (!has_frames() || closing_ || other_ == nullptr || other_->closing_ ||
        other_->events_ == nullptr)
      return;
    Frame& frame = frames_.front();
    wire::FrameHeader header;
    std::memcpy(&header, frame.head.data(), sizeof header);
    const auto body = std::span(frame.head).subspan(sizeof header, header.body_bytes);
    const auto copied = std::span(frame.head).subspan(sizeof header + header.body_bytes);
    if (!placing_) {
      const auto placed = other_->events_->place(header, body);
      if (!placed || other_->closing_) return;
      placed_ = *placed;
      placing_ = true;
      return;
    }
    placing_ = false;
    const auto data = frame.data.empty() ? std::span<const std::byte>(copied) : frame.data;
    if (!data.empty()) std::memcpy(placed_.data(), data.data(), data.size());
    Frame arrived = std::move(frame);
    frames_.pop_front();
    const bool was_full = frames_.size() + 1 == frames_max;
    const auto arrived_body = std::span(arrived.head).subspan(sizeof header, header.body_bytes);
    (void)other_->events_->deliver(header, arrived_body, std::exchange(placed_, {}));
    if (was_full && !closing_) events_->link_ready();
  }
  // Both ends lose the connection.
  void cut() {
    SimulatedLink* other = other_;
    lose();
    if (other != nullptr) other->lose();
  }
  // Puts raw bytes of a frame on the wire, as a broken or hostile peer would.
  void inject(const wire::FrameHeader& header, std::vector<std::byte> rest) {
    std::vector<std::byte> head(sizeof header);
    std::memcpy(head.data(), &header, sizeof header);
    head.insert(head.end(), rest.begin(), rest.end());
    frames_.push_back({std::move(head), {}, true});
  }
  bool closing() const { return closing_; }

 private:
  struct Frame {
    std::vector<std::byte> head;
    std::span<const std::byte> data;
    bool flushed;
  };
  struct Report final : Flushable {
    void flush() override {
      link->frames_.clear();
      SimulatedLink* other = link->other_;
      link->events_->link_closed();
      if (other != nullptr && other->events_ != nullptr)
        other->lose();  // sees the end of the stream
    }
    SimulatedLink* link = nullptr;
  };
  void lose() {
    if (!closing_) events_->link_lost({ErrorCode::unreachable, "cut by the test"});
  }

  SimulatedLoop& loop_;
  SimulatedLink* other_ = nullptr;
  LinkEvents* events_ = nullptr;
  std::deque<Frame> frames_;
  std::span<std::byte> placed_;
  bool placing_ = false;
  bool closing_ = false;
  Report report_;
};

}  // namespace farport
