// Chains of transfers (transfer.h): what the device end begins, and what it does not.
#include "tests/unit/dataplane/chain_fixture.h"

namespace farport {
namespace {

using ChainTest = ChainFixture;

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
