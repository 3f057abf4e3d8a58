// A ring of bytes of fixed size: what a serial port has received and nobody has read yet.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace farport {

class ByteRing {
 public:
  explicit ByteRing(size_t capacity) : bytes_(capacity) {}

  size_t size() const { return size_; }
  size_t room() const { return bytes_.size() - size_; }
  bool empty() const { return size_ == 0; }
  void clear() { size_ = 0; }

  // Appends as much as there is room for; how much.
  size_t push(std::span<const std::byte> data) {
    const size_t count = std::min(data.size(), room());
    for (size_t i = 0; i < count; ++i) bytes_[(begin_ + size_ + i) % bytes_.size()] = data[i];
    size_ += count;
    return count;
  }
  // Takes out as much as there is, up to data.size(); how much.
  size_t pop(std::span<std::byte> data) {
    const size_t count = std::min(data.size(), size_);
    for (size_t i = 0; i < count; ++i) data[i] = bytes_[(begin_ + i) % bytes_.size()];
    begin_ = (begin_ + count) % bytes_.size();
    size_ -= count;
    return count;
  }

 private:
  std::vector<std::byte> bytes_;
  size_t begin_ = 0;
  size_t size_ = 0;
};

}  // namespace farport
