#include "bench/forwarded_load.h"

#include <fmt/format.h>

#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "bench/meeting.h"
#include "bench/throwaway_tls.h"
#include "dataplane/session.h"
#include "dataplane/socket_link.h"
#include "devices/emulated/source_sink.h"
#include "drivers/initiator/initiator.h"
#include "drivers/initiator/source_sink_load.h"

namespace farport::bench {

namespace {

constexpr uint32_t kChannel = 1;  // odd: the connecting side has chosen it
constexpr uint64_t kLimitNs = 10'000'000'000;

// Makes the worker's next `load.depth` blocks of this size ones that were written before, as any
// program's are: reading what was never written costs the kernel nothing, and would flatter us.
void write_once(BufferPool& pool, const Load& load) {
  std::vector<Buffer> blocks;
  for (uint32_t i = 0; i < load.depth; ++i) {
    blocks.push_back(pool.allocate(Transfer::headroom_bytes + load.size));
    if (blocks.back()) std::memset(blocks.back().data(), 0x5a, blocks.back().capacity());
  }
}

// One end of the measured program: a worker and its session over a socket.
class ForwardedEnd : public SessionEvents, public ChannelEvents {
 public:
  virtual ~ForwardedEnd() = default;

  // Until the session is over; the error it ended with is that of the whole end, unless done().
  Result<void> run(const Load& load, FileDescriptor socket, bool connecting) {
    if (auto prepared = prepare_link_socket(socket.get()); !prepared) return prepared;
    LinkOptions options;
    if (load.tls) {
      auto ssl = handshake(socket.get(), connecting);
      if (!ssl) return std::unexpected(ssl.error());
      options.tls = std::move(*ssl);
    }
    WorkerSettings worker_settings;
    // Longer than any pause in the load: it never sleeps.
    if (load.wait == Wait::spin) worker_settings.spin_us = 1'000'000;
    auto worker = Worker::create(worker_settings);
    if (!worker) return std::unexpected(worker.error());
    worker_ = worker->get();
    write_once(worker_->buffers(), load);
    SessionSettings settings;
    settings.host_name = connecting ? "consumer" : "device";
    settings.connecting = connecting;
    // No greeting: the device end has its channel before it reads the first byte.
    Hello peer;
    peer.host_name = connecting ? "device" : "consumer";
    peer.frame_data_bytes_max = limits::frame_data_bytes_max;
    session_ = std::make_unique<Session>(
        *worker_, *worker_, settings, std::move(peer),
        std::make_unique<SocketLink>(*worker_, std::move(socket), "peer", std::move(options)),
        *this);
    session_->start();
    opened(*session_);
    Timer limit(*worker_, [](void* self) { static_cast<Worker*>(self)->stop(); }, worker_);
    limit.arm_after(kLimitNs + static_cast<uint64_t>((load.warm_up_s + load.seconds) * 1e9));
    worker_->run();
    if (!over_) {
      // What is still in flight refers to memory of the worker: both stay until this process ends.
      session_.release();
      worker->release();
      return fail(ErrorCode::timed_out, "the session did not end");
    }
    session_.reset();
    return done_ ? Result<void>() : Result<void>(std::unexpected(why_));
  }

 protected:
  virtual void opened(Session& session) = 0;
  void channel_closed(Channel&, Error) override {}
  Worker& worker() { return *worker_; }
  void done() { done_ = true; }
  void close() {
    // Not from inside a channel's call.
    worker_->post([this] { session_->close({}); });
  }

 private:
  // Nobody reconnects here: a lost connection is the end.
  void session_paused(Session&, const ResumePoint&, const Error& why) override {
    worker_->post([this, why] { session_->close(why); });
  }
  void session_message(Session&, wire::MessageKind, uint32_t, std::string) override {}
  void session_closed(Session&, Error why) override {
    over_ = true;
    why_ = std::move(why);
    worker_->stop();
  }

