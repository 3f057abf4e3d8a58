// A link whose peer is the fuzzer: what it receives is taken from the input, what it sends is read
// (so that memory given back too early is noticed) and dropped.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "dataplane/limits.h"
#include "dataplane/link.h"
#include "dataplane/loop.h"
#include "tests/fuzz/fuzz.h"

namespace farport::fuzz {

class StreamLink final : public Link, private Flushable {
 public:
  explicit StreamLink(Loop& loop) : loop_(loop) {}
  ~StreamLink() override { loop_.forget(*this); }

  void start(LinkEvents& events) override { events_ = &events; }
  bool ready() const override { return !closing_; }
  void send(std::span<const std::byte> head, std::span<const std::byte> data) override {
    for (const std::byte byte : head) sum_ = sum_ * 31 + static_cast<unsigned>(byte);
    for (const std::byte byte : data) sum_ = sum_ * 31 + static_cast<unsigned>(byte);
    wire::FrameHeader header;
    std::memcpy(&header, head.data(), sizeof header);
    sent_ = std::max(sent_, header.number);
  }
  void flush() override {
    if (closing_ && !closed_) {
      closed_ = true;
      events_->link_closed();
    }
  }
  void close() override {
    closing_ = true;
    loop_.flush_later(*this);
  }
  void abort() override { close(); }
  const char* peer() const override { return "fuzzer"; }
  uint64_t unanswered_ns() const override { return 0; }
  Result<void> export_key(std::string_view, std::span<const std::byte>,
                          std::span<std::byte>) override {
    return fail(ErrorCode::usage, "not encrypted");
  }

  // Takes one frame of the input, as SocketLink does. Numbers and acknowledgements are mostly put
  // right, or hardly any input would get past them. False at the end.
  bool take_frame(Input& input) {
    if (closing_ || input.empty()) return false;
    const uint8_t kind = input.byte();
    const auto head = input.take(sizeof(wire::FrameHeader));
    wire::FrameHeader header{};
    std::memcpy(&header, head.data(), head.size());
    if ((kind & 0xc0) == 0) {
      header.number = wire::numbered(static_cast<wire::FrameType>(header.type)) ? number_ + 1 : 0;
      header.acknowledged = (kind & 1) != 0 ? sent_ : 0;
      header.bytes = std::min<uint32_t>(header.bytes, 0xffff);
    }
    if (wire::header_fault(header, limits::frame_data_bytes_max) != nullptr) return false;
    const std::vector<std::byte> body = padded(input, header.body_bytes);
    const auto placed = events_->place(header, body);
    if (!placed || closing_) return false;
    fuzz_check(placed->size() == header.data_bytes());
    const std::vector<std::byte> data = padded(input, header.data_bytes());
    std::copy(data.begin(), data.end(), placed->begin());
    number_ = std::max(number_, header.number);
    return events_->deliver(header, body, *placed).has_value() && !closing_;
  }

 private:
  static std::vector<std::byte> padded(Input& input, size_t bytes) {
    const auto given = std::as_bytes(input.take(bytes));
    std::vector<std::byte> result(given.begin(), given.end());
    result.resize(bytes);
    return result;
  }

  Loop& loop_;
  LinkEvents* events_ = nullptr;
  bool closing_ = false;
  bool closed_ = false;
  uint64_t number_ = 0;
  uint64_t sent_ = 0;
  volatile unsigned sum_ = 0;
};

}  // namespace farport::fuzz
