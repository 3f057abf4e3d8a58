// The consumer that a benchmark needs: it keeps `depth` transfers in flight on one endpoint, uses
// the same ones again and again, and measures. A driver like any other (drivers/driver.h).
#pragma once

#include <functional>
#include <optional>

#include "bench/measurement.h"
#include "bench/stage.h"
#include "drivers/driver.h"

namespace farport::bench {

class LoadDriver final : public Driver {
 public:
  // `done` is called once on the worker, from inside completed(), with the result: a measurement
  // when the time is over, an error when a transfer did not end well.
  using Done = std::function<void(Result<Measurement>)>;
  LoadDriver(const Load& load, const Stage& stage, uint8_t endpoint, Done done);

  std::string_view name() const override { return "load"; }
  std::string path() const override { return {}; }
  Result<void> start(Worker& worker, DriverPort& port) override;
  void completed(Transfer& transfer) override;
  void unplugged(std::string_view reason) override;
  void stop() override;

 private:
  void submit(Transfer& transfer, uint64_t now);
  void finish(Result<Measurement> result);

  const Load load_;
  const uint8_t endpoint_;
  Done done_;
  Window window_;
  Histogram round_trips_;
  DriverPort* port_ = nullptr;
  uint32_t held_ = 0;  // transfers not released
  uint64_t begin_ns_ = 0;
  uint64_t end_ns_ = 0;  // 0: still warming up
  bool finished_ = false;
  bool stopping_ = false;
};

}  // namespace farport::bench
