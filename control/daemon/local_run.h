// A LocalChannel as control sees it: a device of this host with a consumer on this host.
//
// Thread rule: the control thread; the channel itself lives on the worker.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "control/daemon/control_loop.h"
#include "control/daemon/peer_session.h"
#include "control/daemon/worker_thread.h"
#include "dataplane/local_channel.h"

namespace farport {

class LocalRun : public std::enable_shared_from_this<LocalRun> {
 public:
  // `started` is given Driver::path(), unless the driver cannot start; `closed` is the last call,
  // and comes in any case. Both on the control thread.
  static std::shared_ptr<LocalRun> start(ControlLoop& loop, WorkerThread& worker,
                                         std::unique_ptr<Device> device,
                                         std::unique_ptr<Driver> driver, uint64_t nominal_bytes_s,
                                         std::function<void(const std::string&)> started,
                                         std::function<void(const Error&)> closed);
  void close();
  void read_meter(std::function<void(const MeterReading&)> done);

 private:
  class OnWorker;
  LocalRun() = default;
  std::shared_ptr<OnWorker> on_worker_;
};

}  // namespace farport
