// Source/sink: data patterns, pace, isochronous timing, faults.
#include "devices/emulated/pattern.h"
#include "tests/unit/devices/emulated/emulated_fixture.h"

namespace farport {
namespace {

using Device = EmulatedSourceSink;

class SourceSinkTest : public EmulatedFixture {
 protected:
  void make(EmulatedDeviceSettings settings = {}) {
    settings.name = "SS0";
    settings.kind = EmulatedKind::source_sink;
    device_ = std::make_unique<Device>(settings);
    device_->start_on(clock_, events_);
  }
  Transfer& submit(TransferType type, uint8_t endpoint, uint32_t length, uint16_t packets = 0) {
    return run(*device_, transfers_.make(type, endpoint, length, packets));
  }
  void use_alternate_1() {
    ASSERT_EQ(control(*device_, 0x01, usb::set_interface, 1, 0, 0).status, TransferStatus::ok);
  }
  std::unique_ptr<Device> device_;
};

TEST(PatternTest, CounterIsTheSameHoweverItIsCut) {
  std::vector<std::byte> whole(100), cut(100);
  fill_pattern(DataPattern::counter, whole, 40, 512);
  for (size_t at = 0, n = 1; at < cut.size(); at += n, n = n % 11 + 1) {
    n = std::min(n, cut.size() - at);
    fill_pattern(DataPattern::counter, std::span(cut).subspan(at, n), 40 + at, 512);
  }
  EXPECT_EQ(whole, cut);
  EXPECT_EQ(whole[0], std::byte{5});  // word 5 begins at byte 40
  EXPECT_TRUE(matches_pattern(DataPattern::counter, whole, 40, 512));
  EXPECT_FALSE(matches_pattern(DataPattern::counter, whole, 48, 512));
}

TEST(PatternTest, Mod63CountsWithinEachPacket) {
  std::vector<std::byte> data(1024);
  fill_pattern(DataPattern::mod63, data, 12345, 512);
  EXPECT_EQ(data[62], std::byte{62});
  EXPECT_EQ(data[63], std::byte{0});
  EXPECT_EQ(data[511], std::byte{511 % 63});
  EXPECT_EQ(data[512], std::byte{0});
  EXPECT_TRUE(matches_pattern(DataPattern::mod63, data, 0, 512));
  data[700] = std::byte{99};
  EXPECT_FALSE(matches_pattern(DataPattern::mod63, data, 0, 512));
}

TEST_F(SourceSinkTest, CompletesInsideSubmitWithoutTouchingData) {
  make();
  for (const uint8_t endpoint : {Device::bulk_in, Device::bulk_out}) {
    Transfer& transfer = submit(TransferType::bulk, endpoint, 4096);
    ASSERT_TRUE(done(transfer));
    EXPECT_EQ(transfer.actual, 4096u);
    EXPECT_EQ(transfer.data()[17], std::byte{0xee});
  }
  for (const uint8_t endpoint : {Device::interrupt_in, Device::interrupt_out}) {
    EXPECT_TRUE(done(submit(TransferType::interrupt, endpoint, 64)));
  }
  EXPECT_TRUE(clock_.idle());
}

class SourceSinkPatternTest : public SourceSinkTest,
                              public testing::WithParamInterface<DataPattern> {};

TEST_P(SourceSinkPatternTest, SourceGivesAndSinkChecks) {
  make({.pattern = GetParam()});
  uint64_t offset = 0;
  for (const uint32_t length : {512u, 1000u, 24u, 4096u}) {
    Transfer& in = submit(TransferType::bulk, Device::bulk_in, length);
    EXPECT_TRUE(matches_pattern(GetParam(), in.moved(), offset, 512));
    Transfer& out = transfers_.out(TransferType::bulk, Device::bulk_out, in.moved());
    EXPECT_EQ(run(*device_, out).status, TransferStatus::ok);
    offset += length;
  }
  EXPECT_EQ(device_->mismatches(), 0u);

  std::vector<std::byte> wrong(512, std::byte{0x5a});
  EXPECT_EQ(run(*device_, transfers_.out(TransferType::bulk, Device::bulk_out, wrong)).status,
            TransferStatus::stall);
  EXPECT_EQ(device_->mismatches(), 1u);
  // The endpoint has halted; clearing the halt begins its stream anew.
  EXPECT_EQ(control(*device_, 0x02, usb::clear_feature, 0, Device::bulk_out, 0).status,
            TransferStatus::ok);
  std::vector<std::byte> right(512);
  fill_pattern(GetParam(), right, 0, 512);
  EXPECT_EQ(run(*device_, transfers_.out(TransferType::bulk, Device::bulk_out, right)).status,
            TransferStatus::ok);
}

INSTANTIATE_TEST_SUITE_P(Patterns, SourceSinkPatternTest,
                         testing::Values(DataPattern::zeros, DataPattern::mod63,
                                         DataPattern::counter));

TEST_F(SourceSinkTest, RateIsSharedByAllEndpoints) {
  make({.rate_bytes_s = 1'000'000});
  Transfer& first = submit(TransferType::bulk, Device::bulk_in, 1000);  // 1 ms each
  Transfer& second = submit(TransferType::bulk, Device::bulk_out, 1000);
  Transfer& third = submit(TransferType::bulk, Device::bulk_in, 1000);
  clock_.advance(kMs);
  EXPECT_TRUE(done(first));
  EXPECT_FALSE(done(second));
  clock_.advance(kMs);
  EXPECT_TRUE(done(second));
  EXPECT_FALSE(done(third));
  clock_.advance(kMs);
  EXPECT_TRUE(done(third));
}

// With always something waiting, the device moves exactly its rate, however coarse the clock.
TEST_F(SourceSinkTest, RateHoldsOverTime) {
  make({.rate_bytes_s = 10'000'000, .delay_us = 100});
  uint64_t bytes = 0;
  events_.on_completed = [&](Transfer& transfer) {
    bytes += transfer.actual;
    device_->submit(transfer);
  };
  for (int i = 0; i < 4; ++i) submit(TransferType::bulk, Device::bulk_in, 10'000);
  for (int i = 0; i < 70; ++i) clock_.advance(15'700'000);
  // 1.1 ms for each transfer of 10 kB.
  EXPECT_EQ(bytes, 70ull * 15'700'000 / 1'100'000 * 10'000);
}

TEST_F(SourceSinkTest, IdleDeviceDoesNotSaveUpTime) {
  make({.rate_bytes_s = 1'000'000});
  clock_.advance(kSecond);
  Transfer& transfer = submit(TransferType::bulk, Device::bulk_in, 1000);
  clock_.advance(kMs - 1);
  EXPECT_FALSE(done(transfer));
  clock_.advance(1);
  EXPECT_TRUE(done(transfer));
}

TEST_F(SourceSinkTest, CompletionThatSubmitsAgainIsNotNested) {
  make();
  int depth = 0, deepest = 0, left = 100'000;
  events_.on_completed = [&](Transfer& transfer) {
    deepest = std::max(deepest, ++depth);
    if (--left > 0) device_->submit(transfer);
    --depth;
  };
  submit(TransferType::bulk, Device::bulk_in, 512);
  EXPECT_EQ(left, 0);
  EXPECT_EQ(deepest, 1);
}

TEST_F(SourceSinkTest, IsochronousTakesTheBussTime) {
  make({.pattern = DataPattern::counter});
  use_alternate_1();
  Transfer& first = submit(TransferType::isochronous, Device::isochronous_in, 8 * 1024, 8);
  Transfer& second = submit(TransferType::isochronous, Device::isochronous_in, 8 * 1024, 8);
  Transfer& out = submit(TransferType::isochronous, Device::isochronous_out, 1024, 4);
  clock_.advance(4 * kMs);
  EXPECT_TRUE(done(out));  // its endpoint has bandwidth of its own
  clock_.advance(4 * kMs - 1);
  EXPECT_FALSE(done(first));
  clock_.advance(1);
  EXPECT_TRUE(done(first));
  EXPECT_FALSE(done(second));
  clock_.advance(8 * kMs);
  EXPECT_TRUE(done(second));
  EXPECT_EQ(second.start_frame, first.start_frame + 8);
  EXPECT_EQ(first.actual, 8 * 1024u);
  EXPECT_TRUE(matches_pattern(DataPattern::counter, second.moved(), 8 * 1024, 1024));
  EXPECT_EQ(out.actual, 1024u);
  EXPECT_EQ(device_->mismatches(), 4u);  // of four packets of 0xee
}

TEST_F(SourceSinkTest, IsochronousDataIsPacked) {
  make({.pattern = DataPattern::counter});
  use_alternate_1();
  Transfer& transfer = transfers_.make(TransferType::isochronous, Device::isochronous_in, 6000, 3);
  transfer.packets()[0].length = 3000;  // more than a packet holds
  transfer.packets()[1].length = 0;
  transfer.packets()[2].length = 100;
  run(*device_, transfer);
  clock_.advance(3 * kMs);
  ASSERT_TRUE(done(transfer));
  EXPECT_EQ(transfer.packets()[0].actual, 1024u);
  EXPECT_EQ(transfer.packets()[1].actual, 0u);
  EXPECT_EQ(transfer.packets()[2].actual, 100u);
  EXPECT_EQ(transfer.actual, 1124u);
  EXPECT_TRUE(matches_pattern(DataPattern::counter, transfer.moved(), 0, 1024));
}

TEST_F(SourceSinkTest, IsochronousPacketsMustFit) {
  make();
  use_alternate_1();
  EXPECT_EQ(submit(TransferType::isochronous, Device::isochronous_in, 100, 0).status,
            TransferStatus::invalid);
  Transfer& sum = transfers_.make(TransferType::isochronous, Device::isochronous_in, 100, 2);
  sum.packets()[0].length = sum.packets()[1].length = 0x80000001;
  EXPECT_EQ(run(*device_, sum).status, TransferStatus::invalid);
  EXPECT_EQ(submit(TransferType::isochronous, Device::isochronous_out, 4096, 2).status,
            TransferStatus::invalid);
}

TEST_F(SourceSinkTest, IsochronousFaults) {
  make({.pattern = DataPattern::zeros});
  use_alternate_1();
  device_->inject(FaultKind::late);
  Transfer& late = submit(TransferType::isochronous, Device::isochronous_in, 200, 2);
  clock_.advance(2 * kMs);
  EXPECT_EQ(late.actual, 0u);
  EXPECT_EQ(late.error_count, 2u);
  EXPECT_EQ(late.packets()[0].status, static_cast<uint32_t>(TransferStatus::late));
  device_->inject(FaultKind::short_data);
  Transfer& half = submit(TransferType::isochronous, Device::isochronous_in, 200, 2);
  clock_.advance(2 * kMs);
  EXPECT_EQ(half.actual, 100u);
  device_->inject(FaultKind::unplug);
  Transfer& last = submit(TransferType::isochronous, Device::isochronous_in, 200, 2);
  clock_.advance(2 * kMs);
  EXPECT_EQ(last.status, TransferStatus::unplugged);
  EXPECT_EQ(events_.unplug_reasons.size(), 1u);
}

TEST_F(SourceSinkTest, CancelledIsochronousLetsTheNextBegin) {
  make();
  use_alternate_1();
  Transfer& first = submit(TransferType::isochronous, Device::isochronous_in, 800, 8);
  Transfer& second = submit(TransferType::isochronous, Device::isochronous_in, 800, 8);
  Transfer& third = submit(TransferType::isochronous, Device::isochronous_in, 800, 8);
  clock_.advance(kMs);
  device_->cancel(third);
  device_->cancel(first);
  EXPECT_EQ(first.status, TransferStatus::cancelled);
  EXPECT_EQ(third.status, TransferStatus::cancelled);
  clock_.advance(8 * kMs - 1);
  EXPECT_FALSE(done(second));
  clock_.advance(1);
  EXPECT_TRUE(done(second));
}

TEST_F(SourceSinkTest, StallFaultHaltsTheEndpoint) {
  make();
  device_->inject(FaultKind::stall);
  EXPECT_EQ(submit(TransferType::bulk, Device::bulk_in, 512).status, TransferStatus::stall);
  EXPECT_EQ(submit(TransferType::bulk, Device::bulk_in, 512).status, TransferStatus::stall);
  EXPECT_EQ(submit(TransferType::bulk, Device::bulk_out, 512).status, TransferStatus::ok);
  control(*device_, 0x02, usb::clear_feature, 0, Device::bulk_in, 0);
  EXPECT_EQ(submit(TransferType::bulk, Device::bulk_in, 512).status, TransferStatus::ok);
}

TEST_F(SourceSinkTest, ShortFaultMovesHalf) {
  make({.pattern = DataPattern::counter});
  device_->inject(FaultKind::short_data, 2);
  EXPECT_EQ(submit(TransferType::bulk, Device::bulk_in, 512).actual, 256u);
  Transfer& strict = transfers_.make(TransferType::bulk, Device::bulk_in, 512);
  strict.flags = transfer_flags::short_not_ok;
  EXPECT_EQ(run(*device_, strict).status, TransferStatus::short_read);
  EXPECT_EQ(strict.actual, 256u);
}

}  // namespace
}  // namespace farport
