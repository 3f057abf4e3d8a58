// Random histories of a session under a deterministic simulation: transfers of all kinds and sizes,
// cancels, stalls, slow and out-of-order completions, frames that arrive piece by piece, a link
// that may be cut at any point and resumed later, and devices that may be pulled. Whatever happens,
// each transfer comes back exactly once and reaches its device at most once, bytes are right, order
// per endpoint is kept, and all memory is given back.
//
// Besides, one history is cut at every single point of it: there, too, every transfer that no
// one cancelled ends as if there had been no cut.
//
// FARPORT_SEED=N repeats one history.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>

#include "tests/unit/dataplane/session_fixture.h"

namespace farport {
namespace {

class SessionSimulation : public SessionFixture {
 public:
  void TestBody() override {}
  void live(uint64_t seed, bool may_end);
  // One history with the connection cut before its steps `cut_at` and `cut_again`; how many steps
  // it has.
  int live_with_cuts(uint64_t seed, int cut_at, int cut_again);

 private:
  struct InFlight {
    uint64_t serial;
    bool cancelled = false;
  };
  struct Consumer {
    Ends ends;
    std::map<Transfer*, InFlight> in_flight;
    std::map<uint8_t, uint64_t> last_seen_at_device;  // per endpoint: the serial, which only grows
    bool serial = false;                              // little credit, short transfers
    bool gone = false;
  };
  uint64_t pick(uint64_t below) { return random_() % below; }
  static std::byte pattern(uint64_t serial, size_t index) {
    return static_cast<std::byte>(serial * 31 + index * 7 + index / 257);
  }
  void add_consumer(uint32_t number);
  void submit(Consumer& consumer);
  void came_back(Consumer& consumer, Transfer& transfer);
  void complete_something(Consumer& consumer);
  void step(bool may_end);

  void settle();

