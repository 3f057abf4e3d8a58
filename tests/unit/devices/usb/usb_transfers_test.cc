// Transfers through a UsbDevice: what reaches the bus, what comes back.
#include <gtest/gtest.h>

#include "tests/unit/devices/usb/usb_device_fixture.h"

namespace farport::test {
namespace {

class UsbTransfers : public UsbDeviceTest {
 protected:
  void SetUp() override { open_and_start(); }
};

TEST_F(UsbTransfers, ControlCarriesItsSetupPacketBeforeTheData) {
  Transfer& transfer = control({0x80, 0x06, 0, 1, 0, 0, 18, 0}, 64);
  device_->submit(transfer);
  ASSERT_EQ(usb_.in_flight.size(), 1u);
  BusTransfer* sent = usb_.in_flight[0];
  EXPECT_EQ(sent->type, TransferType::control);
  EXPECT_EQ(sent->length, 8 + 18);  // wLength, not the room behind it
  EXPECT_EQ(std::memcmp(sent->data, transfer.setup.data(), 8), 0);
  EXPECT_EQ(static_cast<void*>(sent->data + 8), static_cast<void*>(transfer.data().data()));
  sent->data[8] = std::byte{18};
  usb_.complete(sent, TransferStatus::ok, 18);
  ASSERT_TRUE(wait_for(transfer));
  EXPECT_EQ(transfer.status, TransferStatus::ok);
  EXPECT_EQ(transfer.actual, 18u);
  EXPECT_EQ(transfer.data()[0], std::byte{18});
}

TEST_F(UsbTransfers, AnyNumberInFlightAndNothingNewUnderASteadyLoad) {
  constexpr int depth = 64;
  size_t pooled = 0;
  for (int round = 0; round < 5; ++round) {
    std::vector<Transfer*> batch;
    for (int i = 0; i < depth; ++i) {
      batch.push_back(&make(i % 2 ? 0x81 : 0x02, 512));
      device_->submit(*batch.back());
    }
    ASSERT_EQ(usb_.in_flight.size(), size_t{depth});
    EXPECT_EQ(usb_.in_flight[0]->type, TransferType::bulk);
    for (BusTransfer* sent : std::vector(usb_.in_flight)) {
      usb_.complete(sent, TransferStatus::ok, 100);
    }
    ASSERT_TRUE(wait_for(*batch.back()));
    for (Transfer* transfer : batch) EXPECT_EQ(transfer->actual, 100u);
    if (round == 0) pooled = device_->pooled_transfers();
  }
  EXPECT_EQ(pooled, size_t{depth});
  EXPECT_EQ(device_->pooled_transfers(), pooled);
}

TEST_F(UsbTransfers, EveryOutcomeIsPassedOn) {
  for (const TransferStatus status :
       {TransferStatus::ok, TransferStatus::protocol, TransferStatus::timed_out,
        TransferStatus::cancelled, TransferStatus::stall, TransferStatus::unplugged,
        TransferStatus::overflow}) {
    Transfer& transfer = make(0x81, 512);
    device_->submit(transfer);
    usb_.complete(usb_.in_flight[0], status, 7);
    ASSERT_TRUE(wait_for(transfer));
    EXPECT_EQ(transfer.status, status);
    EXPECT_EQ(transfer.actual, 7u);
  }
  EXPECT_EQ(unplugs_, 0);  // the events tell of the device's end, not what became of one transfer
}

TEST_F(UsbTransfers, RefusedSubmissionsFailThatOneTransfer) {
  for (const TransferStatus status : {TransferStatus::no_memory, TransferStatus::invalid,
                                      TransferStatus::protocol, TransferStatus::unplugged}) {
    usb_.submit_result = status;
    Transfer& transfer = make(0x81, 512);
    device_->submit(transfer);
    EXPECT_TRUE(is_done(transfer));
    EXPECT_EQ(transfer.status, status);
  }
  usb_.submit_result = TransferStatus::ok;
  Transfer& good = make(0x81, 512);
  device_->submit(good);
  usb_.complete(usb_.in_flight.at(0), TransferStatus::ok, 512);
  ASSERT_TRUE(wait_for(good));
  EXPECT_EQ(good.status, TransferStatus::ok);
  EXPECT_EQ(device_->pooled_transfers(), 1u);
}

TEST_F(UsbTransfers, BadRequestsAreInvalidAndReachNothing) {
  std::vector<Transfer*> bad{
      &make(0x86, 64),                                // no such endpoint
      &make(0x83, 64, TransferType::isochronous, 1),  // in an alternate setting not chosen
      &make(0x81, 64, TransferType::isochronous, 1),  // a bulk endpoint
      &make(0x81, 64, TransferType::bulk, 1),         // packets without isochronous
      &make(0x00, 64, TransferType::bulk),            // endpoint 0 is control
      &control({0x80, 0x06, 0, 1, 0, 0, 65, 0}, 64),  // wLength past the room
      &make(0x81, 64, TransferType::control),         // control on a bulk endpoint
  };
  for (Transfer* transfer : bad) {
    if (transfer->packet_count) transfer->packets()[0] = {64, 0, 0, 0};
    device_->submit(*transfer);
    EXPECT_TRUE(is_done(*transfer));
    EXPECT_EQ(transfer->status, TransferStatus::invalid);
  }
  Transfer& long_one = make(0x81, 64);
  long_one.length = limits::transfer_bytes_max + 1;
  device_->submit(long_one);
  EXPECT_EQ(long_one.status, TransferStatus::invalid);
  EXPECT_TRUE(usb_.in_flight.empty());
}

TEST_F(UsbTransfers, ShortReadsAreErrorsWhenAsked) {
  Transfer& strict = make(0x81, 512);
  strict.flags = transfer_flags::short_not_ok;
  Transfer& whole = make(0x81, 512);
  whole.flags = transfer_flags::short_not_ok;
  Transfer& out = make(0x02, 512);
  out.flags = transfer_flags::short_not_ok | transfer_flags::zero_packet;
  Transfer& descriptor = control({0x80, 0x06, 0, 1, 0, 0, 18, 0}, 64);
  descriptor.flags = transfer_flags::short_not_ok;
  for (Transfer* transfer : {&strict, &whole, &out, &descriptor}) device_->submit(*transfer);
  const auto sent = usb_.in_flight;
  EXPECT_FALSE(sent[0]->zero_packet);
  EXPECT_TRUE(sent[2]->zero_packet);
  usb_.complete(sent[0], TransferStatus::ok, 511);
  usb_.complete(sent[1], TransferStatus::ok, 512);
  usb_.complete(sent[2], TransferStatus::ok, 500);
  usb_.complete(sent[3], TransferStatus::ok, 18);
  ASSERT_TRUE(wait_for(descriptor));
  EXPECT_EQ(strict.status, TransferStatus::short_read);
  EXPECT_EQ(strict.actual, 511u);
  EXPECT_EQ(whole.status, TransferStatus::ok);
  EXPECT_EQ(out.status, TransferStatus::ok);
  EXPECT_EQ(descriptor.status, TransferStatus::ok);  // all of wLength came
}

TEST_F(UsbTransfers, DriversThatSeeOnlyNumbersMayCallInterruptBulk) {
  Transfer& configure = control({0x00, 0x09, 2, 0, 0, 0, 0, 0});
  device_->submit(configure);
  ASSERT_TRUE(wait_for(configure));
  Transfer& transfer = make(0x85, 8, TransferType::bulk);
  device_->submit(transfer);
  ASSERT_EQ(usb_.in_flight.size(), 1u);
  EXPECT_EQ(usb_.in_flight[0]->type, TransferType::interrupt);
  usb_.complete(usb_.in_flight[0], TransferStatus::ok, 8);
  EXPECT_TRUE(wait_for(transfer));
}

class UsbIsochronous : public UsbTransfers {
 protected:
  void SetUp() override {
    UsbTransfers::SetUp();
    Transfer& alternate = control({0x01, 0x0b, 1, 0, 1, 0, 0, 0});
    device_->submit(alternate);
    ASSERT_TRUE(wait_for(alternate));
    ASSERT_EQ(alternate.status, TransferStatus::ok);
  }
};

TEST_F(UsbIsochronous, InDataIsPackedOnCompletion) {
  Transfer& transfer = make(0x83, 30, TransferType::isochronous, 3);
  for (IsoPacket& packet : transfer.packets()) packet = {10, 0, 0, 0};
  device_->submit(transfer);
  BusTransfer* sent = usb_.in_flight.at(0);
  ASSERT_EQ(sent->packets.size(), 3u);
  for (int i = 0; i < 30; ++i) sent->data[i] = static_cast<std::byte>(i);
  sent->packets[0].actual = 4;
  sent->packets[0].status = static_cast<uint32_t>(TransferStatus::ok);
  sent->packets[1].actual = 0;
  sent->packets[1].status = static_cast<uint32_t>(TransferStatus::protocol);
  sent->packets[2].actual = 10;
  sent->packets[2].status = static_cast<uint32_t>(TransferStatus::ok);
  usb_.complete(sent, TransferStatus::ok, 0);
  ASSERT_TRUE(wait_for(transfer));
  EXPECT_EQ(transfer.status, TransferStatus::ok);
  EXPECT_EQ(transfer.actual, 14u);
  EXPECT_EQ(transfer.error_count, 1u);
  EXPECT_EQ(transfer.packets()[1].status, static_cast<uint32_t>(TransferStatus::protocol));
  EXPECT_EQ(transfer.packets()[2].actual, 10u);
  const int packed[] = {0, 1, 2, 3, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29};
  for (size_t i = 0; i < 14; ++i) {
    EXPECT_EQ(static_cast<int>(transfer.data()[i]), packed[i]) << i;
  }
}

TEST_F(UsbIsochronous, PacketsMustFitTheTransfer) {
  Transfer& transfer = make(0x83, 30, TransferType::isochronous, 3);
  for (IsoPacket& packet : transfer.packets()) packet = {11, 0, 0, 0};
  device_->submit(transfer);
  EXPECT_EQ(transfer.status, TransferStatus::invalid);
  Transfer& huge = make(0x83, 30, TransferType::isochronous, 2);
  for (IsoPacket& packet : huge.packets()) packet = {0x8000000f, 0, 0, 0};  // sums to 30 in 32 bits
  device_->submit(huge);
  EXPECT_EQ(huge.status, TransferStatus::invalid);
  EXPECT_TRUE(usb_.in_flight.empty());
}

TEST_F(UsbIsochronous, ObjectsArePooledByPacketCount) {
  for (const uint16_t packets : {1, 8, 8, 5, 1024, 1000, 9}) {
    Transfer& transfer = make(0x04, packets, TransferType::isochronous, packets);
    for (IsoPacket& packet : transfer.packets()) packet = {1, 0, 0, 0};
    device_->submit(transfer);
    ASSERT_EQ(usb_.in_flight.size(), 1u);
    BusTransfer* sent = usb_.in_flight[0];
    ASSERT_EQ(sent->packets.size(), packets);
    for (int i = 0; i < packets; ++i) {
      sent->packets[i].actual = 1;
      sent->packets[i].status = static_cast<uint32_t>(TransferStatus::ok);
    }
    usb_.complete(sent, TransferStatus::ok, 0);
    ASSERT_TRUE(wait_for(transfer));
    EXPECT_EQ(transfer.actual, packets);
  }
  EXPECT_EQ(device_->pooled_transfers(), 3u);  // up to 8, up to 16, up to 1024
}

}  // namespace
}  // namespace farport::test
