// Events of a link that takes every frame, and keeps what it got; frames to send to it.
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/link.h"

namespace farport {

struct RecordedFrame {
  wire::FrameHeader header{};
  std::vector<std::byte> body;
  std::vector<std::byte> data;
};

struct RecordingEvents final : LinkEvents {
  std::vector<RecordedFrame> frames;
  std::optional<Error> lost;
  bool closed = false;
  std::vector<std::byte> place_;

  Result<std::span<std::byte>> place(const wire::FrameHeader& header,
                                     std::span<const std::byte>) override {
    place_.assign(header.data_bytes(), std::byte{0xee});
    return std::span(place_);
  }
  Result<void> deliver(const wire::FrameHeader& header, std::span<const std::byte> body,
                       std::span<std::byte> data) override {
    frames.push_back({header, {body.begin(), body.end()}, {data.begin(), data.end()}});
    return {};
  }
  void link_ready() override {}
  void link_lost(Error why) override { lost = std::move(why); }
  void link_broken(Error why) override { lost = std::move(why); }
  void link_closed() override { closed = true; }
};

// The head of a frame of a transfer's data, as sessions make it.
inline std::vector<std::byte> data_head(uint64_t number, size_t data_bytes) {
  const wire::DataBody body{.offset = static_cast<uint32_t>(number * 7)};
  const wire::FrameHeader header{.bytes = static_cast<uint32_t>(sizeof body + data_bytes),
                                 .type = static_cast<uint8_t>(wire::FrameType::data),
                                 .body_bytes = sizeof body,
                                 .flags = 0,
                                 .number = number,
                                 .acknowledged = 0,
                                 .channel = 1,
                                 .transfer = 2};
  std::vector<std::byte> head(sizeof header + sizeof body);
  wire::encode(head.data(), header);
  wire::encode(head.data() + sizeof header, body);
  return head;
}

}  // namespace farport
