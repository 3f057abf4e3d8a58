#include "devices/emulated/pattern.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

namespace farport {

namespace {

constexpr uint64_t kWordBytes = 8;
static_assert(std::endian::native == std::endian::little);

// Calls visit(position, word_bytes, from, bytes) for each word of the counter pattern that `size`
// bytes at `stream_offset` touch; only the first and the last are partial.
template <class Visit>
bool for_each_word(size_t size, uint64_t stream_offset, Visit visit) {
  for (size_t position = 0; position < size;) {
    const uint64_t at = stream_offset + position;
    const uint64_t word = at / kWordBytes;
    std::byte bytes[kWordBytes];
    std::memcpy(bytes, &word, kWordBytes);
    const size_t from = at % kWordBytes;
    const size_t count = std::min<size_t>(kWordBytes - from, size - position);
    if (!visit(position, bytes + from, count)) return false;
    position += count;
  }
  return true;
}

std::byte mod63_at(size_t index, uint32_t max_packet_bytes) {
  return static_cast<std::byte>((index % max_packet_bytes) % 63);
}

}  // namespace

void fill_pattern(DataPattern pattern, std::span<std::byte> data, uint64_t stream_offset,
                  uint32_t max_packet_bytes) {
  switch (pattern) {
    case DataPattern::none:
      return;
    case DataPattern::zeros:
      if (!data.empty()) std::memset(data.data(), 0, data.size());
      return;
    case DataPattern::mod63:
      assert(max_packet_bytes > 0);
      for (size_t i = 0; i < data.size(); ++i) data[i] = mod63_at(i, max_packet_bytes);
      return;
    case DataPattern::counter:
      for_each_word(data.size(), stream_offset,
                    [&](size_t position, const std::byte* bytes, size_t count) {
                      std::memcpy(data.data() + position, bytes, count);
                      return true;
                    });
      return;
  }
}

bool matches_pattern(DataPattern pattern, std::span<const std::byte> data, uint64_t stream_offset,
                     uint32_t max_packet_bytes) {
  switch (pattern) {
    case DataPattern::none:
      return true;
    case DataPattern::zeros:
      return std::ranges::all_of(data, [](std::byte b) { return b == std::byte{0}; });
    case DataPattern::mod63:
      assert(max_packet_bytes > 0);
      for (size_t i = 0; i < data.size(); ++i) {
        if (data[i] != mod63_at(i, max_packet_bytes)) return false;
      }
      return true;
    case DataPattern::counter:
      return for_each_word(data.size(), stream_offset,
                           [&](size_t position, const std::byte* bytes, size_t count) {
                             return std::memcmp(data.data() + position, bytes, count) == 0;
                           });
  }
  return false;
}

}  // namespace farport
