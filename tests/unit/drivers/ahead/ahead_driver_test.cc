#include "drivers/ahead/ahead_driver.h"

#include <gtest/gtest.h>

#include "drivers/initiator/initiator.h"
#include "tests/unit/dataplane/simulated_loop.h"
#include "tests/unit/devices/usb/descriptor_builder.h"
#include "tests/unit/drivers/ahead/fake_rule.h"
#include "tests/unit/fake_driver.h"

namespace farport {
namespace {

// Interface 0: class 0xff with two alternate settings; interface 1: another class.
DeviceInfo some_device() {
  DeviceInfo info;
  info.configurations = {test::ConfigurationBuilder()
                             .interface(0, 0, 0xff)
                             .endpoint(0x81, 2, 512)
                             .interface(0, 1, 0xff)
                             .endpoint(0x81, 2, 512)
                             .endpoint(0x02, 2, 512)
                             .interface(1, 0, 0x03)
                             .endpoint(0x83, 3, 8, 1)
                             .build()};
  info.configuration_value = 1;
  return info;
}

class AheadDriverTest : public testing::Test {
 protected:
  void start(RuleSwitches switches = {}) {
    auto inner = std::make_unique<FakeDriver>();
    inner_ = inner.get();
    ahead_.emplace(std::move(inner), std::move(switches), FakeRule::kinds());
    port_.driver = &*ahead_;
    ASSERT_TRUE(ahead_->start_on(loop_, port_, [](Driver& driver, DriverPort& port) {
      static_cast<FakeDriver&>(driver).port = &port;
      return Result<void>{};
    }));
  }
  Transfer& submit(TransferType type, uint8_t endpoint, const std::array<uint8_t, 8>& setup = {}) {
    Transfer& transfer = *inner_->port->allocate(64);
    transfer.type = type;
    transfer.endpoint = endpoint;
    transfer.setup = setup;
    inner_->port->submit(transfer);
    return transfer;
  }
  FakeRule& rule(size_t index = 0) { return *FakeRule::made().at(index); }

