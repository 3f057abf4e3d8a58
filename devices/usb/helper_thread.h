// A thread that runs one blocking job at a time for a worker, which never waits for it.
#pragma once

#include <semaphore.h>

#include <cerrno>
#include <thread>

namespace farport {

// run() and the destructor belong to the worker's thread. The handover is a semaphore (sem_post
// never waits; std::atomic::wait of libstdc++ 12 can miss a notification).
class HelperThread {
 public:
  using Function = void (*)(void* context);

  HelperThread() {
    sem_init(&handed_over_, 0, 0);
    thread_ = std::thread([this] { loop(); });
  }
  // Waits for the job that runs, if any.
  ~HelperThread() {
    job_ = nullptr;
    sem_post(&handed_over_);
    thread_.join();
    sem_destroy(&handed_over_);
  }
  HelperThread(const HelperThread&) = delete;
  HelperThread& operator=(const HelperThread&) = delete;

  // Runs job(context), then done(context), which tells the worker (by Worker::post). Only when the
  // job before has told: until then the three below belong to the thread.
  void run(Function job, Function done, void* context) {
    job_ = job;
    done_ = done;
    context_ = context;
    sem_post(&handed_over_);
  }

 private:
  void loop() {
    while (true) {
      while (sem_wait(&handed_over_) != 0 && errno == EINTR) {
      }
      if (!job_) return;
      const Function done = done_;
      void* context = context_;
      job_(context);
      done(context);
    }
  }

  sem_t handed_over_;
  Function job_ = nullptr;  // none: quit
  Function done_ = nullptr;
  void* context_ = nullptr;
  std::thread thread_;
};

}  // namespace farport
