// A channel whose device records what it is given: for chains of transfers (transfer.h).
#pragma once

#include <utility>
#include <vector>

#include "tests/unit/dataplane/session_fixture.h"

namespace farport {

class ChainFixture : public SessionFixture {
 protected:
  static constexpr auto kOk = TransferStatus::ok;
  static constexpr auto kCancelled = TransferStatus::cancelled;

  ChainFixture() {
    start();
    ends_ = open_channel(1);
    device().on_submit = [this](Transfer& transfer) {
      begun_.push_back(transfer.length);
      return at_once_;
    };
    ends_.driver->on_completed = [this](Transfer& transfer) {
      back_.emplace_back(transfer.length, transfer.status);
      ends_.driver->port->release(transfer);
    };
  }
  // The session ends while what it calls back is still there.
  ~ChainFixture() override {
    if (!a_.closed) a_.session->close({ErrorCode::failed, "test over"});
    run();
  }
  FakeDevice& device() { return *ends_.device; }
  // Its length tells it from others.
  Transfer& submit(uint32_t length, bool chained, uint8_t endpoint = 0x81, uint8_t chain = 1,
                   bool alongside = false) {
    Transfer& transfer = *ends_.driver->port->allocate(length);
    transfer.type = TransferType::bulk;
    transfer.endpoint = endpoint;
    transfer.chain = chain;
    transfer.flags = chained ? transfer_flags::chained : 0;
    if (alongside) transfer.flags |= transfer_flags::alongside;
    ends_.driver->port->submit(transfer);
    return transfer;
  }
  // What follows the one that begins the chain.
  Transfer& submit_alongside(uint32_t length, uint8_t endpoint = 0x81) {
    return submit(length, true, endpoint, 1, true);
  }
  void end_first(TransferStatus status) {
    device().complete(*device().in_flight.front(), status, 0);
  }

  // The one that the device has with that length.
  void end(uint32_t length, TransferStatus status) {
    const auto found = std::ranges::find(device().in_flight, length, &Transfer::length);
    ASSERT_NE(found, device().in_flight.end()) << length;
    device().complete(**found, status, 0);
  }

  using Back = std::vector<std::pair<uint32_t, TransferStatus>>;
  Ends ends_{};
  std::vector<uint32_t> begun_;
  Back back_;
  bool at_once_ = false;
};

}  // namespace farport