  Worker* worker_ = nullptr;
  std::unique_ptr<Session> session_;
  bool over_ = false;
  bool done_ = false;
  Error why_;
};

class DeviceEnd final : public ForwardedEnd {
  void opened(Session& session) override {
    EmulatedDeviceSettings settings;
    settings.name = "bench";
    settings.kind = EmulatedKind::source_sink;
    settings.speed = UsbSpeed::super;
    session.add_device_channel(kChannel, std::make_unique<EmulatedSourceSink>(settings), 0,
                               limits::usb_channel_credit_bytes, *this);
    done();  // the driver end says when it is over, and whether it went well
  }
};

// Enumerates the device, lets the load warm up, measures, closes.
class DriverEnd final : public ForwardedEnd {
 public:
  DriverEnd(const Load& load, const Stage& stage) : load_(load), window_(stage) {}
  const Result<Measurement>& measured() const { return measured_; }

 private:
  void opened(Session& session) override {
    auto initiator = std::make_unique<Initiator>([this](const Result<void>& ready) {
      if (ready) return start_load();
      measured_ = std::unexpected(ready.error());
      close();
    });
    initiator_ = initiator.get();
    DriverChannel* channel = session.add_driver_channel(kChannel, *this);
    channel->start(DeviceInfo(), 0, limits::usb_channel_credit_bytes, std::move(initiator));
  }

  void start_load() {
    const bool interrupt = load_.kind == TransferType::interrupt;
    using Device = EmulatedSourceSink;
    LoadSettings settings;
    settings.type = load_.kind;
    settings.endpoint = interrupt  ? load_.in ? Device::interrupt_in : Device::interrupt_out
                        : load_.in ? Device::bulk_in
                                   : Device::bulk_out;
    settings.bytes = load_.size;
    settings.in_flight = load_.depth;
    source_sink_.emplace(*initiator_, settings, [this] { load_ended(); });
    if (auto started = source_sink_->start(); !started) {
      measured_ = std::unexpected(started.error());
      return close();
    }
    timer_.emplace(worker(), [](void* self) { static_cast<DriverEnd*>(self)->time_over(); }, this);
    timer_->arm_after(static_cast<uint64_t>(load_.warm_up_s * 1e9));
  }

  // The warm-up, then the measurement.
  void time_over() {
    if (!measuring_) {
      measuring_ = true;
      source_sink_->reset_figures();
      timer_->arm_at(window_.begin() + static_cast<uint64_t>(load_.seconds * 1e9));
      return;
    }
    measured_ = window_.end(source_sink_->transfers(), source_sink_->round_trips());
    if (source_sink_->bytes() != source_sink_->transfers() * load_.size) {
      measured_ = fail("transfers came back short");
    }
    source_sink_->stop();
  }

  void load_ended() {
    if (source_sink_->errors() != 0) {
      measured_ = fail(
          fmt::format("a transfer ended as {}", transfer_status_name(source_sink_->last_error())));
    }
    if (measured_) done();
    close();
  }

  void channel_closed(Channel&, Error) override {
    timer_.reset();
    source_sink_.reset();  // before the initiator, which goes with its channel
  }

  const Load& load_;
  Window window_;
  bool measuring_ = false;
  Initiator* initiator_ = nullptr;
  std::optional<SourceSinkLoad> source_sink_;
  std::optional<Timer> timer_;
  Result<Measurement> measured_ = fail("the session ended before the measurement");
};

}  // namespace

Result<Measurement> run_forwarded(const Load& load) {
  Meeting meeting;
  Result<Measurement> measured = fail("nothing was measured");
  const End device = [&](const Stage& stage) -> Result<void> {
    Result<FileDescriptor> connection = meeting.accept(stage);
    if (!connection) return std::unexpected(connection.error());
    return DeviceEnd().run(load, std::move(*connection), false);
  };
  const End driver = [&](const Stage& stage) -> Result<void> {
    Result<FileDescriptor> connection = meeting.connect(stage);
    if (!connection) return std::unexpected(connection.error());
    DriverEnd end(load, stage);
    auto ran = end.run(load, std::move(*connection), true);
    measured = end.measured();
    return ran;
  };
  if (auto ran = on_two_threads(load.link, device, driver); !ran) {
    return std::unexpected(ran.error());
  }
  return measured;
}

}  // namespace farport::bench
