// A load on one endpoint of a source/sink device: keeps a number of transfers of one size in
// flight, counts them, and records their round trips. Uses the same transfers over and over: once
// it has started, it allocates nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "dataplane/histogram.h"
#include "devices/emulated/pattern.h"
#include "drivers/initiator/initiator.h"

namespace farport {

struct LoadSettings {
  uint8_t endpoint = 0x81;  // with 0x80: IN
  TransferType type = TransferType::bulk;
  uint32_t bytes = 64u << 10;  // of each transfer
  uint16_t packet_count = 0;   // isochronous: packets of each transfer, of bytes / packet_count
  uint32_t in_flight = 1;      // transfers
  uint64_t transfers_max = 0;  // ends by itself after so many; 0: when told
  // OUT data is filled with it, IN data is checked against it. `none`: not touched.
  DataPattern pattern = DataPattern::none;
  uint32_t max_packet_bytes = 512;  // of the endpoint, for DataPattern::mod63
};

class SourceSinkLoad final : private TransferUser {
 public:
  // `ended` is called once each time the load has come to rest: all transfers are back. It may
  // start() anew, but not destroy the load.
  SourceSinkLoad(Initiator& initiator, const LoadSettings& settings,
                 std::function<void()> ended = {});
  ~SourceSinkLoad();
  SourceSinkLoad(const SourceSinkLoad&) = delete;
  SourceSinkLoad& operator=(const SourceSinkLoad&) = delete;

  // Submits the first transfers. Fails when they cannot be had.
  Result<void> start();
  // Submits no more; those in flight are let come back, or are cancelled.
  void stop(bool cancel = false);
  bool running() const { return running_; }  // until all transfers are back

  uint64_t transfers() const { return transfers_; }  // that ended well
  uint64_t bytes() const { return bytes_; }
  uint64_t errors() const { return errors_; }  // transfers that ended otherwise; the load ends
  uint64_t mismatches() const { return mismatches_; }  // IN data that is not the pattern's
  TransferStatus last_error() const { return last_error_; }
  const Histogram& round_trips() const { return round_trips_; }  // ns, of those that ended well
  void reset_figures();

 private:
  void transfer_done(Transfer& transfer) override;
  void initiator_stopping() override;
  void submit(Transfer& transfer);
  void account(const Transfer& transfer);
  void came_back(Transfer& transfer);
  void release_all();

  Initiator& initiator_;
  const LoadSettings settings_;
  std::function<void()> ended_;
  std::vector<Transfer*> transfers_made_;  // in flight while running, else at rest
  std::vector<Transfer*> resting_;
  bool running_ = false;
  bool stopping_ = false;
  uint64_t submitted_ = 0;
  uint64_t stream_bytes_ = 0;
  uint64_t transfers_ = 0, bytes_ = 0, errors_ = 0, mismatches_ = 0;
  TransferStatus last_error_ = TransferStatus::ok;
  Histogram round_trips_;
};

}  // namespace farport
