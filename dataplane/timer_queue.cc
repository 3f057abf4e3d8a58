#include "dataplane/timer_queue.h"

#include <cassert>

namespace farport {

Timer::~Timer() { disarm(); }
void Timer::arm_at(uint64_t at_ns) { scheduler_.arm(*this, at_ns); }
void Timer::arm_after(uint64_t delay_ns) { scheduler_.arm(*this, scheduler_.now_ns() + delay_ns); }
void Timer::disarm() {
  if (armed()) scheduler_.disarm(*this);
}

void TimerQueue::arm(Timer& timer, uint64_t at_ns) {
  if (timer.armed()) disarm(timer);
  timer.at_ns_ = at_ns;
  timer.order_ = order_++;
  heap_.push_back(&timer);
  timer.position_ = heap_.size() - 1;
  up(timer.position_);
}

void TimerQueue::disarm(Timer& timer) {
  const size_t position = timer.position_;
  assert(position < heap_.size() && heap_[position] == &timer);
  timer.position_ = Timer::npos;
  Timer* last = heap_.back();
  heap_.pop_back();
  if (last == &timer) return;
  put(position, last);
  up(position);
  down(last->position_);
}

int TimerQueue::fire(uint64_t now_ns) {
  const uint64_t armed_before = order_;
  int fired = 0;
  while (!heap_.empty() && heap_.front()->at_ns_ <= now_ns &&
         heap_.front()->order_ < armed_before) {
    Timer* timer = heap_.front();
    disarm(*timer);
    timer->callback_(timer->context_);
    ++fired;
  }
  return fired;
}

void TimerQueue::put(size_t position, Timer* timer) {
  heap_[position] = timer;
  timer->position_ = position;
}

void TimerQueue::up(size_t position) {
  Timer* timer = heap_[position];
  while (position > 0) {
    const size_t parent = (position - 1) / 2;
    if (!before(*timer, *heap_[parent])) break;
    put(position, heap_[parent]);
    position = parent;
  }
  put(position, timer);
}

void TimerQueue::down(size_t position) {
  Timer* timer = heap_[position];
  for (;;) {
    size_t child = 2 * position + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && before(*heap_[child + 1], *heap_[child])) ++child;
    if (!before(*heap_[child], *timer)) break;
    put(position, heap_[child]);
    position = child;
  }
  put(position, timer);
}

}  // namespace farport
