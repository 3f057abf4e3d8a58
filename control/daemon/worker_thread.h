// A worker on a thread of its own.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "dataplane/worker.h"

namespace farport {

class WorkerThread {
 public:
  static Result<std::unique_ptr<WorkerThread>> start(const WorkerSettings& settings,
                                                     const std::string& name);
  ~WorkerThread();  // stop()
  void stop();      // waits; everything on the worker has been closed before

  Worker& worker() { return *worker_; }
  void post(std::function<void()> message) { worker_->post(std::move(message)); }

 private:
  explicit WorkerThread(std::unique_ptr<Worker> worker) : worker_(std::move(worker)) {}
  std::unique_ptr<Worker> worker_;
  std::thread thread_;
};

}  // namespace farport
