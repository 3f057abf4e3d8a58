// Transfers by usbfs, against a kernel that does what the test says: how they are cut into URBs,
// how URBs become results, and how often the kernel is asked.
#include "devices/usb/usbfs_transfers.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <functional>
#include <random>
#include <vector>

namespace farport::test {
namespace {

class ScriptedUsbfs final : public UsbfsIoctls {
 public:
  explicit ScriptedUsbfs(uint32_t capabilities) : capabilities_(capabilities) {}

  int capabilities(uint32_t& capabilities) override {
    capabilities = capabilities_;
    return 0;
  }
  int submit(usbdevfs_urb& urb) override {
    if (const int error = refuse ? refuse(submitted++) : 0) return error;
    in_flight.push_back(&urb);
    return 0;
  }
  int reap(usbdevfs_urb*& urb) override {
    ++reaps;
    if (done.empty()) return EAGAIN;
    urb = done.front();
    done.pop_front();
    return 0;
  }
  int discard(usbdevfs_urb& urb) override {
    discarded.push_back(&urb);
    if (std::ranges::find(in_flight, &urb) == in_flight.end()) return EINVAL;
    end(urb, -ENOENT, 0);
    return 0;
  }
  // The host controller is done with it.
  void end(usbdevfs_urb& urb, int status, int actual) {
    ASSERT_EQ(std::erase(in_flight, &urb), 1u);
    urb.status = status;
    urb.actual_length = actual;
    done.push_back(&urb);
  }

  std::function<int(size_t)> refuse;  // the errno that submission number n gets
  size_t submitted = 0;
  std::vector<usbdevfs_urb*> in_flight, discarded;
  std::deque<usbdevfs_urb*> done;
  int reaps = 0;

 private:
  uint32_t capabilities_;
};

constexpr uint32_t gathers = USBDEVFS_CAP_BULK_SCATTER_GATHER | USBDEVFS_CAP_BULK_CONTINUATION;
constexpr uint32_t continues = USBDEVFS_CAP_BULK_CONTINUATION;

class UsbfsTransfersTest : public testing::Test {
 protected:
  explicit UsbfsTransfersTest(uint32_t capabilities = gathers)
      : kernel_(capabilities), usbfs_(kernel_), memory_(1 << 20) {}

  BusTransfer make(TransferType type, uint8_t endpoint, uint32_t length) {
    BusTransfer transfer;
    transfer.type = type;
    transfer.endpoint = endpoint;
    transfer.data = memory_.data();
    transfer.length = length;
    transfer.owner = this;
    transfer.completed = [](BusTransfer& done) {
      static_cast<UsbfsTransfersTest*>(done.owner)->done_.push_back(&done);
    };
    return transfer;
  }
  size_t completions(const BusTransfer& transfer) const {
    return static_cast<size_t>(std::ranges::count(done_, &transfer));
  }
  // Wakes as a ring would: while the node says that something has completed.
  int wake_until_quiet() {
    int wakes = 0;
    for (; !kernel_.done.empty(); ++wakes) usbfs_.handle_events(POLLOUT);
    return wakes;
  }

