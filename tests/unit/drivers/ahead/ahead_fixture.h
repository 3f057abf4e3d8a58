// A device at B, and at A its consumer behind an AheadDriver, with a real session between them:
// what a consumer sees with rules and without, and in how many round trips.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "drivers/ahead/ahead_driver.h"
#include "drivers/initiator/initiator.h"
#include "tests/unit/dataplane/session_fixture.h"
#include "tests/unit/drivers/ahead/packet_disk.h"

namespace farport {

// AheadDriver on the simulated loop; the driver behind it is started by `start_inner`.
class SimulatedAhead final : public Driver {
 public:
  using StartInner = std::function<Result<void>(Driver&, DriverPort&)>;
  SimulatedAhead(Loop& loop, std::unique_ptr<Driver> driver, RuleSwitches switches,
                 StartInner start_inner)
      : loop_(loop),
        ahead_(std::move(driver), std::move(switches)),
        start_inner_(std::move(start_inner)) {}
  std::string_view name() const override { return ahead_.name(); }
  std::string path() const override { return ahead_.path(); }
  Result<void> start(Worker&, DriverPort& port) override {
    return ahead_.start_on(loop_, port, start_inner_);
  }
  void completed(Transfer& transfer) override { ahead_.completed(transfer); }
  void unplugged(std::string_view reason) override { ahead_.unplugged(reason); }
  void stop() override { ahead_.stop(); }
  std::vector<RuleFigures> rule_figures() const override { return ahead_.rule_figures(); }

 private:
  Loop& loop_;
  AheadDriver ahead_;
  StartInner start_inner_;
};

class AheadFixture : public SessionFixture {
 protected:
  // One transfer of the consumer, as it sees it.
  struct Seen {
    bool back = false;
    TransferStatus status = TransferStatus::ok;
    uint32_t actual = 0;
    std::vector<std::byte> bytes{};  // IN
    bool operator==(const Seen&) const = default;
  };

  ~AheadFixture() override { leave(); }

  // Ends the session while the consumer is still there to hear of it.
  void leave() {
    if (a_.session && !a_.closed) a_.session->close({ErrorCode::failed, "test over"});
    run();
  }

  void attach(std::unique_ptr<Device> device, const DeviceInfo& info, RuleSwitches switches) {
    auto consumer = std::make_unique<FakeDriver>();
    consumer_ = consumer.get();
    consumer_->on_completed = [this](Transfer& transfer) { back(transfer); };
    attach(std::move(device), info, std::move(switches), std::move(consumer),
           [this](Driver& driver, DriverPort& port) { return driver.start(*worker_, port); });
  }
  void attach(std::unique_ptr<Device> device, const DeviceInfo& info, RuleSwitches switches,
              std::unique_ptr<Driver> consumer, SimulatedAhead::StartInner start_inner) {
    start();
    constexpr uint64_t credit = limits::usb_channel_credit_bytes;
    channel_ = a_.session->add_driver_channel(1, a_);
    DeviceChannel* device_channel =
        b_.session->add_device_channel(1, std::move(device), 0, credit, b_);
    ASSERT_TRUE(channel_ != nullptr && device_channel != nullptr);
    // A device channel is started by the session when it is added.
    channel_->start(info, 0, credit,
                    std::make_unique<SimulatedAhead>(loop_, std::move(consumer),
                                                     std::move(switches), std::move(start_inner)));
    run();
  }
  void attach_packets(bool with_rule) {
    auto disk = std::make_unique<PacketDisk>();
    disk_ = disk.get();
    const DeviceInfo info = disk->info();
    attach(std::move(disk), info,
           with_rule ? RuleSwitches{} : RuleSwitches{.on = {}, .off = {"mass-storage"}});
  }

  // --- the consumer ---

  // Numbers of transfers, in the order of their submission; what became of each is in seen_.
  size_t submit(Transfer& transfer) {
    const size_t number = seen_.size();
    seen_.emplace_back();
    transfer.driver_cookie = number;
    flying_[number] = &transfer;
    consumer_->port->submit(transfer);
    return number;
  }
  size_t ask(uint32_t bytes, uint8_t flags = 0) {
    Transfer& transfer = *consumer_->port->allocate(bytes);
    transfer.type = TransferType::bulk;
    transfer.endpoint = PacketDisk::in;
    transfer.flags = flags;
    return submit(transfer);
  }
  size_t send(std::span<const std::byte> bytes) {
    Transfer& transfer = *consumer_->port->allocate(static_cast<uint32_t>(bytes.size()));
    transfer.type = TransferType::bulk;
    transfer.endpoint = PacketDisk::out;
    std::copy(bytes.begin(), bytes.end(), transfer.data().begin());
    return submit(transfer);
  }
  size_t control(const std::array<uint8_t, 8>& setup) {
    Transfer& transfer = *consumer_->port->allocate(0);
    transfer.setup = setup;
    return submit(transfer);
  }
  size_t clear_halt(uint8_t endpoint) { return control(make_setup(0x02, 1, 0, endpoint, 0)); }
  size_t bulk_reset() { return control(make_setup(0x21, 0xff, 0, 0, 0)); }
  size_t port_reset() { return control(make_setup(0x23, 3, 4, 0, 0)); }
  // A CBW; `tag_` is its tag.
  size_t command(uint32_t data_bytes, bool in) {
    std::array<std::byte, 31> wrapper{};
    const uint32_t words[] = {0x43425355, ++tag_, data_bytes};
    std::memcpy(wrapper.data(), words, sizeof words);
    if (in) wrapper[12] = std::byte{0x80};
    wrapper[14] = std::byte{6};
    return send(wrapper);
  }
  std::vector<std::byte> pattern(uint32_t bytes, uint32_t from = 0) const {
    std::vector<std::byte> data;
    for (uint32_t i = 0; i < bytes; ++i) data.push_back(PacketDisk::data_at(tag_, from + i));
    return data;
  }
  void cancel(size_t number) {
    if (const auto found = flying_.find(number); found != flying_.end()) {
      consumer_->port->cancel(*found->second);
    }
  }

  void back(Transfer& transfer) {
    Seen& seen = seen_[transfer.driver_cookie];
    EXPECT_FALSE(std::exchange(seen.back, true)) << "a transfer came back twice";
    seen.status = transfer.status;
    seen.actual = transfer.actual;
    if (transfer.in()) seen.bytes.assign(transfer.moved().begin(), transfer.moved().end());
    flying_.erase(transfer.driver_cookie);
    order_.push_back(transfer.driver_cookie);
    consumer_->port->release(transfer);
  }

  // --- time ---

  // Everything on the way to B arrives and is worked on, then everything on the way to A.
  void round_trip() {
    one_way(a_);
    one_way(b_);
    settle();
  }
  void one_way(Host& from) {
    settle();
    while (moving(from)) {
      from.link->arrive();
    }
    settle();
  }
  void settle() {
    for (int i = 0; i < 8; ++i) loop_.flush();
  }
  // How many until the transfer is back; 0: it was answered at once.
  int round_trips_to(size_t number) {
    settle();
    int count = 0;
    for (; !seen_[number].back && count < 20; ++count) round_trip();
    return count;
  }
  RuleFigures figures() const { return channel_->driver()->rule_figures().at(0); }

  DriverChannel* channel_ = nullptr;
  FakeDriver* consumer_ = nullptr;
  PacketDisk* disk_ = nullptr;
  uint32_t tag_ = 0;
  std::vector<Seen> seen_;
  std::map<size_t, Transfer*> flying_;
  std::vector<size_t> order_;
};

}  // namespace farport
