// Copies to and from a disk through an attachment, with a progress bar, the meter's figures as the
// API gives them, and a checksum.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "control/cli/api_client.h"
#include "control/cli/output.h"
#include "control/demo/disk_consumer.h"

namespace farport {

// Lines at the end of the screen that are drawn again and again; elsewhere than on a terminal each
// drawing would be a repetition, so only the last one is printed.
class LiveLines {
 public:
  using Lines = std::vector<std::vector<Cell>>;
  explicit LiveLines(Output& output) : output_(output) {}
  void draw(const Lines& lines);
  void finish(const Lines& lines);

 private:
  Output& output_;
  unsigned drawn_ = 0;
};

class Copy {
 public:
  enum class Direction : uint8_t { write, read };
  Copy(Output& output, const ApiClient& api, DiskConsumer& disk, std::string attachment)
      : api_(api), disk_(disk), attachment_(std::move(attachment)), live_(output) {}

  // The first `bytes` of the disk; answers with the CRC-32 (ISO 3309) of what was written or read.
  // Written is a fixed pseudo-random sequence. `healthy` is asked now and then: an error ends it.
  Result<uint32_t> run(Direction direction, uint64_t bytes,
                       const std::function<Result<void>()>& healthy);
  // Reads on, from the beginning, while `more` says so.
  Result<void> read_while(const std::function<bool()>& more);

 private:
  LiveLines::Lines lines(Direction direction, uint64_t done, uint64_t bytes, double seconds);
  void refresh();

  const ApiClient& api_;
  DiskConsumer& disk_;
  const std::string attachment_;
  LiveLines live_;
  nlohmann::json stats_;
};

}  // namespace farport
