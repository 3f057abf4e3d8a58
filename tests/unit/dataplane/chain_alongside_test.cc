// What of a chain is with the device together with the one in service: told in order, given up
// together.
#include "tests/unit/dataplane/chain_fixture.h"

namespace farport {
namespace {

class ChainAlongsideTest : public ChainFixture {
 protected:
  // A disk's: wrapper, data, status.
  void submit_command() {
    submit(31, false, 0x02);
    submit_alongside(4096);
    submit_alongside(13);
  }
  void expect_closing_ends_two(bool one_is_done) {
    submit(31, false, 0x02);
    submit_alongside(4096);
    submit(13, true);
    run();
    if (one_is_done) end(4096, kOk);
    EXPECT_EQ(back_, Back{});
    ends_.device_channel->close({ErrorCode::failed, "closed by the test"});
    run();
    EXPECT_EQ(back_.size(), 3u);
    EXPECT_EQ(begun_, (std::vector<uint32_t>{31, 4096}));
  }
};

TEST_F(ChainAlongsideTest, TwoAtOnce) {
  submit(31, false, 0x02);
  submit_alongside(4096);
  submit(13, true);
  run();
  EXPECT_EQ(begun_, (std::vector<uint32_t>{31, 4096}));
  end_first(kOk);
  EXPECT_EQ(begun_.size(), 2u);
  device().complete(*device().in_flight.front(), kOk, 4096);
  EXPECT_EQ(begun_, (std::vector<uint32_t>{31, 4096, 13}));
  end_first(kOk);
  run();
  EXPECT_EQ(back_, (Back{{31, kOk}, {4096, kOk}, {13, kOk}}));
}

// Their order, and what follows them, are as if they had come one after the other.
TEST_F(ChainAlongsideTest, TheOneAlongsideMayBeDoneFirst) {
  submit(31, false, 0x02);
  submit_alongside(4096);
  submit(13, true);
  run();
  device().complete(*device().in_flight.back(), kOk, 4096);
  run();
  loop_.advance(10'000'000);
  run();
  EXPECT_EQ(begun_, (std::vector<uint32_t>{31, 4096}));
  EXPECT_EQ(back_, Back{});
  end_first(kOk);
  EXPECT_EQ(begun_.back(), 13u);
  end_first(kOk);
  run();
  EXPECT_EQ(back_, (Back{{31, kOk}, {4096, kOk}, {13, kOk}}));
}

TEST_F(ChainAlongsideTest, AFailureCancelsTheOneAlongside) {
  enum class Ends { before, at_once, later };
  for (const Ends ends : {Ends::before, Ends::at_once, Ends::later}) {
    begun_.clear();
    back_.clear();
    device().cancelled.clear();
    device().hold_cancelled = ends == Ends::later;
    submit(31, false, 0x02);
    submit_alongside(4096);
    submit(13, true);
    run();
    if (ends == Ends::before) device().complete(*device().in_flight.back(), kOk, 4096);
    end_first(TransferStatus::stall);
    run();
    EXPECT_EQ(device().cancelled.size(), ends == Ends::before ? 0u : 1u);
    if (ends == Ends::later) end_first(kCancelled);
    run();
    EXPECT_EQ(begun_, (std::vector<uint32_t>{31, 4096}));
    EXPECT_EQ(back_, (Back{{31, TransferStatus::stall}, {4096, kCancelled}, {13, kCancelled}}));
  }
}

// Whatever the device makes of the cancel.
TEST_F(ChainAlongsideTest, TheOneAlongsideOfAFailureEndsAsCancelled) {
  device().hold_cancelled = true;
  submit(31, false, 0x02);
  submit_alongside(4096);
  run();
  end_first(TransferStatus::stall);
  device().complete(*device().in_flight.front(), TransferStatus::stall, 0);
  run();
  EXPECT_EQ(back_, (Back{{31, TransferStatus::stall}, {4096, kCancelled}}));
}

TEST_F(ChainAlongsideTest, TheOneAlongsideMayBeCancelledAlone) {
  submit(31, false, 0x02);
  Transfer& data = submit_alongside(4096);
  submit(13, true);
  run();
  ends_.driver->port->cancel(data);
  run();
  EXPECT_EQ(device().cancelled.size(), 1u);
  EXPECT_EQ(back_, (Back{{4096, kCancelled}, {13, kCancelled}}));
  end_first(kOk);
  run();
  EXPECT_EQ(begun_, (std::vector<uint32_t>{31, 4096}));
  EXPECT_EQ(back_.back(), (std::pair{31u, kOk}));
}

// The one before it may rest for ever, and a consumer that gives up waits for this.
TEST_F(ChainAlongsideTest, TheOneAlongsideMayBeCancelledWhenItIsDone) {
  submit(31, false, 0x02);
  Transfer& data = submit_alongside(4096);
  submit(13, true);
  run();
  device().complete(*device().in_flight.back(), kOk, 512);
  run();
  EXPECT_EQ(back_, Back{});
  ends_.driver->port->cancel(data);
  run();
  EXPECT_EQ(back_, (Back{{4096, kCancelled}, {13, kCancelled}}));
  end_first(kOk);
  run();
  EXPECT_EQ(begun_, (std::vector<uint32_t>{31, 4096}));
  EXPECT_EQ(back_.back(), (std::pair{31u, kOk}));
}

TEST_F(ChainAlongsideTest, OneAlongsideIsNoPartOfAChainThatBeginsAnew) {
  for (const TransferStatus late : {kOk, kCancelled}) {
    begun_.clear();
    back_.clear();
    device().hold_cancelled = true;
    submit(31, false, 0x02);
    submit_alongside(4096);
    run();
    end_first(TransferStatus::stall);
    run();
    submit(32, false, 0x02);
    submit(13, true);
    run();
    end_first(late);  // the one that was cancelled
    run();
    EXPECT_EQ(back_, (Back{{31, TransferStatus::stall}, {4096, kCancelled}}));
    end_first(kOk);
    end_first(kOk);
    run();
    EXPECT_EQ(begun_, (std::vector<uint32_t>{31, 4096, 32, 13}));
    EXPECT_EQ(back_.size(), 4u);
    EXPECT_EQ(back_.back(), (std::pair{13u, kOk}));
  }
}

TEST_F(ChainAlongsideTest, ThreeAtOnceAreToldInOrderWhicheverIsDoneFirst) {
  std::vector<uint32_t> order{4096, 31, 13};  // the last of all orders
  int orders = 0;
  do {
    ++orders;
    begun_.clear();
    back_.clear();
    submit_command();
    submit_alongside(512);  // past what may be alongside
    run();
    EXPECT_EQ(begun_, (std::vector<uint32_t>{31, 4096, 13}));
    for (const uint32_t length : order) end(length, kOk);
    EXPECT_EQ(begun_.back(), 512u);
    end_first(kOk);
    run();
    EXPECT_EQ(back_, (Back{{31, kOk}, {4096, kOk}, {13, kOk}, {512, kOk}}));
  } while (std::ranges::prev_permutation(order).found);
  EXPECT_EQ(orders, 6);
}

// Each of the three fails, with those before it done and those behind it done, given up at once, or
// given up later: all behind it end as cancelled, and what is before it is not touched.
TEST_F(ChainAlongsideTest, AFailureCancelsAllBehindIt) {
  enum class Ends { before, at_once, later };
  const std::vector<uint32_t> order{31, 4096, 13};
  for (size_t failing = 0; failing < order.size(); ++failing) {
    for (const Ends ends : {Ends::before, Ends::at_once, Ends::later}) {
      for (const bool in_turn : {true, false}) {  // is what comes before it done by then?
        begun_.clear();
        back_.clear();
        device().cancelled.clear();
        device().hold_cancelled = ends == Ends::later;
        submit_command();
        submit(512, true);
        run();
        Back expected;
        for (size_t i = 0; i < failing; ++i) {
          if (in_turn) end(order[i], kOk);
          expected.emplace_back(order[i], kOk);
        }
        for (size_t i = failing + 1; i < order.size() && ends == Ends::before; ++i) {
          end(order[i], kOk);
        }
        end(order[failing], TransferStatus::stall);
        run();
        const size_t behind = order.size() - 1 - failing;
        EXPECT_EQ(device().cancelled.size(), ends == Ends::before ? 0 : behind);
        for (size_t i = order.size(); --i > failing && ends == Ends::later;) end(order[i], kOk);
        for (size_t i = 0; i < failing && !in_turn; ++i) end(order[i], kOk);
        run();
        expected.emplace_back(order[failing], TransferStatus::stall);
        for (size_t i = failing + 1; i < order.size(); ++i) {
          expected.emplace_back(order[i], kCancelled);
        }
        expected.emplace_back(512, kCancelled);
        if (failing == 0) {
          EXPECT_EQ(back_, expected) << "all are told in their order";
        }
        std::ranges::sort(expected);
        std::ranges::sort(back_);
        EXPECT_EQ(back_, expected) << "failing " << failing << " in turn " << in_turn;
        EXPECT_EQ(begun_, order);
      }
    }
  }
}

// The status may not get what was for the data.
TEST_F(ChainAlongsideTest, TheLastIsCancelledFirst) {
  submit_command();
  run();
  const std::vector<Transfer*> given = device().in_flight;
  end_first(TransferStatus::stall);
  EXPECT_EQ(device().cancelled, (std::vector<Transfer*>{given[2], given[1]}));
  run();
  EXPECT_EQ(back_, (Back{{31, TransferStatus::stall}, {4096, kCancelled}, {13, kCancelled}}));
}

// A peer that begins the chain anew although nothing of it has ended: what is done is told, what
// the device has ends by itself.
TEST_F(ChainAlongsideTest, ABeginningAnewLeavesNothingUntold) {
  submit_command();
  run();
  end(13, kOk);
  run();
  EXPECT_EQ(back_, Back{});
  submit(32, false, 0x02);
  run();
  EXPECT_EQ(back_, (Back{{13, kCancelled}}));
  for (const uint32_t length : {4096, 31, 32}) end(length, kOk);
  run();
  EXPECT_EQ(back_, (Back{{13, kCancelled}, {4096, kOk}, {31, kOk}, {32, kOk}}));
}

TEST_F(ChainAlongsideTest, TheFirstOfTwoAlongsideMayBeCancelled) {
  for (const bool last_is_done : {false, true}) {
    begun_.clear();
    back_.clear();
    submit(31, false, 0x02);
    Transfer& data = submit_alongside(4096);
    submit_alongside(13);
    submit(512, true);
    run();
    if (last_is_done) end(13, kOk);
    ends_.driver->port->cancel(data);
    run();
    EXPECT_EQ(back_, (Back{{4096, kCancelled}, {512, kCancelled}, {13, kCancelled}}));
    end(31, kOk);
    run();
    EXPECT_EQ(back_.back(), (std::pair{31u, kOk}));
    EXPECT_EQ(back_.size(), 4u);
    EXPECT_EQ(begun_, (std::vector<uint32_t>{31, 4096, 13}));
  }
}

// A device whose cancel() lets another transfer end: the emulated one, when it becomes free.
TEST_F(ChainAlongsideTest, ACancelMayEndTheOneInService) {
  submit(31, false, 0x02);
  Transfer& data = submit_alongside(4096);
  submit_alongside(13);
  run();
  device().on_cancelled = [this] {
    if (device().cancelled.size() != 2) return;
    device().on_cancelled = nullptr;
    end(31, kOk);
  };
  ends_.driver->port->cancel(data);
  run();
  EXPECT_EQ(back_, (Back{{4096, kCancelled}, {13, kCancelled}, {31, kOk}}));
}

TEST_F(ChainAlongsideTest, ACancelMayEndTheOneBefore) {
  submit_command();
  run();
  device().on_cancelled = [this] {
    device().on_cancelled = nullptr;
    end(4096, kOk);
  };
  end(31, TransferStatus::stall);
  run();
  EXPECT_EQ(back_, (Back{{31, TransferStatus::stall}, {4096, kCancelled}, {13, kCancelled}}));
}

TEST_F(ChainAlongsideTest, ADeviceMayGoWhileItIsAskedToCancel) {
  submit_command();
  submit(512, true);
  run();
  device().on_cancelled = [this] {
    device().on_cancelled = nullptr;
    device().unplug();
  };
  end(31, TransferStatus::stall);
  run();
  EXPECT_EQ(back_.size(), 4u);
}

TEST_F(ChainAlongsideTest, ClosingAndUnpluggingEndThreeAtOnce) {
  submit_command();
  run();
  end(13, kOk);
  device().unplug();
  run();
  EXPECT_EQ(back_.size(), 3u);
}

// Of the endpoint of the one that begins the chain, whatever the flag says.
TEST_F(ChainAlongsideTest, NotTwoOfOneEndpoint) {
  submit(10, false);
  submit_alongside(11);
  run();
  EXPECT_EQ(begun_, std::vector<uint32_t>{10});
  end_first(kOk);
  EXPECT_EQ(begun_, (std::vector<uint32_t>{10, 11}));
  end_first(kOk);
}

TEST_F(ChainAlongsideTest, ADeviceThatEndsBothAtOnce) {
  at_once_ = true;
  submit(31, false, 0x02);
  submit_alongside(4096);
  submit(13, true);
  run();
  EXPECT_EQ(back_.size(), 3u);
}

TEST_F(ChainAlongsideTest, ClosingEndsTwoAtOnce) { expect_closing_ends_two(false); }
TEST_F(ChainAlongsideTest, ClosingEndsTwoOfWhichOneIsDone) { expect_closing_ends_two(true); }

}  // namespace
}  // namespace farport
