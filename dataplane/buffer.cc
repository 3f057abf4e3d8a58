#include "dataplane/buffer.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstdlib>

namespace farport {

namespace {
constexpr uint8_t kLargeClass = 20;  // 1 MiB
constexpr size_t kAlignment = 64;    // a cache line, and what SIMD copies like
}  // namespace

size_t Buffer::capacity() const { return memory_ == nullptr ? 0 : size_t{1} << size_class_; }

void Buffer::reset() {
  if (memory_ == nullptr) return;
  pool_->give_back(memory_, size_class_);
  memory_ = nullptr;
  pool_ = nullptr;
}

BufferPool::BufferPool(uint64_t bytes_max) : bytes_max_(bytes_max) {}

BufferPool::~BufferPool() {
  assert(bytes_in_use_ == 0 && "a buffer outlives its pool");
  for (Free* head : free_) {
    while (head != nullptr) {
      Free* next = head->next;
      std::free(head);
      head = next;
    }
  }
}

Buffer BufferPool::allocate(size_t bytes) {
  Buffer buffer;
  if (bytes > size_t{1} << class_max) return buffer;
  const auto size_class = std::max<uint8_t>(
      class_min, static_cast<uint8_t>(std::bit_width(std::max<size_t>(bytes, 1) - 1)));
  const uint64_t capacity = uint64_t{1} << size_class;
  if (bytes_in_use_ + capacity > bytes_max_) return buffer;
  std::byte* memory = nullptr;
  if (Free* head = free_[size_class]; head != nullptr) {
    free_[size_class] = head->next;
    bytes_cached_ -= capacity;
    memory = reinterpret_cast<std::byte*>(head);
  } else {
    memory = static_cast<std::byte*>(std::aligned_alloc(kAlignment, capacity));
    if (memory == nullptr) return buffer;
  }
  bytes_in_use_ += capacity;
  buffer.memory_ = memory;
  buffer.pool_ = this;
  buffer.size_class_ = size_class;
  return buffer;
}

void BufferPool::give_back(std::byte* memory, uint8_t size_class) {
  const uint64_t capacity = uint64_t{1} << size_class;
  assert(bytes_in_use_ >= capacity);
  bytes_in_use_ -= capacity;
  if (size_class >= kLargeClass && bytes_cached_ + capacity > cached_large_bytes_max) {
    std::free(memory);
    return;
  }
  auto* block = reinterpret_cast<Free*>(memory);
  block->next = free_[size_class];
  free_[size_class] = block;
  bytes_cached_ += capacity;
}

}  // namespace farport