  std::mt19937_64 random_;
  bool exact_ = false;  // nothing is cancelled or fails: every transfer must end well
  bool ending_ = false;
  uint64_t serial_ = 0;
  uint64_t returned_ = 0;
  std::map<uint64_t, uint32_t> promised_;  // serial -> IN bytes the device gave
  std::vector<std::unique_ptr<Consumer>> consumers_;
};

void SessionSimulation::add_consumer(uint32_t number) {
  auto consumer = std::make_unique<Consumer>();
  Consumer& added = *consumer;
  consumers_.push_back(std::move(consumer));
  added.serial = pick(2) == 0;
  added.ends = open_channel(number, added.serial ? limits::serial_channel_credit_bytes
                                                 : limits::usb_channel_credit_bytes);
  added.ends.driver->on_completed = [this, &added](Transfer& transfer) {
    came_back(added, transfer);
  };
  // What reaches the device is right, and in order per endpoint.
  added.ends.device->on_submit = [&added](Transfer& transfer) {
    uint64_t serial = 0;
    std::memcpy(&serial, transfer.setup.data(), sizeof serial);
    auto& last = added.last_seen_at_device[transfer.endpoint];
    EXPECT_GT(serial, last) << "out of order on endpoint " << int{transfer.endpoint};
    last = serial;
    if (!transfer.in()) {
      const auto data = transfer.data();
      for (size_t i = 0; i < data.size(); ++i) {
        if (data[i] != pattern(serial, i)) {
          ADD_FAILURE() << "wrong byte " << i << " of transfer " << serial;
          break;
        }
      }
    }
    return false;
  };
}

void SessionSimulation::submit(Consumer& consumer) {
  static constexpr std::array<uint32_t, 8> sizes{0, 13, 64, 512, 4096, 65536, 120'000, 400'000};
  static constexpr std::array kinds{std::pair{TransferType::control, uint8_t{0x00}},
                                    std::pair{TransferType::bulk, uint8_t{0x01}},
                                    std::pair{TransferType::bulk, uint8_t{0x02}},
                                    std::pair{TransferType::interrupt, uint8_t{0x03}}};
  auto [type, endpoint] = kinds[pick(kinds.size())];
  const bool in = pick(2) == 1;
  uint32_t length = sizes[pick(sizes.size())] + static_cast<uint32_t>(pick(3));
  if (type != TransferType::bulk) length %= 4096;
  if (consumer.serial) length = std::min(length, limits::serial_run_bytes_max);
  Transfer* transfer = consumer.ends.driver->port->allocate(length, 0);
  ASSERT_NE(transfer, nullptr);
  const uint64_t serial = ++serial_;
  transfer->type = type;
  transfer->endpoint = static_cast<uint8_t>(endpoint | (in ? 0x80 : 0));
  std::memcpy(transfer->setup.data(), &serial, sizeof serial);
  if (!in) {
    for (size_t i = 0; i < length; ++i) transfer->data()[i] = pattern(serial, i);
  }
  consumer.in_flight[transfer] = {serial};
  consumer.ends.driver->port->submit(*transfer);
}

void SessionSimulation::came_back(Consumer& consumer, Transfer& transfer) {
  const auto found = consumer.in_flight.find(&transfer);
  ASSERT_NE(found, consumer.in_flight.end()) << "a transfer came back twice";
  const uint64_t serial = found->second.serial;
  if (exact_) {
    EXPECT_EQ(transfer.status, TransferStatus::ok) << "transfer " << serial;
  }
  if (transfer.status == TransferStatus::ok && transfer.in()) {
    EXPECT_EQ(transfer.actual, promised_[serial]);
    const auto data = transfer.moved();
    for (size_t i = 0; i < data.size(); ++i) {
      if (data[i] != pattern(serial, i)) {
        ADD_FAILURE() << "wrong byte " << i << " of transfer " << serial;
        break;
      }
    }
  }
  consumer.in_flight.erase(found);
  ++returned_;
  consumer.ends.driver->port->release(transfer);
}

void SessionSimulation::complete_something(Consumer& consumer) {
  auto& waiting = consumer.ends.device->in_flight;
  if (waiting.empty()) return;
  Transfer& transfer = *waiting[pick(waiting.size())];
  uint64_t serial = 0;
  std::memcpy(&serial, transfer.setup.data(), sizeof serial);
  if (!exact_ && pick(10) == 0) {
    consumer.ends.device->complete(transfer, TransferStatus::stall, 0);
    return;
  }
  const auto actual =
      static_cast<uint32_t>(pick(3) == 0 ? pick(transfer.length + 1) : transfer.length);
  if (transfer.in()) {
    promised_[serial] = actual;
    for (size_t i = 0; i < actual; ++i) transfer.data()[i] = pattern(serial, i);
  }
  consumer.ends.device->complete(transfer, TransferStatus::ok, actual);
}

void SessionSimulation::step(bool may_end) {
  Consumer& consumer = *consumers_[pick(consumers_.size())];
  // A consumer's device and driver die with their channels.
  const bool alive =
      !consumer.gone && a_.channels_closed.empty() && b_.channels_closed.empty() && !ending_;
  switch (pick(12)) {
    case 0:
    case 1:
      if (alive && consumer.in_flight.size() < 40) submit(consumer);
      break;
    case 2:
      if (alive && !consumer.in_flight.empty()) {
        auto it = consumer.in_flight.begin();
        std::advance(it, static_cast<long>(pick(consumer.in_flight.size())));
        if (!exact_ && pick(4) == 0) consumer.ends.driver->port->cancel(*it->first);
      }
      break;
    case 3:
    case 4:
      if (alive) complete_something(consumer);
      break;
    case 5:
      loop_.advance(pick(10'000'000));
      break;
    case 6:
    case 7:
      loop_.flush();
      break;
    case 8:
    case 9:
      if (linked(a_) && a_.link->has_frames() && linked(b_)) a_.link->arrive();
      break;
    default:
      if (linked(b_) && b_.link->has_frames() && linked(a_)) b_.link->arrive();
      break;
  }
  if (exact_) return;
  if (alive && !both_paused() && pick(150) == 0) cut();
  if (both_paused() && pick(20) == 0) resume();
  if (!may_end || !alive || pick(2000) != 0) return;
  switch (pick(3)) {
    case 0:
      consumer.gone = true;
      consumer.ends.device->unplug();
      break;
    case 1:
      consumer.gone = true;
      consumer.ends.channel->close({ErrorCode::failed, "detached"});
      break;
    default:
      ending_ = true;
      a_.session->close({ErrorCode::failed, "the test ends it"});
      break;
  }
}

// Lets everything come to its end.
void SessionSimulation::settle() {
  for (int round = 0; round < 100'000 && a_.channels_closed.empty() && !ending_; ++round) {
    if (both_paused()) resume();
    run();
    bool waiting = false;
    for (auto& consumer : consumers_) {
      if (consumer->gone) continue;
      complete_something(*consumer);
      waiting |= !consumer->in_flight.empty();
    }
    if (!waiting) break;
    loop_.advance(1'000'000);
  }
  if (a_.channels_closed.empty() && b_.channels_closed.empty() && !ending_) {
    for (auto& consumer : consumers_) {
      EXPECT_TRUE(consumer->in_flight.empty()) << "transfers got stuck";
    }
  }
  for (Host* host : {&a_, &b_}) host->session->close({ErrorCode::failed, "the history ends"});
  run();
  EXPECT_EQ(returned_, serial_) << "transfers that never came back";
  if (exact_) {
    EXPECT_EQ(a_.why.message, "the history ends");
  }
  EXPECT_TRUE(a_.closed && b_.closed);
}

void SessionSimulation::live(uint64_t seed, bool may_end) {
  SCOPED_TRACE("FARPORT_SEED=" + std::to_string(seed));
  random_.seed(seed);
  start();
  a_.link->frames_max = a_frames_max_ = 1 + pick(20);
  b_.link->frames_max = b_frames_max_ = 1 + pick(20);
  const uint32_t count = 1 + static_cast<uint32_t>(pick(3));
  for (uint32_t i = 0; i < count; ++i) add_consumer(1 + 2 * i);
  for (int i = 0; i < 4000 && !testing::Test::HasFailure(); ++i) step(may_end);
  settle();
}

int SessionSimulation::live_with_cuts(uint64_t seed, int cut_at, int cut_again) {
  exact_ = true;
  random_.seed(seed);
  start();
  a_.link->frames_max = a_frames_max_ = 1 + pick(20);
  b_.link->frames_max = b_frames_max_ = 1 + pick(20);
  for (uint32_t i = 0; i < 2; ++i) add_consumer(1 + 2 * i);
  constexpr int steps = 400;
  for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
    if (i == cut_at || i == cut_again) {
      cut();
      resume();
    }
    step(false);
  }
  settle();
  return steps;
}

TEST(SessionHistories, EveryTransferComesBackOnceWithTheRightBytes) {
  const char* given = std::getenv("FARPORT_SEED");
  const uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
  const uint64_t last = given != nullptr ? first : 100;
  for (uint64_t seed = first; seed <= last; ++seed) {
    for (const bool may_end : {false, true}) {
      SessionSimulation simulation;
      simulation.live(seed, may_end);
      if (testing::Test::HasFailure()) {
        FAIL() << "repeat with FARPORT_SEED=" << seed << (may_end ? " (with endings)" : "");
      }
    }
  }
}

TEST(SessionHistories, ACutAtAnyPointChangesNothing) {
  const char* given = std::getenv("FARPORT_SEED");
  const uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
  const uint64_t last = first;
  for (uint64_t seed = first; seed <= last; ++seed) {
    int steps = 1;
    for (int cut_at = 0; cut_at < steps; ++cut_at) {
      SessionSimulation simulation;
      // The second cut hits the repetition of what the first one lost.
      steps = simulation.live_with_cuts(seed, cut_at, cut_at + 1 + cut_at % 7);
      if (testing::Test::HasFailure()) {
        FAIL() << "repeat with FARPORT_SEED=" << seed << ", cut before step " << cut_at;
      }
    }
  }
}

}  // namespace
}  // namespace farport