  ScriptedUsbfs kernel_;
  UsbfsTransfers usbfs_;
  std::vector<std::byte> memory_;
  std::vector<const BusTransfer*> done_;
};

class UsbfsCutTransfers : public UsbfsTransfersTest {
 protected:
  UsbfsCutTransfers() : UsbfsTransfersTest(continues) {}
};

TEST_F(UsbfsTransfersTest, OneUrbCarriesWhatOneUrbCan) {
  const struct {
    TransferType type;
    uint8_t endpoint, urb_type;
    uint32_t length;
    bool zero_packet;
    unsigned flags;
  } cases[] = {
      {TransferType::control, 0, USBDEVFS_URB_TYPE_CONTROL, 8, false, 0},
      {TransferType::control, 0, USBDEVFS_URB_TYPE_CONTROL, 8 + 65535, false, 0},
      {TransferType::interrupt, 0x83, USBDEVFS_URB_TYPE_INTERRUPT, 64, false, 0},
      {TransferType::bulk, 0x81, USBDEVFS_URB_TYPE_BULK, 0, false, 0},
      {TransferType::bulk, 0x81, USBDEVFS_URB_TYPE_BULK, 1 << 20, false, 0},
      {TransferType::bulk, 0x81, USBDEVFS_URB_TYPE_BULK, 512, true, 0},  // means nothing for IN
      {TransferType::bulk, 0x02, USBDEVFS_URB_TYPE_BULK, 512, true, USBDEVFS_URB_ZERO_PACKET},
  };
  for (const auto& test : cases) {
    BusTransfer transfer = make(test.type, test.endpoint, test.length);
    transfer.zero_packet = test.zero_packet;
    ASSERT_EQ(usbfs_.submit(transfer), TransferStatus::ok);
    ASSERT_EQ(kernel_.in_flight.size(), 1u);
    usbdevfs_urb& urb = *kernel_.in_flight[0];
    EXPECT_EQ(urb.type, test.urb_type);
    EXPECT_EQ(urb.endpoint, test.endpoint);
    EXPECT_EQ(urb.flags, test.flags);
    EXPECT_EQ(urb.buffer, memory_.data());
    EXPECT_EQ(urb.buffer_length, static_cast<int>(test.length));
    EXPECT_EQ(urb.signr, 0u);
    const int moved =
        test.type == TransferType::control ? urb.buffer_length - 8 : urb.buffer_length;
    kernel_.end(urb, 0, moved);
    wake_until_quiet();
    EXPECT_EQ(completions(transfer), 1u);
    EXPECT_EQ(transfer.status, TransferStatus::ok);
    EXPECT_EQ(transfer.actual, static_cast<uint32_t>(moved));
    done_.clear();
  }
}

TEST_F(UsbfsTransfersTest, EveryEndHasItsStatus) {
  const struct {
    int from;
    TransferStatus to;
  } cases[] = {
      {0, TransferStatus::ok},
      {-EREMOTEIO, TransferStatus::ok},
      {-ENOENT, TransferStatus::cancelled},
      {-ECONNRESET, TransferStatus::cancelled},
      {-ENODEV, TransferStatus::unplugged},
      {-ESHUTDOWN, TransferStatus::unplugged},
      {-EPIPE, TransferStatus::stall},
      {-EOVERFLOW, TransferStatus::overflow},
      {-ETIMEDOUT, TransferStatus::timed_out},
      {-EXDEV, TransferStatus::late},
      {-EPROTO, TransferStatus::protocol},
      {-EILSEQ, TransferStatus::protocol},
      {-ETIME, TransferStatus::protocol},
      {-12345, TransferStatus::protocol},
  };
  for (const auto& test : cases) {
    BusTransfer transfer = make(TransferType::bulk, 0x81, 512);
    ASSERT_EQ(usbfs_.submit(transfer), TransferStatus::ok);
    kernel_.end(*kernel_.in_flight[0], test.from, 7);
    wake_until_quiet();
    EXPECT_EQ(transfer.status, test.to) << test.from;
    EXPECT_EQ(transfer.actual, 7u);
  }
  BusTransfer strange = make(TransferType::bulk, 0x81, 512);
  ASSERT_EQ(usbfs_.submit(strange), TransferStatus::ok);
  kernel_.end(*kernel_.in_flight[0], 0, 100'000);
  wake_until_quiet();
  EXPECT_EQ(strange.actual, 512u);
}

TEST_F(UsbfsTransfersTest, ARefusedOneIsNotInFlight) {
  const struct {
    int error;
    TransferStatus status;
  } cases[] = {
      {ENOMEM, TransferStatus::no_memory},  // past usbfs_memory_mb
      {EINVAL, TransferStatus::invalid},      {EMSGSIZE, TransferStatus::invalid},
      {ENOENT, TransferStatus::invalid},      {ENODEV, TransferStatus::unplugged},
      {ESHUTDOWN, TransferStatus::unplugged}, {EPIPE, TransferStatus::protocol},
  };
  for (const auto& test : cases) {
    kernel_.refuse = [&](size_t) { return test.error; };
    BusTransfer transfer = make(TransferType::bulk, 0x81, 512);
    EXPECT_EQ(usbfs_.submit(transfer), test.status) << test.error;
  }
  usbfs_.handle_events(POLLOUT);
  EXPECT_TRUE(done_.empty());
  EXPECT_EQ(kernel_.reaps, 0);  // nothing is in flight: nothing is asked
}

TEST_F(UsbfsTransfersTest, CancelledOnesCompleteAsTheyEnded) {
  BusTransfer first = make(TransferType::bulk, 0x81, 512);
  BusTransfer second = make(TransferType::bulk, 0x02, 512);
  ASSERT_EQ(usbfs_.submit(first), TransferStatus::ok);
  ASSERT_EQ(usbfs_.submit(second), TransferStatus::ok);
  kernel_.end(*kernel_.in_flight[0], 0, 512);  // before the cancel comes
  usbfs_.cancel(first);
  usbfs_.cancel(second);
  wake_until_quiet();
  EXPECT_EQ(first.status, TransferStatus::ok);
  EXPECT_EQ(first.actual, 512u);
  EXPECT_EQ(second.status, TransferStatus::cancelled);
}

TEST_F(UsbfsCutTransfers, LongBulkIsCutIntoContinuations) {
  constexpr uint32_t piece = UsbfsTransfers::piece_bytes;
  const struct {
    uint8_t endpoint;
    uint32_t length;
    std::vector<int> lengths;
  } cases[] = {
      {0x81, 0, {0}},
      {0x81, piece, {piece}},
      {0x81, piece + 1, {piece, 1}},
      {0x81, 3 * piece, {piece, piece, piece}},
      {0x02, 2 * piece + 512, {piece, piece, 512}},
  };
  for (const auto& test : cases) {
    BusTransfer transfer = make(TransferType::bulk, test.endpoint, test.length);
    transfer.zero_packet = true;
    ASSERT_EQ(usbfs_.submit(transfer), TransferStatus::ok);
    const auto urbs = kernel_.in_flight;
    ASSERT_EQ(urbs.size(), test.lengths.size());
    const bool in = test.endpoint & 0x80;
    for (size_t i = 0; i < urbs.size(); ++i) {
      const bool last = i + 1 == urbs.size();
      EXPECT_EQ(urbs[i]->buffer, memory_.data() + i * piece);
      EXPECT_EQ(urbs[i]->buffer_length, test.lengths[i]);
      EXPECT_EQ(urbs[i]->flags, (i > 0 ? USBDEVFS_URB_BULK_CONTINUATION : 0u) |
                                    (in && !last ? USBDEVFS_URB_SHORT_NOT_OK : 0u) |
                                    (!in && last ? USBDEVFS_URB_ZERO_PACKET : 0u));
      kernel_.end(*urbs[i], 0, test.lengths[i]);
      if (!last) {
        wake_until_quiet();
        EXPECT_TRUE(done_.empty());  // not before all of it is back
      }
    }
    wake_until_quiet();
    EXPECT_EQ(completions(transfer), 1u);
    EXPECT_EQ(transfer.actual, test.length);
    done_.clear();
  }
  // What has no continuations is whole.
  BusTransfer interrupt = make(TransferType::interrupt, 0x83, 2 * piece);
  ASSERT_EQ(usbfs_.submit(interrupt), TransferStatus::ok);
  EXPECT_EQ(kernel_.in_flight.size(), 1u);
}

TEST_F(UsbfsCutTransfers, TheFirstPieceThatIsShortOrFailsIsTheEnd) {
  constexpr int piece = UsbfsTransfers::piece_bytes;
  struct End {
    int status, actual;
  };
  const struct {
    End ends[4];
    TransferStatus status;
    int actual;
  } cases[] = {
      {{{0, piece}, {-EREMOTEIO, 5}, {-ECONNRESET, 0}, {-ECONNRESET, 0}},
       TransferStatus::ok,
       piece + 5},
      {{{-EREMOTEIO, 0}, {-ECONNRESET, 0}, {-ECONNRESET, 0}, {-ECONNRESET, 0}},
       TransferStatus::ok,
       0},
      {{{0, piece}, {0, piece}, {-EPIPE, 512}, {-ECONNRESET, 0}},
       TransferStatus::stall,
       2 * piece + 512},
      {{{0, piece}, {0, piece}, {0, piece}, {0, 7}}, TransferStatus::ok, 3 * piece + 7},
      {{{0, piece}, {-ENOENT, 0}, {-ENOENT, 0}, {-ENOENT, 0}}, TransferStatus::cancelled, piece},
  };
  for (const auto& test : cases) {
    BusTransfer transfer = make(TransferType::bulk, 0x81, 4 * piece);
    ASSERT_EQ(usbfs_.submit(transfer), TransferStatus::ok);
    const auto urbs = kernel_.in_flight;
    ASSERT_EQ(urbs.size(), 4u);
    for (size_t i = 0; i < 4; ++i) kernel_.end(*urbs[i], test.ends[i].status, test.ends[i].actual);
    wake_until_quiet();
    EXPECT_EQ(transfer.status, test.status);
    EXPECT_EQ(transfer.actual, static_cast<uint32_t>(test.actual));
  }
}

TEST_F(UsbfsCutTransfers, APieceThatIsRefusedEndsTheTransfer) {
  constexpr int piece = UsbfsTransfers::piece_bytes;
  kernel_.refuse = [](size_t n) { return n == 2 ? ENOMEM : 0; };
  BusTransfer transfer = make(TransferType::bulk, 0x81, 4 * piece);
  ASSERT_EQ(usbfs_.submit(transfer), TransferStatus::ok);
  EXPECT_TRUE(transfer.broken);
  const auto urbs = kernel_.in_flight;
  ASSERT_EQ(urbs.size(), 2u);
  usbfs_.cancel(transfer);
  EXPECT_EQ(kernel_.discarded, (std::vector<usbdevfs_urb*>{urbs[1], urbs[0]}));  // newest first
  wake_until_quiet();
  EXPECT_EQ(completions(transfer), 1u);
  EXPECT_EQ(transfer.status, TransferStatus::no_memory);

  // EREMOTEIO: a piece before it was short already.
  kernel_.refuse = [](size_t n) { return n == 5 ? EREMOTEIO : 0; };
  BusTransfer ended = make(TransferType::bulk, 0x81, 4 * piece);
  ASSERT_EQ(usbfs_.submit(ended), TransferStatus::ok);
  EXPECT_FALSE(ended.broken);
  const auto before = kernel_.in_flight;
  ASSERT_EQ(before.size(), 2u);
  kernel_.end(*before[0], 0, piece);
  kernel_.end(*before[1], -EREMOTEIO, 9);
  wake_until_quiet();
  EXPECT_EQ(ended.status, TransferStatus::ok);
  EXPECT_EQ(ended.actual, static_cast<uint32_t>(piece + 9));
}

TEST_F(UsbfsTransfersTest, IsochronousIsCutByPackets) {
  for (const size_t count : {1, 128, 129, 300, 1024}) {
    std::vector<IsoPacket> packets(count);
    uint32_t length = 0;
    for (size_t i = 0; i < count; ++i) {
      packets[i].length = static_cast<uint32_t>(10 + i % 3);
      length += packets[i].length;
    }
    BusTransfer transfer = make(TransferType::isochronous, 0x83, length);
    transfer.packets = packets;
    ASSERT_EQ(usbfs_.submit(transfer), TransferStatus::ok);
    const auto urbs = kernel_.in_flight;
    ASSERT_EQ(urbs.size(), (count + 127) / 128);
    size_t packet = 0, place = 0;
    for (usbdevfs_urb* urb : urbs) {
      EXPECT_EQ(urb->type, USBDEVFS_URB_TYPE_ISO);
      EXPECT_EQ(urb->flags, unsigned{USBDEVFS_URB_ISO_ASAP});
      EXPECT_EQ(urb->buffer, memory_.data() + place);
      int bytes = 0;
      for (int i = 0; i < urb->number_of_packets; ++i, ++packet) {
        usbdevfs_iso_packet_desc& to = urb->iso_frame_desc[i];
        ASSERT_EQ(to.length, packets[packet].length);
        bytes += static_cast<int>(to.length);
        // Each third fails, each fourth says that it moved more than it was asked for.
        to.status = packet % 3 == 2 ? static_cast<unsigned>(-EXDEV) : 0;
        to.actual_length = packet % 4 == 3 ? 4096 : static_cast<unsigned>(packet % 10);
      }
      EXPECT_EQ(urb->buffer_length, bytes);
      place += static_cast<size_t>(bytes);
      kernel_.end(*urb, 0, 0);
    }
    ASSERT_EQ(packet, count);
    wake_until_quiet();
    ASSERT_EQ(completions(transfer), 1u);
    EXPECT_EQ(transfer.status, TransferStatus::ok);
    for (size_t i = 0; i < count; ++i) {
      const auto status = i % 3 == 2 ? TransferStatus::late : TransferStatus::ok;
      EXPECT_EQ(packets[i].status, static_cast<uint32_t>(status)) << i;
      EXPECT_EQ(packets[i].actual, i % 4 == 3 ? packets[i].length : i % 10) << i;
    }
    done_.clear();
  }
}

TEST_F(UsbfsTransfersTest, PacketsThatWereNeverSentMovedNothing) {
  std::vector<IsoPacket> packets(200, IsoPacket{8, 77, 77, 0});
  BusTransfer transfer = make(TransferType::isochronous, 0x83, 1600);
  transfer.packets = packets;
  kernel_.refuse = [](size_t n) { return n == 1 ? ENOMEM : 0; };
  ASSERT_EQ(usbfs_.submit(transfer), TransferStatus::ok);
  EXPECT_TRUE(transfer.broken);
  usbfs_.cancel(transfer);
  wake_until_quiet();
  EXPECT_EQ(transfer.status, TransferStatus::no_memory);
  for (size_t i = 128; i < 200; ++i) {
    EXPECT_EQ(packets[i].actual, 0u);
    EXPECT_EQ(packets[i].status, static_cast<uint32_t>(TransferStatus::cancelled));
  }
}

TEST_F(UsbfsTransfersTest, OneThatCompletesCostsOneReap) {
  constexpr int transfers = 1000;
  BusTransfer waiting = make(TransferType::interrupt, 0x83, 8);  // always in flight, as a mouse's
  BusTransfer transfer = make(TransferType::bulk, 0x81, 512);
  ASSERT_EQ(usbfs_.submit(waiting), TransferStatus::ok);
  for (int i = 0; i < transfers; ++i) {
    ASSERT_EQ(usbfs_.submit(transfer), TransferStatus::ok);
    kernel_.end(*kernel_.in_flight.back(), 0, 512);
    EXPECT_EQ(wake_until_quiet(), 1);
  }
  EXPECT_EQ(completions(transfer), size_t{transfers});
  EXPECT_GE(kernel_.reaps, transfers);
  EXPECT_LE(kernel_.reaps, transfers * 9 / 8);
}

TEST_F(UsbfsTransfersTest, ManyThatCompleteTogetherTakeFewWakes) {
  constexpr int rounds = 100, depth = 16;
  std::vector<BusTransfer> transfers(depth);
  int wakes = 0;
  for (int round = 0; round < rounds; ++round) {
    for (BusTransfer& transfer : transfers) {
      transfer = make(TransferType::bulk, 0x81, 512);
      ASSERT_EQ(usbfs_.submit(transfer), TransferStatus::ok);
    }
    for (usbdevfs_urb* urb : std::vector(kernel_.in_flight)) kernel_.end(*urb, 0, 512);
    wakes += wake_until_quiet();
  }
  EXPECT_EQ(done_.size(), size_t{rounds * depth});
  EXPECT_LE(wakes, 2 * rounds);
}

TEST_F(UsbfsTransfersTest, ADeviceThatIsGoneTellsAllThatItHad) {
  constexpr size_t depth = 100;
  std::vector<BusTransfer> transfers(depth);
  for (BusTransfer& transfer : transfers) {
    transfer = make(TransferType::bulk, 0x81, 512);
    ASSERT_EQ(usbfs_.submit(transfer), TransferStatus::ok);
  }
  const auto urbs = kernel_.in_flight;
  for (size_t i = 0; i < depth; ++i) {
    kernel_.end(*urbs[i], i == 0 ? 0 : i == 1 ? -ESHUTDOWN : -ENOENT, i == 0 ? 512 : 0);
  }
  EXPECT_FALSE(usbfs_.disconnected());
  usbfs_.handle_events(POLLOUT | POLLHUP | POLLERR);
  EXPECT_TRUE(usbfs_.disconnected());
  ASSERT_EQ(done_.size(), depth);
  EXPECT_EQ(transfers[0].status, TransferStatus::ok);
  EXPECT_EQ(transfers[0].actual, 512u);
  for (size_t i = 1; i < depth; ++i) EXPECT_EQ(transfers[i].status, TransferStatus::unplugged);
}

TEST_F(UsbfsCutTransfers, ACancelHalfwayKeepsWhatHadMoved) {
  constexpr int piece = UsbfsTransfers::piece_bytes;
  BusTransfer transfer = make(TransferType::bulk, 0x81, 4 * piece);
  ASSERT_EQ(usbfs_.submit(transfer), TransferStatus::ok);
  kernel_.end(*kernel_.in_flight[0], 0, piece);
  kernel_.end(*kernel_.in_flight[0], 0, piece);
  wake_until_quiet();
  EXPECT_TRUE(done_.empty());
  usbfs_.cancel(transfer);
  wake_until_quiet();
  EXPECT_EQ(completions(transfer), 1u);
  EXPECT_EQ(transfer.status, TransferStatus::cancelled);
  EXPECT_EQ(transfer.actual, static_cast<uint32_t>(2 * piece));
}

TEST_F(UsbfsTransfersTest, ACompletionMaySubmitAgain) {
  BusTransfer transfer = make(TransferType::bulk, 0x81, 512);
  struct Loop {
    UsbfsTransfers& usbfs;
    int left;
  } loop{usbfs_, 100};
  transfer.owner = &loop;
  transfer.completed = [](BusTransfer& done) {
    auto& loop = *static_cast<Loop*>(done.owner);
    if (--loop.left == 0) return;
    EXPECT_EQ(loop.usbfs.submit(done), TransferStatus::ok);
  };
  ASSERT_EQ(usbfs_.submit(transfer), TransferStatus::ok);
  while (!kernel_.in_flight.empty()) {
    kernel_.end(*kernel_.in_flight[0], 0, 512);
    wake_until_quiet();
  }
  EXPECT_EQ(loop.left, 0);
}

// A device that answers each transfer with so many bytes, or fails it after them, under a kernel
// that ends what continues it: whatever is refused and however late things are reaped, each that
// was taken completes once, with those bytes.
TEST_F(UsbfsCutTransfers, EachCompletesOnceWithItsBytes) {
  struct Asked {
    BusTransfer transfer;
    uint32_t moves = 0;
    bool fails = false;
  };
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    std::vector<std::unique_ptr<Asked>> taken;
    size_t served = 0;
    kernel_.refuse = [&](size_t) { return random() % 32 == 0 ? ENOMEM : 0; };
    const auto submit = [&] {
      auto asked = std::make_unique<Asked>();
      const uint8_t endpoint = random() % 2 ? 0x81 : 0x02;
      asked->transfer = make(TransferType::bulk, endpoint, random() % 100'000);
      asked->moves = random() % 3 ? asked->transfer.length
                                  : static_cast<uint32_t>(random() % (asked->transfer.length + 1));
      asked->fails = random() % 8 == 0;
      BusTransfer& transfer = asked->transfer;
      if (usbfs_.submit(transfer) != TransferStatus::ok) return;
      if (transfer.broken) usbfs_.cancel(transfer);
      taken.push_back(std::move(asked));
    };
    const auto serve = [&] {
      Asked& asked = *taken[served++];
      if (asked.transfer.broken) return;
      int left = static_cast<int>(asked.moves);
      bool ended = false;
      for (size_t i = 0; i < asked.transfer.urbs.size(); ++i) {
        usbdevfs_urb& urb = asked.transfer.urbs[i];
        if (ended) {
          kernel_.end(urb, -ECONNRESET, 0);
          continue;
        }
        const int moved = std::min(left, urb.buffer_length);
        left -= moved;
        const bool last = i + 1 == asked.transfer.urbs.size();
        ended = moved < urb.buffer_length || (asked.fails && left == 0) || last;
        const bool strict = (urb.flags & USBDEVFS_URB_SHORT_NOT_OK) != 0;
        const bool is_short = moved < urb.buffer_length;
        kernel_.end(urb,
                    ended && asked.fails ? -EPIPE
                    : is_short && strict ? -EREMOTEIO
                                         : 0,
                    moved);
      }
    };
    for (int step = 0; step < 300; ++step) {
      const auto what = random() % 3;
      if (what == 0) submit();
      if (what == 1 && served < taken.size()) serve();
      if (what == 2) usbfs_.handle_events(POLLOUT);
    }
    while (served < taken.size()) serve();
    wake_until_quiet();
    EXPECT_EQ(done_.size(), taken.size());
    for (const auto& one : taken) {
      EXPECT_EQ(completions(one->transfer), 1u);
      if (one->transfer.broken) {
        EXPECT_EQ(one->transfer.status, TransferStatus::no_memory);
        EXPECT_EQ(one->transfer.actual, 0u);
      } else {
        EXPECT_EQ(one->transfer.status, one->fails ? TransferStatus::stall : TransferStatus::ok);
        EXPECT_EQ(one->transfer.actual, one->moves);
      }
    }
    done_.clear();
    if (HasFailure()) return;
  }
}

TEST_F(UsbfsTransfersTest, WhatComesAfterTheEndIsNotLookedAt) {
  BusTransfer transfer = make(TransferType::bulk, 0x81, 512);
  ASSERT_EQ(usbfs_.submit(transfer), TransferStatus::ok);
  usbfs_.handle_events(POLLERR);  // the kernel forgot it
  EXPECT_TRUE(usbfs_.disconnected());
  const int reaps = kernel_.reaps;
  kernel_.end(*kernel_.in_flight[0], 0, 512);
  usbfs_.handle_events(POLLOUT | POLLERR);
  EXPECT_EQ(kernel_.reaps, reaps);
  EXPECT_TRUE(done_.empty());
}

// A slot that is used again has nothing of its last transfer, nor of what a peer wrote.
TEST_F(UsbfsTransfersTest, WhatNeverEndedHasMovedNothing) {
  std::vector<IsoPacket> packets(3, IsoPacket{8, 0xffffffff, 0, 0});
  BusTransfer transfer = make(TransferType::isochronous, 0x83, 24);
  transfer.packets = packets;
  transfer.actual = 4096;
  ASSERT_EQ(usbfs_.submit(transfer), TransferStatus::ok);
  EXPECT_EQ(transfer.actual, 0u);
  for (const IsoPacket& packet : packets) {
    EXPECT_EQ(packet.actual, 0u);
    EXPECT_EQ(packet.status, static_cast<uint32_t>(TransferStatus::cancelled));
  }
}

}  // namespace
}  // namespace farport::test
