#include "control/daemon/worker_thread.h"

#include <pthread.h>

namespace farport {

Result<std::unique_ptr<WorkerThread>> WorkerThread::start(const WorkerSettings& settings,
                                                          const std::string& name) {
  auto worker = Worker::create(settings);
  if (!worker) return std::unexpected(worker.error());
  std::unique_ptr<WorkerThread> thread(new WorkerThread(std::move(*worker)));
  thread->thread_ = std::thread([&worker = *thread->worker_, name] {
    pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
    worker.run();
  });
  return thread;
}

WorkerThread::~WorkerThread() { stop(); }

void WorkerThread::stop() {
  if (!thread_.joinable()) return;
  worker_->stop();
  thread_.join();
}

}  // namespace farport
