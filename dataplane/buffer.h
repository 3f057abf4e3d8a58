// Memory of transfers, from a pool that belongs to one worker.
//
// Who may touch a buffer, and who frees it:
//
// clang-format off
//   state                         | may write      | may read      | freed by
//   ------------------------------+----------------+---------------+------------------------------
//   allocated by a driver end     | the driver end | driver end    | DriverPort::release
//   submitted, being sent         | nobody         | session, link | -
//   at the device end, receiving  | link (place()) | nobody        | the channel, if it closes
//   in service                    | the device     | the device    | -
//   completed, being sent back    | nobody         | session, link | the channel, when the last
//                                 |                |               | frame is acknowledged
//   back at the driver end        | the driver end | driver end    | DriverPort::release
// clang-format on
//
// A frame refers to the transfer's buffer and never copies it (payloads of up to
// Session::inline_bytes excepted): the buffer lives until the frame is acknowledged, so the same
// memory serves to send, to resume and, on a packet link, to retransmit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace farport {

class BufferPool;

// A move-only handle of one block of the pool; gives it back when destroyed. Not thread-safe: it
// must be destroyed on the worker whose pool it comes from.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer moved(std::move(other));
    swap(moved);
    return *this;
  }
  ~Buffer() { reset(); }

  explicit operator bool() const { return memory_ != nullptr; }
  std::byte* data() const { return memory_; }
  size_t capacity() const;  // bytes, a power of two
  void reset();

 private:
  friend class BufferPool;
  void swap(Buffer& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(pool_, other.pool_);
    std::swap(size_class_, other.size_class_);
  }
  std::byte* memory_ = nullptr;
  BufferPool* pool_ = nullptr;
  uint8_t size_class_ = 0;
};

// Blocks of 2^9 .. 2^25 bytes, each class with a free list: what was in flight once is there again
// without asking the system, so that a steady load allocates nothing. Idle blocks of 1 MiB and more
// go back to the system past cached_large_bytes_max.
class BufferPool {
 public:
  // `bytes_max`: bound of what may be handed out at once.
  explicit BufferPool(uint64_t bytes_max);
  ~BufferPool();  // asserts that all buffers came back
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // An empty Buffer when `bytes` is over the largest class, or the bound is reached. Alignment 64.
  Buffer allocate(size_t bytes);

  uint64_t bytes_in_use() const { return bytes_in_use_; }
  uint64_t bytes_cached() const { return bytes_cached_; }

 private:
  friend class Buffer;
  static constexpr uint8_t class_min = 9;
  static constexpr uint8_t class_max = 25;
  static constexpr uint64_t cached_large_bytes_max = 64u << 20;
  struct Free {
    Free* next;
  };
  void give_back(std::byte* memory, uint8_t size_class);

  std::array<Free*, class_max + 1> free_{};
  uint64_t bytes_max_;
  uint64_t bytes_in_use_ = 0;
  uint64_t bytes_cached_ = 0;
};

}  // namespace farport
