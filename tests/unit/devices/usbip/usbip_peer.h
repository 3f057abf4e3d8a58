// The other end of a USB/IP connection, scripted by a test, and a device for it to talk about.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "dataplane/file_descriptor.h"
#include "dataplane/worker.h"
#include "devices/device_info.h"
#include "devices/usbip/protocol.h"
#include "tests/unit/devices/usb/descriptor_builder.h"

namespace farport::test {

inline constexpr uint64_t patience_ns = 20'000'000'000;  // far longer than anything should take

using Data = std::vector<std::byte>;

inline Data pattern(size_t length, unsigned seed = 1) {
  Data data(length);
  for (size_t i = 0; i < length; ++i) data[i] = static_cast<std::byte>((i * 7 + i / 251) * seed);
  return data;
}

// Configuration 1: bulk 0x81/0x02, interrupt 0x83, and interface 1 with isochronous 0x84/0x05 in
// alternate setting 1. Configuration 2: 0x81 is an interrupt endpoint.
inline DeviceInfo test_device() {
  DeviceInfo info;
  info.name = "usb:1234:5678:test";
  info.speed = UsbSpeed::full;
  info.vendor = 0x1234;
  info.product = 0x5678;
  info.bus = 1;
  info.address = 2;
  info.device_descriptor = {18, 1, 0, 2, 0, 0, 0, 64, 0x34, 0x12, 0x78, 0x56, 0, 1, 0, 0, 0, 2};
  info.configurations = {ConfigurationBuilder(1)
                             .interface(0, 0)
                             .endpoint(0x81, 2, 64)
                             .endpoint(0x02, 2, 64)
                             .endpoint(0x83, 3, 8, 10)
                             .interface(1, 0)
                             .interface(1, 1)
                             .endpoint(0x84, 1, 100, 1)
                             .endpoint(0x05, 1, 100, 1)
                             .build(),
                         ConfigurationBuilder(2).interface(0, 0).endpoint(0x81, 3, 8, 10).build()};
  info.configuration_value = 1;
  return info;
}

class Peer {
 public:
  // Makes a connected pair; ours() is for whoever is tested.
  explicit Peer(Worker& worker) : worker_(worker) {
    int sockets[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    ours_.reset(sockets[0]);
    theirs_.reset(sockets[1]);
  }
  Peer(Worker& worker, FileDescriptor socket) : worker_(worker), theirs_(std::move(socket)) {}

  FileDescriptor ours() { return std::move(ours_); }
  void close() { theirs_.reset(); }
  int socket() const { return theirs_.get(); }

  // Sends all of it, in pieces of at most `piece` bytes, letting the worker run meanwhile.
  void send(std::span<const std::byte> bytes, size_t piece = ~size_t{0}) {
    while (!bytes.empty()) {
      ssize_t count = 0;
      const bool done = worker_.run_until(
          [&] {
            count = ::send(theirs_.get(), bytes.data(), std::min(piece, bytes.size()),
                           MSG_DONTWAIT | MSG_NOSIGNAL);
            return count >= 0 || errno != EAGAIN;
          },
          patience_ns);
      ASSERT_TRUE(done && count > 0) << std::strerror(errno);
      bytes = bytes.subspan(static_cast<size_t>(count));
    }
  }
  void send(const usbip::Request& request, std::span<const std::byte> payload = {}) {
    usbip::Message message;
    usbip::encode_request(request, message);
    Data bytes(message.begin(), message.end());
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    send(bytes);
  }
  void send(const usbip::Reply& reply, std::span<const std::byte> payload = {}) {
    usbip::Message message;
    usbip::encode_reply(reply, message);
    Data bytes(message.begin(), message.end());
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    send(bytes);
  }

  // Exactly `length` bytes; fewer when the connection ended or nothing more came.
  Data receive(size_t length) {
    Data data(length);
    size_t got = 0;
    bool ended = false;
    worker_.run_until(
        [&] {
          while (got < length) {
            const ssize_t count =
                ::recv(theirs_.get(), data.data() + got, length - got, MSG_DONTWAIT);
            if (count < 0) return false;
            if (count == 0) return ended = true;
            got += static_cast<size_t>(count);
          }
          return true;
        },
        patience_ns);
    data.resize(got);
    return data;
  }
  usbip::Reply receive_reply() {
    const Data bytes = receive(usbip::message_bytes);
    if (bytes.size() != usbip::message_bytes) {
      ADD_FAILURE() << "no reply came";
      return {};
    }
    return usbip::decode_reply(std::span<const std::byte, 48>(bytes.data(), 48)).value();
  }
  usbip::Request receive_request() {
    const Data bytes = receive(usbip::message_bytes);
    if (bytes.size() != usbip::message_bytes) {
      ADD_FAILURE() << "no request came";
      return {};
    }
    return usbip::decode_request(std::span<const std::byte, 48>(bytes.data(), 48)).value();
  }
  // Whether the connection has ended, with nothing unread.
  bool at_end() { return receive(1).empty(); }
  // Whether nothing is there to be read right now.
  bool silent() {
    char byte;
    return ::recv(theirs_.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
  }

 private:
  Worker& worker_;
  FileDescriptor ours_, theirs_;
};

}  // namespace farport::test
