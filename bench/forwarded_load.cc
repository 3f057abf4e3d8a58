#include "bench/forwarded_load.h"

#include <cassert>
#include <optional>
#include <utility>

#include "bench/load_driver.h"
#include "bench/meeting.h"
#include "dataplane/session.h"
#include "dataplane/socket_link.h"

namespace farport::bench {

namespace {

constexpr uint32_t kChannel = 1;  // odd: the connecting side has chosen it
constexpr uint64_t kLimitNs = 10'000'000'000;

// Completes everything at once; does not touch the data.
class NullDevice final : public Device {
 public:
  const DeviceInfo& info() const override { return info_; }
  void start(Worker&, DeviceEvents& events) override { events_ = &events; }
  void submit(Transfer& transfer) override {
    transfer.status = TransferStatus::ok;
    transfer.actual = transfer.length;
    events_->completed(transfer);
  }
  void cancel(Transfer&) override {}
  void stop() override { events_->device_stopped(); }

 private:
  DeviceInfo info_;
  DeviceEvents* events_ = nullptr;
};

// One end of the measured program: a worker and its session over a socket.
class ForwardedEnd : public SessionEvents, public ChannelEvents {
 public:
  virtual ~ForwardedEnd() = default;

  // Until the session is over; the error it ended with is that of the whole end, unless done().
  Result<void> run(const Load& load, FileDescriptor socket, bool connecting) {
    if (auto prepared = prepare_link_socket(socket.get()); !prepared) return prepared;
    WorkerSettings worker_settings;
    // Longer than any pause in the load: it never sleeps.
    if (load.wait == Wait::spin) worker_settings.spin_us = 1'000'000;
    auto worker = Worker::create(worker_settings);
    if (!worker) return std::unexpected(worker.error());
    worker_ = worker->get();
    SessionSettings settings;
    settings.host_name = connecting ? "consumer" : "device";
    settings.connecting = connecting;
    settings.boot.fill(connecting ? 1 : 2);
    settings.session.fill(3);
    session_ = std::make_unique<Session>(
        *worker_, *worker_, settings,
        std::make_unique<SocketLink>(*worker_, std::move(socket), "peer"), *this);
    session_->start();
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
  virtual void opened(Session& session, ChannelEvents& events) = 0;
  void done() { done_ = true; }
  void close() {
    // Not from inside a channel's call.
    worker_->post([this] { session_->close({}); });
  }

 private:
  void session_opened(Session& session, const PeerHello&) override { opened(session, *this); }
  void session_message(Session&, wire::MessageKind, uint32_t, std::string) override {}
  void session_closed(Session&, Error why) override {
    over_ = true;
    why_ = std::move(why);
    worker_->stop();
  }
  void channel_closed(Channel&, Error) override {}

  Worker* worker_ = nullptr;
  std::unique_ptr<Session> session_;
  bool over_ = false;
  bool done_ = false;
  Error why_;
};

class DeviceEnd final : public ForwardedEnd {
  void opened(Session& session, ChannelEvents& events) override {
    session.add_device_channel(kChannel, std::make_unique<NullDevice>(), 0,
                               limits::usb_channel_credit_bytes, events);
    done();  // the driver end says when it is over, and whether it went well
  }
};

class DriverEnd final : public ForwardedEnd {
 public:
  DriverEnd(const Load& load, const Stage& stage) : load_(load), stage_(stage) {}
  const Result<Measurement>& measured() const { return measured_; }

 private:
  void opened(Session& session, ChannelEvents& events) override {
    DriverChannel* channel = session.add_driver_channel(kChannel, events);
    const auto finished = [this](Result<Measurement> result) {
      measured_ = std::move(result);
      done();
      close();
    };
    const uint8_t number = load_.kind == TransferType::interrupt ? 2 : 1;
    const auto endpoint = static_cast<uint8_t>(number | (load_.in ? 0x80 : 0));
    channel->start(DeviceInfo(), 0, limits::usb_channel_credit_bytes,
                   std::make_unique<LoadDriver>(load_, stage_, endpoint, finished));
  }

  const Load& load_;
  const Stage& stage_;
  Result<Measurement> measured_ = fail("the session opened no channel");
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
