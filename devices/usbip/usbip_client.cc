#include "devices/usbip/usbip_client.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include <cerrno>
#include <memory>

namespace farport::usbip {

namespace {

uint64_t now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

Error unreachable(const std::string& server, std::string_view why) {
  return {ErrorCode::unreachable, "the USB/IP server " + server + " cannot be reached: " +
                                      std::string(why) + "; is usbipd running there?"};
}

}  // namespace

Result<UsbipClient> UsbipClient::connect(const Address& address, uint32_t timeout_ms) {
  const std::string server = address.host + " port " + std::to_string(address.port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
  if (address.host.find_first_not_of("0123456789.") == std::string::npos ||
      address.host.find(':') != std::string::npos) {
    hints.ai_flags = AI_NUMERICSERV | AI_NUMERICHOST;
  }
  addrinfo* found = nullptr;
  const std::string port = std::to_string(address.port);
  if (const int error = getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found);
      error != 0) {
    return std::unexpected(unreachable(server, gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> guard(found, freeaddrinfo);
  Error last = unreachable(server, "it has no address");
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    FileDescriptor socket(::socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) {
      last = errno_error(errno, "cannot make a socket");
      continue;
    }
    const bool connected = ::connect(socket.get(), each->ai_addr, each->ai_addrlen) == 0;
    const int error = connected ? 0 : errno;
    if (error != 0 && error != EINPROGRESS) {
      last = unreachable(server, errno_error(error, "connecting").message);
      continue;
    }
    UsbipClient client(std::move(socket), server, timeout_ms);
    client.begin();
    if (auto writable = client.wait(POLLOUT); !writable) {
      last = writable.error();
      continue;
    }
    int failure = 0;
    socklen_t length = sizeof failure;
    getsockopt(client.socket_.get(), SOL_SOCKET, SO_ERROR, &failure, &length);
    if (failure != 0) {
      last = unreachable(server, errno_error(failure, "connecting").message);
      continue;
    }
    set_tcp_options(client.socket_.get());
    return client;
  }
  return std::unexpected(last);
}

Result<std::vector<DeviceRecord>> UsbipClient::list() {
  begin();
  const auto request = encode_op_header({protocol_version, OpCode::request_list, 0});
  if (auto sent = send(request); !sent) return std::unexpected(sent.error());
  if (auto header = receive_header(OpCode::reply_list); !header) {
    return std::unexpected(header.error());
  }
  Be32 count;
  if (auto got = receive(std::as_writable_bytes(std::span(&count, 1))); !got) {
    return std::unexpected(got.error());
  }
  if (count > listed_devices_max) {
    return fail("the USB/IP server " + server_ + " claims to have " + std::to_string(count) +
                " devices; more than " + std::to_string(listed_devices_max) + " are not read");
  }
  std::vector<DeviceRecord> devices;
  for (uint32_t i = 0; i < count; ++i) {
    std::array<std::byte, sizeof(wire::Device)> bytes;
    if (auto got = receive(bytes); !got) return std::unexpected(got.error());
    auto device = decode_device(bytes);
    if (!device) return std::unexpected(device.error());
    for (uint32_t j = 0; j < device->interface_count; ++j) {
      std::array<std::byte, sizeof(wire::Interface)> interface;
      if (auto got = receive(interface); !got) return std::unexpected(got.error());
      decode_interface(interface, device->interfaces.emplace_back());
    }
    devices.push_back(std::move(*device));
  }
  return devices;
}

Result<DeviceRecord> UsbipClient::import(const std::string& busid) {
  begin();
  if (auto sent = send(encode_import_request(busid)); !sent) return std::unexpected(sent.error());
  if (auto header = receive_header(OpCode::reply_import); !header) {
    return std::unexpected(header.error());
  }
  std::array<std::byte, sizeof(wire::Device)> bytes;
  if (auto got = receive(bytes); !got) return std::unexpected(got.error());
  auto device = decode_device(bytes);
  if (device && device->busid != busid) {
    return fail("the USB/IP server " + server_ + " was asked for " + busid + " and gave " +
                device->busid);
  }
  return device;
}

Result<std::vector<uint8_t>> UsbipClient::control_in(uint32_t devid,
                                                     const std::array<uint8_t, 8>& setup) {
  begin();
  Request request{.seqnum = ++seqnum_, .devid = devid, .in = true};
  request.flags = urb_flags::direction_in;
  request.length = setup[6] | uint32_t{setup[7]} << 8;
  request.setup = setup;
  Message message;
  encode_request(request, message);
  if (auto sent = send(message); !sent) return std::unexpected(sent.error());
  if (auto got = receive(message); !got) return std::unexpected(got.error());
  const auto reply = decode_reply(message);
  if (!reply) return std::unexpected(reply.error());
  if (reply->command != Command::submit_reply || reply->seqnum != request.seqnum ||
      reply->actual > request.length) {
    return fail("the USB/IP server " + server_ + " gave an answer that does not fit the question");
  }
  std::vector<uint8_t> data(reply->actual);
  if (auto got = receive(std::as_writable_bytes(std::span(data))); !got) {
    return std::unexpected(got.error());
  }
  if (reply->status < 0) return fail_errno(-reply->status, "a control request to the device");
  return data;
}

void UsbipClient::begin() { deadline_ns_ = now_ns() + uint64_t{timeout_ms_} * 1'000'000; }

Result<void> UsbipClient::wait(short events) {
  while (true) {
    const uint64_t now = now_ns();
    if (now >= deadline_ns_) {
      return fail(ErrorCode::timed_out, "the USB/IP server " + server_ + " did not answer in " +
                                            std::to_string(timeout_ms_) + " ms");
    }
    pollfd poll{socket_.get(), events, 0};
    const int ready = ::poll(&poll, 1, static_cast<int>((deadline_ns_ - now) / 1'000'000 + 1));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return fail_errno(errno, "waiting for " + server_);
  }
}

Result<void> UsbipClient::send(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count >= 0) {
      bytes = bytes.subspan(static_cast<size_t>(count));
    } else if (errno != EAGAIN && errno != EINTR) {
      return fail_errno(errno, "sending to the USB/IP server " + server_);
    } else if (auto writable = wait(POLLOUT); !writable) {
      return writable;
    }
  }
  return {};
}

Result<void> UsbipClient::receive(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::recv(socket_.get(), bytes.data(), bytes.size(), 0);
    if (count > 0) {
      bytes = bytes.subspan(static_cast<size_t>(count));
    } else if (count == 0) {
      return fail(ErrorCode::unreachable, "the USB/IP server " + server_ +
                                              " closed the connection before its answer ended");
    } else if (errno != EAGAIN && errno != EINTR) {
      return fail_errno(errno, "receiving from the USB/IP server " + server_);
    } else if (auto readable = wait(POLLIN); !readable) {
      return readable;
    }
  }
  return {};
}

Result<void> UsbipClient::receive_header(OpCode code) {
  std::array<std::byte, sizeof(wire::OpHeader)> bytes;
  if (auto got = receive(bytes); !got) return got;
  const OpHeader header = decode_op_header(bytes);
  if (header.version != protocol_version || header.code != code) {
    return fail("what answers at " + server_ + " does not speak USB/IP 1.1.1");
  }
  if (header.status == 0) return {};
  return std::unexpected(op_status_error(header.status, "USB/IP server " + server_));
}

}  // namespace farport::usbip
