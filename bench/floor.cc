#include "bench/floor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "bench/meeting.h"
#include "bench/stage.h"
#include "dataplane/file_descriptor.h"

namespace farport::bench {

namespace {

// The best of 64 KiB, 256 KiB and 1 MiB, in both directions and both ways of waiting.
constexpr size_t kBufferBytes = 1024 * 1024;

// One end of the connection: a stream of blocks in, a stream of blocks out, nothing kept of either.
class Stream {
 public:
  Stream(FileDescriptor connection, Wait wait) : connection_(std::move(connection)), wait_(wait) {
    const int on = 1;
    setsockopt(connection_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }

  // Waits for bytes and takes all there are. 0: the peer has closed.
  Result<size_t> receive() {
    const int flags = wait_ == Wait::spin ? MSG_DONTWAIT : 0;
    for (;;) {
      const ssize_t got = ::recv(connection_.get(), in_.data(), in_.size(), flags);
      if (got >= 0) return static_cast<size_t>(got);
      if (errno == ECONNRESET) return 0;
      if (errno != EAGAIN && errno != EINTR) return fail_errno(errno, "recv");
    }
  }

  Result<void> send(uint64_t bytes) {
    while (bytes > 0) {
      const size_t chunk = std::min<uint64_t>(bytes, out_.size());
      const ssize_t sent = ::send(connection_.get(), out_.data(), chunk, MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) return fail_errno(errno, "send");
      bytes -= static_cast<uint64_t>(sent);
    }
    return {};
  }

  void close() { shutdown(connection_.get(), SHUT_RDWR); }

 private:
  FileDescriptor connection_;
  Wait wait_;
  std::vector<std::byte> in_ = std::vector<std::byte>(kBufferBytes);
  std::vector<std::byte> out_ = std::vector<std::byte>(kBufferBytes);
};

// Answers every whole request until the driver end has closed.
Result<void> device_end(Stream& stream, uint32_t request_bytes, uint32_t answer_bytes) {
  uint64_t received = 0;
  for (;;) {
    const Result<size_t> got = stream.receive();
    if (!got) return std::unexpected(got.error());
    if (*got == 0) return {};
    received += *got;
    const uint64_t requests = received / request_bytes;
    received %= request_bytes;
    // The driver end closes with requests in flight: that it does not read on is no error.
    if (auto sent = stream.send(requests * answer_bytes); !sent) return {};
  }
}

// Keeps `depth` requests in flight, a new one for each answer; counts once the warm-up is over.
class DriverEnd {
 public:
  DriverEnd(Stream& stream, const Stage& stage, const Load& load)
      : stream_(stream),
        load_(load),
        window_(stage),
        request_bytes_(load.in ? floor_message_bytes : load.size),
        answer_bytes_(load.in ? load.size : floor_message_bytes),
        sent_ns_(load.depth) {}

  Result<Measurement> run() {
    const uint64_t start_ns = now_ns();
    const uint64_t begin_ns = start_ns + static_cast<uint64_t>(load_.warm_up_s * 1e9);
    uint64_t end_ns = ~uint64_t{0};
    std::fill(sent_ns_.begin(), sent_ns_.end(), start_ns);
    if (auto sent = stream_.send(uint64_t{load_.depth} * request_bytes_); !sent) {
      return std::unexpected(sent.error());
    }
    bool counting = false;
    for (uint64_t now = start_ns; now < end_ns;) {
      const Result<size_t> got = stream_.receive();
      if (!got) return std::unexpected(got.error());
      if (*got == 0) return fail("the floor's device end closed the connection");
      now = now_ns();
      const uint64_t answers = take(*got, now, counting);
      if (auto sent = stream_.send(answers * request_bytes_); !sent) {
        return std::unexpected(sent.error());
      }
      if (!counting && now >= begin_ns) {
        counting = true;
        end_ns = window_.begin() + static_cast<uint64_t>(load_.seconds * 1e9);
      }
    }
    return window_.end(round_trips_.count(), round_trips_);
  }

 private:
  // How many answers are whole now. They come in the order of their requests.
  uint64_t take(size_t bytes, uint64_t now, bool counting) {
    received_ += bytes;
    const uint64_t answers = received_ / answer_bytes_;
    received_ %= answer_bytes_;
    for (uint64_t i = 0; i < answers; ++i) {
      if (counting) round_trips_.record(now - sent_ns_[oldest_]);
      sent_ns_[oldest_] = now;
      oldest_ = oldest_ + 1 == sent_ns_.size() ? 0 : oldest_ + 1;
    }
    return answers;
  }

  Stream& stream_;
  const Load& load_;
  Window window_;
  Histogram round_trips_;
  uint32_t request_bytes_;
  uint32_t answer_bytes_;
  uint64_t received_ = 0;
  std::vector<uint64_t> sent_ns_;  // of the requests in flight, a ring
  size_t oldest_ = 0;
};

}  // namespace

Result<Measurement> run_floor(const Load& load) {
  Meeting meeting;
  Result<Measurement> measured = fail("the floor did not run");

  const End device = [&](const Stage& stage) -> Result<void> {
    Result<FileDescriptor> connection = meeting.accept(stage);
    if (!connection) return std::unexpected(connection.error());
    Stream stream(std::move(*connection), load.wait);
    return device_end(stream, load.in ? floor_message_bytes : load.size,
                      load.in ? load.size : floor_message_bytes);
  };
  const End driver = [&](const Stage& stage) -> Result<void> {
    Result<FileDescriptor> connection = meeting.connect(stage);
    if (!connection) return std::unexpected(connection.error());
    Stream stream(std::move(*connection), load.wait);
    measured = DriverEnd(stream, stage, load).run();
    stream.close();
    return measured ? Result<void>{} : std::unexpected(measured.error());
  };
  if (auto ran = on_two_threads(load.link, device, driver); !ran) {
    return std::unexpected(ran.error());
  }
  return measured;
}

}  // namespace farport::bench
