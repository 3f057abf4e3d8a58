#include "control/demo/copy.h"

#include <fmt/format.h>

#include <boost/crc.hpp>
#include <chrono>
#include <cstring>
#include <random>

#include "control/cli/figures.h"
#include "control/policy/words.h"

namespace farport {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

namespace {

constexpr uint32_t kChunkBytes = 1u << 20;
constexpr uint32_t kBlockBytes = 512;
constexpr size_t kBarColumns = 30;
constexpr std::chrono::milliseconds kRedraw{200};
constexpr std::chrono::seconds kMeterLimit{2};

std::string bar(double part) {
  const auto full = static_cast<size_t>(part * kBarColumns);
  return fmt::format("[{}{}]", std::string(full, '#'), std::string(kBarColumns - full, '.'));
}

std::string both(const json& stats, const char* part) {
  const json& figures = object_of(stats, part);
  return fmt::format("{} / {}", format_latency(number_of(figures, "p50_ns")),
                     format_latency(number_of(figures, "p99_ns")));
}

void fill(std::vector<std::byte>& data, std::mt19937_64& random) {
  for (size_t i = 0; i < data.size(); i += sizeof(uint64_t)) {
    const uint64_t value = random();
    std::memcpy(&data[i], &value, sizeof value);
  }
}

}  // namespace

void LiveLines::draw(const Lines& lines) {
  if (!output_.settings().terminal) return;
  output_.rewind(drawn_);
  for (const auto& line : lines) output_.line(line);
  drawn_ = static_cast<unsigned>(lines.size());
}

void LiveLines::finish(const Lines& lines) {
  output_.rewind(drawn_);
  for (const auto& line : lines) output_.line(line);
  output_.flush();
  drawn_ = 0;
}

void Copy::refresh() {
  auto stats = api_.get("/v1/attachments/" + attachment_ + "/stats", kMeterLimit);
  if (stats) stats_ = std::move(*stats);
}

LiveLines::Lines Copy::lines(Direction direction, uint64_t done, uint64_t bytes, double seconds) {
  const double part = static_cast<double>(done) / static_cast<double>(bytes);
  const json& windows = array_of(object_of(stats_, "meter"), "windows");
  const json window = windows.empty() ? json::object() : windows[0];
  return {{direction == Direction::write ? "  write  " : "  read   ",
           {bar(part), Colour::green},
           fmt::format(" {:3.0f} %  {} in {:.1f} s", part * 100, format_bytes(done), seconds)},
          {"  meter  achieved ",
           {format_measured_rate(number_of(window, "achieved_bytes_s")), Colour::bold},
           ", demand ",
           {format_measured_rate(number_of(window, "demand_bytes_s")), Colour::bold},
           " (what the disk alone would allow)"},
          {"  time   ",
           {both(stats_, "service"), Colour::bold},
           " at the disk, ",
           {both(stats_, "channel"), Colour::bold},
           " in the channel (p50 / p99)"}};
}

Result<uint32_t> Copy::run(Direction direction, uint64_t bytes,
                           const std::function<Result<void>()>& healthy) {
  std::mt19937_64 random(7411);
  boost::crc_32_type checksum;
  const auto began = Clock::now();
  auto drawn_at = began - kRedraw;
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - began).count(); };
  const auto data = std::make_shared<std::vector<std::byte>>(kChunkBytes);
  for (uint64_t done = 0; done < bytes; done += kChunkBytes) {
    if (direction == Direction::write) fill(*data, random);
    const auto moved = direction == Direction::write ? disk_.write(done / kBlockBytes, data)
                                                     : disk_.read(done / kBlockBytes, data);
    if (!moved) return std::unexpected(moved.error());
    checksum.process_bytes(data->data(), data->size());
    if (Clock::now() - drawn_at < kRedraw) continue;
    if (auto well = healthy(); !well) return std::unexpected(well.error());
    drawn_at = Clock::now();
    refresh();
    live_.draw(lines(direction, done + kChunkBytes, bytes, seconds()));
  }
  const double total = seconds();
  live_.finish(lines(direction, bytes, bytes, total));
  return checksum.checksum();
}

Result<void> Copy::read_while(const std::function<bool()>& more) {
  const auto data = std::make_shared<std::vector<std::byte>>(kChunkBytes);
  while (more()) {
    if (auto moved = disk_.read(0, data); !moved) return moved;
  }
  return {};
}

}  // namespace farport
