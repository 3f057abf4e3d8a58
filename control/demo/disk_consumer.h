// The consumer of a disk, in this process: a driver end like any other ("initiator"), which holds
// an Initiator and the MassStorage on it, so that both live and end on the worker with their
// channel. The demo asks from its own thread and waits.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "control/daemon/driver_maker.h"
#include "dataplane/worker.h"
#include "drivers/initiator/mass_storage.h"

namespace farport {

class DiskConsumer {
 public:
  static constexpr std::chrono::seconds limit_default{20};
  using Bytes = std::shared_ptr<std::vector<std::byte>>;

  DiskConsumer();
  // What a daemon makes at an attach. The newest one is asked by the calls below.
  DriverType type();
  // Where the daemon's channels live; before the first call.
  void set_worker(Worker& worker) { worker_ = &worker; }

  // From any thread but the worker. Each ends by the answer, by the time limit, when the disk is
  // detached, or by Ctrl-C. Memory is shared: what was begun may still end afterwards.
  Result<MassStorage::Capacity> capacity();  // waits until the disk can be used
  Result<void> write(uint64_t block, Bytes data);
  Result<void> read(uint64_t block, Bytes data);

 private:
  class ConsumerDriver;
  struct Shared;
  template <class T>
  Result<T> ask(std::function<void(MassStorage&, MassStorage::Done<T>)> begin);

  Worker* worker_ = nullptr;
  std::shared_ptr<Shared> shared_;
};

}  // namespace farport
