// Enumeration, single transfers, users and the end of a channel.
#include "drivers/initiator/initiator.h"

#include "drivers/initiator/source_sink_load.h"
#include "tests/unit/drivers/initiator/initiator_fixture.h"

namespace farport {
namespace {

class InitiatorTest : public InitiatorFixture {};

TEST_F(InitiatorTest, EnumeratesADisk) {
  attach_disk();
  ASSERT_TRUE(ready_ && *ready_);
  EXPECT_TRUE(initiator_->ready());
  EXPECT_EQ(initiator_->device_descriptor().size(), 18u);
  const UsbInterfaceInfo* disk = initiator_->layout().find_class(0x08, 0x06, 0x50);
  ASSERT_NE(disk, nullptr);
  EXPECT_EQ(disk->find(TransferType::bulk, true)->address, 0x81);
  EXPECT_EQ(disk->find(TransferType::bulk, false)->max_packet_bytes, 512);
  EXPECT_EQ(disk->find(TransferType::interrupt, true), nullptr);
  EXPECT_EQ(initiator_->layout().find_class(3, 1, 1), nullptr);
  detach();
}

TEST_F(InitiatorTest, SerialPortIsReadyFromTheLoop) {
  attach_serial();
  EXPECT_TRUE(ready_ && *ready_);
  detach();
}

TEST_F(InitiatorTest, SingleTransfers) {
  attach_source_sink();
  int done = 0;
  EXPECT_TRUE(initiator_->receive(TransferType::bulk, 0x81, 100, [&](const Transfer& transfer) {
    EXPECT_EQ(transfer.actual, 100u);
    ++done;
    // From inside a callback the next one may begin.
    EXPECT_TRUE(initiator_->send(TransferType::bulk, 0x01, {}, [&](const Transfer&) { ++done; }));
  }));
  settle();
  EXPECT_EQ(done, 2);
  EXPECT_FALSE(initiator_->control(make_setup(0x40, 0x5b, 0, 0, 8), {}, {}));
  EXPECT_FALSE(initiator_->receive(TransferType::bulk, 0x81, 17u << 20, {}));
  detach();
}

TEST_F(InitiatorTest, ClearsHalts) {
  attach_source_sink();
  device_->inject(FaultKind::stall);
  std::vector<TransferStatus> statuses;
  const auto record = [&](const Transfer& transfer) { statuses.push_back(transfer.status); };
  initiator_->receive(TransferType::bulk, 0x81, 100, record);
  settle();
  initiator_->clear_halt(0x81, record);
  settle();
  initiator_->receive(TransferType::bulk, 0x81, 100, record);
  settle();
  EXPECT_EQ(statuses, (std::vector<TransferStatus>{TransferStatus::stall, TransferStatus::ok,
                                                   TransferStatus::ok}));
  detach();
}

TEST_F(InitiatorTest, StopWaitsForWhatIsInFlight) {
  attach_source_sink({.delay_us = 1000});
  TransferStatus status = TransferStatus::ok;
  initiator_->receive(TransferType::bulk, 0x81, 100,
                      [&](const Transfer& transfer) { status = transfer.status; });
  initiator_->stop();
  EXPECT_EQ(port_->stopped, 0);
  device_->stop();
  port_->run();
  EXPECT_EQ(status, TransferStatus::cancelled);
  EXPECT_EQ(port_->stopped, 1);
  EXPECT_FALSE(initiator_->receive(TransferType::bulk, 0x81, 100, {}));
  EXPECT_FALSE(initiator_->failure().empty());
  detach();
}

// Enumeration of whatever a device may answer ends, with an error that says where.
struct Answer {
  const char* name;
  std::vector<std::vector<uint8_t>> answers;  // by control transfer; then stalls
  const char* says;
};

class BadDeviceTest : public testing::TestWithParam<Answer> {};

TEST_P(BadDeviceTest, FailsToEnumerate) {
  ManualScheduler clock;
  FakePort port{DeviceInfo{}};
  std::optional<Result<void>> ready;
  Initiator initiator([&](Result<void> outcome) { ready = std::move(outcome); });
  port.driver = &initiator;
  ASSERT_TRUE(initiator.start_on(clock, port));
  size_t next = 0;
  while (!port.submitted.empty()) {
    Transfer& transfer = *port.submitted.front();
    if (next == GetParam().answers.size()) {
      port.complete(transfer, TransferStatus::stall, 0);
      continue;
    }
    const auto& answer = GetParam().answers[next++];
    const auto count = std::min<uint32_t>(static_cast<uint32_t>(answer.size()), transfer.length);
    std::memcpy(transfer.data().data(), answer.data(), count);
    port.complete(transfer, TransferStatus::ok, count);
  }
  ASSERT_TRUE(ready);
  ASSERT_FALSE(*ready);
  EXPECT_NE(ready->error().message.find(GetParam().says), std::string::npos)
      << ready->error().message;
  EXPECT_FALSE(initiator.ready());
  initiator.stop();
  EXPECT_EQ(port.stopped, 1);
}

const std::vector<uint8_t> kDevice{18, 1, 0, 2, 0, 0, 0, 64, 1, 0, 2, 0, 0, 1, 0, 0, 0, 1};
const std::vector<uint8_t> kHeader{9, 2, 18, 0, 1, 1, 0, 0xc0, 50};
std::vector<uint8_t> with(std::vector<uint8_t> tail) {
  std::vector<uint8_t> bytes = kHeader;
  bytes.insert(bytes.end(), tail.begin(), tail.end());
  return bytes;
}

INSTANTIATE_TEST_SUITE_P(
    Answers, BadDeviceTest,
    testing::Values(
        Answer{"refuses", {}, "device descriptor"},
        Answer{"short_device", {{18, 1, 0}}, "device descriptor is malformed"},
        Answer{"not_a_device", {std::vector<uint8_t>(18)}, "device descriptor is malformed"},
        Answer{"refuses_configuration", {kDevice}, "configuration descriptor"},
        Answer{"short_header", {kDevice, {9, 2}}, "configuration descriptor"},
        Answer{"length_beyond_the_data", {kDevice, kHeader, kHeader}, "malformed"},
        Answer{"zero_length_descriptor",
               {kDevice, kHeader, with({0, 4, 0, 0, 0, 0, 0, 0, 0})},
               "wrong length"},
        Answer{"descriptor_beyond_the_end",
               {kDevice, kHeader, with({10, 4, 0, 0, 0, 0, 0, 0, 0})},
               "wrong length"},
        Answer{"endpoint_without_interface",
               {kDevice, kHeader, with({7, 5, 0x81, 2, 0, 2, 0, 2, 0xff})},
               "precedes"},
        Answer{"refuses_set_configuration",
               {kDevice, kHeader, with({9, 4, 0, 0, 0, 0xff, 0, 0, 0})},
               "setting the configuration"}),
    [](const auto& info) { return info.param.name; });

// --- SourceSinkLoad ---

class LoadTest : public InitiatorFixture {};

TEST_F(LoadTest, KeepsTransfersInFlightAndCounts) {
  attach_source_sink({.rate_bytes_s = 1'000'000});
  {
    int ended = 0;
    SourceSinkLoad load(*initiator_, {.endpoint = 0x81, .bytes = 1000, .in_flight = 4},
                        [&] { ++ended; });
    ASSERT_TRUE(load.start());
    EXPECT_EQ(port_->in_flight(), 4u);
    settle(100'000'000);
    EXPECT_EQ(load.transfers(), 100u);
    EXPECT_EQ(load.bytes(), 100'000u);
    EXPECT_EQ(port_->in_use(), 4u);
    // 1 ms each, behind three others.
    EXPECT_NEAR(static_cast<double>(load.round_trips().percentile(50)), 4e6, 1e5);
    load.stop();
    EXPECT_TRUE(load.running());
    settle();
    EXPECT_FALSE(load.running());
    EXPECT_EQ(ended, 1);
    ASSERT_TRUE(load.start());
    load.stop(true);
    port_->run();
    EXPECT_FALSE(load.running());
    EXPECT_EQ(load.errors(), 0u);
  }
  detach();
}

TEST_F(LoadTest, EndsAfterAsManyAsTold) {
  attach_source_sink();
  {
    SourceSinkLoad load(*initiator_,
                        {.endpoint = 0x01, .bytes = 64, .in_flight = 8, .transfers_max = 1001});
    ASSERT_TRUE(load.start());
    settle();
    EXPECT_FALSE(load.running());
    EXPECT_EQ(load.transfers(), 1001u);
    SourceSinkLoad few(*initiator_, {.endpoint = 0x82,
                                     .type = TransferType::interrupt,
                                     .bytes = 64,
                                     .in_flight = 8,
                                     .transfers_max = 3});
    ASSERT_TRUE(few.start());
    settle();
    EXPECT_EQ(few.transfers(), 3u);
    EXPECT_FALSE(few.running());
  }
  detach();
}

TEST_F(LoadTest, PatternsAgreeAtBothEnds) {
  for (const DataPattern pattern : {DataPattern::zeros, DataPattern::mod63, DataPattern::counter}) {
    attach_source_sink({.pattern = pattern});
    {
      LoadSettings settings{.bytes = 4096, .in_flight = 3, .transfers_max = 50};
      settings.pattern = pattern;
      SourceSinkLoad in(*initiator_, settings);
      settings.endpoint = 0x01;
      SourceSinkLoad out(*initiator_, settings);
      ASSERT_TRUE(in.start());
      ASSERT_TRUE(out.start());
      settle();
      EXPECT_EQ(in.transfers() + out.transfers(), 100u);
      EXPECT_EQ(in.mismatches() + out.errors(), 0u);
    }
    detach();
  }
}

TEST_F(LoadTest, NoticesDataThatIsNotThePatterns) {
  attach_source_sink({.pattern = DataPattern::zeros});
  {
    SourceSinkLoad load(*initiator_,
                        {.bytes = 512, .transfers_max = 2, .pattern = DataPattern::counter});
    ASSERT_TRUE(load.start());
    settle();
    EXPECT_EQ(load.mismatches(), 2u);
  }
  detach();
}

TEST_F(LoadTest, Isochronous) {
  attach_source_sink({.pattern = DataPattern::counter});
  {
    initiator_->control(make_setup(0x01, 11, 1, 0, 0), {}, {});
    port_->run();
    SourceSinkLoad load(*initiator_, {.endpoint = 0x83,
                                      .type = TransferType::isochronous,
                                      .bytes = 8192,
                                      .packet_count = 8,
                                      .in_flight = 2,
                                      .pattern = DataPattern::counter});
    ASSERT_TRUE(load.start());
    settle(kSecond);
    EXPECT_EQ(load.transfers(), 125u);  // 8 packets of 1 ms
    EXPECT_EQ(load.mismatches(), 0u);
    load.stop(true);
    port_->run();
  }
  detach();
}

TEST_F(LoadTest, EndsWithAnErrorWhenTheDeviceGoes) {
  attach_source_sink({.delay_us = 1000});
  {
    SourceSinkLoad load(*initiator_, {.bytes = 512, .in_flight = 4});
    ASSERT_TRUE(load.start());
    settle(5'000'000);
    device_->unplug_now("pulled");
    port_->run();
    EXPECT_FALSE(load.running());
    EXPECT_EQ(load.errors(), 4u);
    EXPECT_EQ(load.last_error(), TransferStatus::unplugged);
    stop();
    EXPECT_FALSE(load.start());
  }
  detach();
}

TEST_F(LoadTest, DestroyedInFlight) {
  attach_source_sink({.delay_us = 1000});
  {
    SourceSinkLoad load(*initiator_, {.bytes = 512, .in_flight = 4});
    ASSERT_TRUE(load.start());
  }
  port_->run();
  EXPECT_EQ(port_->in_use(), 0u);
  detach();
}

TEST_F(LoadTest, RestingTransfersAreReleasedWhenTheChannelCloses) {
  attach_source_sink();
  SourceSinkLoad* load = new SourceSinkLoad(*initiator_, {.bytes = 512, .transfers_max = 1});
  ASSERT_TRUE(load->start());
  settle();
  EXPECT_EQ(port_->in_use(), 1u);
  stop();
  EXPECT_EQ(port_->in_use(), 0u);
  EXPECT_EQ(port_->stopped, 1);
  delete load;
  detach();
}

}  // namespace
}  // namespace farport