  SimulatedLoop loop_;
  FakePort port_{some_device()};
  std::optional<AheadDriver> ahead_;
  FakeDriver* inner_ = nullptr;
};

constexpr auto kSetInterface1 = make_setup(0x01, 0x0b, 1, 0, 0);

TEST_F(AheadDriverTest, WhatNoRuleServesPassesThrough) {
  start();
  Transfer& transfer = submit(TransferType::interrupt, 0x83);
  ASSERT_EQ(port_.submitted, std::vector<Transfer*>{&transfer});
  port_.complete(transfer, TransferStatus::ok, 5);
  EXPECT_EQ(inner_->statuses, std::vector<TransferStatus>{TransferStatus::ok});
  EXPECT_EQ(port_.in_use(), 0u);
}

TEST_F(AheadDriverTest, ARuleMayPass) {
  start();
  rule().takes = false;
  Transfer& transfer = submit(TransferType::bulk, 0x81);
  ASSERT_EQ(port_.submitted.size(), 1u);
  inner_->port->cancel(transfer);
  EXPECT_EQ(port_.cancelled, std::vector<Transfer*>{&transfer});
  port_.complete(transfer, TransferStatus::cancelled, 0);
  EXPECT_TRUE(rule().back.empty() && rule().cancelled.empty());
}

TEST_F(AheadDriverTest, WhatARuleFinishesComesBackAtTheEndOfTheIteration) {
  start();
  Transfer& transfer = submit(TransferType::bulk, 0x81);
  EXPECT_TRUE(port_.submitted.empty());
  inner_->port->cancel(transfer);
  EXPECT_EQ(rule().cancelled, std::vector<Transfer*>{&transfer});
  transfer.chain = 1;
  transfer.flags = transfer_flags::chained | transfer_flags::short_not_ok;
  uint8_t flags = 0, chain = 9;
  inner_->on_completed = [&](Transfer& one) {
    flags = one.flags;
    chain = one.chain;
    inner_->port->release(one);
  };
  rule().port.finish(transfer);
  inner_->port->cancel(transfer);  // too late, and harmless
  EXPECT_TRUE(inner_->statuses.empty());
  loop_.flush();
  EXPECT_EQ(inner_->statuses.size(), 1u);
  EXPECT_EQ(flags, transfer_flags::short_not_ok) << "the driver's own flags only";
  EXPECT_EQ(chain, 0);
  EXPECT_TRUE(port_.cancelled.empty());
}

TEST_F(AheadDriverTest, RulesFollowTheAlternateSetting) {
  start();
  ASSERT_EQ(FakeRule::made().size(), 2u);
  submit(TransferType::bulk, 0x02);  // alternate 0 has no such endpoint
  ASSERT_EQ(port_.submitted.size(), 1u);
  port_.complete(*port_.submitted[0], TransferStatus::invalid, 0);
  port_.complete(submit(TransferType::control, 0, kSetInterface1), TransferStatus::stall, 0);
  submit(TransferType::bulk, 0x81);
  EXPECT_EQ(rule(0).taken.size(), 1u) << "the device refused to change";
  port_.complete(submit(TransferType::control, 0, kSetInterface1), TransferStatus::ok, 0);
  submit(TransferType::bulk, 0x81);
  submit(TransferType::bulk, 0x02);
  EXPECT_EQ(rule(0).taken.size(), 1u);
  EXPECT_EQ(rule(1).taken.size(), 2u);
  ahead_->stop();
  loop_.flush();
}

TEST_F(AheadDriverTest, ControlRequestsWaitInOrderUntilRulesHaveSettled) {
  start();
  rule(0).settles_at_once = false;
  Transfer& first = submit(TransferType::control, 0, kSetInterface1);
  Transfer& second = submit(TransferType::control, 0, make_setup(0x02, 1, 0, 0x81, 0));
  EXPECT_TRUE(port_.submitted.empty());
  EXPECT_EQ(rule(0).requests, std::vector<uint8_t>{0x0b});
  rule(0).port.settled(rule(0));
  EXPECT_EQ(port_.submitted, std::vector<Transfer*>{&first});
  EXPECT_EQ(rule(0).requests, (std::vector<uint8_t>{0x0b, 0x01}));
  rule(0).port.settled(rule(0));
  EXPECT_EQ(port_.submitted, (std::vector<Transfer*>{&first, &second}));
  port_.complete(first, TransferStatus::ok, 0);
  port_.complete(second, TransferStatus::stall, 0);
  EXPECT_EQ(rule(1).control_statuses,
            (std::vector<TransferStatus>{TransferStatus::ok, TransferStatus::stall}));
}

TEST_F(AheadDriverTest, AControlRequestThatWaitsCanBeCancelled) {
  start();
  rule(0).settles_at_once = false;
  Transfer& first = submit(TransferType::control, 0, kSetInterface1);
  inner_->port->cancel(first);
  loop_.flush();
  EXPECT_EQ(inner_->statuses, std::vector<TransferStatus>{TransferStatus::cancelled});
  EXPECT_TRUE(port_.submitted.empty());
}

TEST_F(AheadDriverTest, SettlingHasATimeLimit) {
  start();
  rule(0).settles_at_once = false;
  submit(TransferType::control, 0, kSetInterface1);
  loop_.advance(AheadDriver::settle_ns_max - 1);
  EXPECT_TRUE(port_.submitted.empty());
  loop_.advance(1);
  ASSERT_EQ(port_.submitted.size(), 1u);
  EXPECT_EQ(rule(0).overdue, 1);
  EXPECT_EQ(rule(1).overdue, 0);
  rule(0).port.settled(rule(0));  // late: nobody waits for it
  port_.complete(*port_.submitted[0], TransferStatus::ok, 0);
}

TEST_F(AheadDriverTest, StopsWhenTheDriverAndEveryTransferAheadAreBack) {
  start();
  submit(TransferType::bulk, 0x81);
  Transfer* own = rule().port.allocate(rule(), 16);
  ASSERT_NE(own, nullptr);
  own->type = TransferType::bulk;
  own->endpoint = 0x81;
  rule().port.submit(rule(), *own);
  rule(0).settles_at_once = false;
  submit(TransferType::control, 0, kSetInterface1);
  ahead_->unplugged("pulled");
  ahead_->stop();
  loop_.flush();
  EXPECT_EQ(inner_->statuses,
            (std::vector<TransferStatus>{TransferStatus::unplugged, TransferStatus::unplugged}));
  EXPECT_EQ(rule().port.allocate(rule(), 16), nullptr);
  EXPECT_EQ(port_.stopped, 0);
  rule().takes = false;
  FakeRule& kept = rule();
  port_.check_released = true;
  // The fake rule keeps what comes back; a real one releases it there.
  port_.complete(*own, TransferStatus::unplugged, 0);
  ASSERT_EQ(kept.back.size(), 1u);
  kept.port.release(kept, *own);
  EXPECT_EQ(port_.stopped, 1);
}

TEST_F(AheadDriverTest, TellsFiguresByRule) {
  start();
  auto figures = ahead_->rule_figures();
  ASSERT_EQ(figures.size(), 1u);
  EXPECT_EQ(figures[0].rule, "fake");
  EXPECT_TRUE(figures[0].on);
  EXPECT_EQ(figures[0].why, "on by default: it is exact");
  EXPECT_EQ(figures[0].round_trips_saved, 6u);  // of both alternate settings
}

TEST_F(AheadDriverTest, ARuleThatIsSwitchedOffIsToldOf) {
  start({.on = {"fake"}, .off = {"fake"}});
  EXPECT_TRUE(FakeRule::made().empty());
  const auto figures = ahead_->rule_figures();
  ASSERT_EQ(figures.size(), 1u);
  EXPECT_FALSE(figures[0].on);
  EXPECT_EQ(figures[0].why, "switched off for this device");
  Transfer& transfer = submit(TransferType::bulk, 0x81);
  port_.complete(transfer, TransferStatus::ok, 0);
}

TEST(AheadDriverWrap, LeavesADriverAloneThatNoRuleFits) {
  auto driver = std::make_unique<FakeDriver>();
  const Driver* raw = driver.get();
  EXPECT_EQ(AheadDriver::wrap(std::move(driver), DeviceInfo(), {}).get(), raw);
}

}  // namespace
}  // namespace farport
