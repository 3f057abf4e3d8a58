// Chains of transfers (transfer.h): what the device end begins, and what it does not.
#include "tests/unit/dataplane/session_fixture.h"

namespace farport {
namespace {

constexpr auto kOk = TransferStatus::ok;
constexpr auto kCancelled = TransferStatus::cancelled;

class ChainTest : public SessionFixture {
 protected:
  ChainTest() {
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
  ~ChainTest() override {
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

TEST_F(ChainTest, OneAfterTheOtherWithoutTheDriverEnd) {
  submit(10, false);
  submit(11, true);
  submit(12, true);
  run();
  EXPECT_EQ(begun_, std::vector<uint32_t>{10});
  end_first(kOk);
  EXPECT_EQ(begun_, (std::vector<uint32_t>{10, 11}));  // nothing has crossed the link since
  end_first(kOk);
  end_first(kOk);
  run();
  EXPECT_EQ(back_, (Back{{10, kOk}, {11, kOk}, {12, kOk}}));
}

TEST_F(ChainTest, ADeviceThatEndsTransfersAtOnce) {
  at_once_ = true;
  submit(10, false);
  for (uint32_t length = 11; length < 1000; ++length) submit(length, true);
  run();
  EXPECT_EQ(back_.size(), 990u);
  EXPECT_TRUE(std::ranges::is_sorted(begun_));
}

TEST_F(ChainTest, NothingBeginsAfterAFailure) {
  submit(10, false);
  submit(11, true);
  submit(12, true);
  run();
  end_first(TransferStatus::stall);
  run();
  EXPECT_EQ(begun_, std::vector<uint32_t>{10});
  EXPECT_EQ(back_, (Back{{10, TransferStatus::stall}, {11, kCancelled}, {12, kCancelled}}));
  submit(13, true);  // late, and of the same chain
  run();
  EXPECT_EQ(back_.back(), (std::pair{13u, kCancelled}));
  submit(14, false);  // the chain begins anew
  submit(15, true);
  run();
  end_first(kOk);
  run();
  EXPECT_EQ(begun_, (std::vector<uint32_t>{10, 14, 15}));
  end_first(kOk);
}

TEST_F(ChainTest, ALateOneBeginsWhenAllBeforeItWentWell) {
  submit(10, false);
  run();
  end_first(kOk);
  submit(11, true);
  run();
  EXPECT_EQ(begun_, (std::vector<uint32_t>{10, 11}));
  end_first(kOk);
}

TEST_F(ChainTest, ACancelEndsWhatComesAfterIt) {
  submit(10, false);
  submit(11, true);
  Transfer& cancelled = submit(12, true);
  submit(13, true);
  run();
  ends_.driver->port->cancel(cancelled);
  run();
  EXPECT_EQ(back_, (Back{{12, kCancelled}, {13, kCancelled}}));
  EXPECT_TRUE(device().cancelled.empty());
  end_first(kOk);
  run();
  EXPECT_EQ(begun_, (std::vector<uint32_t>{10, 11}));
  end_first(kOk);
}

// One message carries both: the consumer needs both, and each message costs both hosts.
TEST_F(ChainTest, AShortOneIsToldWithWhatFollowsIt) {
  submit(31, false, 0x02);
  submit(4096, true);
  submit(13, true);
  run();
  end_first(kOk);
  run();
  EXPECT_EQ(back_, Back{});
  device().complete(*device().in_flight.front(), kOk, 4096);
  run();
  EXPECT_EQ(back_, Back{});
  end_first(kOk);
  run();
  EXPECT_EQ(back_, (Back{{31, kOk}, {4096, kOk}, {13, kOk}}));
}

TEST_F(ChainTest, ButNotForLong) {
  submit(31, false, 0x02);
  submit(13, true);
  run();
  end_first(kOk);
  run();
  EXPECT_EQ(back_, Back{});
  loop_.advance(5'000'000);
  run();
  EXPECT_EQ(back_, (Back{{31, kOk}}));
  end_first(kOk);
}

TEST_F(ChainTest, ALongOneIsToldAtOnceAndWhatIsBeforeItToo) {
  submit(31, false, 0x02);
  submit(64 << 10, true);
  submit(13, true);
  run();
  end_first(kOk);
  device().complete(*device().in_flight.front(), kOk, 64 << 10);
  run();
  EXPECT_EQ(back_, (Back{{31, kOk}, {64 << 10, kOk}}));
  end_first(kOk);
}

// It was done before the cancel came.
TEST_F(ChainTest, ACancelOfOneThatIsDoneGetsItsResult) {
  Transfer& done = submit(31, false, 0x02);
  submit(13, true);
  run();
  end_first(kOk);
  run();
  ends_.driver->port->cancel(done);
  run();
  EXPECT_EQ(back_, (Back{{31, kOk}}));
  end_first(kOk);
}

TEST_F(ChainTest, ClosingDropsWhatWasToBeToldTogether) {
  submit(31, false, 0x02);
  submit(13, true);
  run();
  end_first(kOk);
  run();
  ends_.device_channel->close({ErrorCode::failed, "closed by the test"});
  run();
  loop_.advance(10'000'000);
  run();
  EXPECT_EQ(back_.size(), 2u);
}

TEST_F(ChainTest, TwoAtOnce) {
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
TEST_F(ChainTest, TheOneAlongsideMayBeDoneFirst) {
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

TEST_F(ChainTest, AFailureCancelsTheOneAlongside) {
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
TEST_F(ChainTest, TheOneAlongsideOfAFailureEndsAsCancelled) {
  device().hold_cancelled = true;
  submit(31, false, 0x02);
  submit_alongside(4096);
  run();
  end_first(TransferStatus::stall);
  device().complete(*device().in_flight.front(), TransferStatus::stall, 0);
  run();
  EXPECT_EQ(back_, (Back{{31, TransferStatus::stall}, {4096, kCancelled}}));
}

TEST_F(ChainTest, TheOneAlongsideMayBeCancelledAlone) {
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
TEST_F(ChainTest, TheOneAlongsideMayBeCancelledWhenItIsDone) {
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

TEST_F(ChainTest, OneAlongsideIsNoPartOfAChainThatBeginsAnew) {
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

// A disk's command: wrapper, data, status.
TEST_F(ChainTest, ThreeAtOnceAreToldInOrderWhicheverIsDoneFirst) {
  std::vector<uint32_t> order{31, 4096, 13};
  do {
    begun_.clear();
    back_.clear();
    submit(31, false, 0x02);
    submit_alongside(4096);
    submit_alongside(13);
    submit_alongside(512);  // past what may be alongside
    run();
    EXPECT_EQ(begun_, (std::vector<uint32_t>{31, 4096, 13}));
    for (const uint32_t length : order) end(length, kOk);
    EXPECT_EQ(begun_.back(), 512u);
    end_first(kOk);
    run();
    EXPECT_EQ(back_, (Back{{31, kOk}, {4096, kOk}, {13, kOk}, {512, kOk}}));
  } while (std::ranges::prev_permutation(order).found);
}

// Each of the three fails, with those before it done and those behind it done, given up at once, or
// given up later: all behind it end as cancelled, and what is before it is not touched.
TEST_F(ChainTest, AFailureCancelsAllBehindIt) {
  enum class Ends { before, at_once, later };
  const std::vector<uint32_t> order{31, 4096, 13};
  for (size_t failing = 0; failing < order.size(); ++failing) {
    for (const Ends ends : {Ends::before, Ends::at_once, Ends::later}) {
      for (const bool in_turn : {true, false}) {  // is what comes before it done by then?
        begun_.clear();
        back_.clear();
        device().cancelled.clear();
        device().hold_cancelled = ends == Ends::later;
        submit(31, false, 0x02);
        submit_alongside(4096);
        submit_alongside(13);
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
        std::ranges::sort(expected);
        std::ranges::sort(back_);
        EXPECT_EQ(back_, expected) << "failing " << failing << " in turn " << in_turn;
        EXPECT_EQ(begun_, order);
      }
    }
  }
}

// The status may not get what was for the data.
TEST_F(ChainTest, TheLastIsCancelledFirst) {
  submit(31, false, 0x02);
  submit_alongside(4096);
  submit_alongside(13);
  run();
  const std::vector<Transfer*> given = device().in_flight;
  end_first(TransferStatus::stall);
  EXPECT_EQ(device().cancelled, (std::vector<Transfer*>{given[2], given[1]}));
  run();
  EXPECT_EQ(back_, (Back{{31, TransferStatus::stall}, {4096, kCancelled}, {13, kCancelled}}));
}

// Of the endpoint of the one that begins the chain, whatever the flag says.
TEST_F(ChainTest, NotTwoOfOneEndpoint) {
  submit(10, false);
  submit_alongside(11);
  run();
  EXPECT_EQ(begun_, std::vector<uint32_t>{10});
  end_first(kOk);
  EXPECT_EQ(begun_, (std::vector<uint32_t>{10, 11}));
  end_first(kOk);
}

TEST_F(ChainTest, ADeviceThatEndsBothAtOnce) {
  at_once_ = true;
  submit(31, false, 0x02);
  submit_alongside(4096);
  submit(13, true);
  run();
  EXPECT_EQ(back_.size(), 3u);
}

TEST_F(ChainTest, ClosingEndsTwoAtOnce) {
  for (const bool done : {false, true}) {
    const size_t before = back_.size();
    submit(31, false, 0x02);
    submit_alongside(4096);
    submit(13, true);
    run();
    if (done) device().complete(*device().in_flight.back(), kOk, 4096);
    if (!done) {
      end_first(kOk);
      end_first(kOk);
      end_first(kOk);
      run();
      EXPECT_EQ(back_.size(), before + 3);
      continue;
    }
    ends_.device_channel->close({ErrorCode::failed, "closed by the test"});
    run();
    EXPECT_EQ(back_.size(), before + 3);
  }
}

// Had it been dropped, what follows would be chained to the one before it.
TEST_F(ChainTest, OneThatIsCancelledBeforeItLeftIsStillALinkOfItsChain) {
  submit(10, false);
  Transfer& cancelled = submit(11, true);
  submit(12, true);
  ends_.driver->port->cancel(cancelled);
  run();
  end_first(kOk);
  run();
  EXPECT_EQ(begun_, std::vector<uint32_t>{10});
  EXPECT_EQ(back_, (Back{{11, kCancelled}, {12, kCancelled}, {10, kOk}}));
}

// Small transfers overtake bulk of other endpoints, but not of their own chain.
TEST_F(ChainTest, OrderHoldsAcrossEndpoints) {
  submit(31, false, 0x02);
  submit(1 << 20, true, 0x02);
  submit(13, true, 0x81);
  submit(8, false, 0x83, 0);
  run();
  EXPECT_EQ(begun_, (std::vector<uint32_t>{31, 8}));
  end_first(kOk);
  ASSERT_EQ(begun_.back(), 1u << 20);
  device().complete_next(0x02);
  EXPECT_EQ(begun_.back(), 13u);
  device().complete_next(0x81);
  device().complete_next(0x83);
  run();
  EXPECT_EQ(back_.size(), 4u);
}

TEST_F(ChainTest, ChainsKnowNothingOfEachOther) {
  submit(10, false, 0x81, 1);
  submit(20, false, 0x82, 16);
  submit(11, true, 0x81, 1);
  submit(21, true, 0x82, 16);
  run();
  device().complete_next(0x82);
  EXPECT_EQ(begun_, (std::vector<uint32_t>{10, 20, 21}));
  end_first(TransferStatus::protocol);
  device().complete_next(0x82);
  run();
  EXPECT_EQ(begun_.size(), 3u);
  EXPECT_EQ(back_.size(), 4u);
}

TEST_F(ChainTest, ClosingEndsWhatWaits) {
  submit(10, false);
  submit(11, true);
  run();
  ends_.device_channel->close({ErrorCode::failed, "closed by the test"});
  run();
  EXPECT_EQ(back_.size(), 2u);
  EXPECT_EQ(begun_, std::vector<uint32_t>{10});
}

}  // namespace
}  // namespace farport
