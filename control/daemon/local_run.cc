#include "control/daemon/local_run.h"

#include <utility>

namespace farport {

class LocalRun::OnWorker final : public LocalChannel::Events,
                                 public std::enable_shared_from_this<OnWorker> {
 public:
  OnWorker(ControlLoop& loop, WorkerThread& worker, std::function<void(const std::string&)> started,
           std::function<void(const Error&)> closed)
      : loop_(loop), worker_(worker), started_(std::move(started)), closed_(std::move(closed)) {}

  void post(std::function<void(OnWorker&)> work) {
    worker_.post([self = shared_from_this(), work = std::move(work)] { work(*self); });
  }

  void begin(std::unique_ptr<Device> device, std::unique_ptr<Driver> driver,
             uint64_t nominal_bytes_s) {
    channel_ = std::make_unique<LocalChannel>(worker_.worker(), std::move(device),
                                              std::move(driver), nominal_bytes_s, *this);
    channel_->start();
    if (channel_->open()) {
      loop_.post([started = started_, path = channel_->driver().path()] { started(path); });
    }
  }
  void close() {
    if (channel_ != nullptr && !over_) channel_->close();
  }
  void read(const std::function<void(const MeterReading&)>& done) {
    if (channel_ == nullptr || over_) return;
    loop_.post([done, reading = farport::read_meter(channel_->meter(), worker_.worker().now_ns())] {
      done(reading);
    });
  }

  void channel_closed(LocalChannel&, Error why) override {
    over_ = true;
    // `closed` must find the device gone, so that the next one can open it.
    worker_.post([self = shared_from_this(), why = std::move(why)] {
      self->channel_.reset();
      self->loop_.post([closed = self->closed_, why] { closed(why); });
    });
  }

 private:
  ControlLoop& loop_;
  WorkerThread& worker_;
  std::function<void(const std::string&)> started_;
  std::function<void(const Error&)> closed_;
  std::unique_ptr<LocalChannel> channel_;
  bool over_ = false;
};

std::shared_ptr<LocalRun> LocalRun::start(ControlLoop& loop, WorkerThread& worker,
                                          std::unique_ptr<Device> device,
                                          std::unique_ptr<Driver> driver, uint64_t nominal_bytes_s,
                                          std::function<void(const std::string&)> started,
                                          std::function<void(const Error&)> closed) {
  std::shared_ptr<LocalRun> run(new LocalRun);
  run->on_worker_ = std::make_shared<OnWorker>(loop, worker, std::move(started), std::move(closed));
  auto both = std::make_shared<std::pair<std::unique_ptr<Device>, std::unique_ptr<Driver>>>(
      std::move(device), std::move(driver));
  run->on_worker_->post([both, nominal_bytes_s](OnWorker& half) {
    half.begin(std::move(both->first), std::move(both->second), nominal_bytes_s);
  });
  return run;
}

void LocalRun::close() {
  on_worker_->post([](OnWorker& half) { half.close(); });
}

void LocalRun::read_meter(std::function<void(const MeterReading&)> done) {
  on_worker_->post([done = std::move(done)](OnWorker& half) { half.read(done); });
}

}  // namespace farport
