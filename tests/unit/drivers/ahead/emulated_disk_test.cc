// The mass-storage rule between the emulated disk and the in-process USB host: whole reads and
// writes, and what the host does about faults.
#include <random>

#include "devices/emulated/disk.h"
#include "drivers/initiator/mass_storage.h"
#include "tests/unit/drivers/ahead/ahead_fixture.h"

namespace farport {
namespace {

class EmulatedDiskTest : public AheadFixture {
 protected:
  void attach_disk(EmulatedDeviceSettings settings, bool with_rule) {
    settings.name = "DISK0";
    settings.size_bytes = 1 << 20;
    storage_ = *DiskStorage::in_memory(settings.size_bytes);
    auto disk = std::make_unique<EmulatedDisk>(settings, storage_);
    const DeviceInfo info = disk->info();
    auto initiator = std::make_unique<Initiator>();
    initiator_ = initiator.get();
    attach(std::move(disk), info,
           with_rule ? RuleSwitches{} : RuleSwitches{.on = {}, .off = {"mass-storage"}},
           std::move(initiator), [this](Driver& driver, DriverPort& port) {
             return static_cast<Initiator&>(driver).start_on(loop_, port);
           });
    ASSERT_TRUE(initiator_->ready()) << initiator_->failure();
    host_ = std::make_unique<MassStorage>(*initiator_, 16 << 10);
  }
  ~EmulatedDiskTest() override {
    host_.reset();
    leave();
  }
  std::vector<std::byte> read(uint64_t block, size_t bytes) {
    std::vector<std::byte> data(bytes);
    bool done = false;
    host_->read(block, data, [&done](Result<void> outcome) {
      done = true;
      EXPECT_TRUE(outcome) << outcome.error().message;
    });
    run();
    EXPECT_TRUE(done);
    return data;
  }
  void write(uint64_t block, std::span<const std::byte> data) {
    bool done = false;
    host_->write(block, data, [&done](Result<void> outcome) {
      done = true;
      EXPECT_TRUE(outcome) << outcome.error().message;
    });
    run();
    EXPECT_TRUE(done);
  }

  std::shared_ptr<DiskStorage> storage_;
  Initiator* initiator_ = nullptr;
  std::unique_ptr<MassStorage> host_;
};

TEST_F(EmulatedDiskTest, ReadsWhatWasWritten) {
  attach_disk({}, true);
  std::mt19937 random(1);
  std::vector<std::byte> data(100 << 10);
  for (std::byte& byte : data) byte = static_cast<std::byte>(random());
  write(7, data);
  EXPECT_EQ(read(7, data.size()), data);
  EXPECT_EQ(figures().deviations, 0u);
}

// Stalls and short data every few transfers: each command ends as it does without the rule, and so
// does the disk.
class FaultyDisk : public EmulatedDiskTest {
 public:
  void TestBody() override {}
  std::vector<std::string> play(bool with_rule) {
    EmulatedDeviceSettings settings;
    settings.faults = {
        {.kind = FaultKind::stall, .every = 7, .probability = 0, .times_max = 0},
        {.kind = FaultKind::short_data, .every = 5, .probability = 0, .times_max = 0}};
    attach_disk(settings, with_rule);
    std::mt19937 random(2);
    std::vector<std::string> outcomes;
    std::vector<std::byte> data;
    const auto note = [&outcomes](Result<void> outcome) {
      outcomes.push_back(outcome ? "ok" : outcome.error().message);
    };
    for (int i = 0; i < 200; ++i) {
      data.resize((1 + random() % 100) * 512);
      const uint64_t block = random() % 400;
      if (random() % 2 == 0) {
        for (std::byte& byte : data) byte = static_cast<std::byte>(random());
        host_->write(block, data, note);
        run();
      } else {
        host_->read(block, data, note);
        run();
        const auto bytes =
            std::string_view(reinterpret_cast<const char*>(data.data()), data.size());
        outcomes.push_back(std::to_string(std::hash<std::string_view>()(bytes)));
      }
    }
    return outcomes;
  }
};

TEST(EmulatedDiskFaults, EndAsWithoutTheRule) {
  const auto with = FaultyDisk().play(true);
  const auto without = FaultyDisk().play(false);
  EXPECT_EQ(with, without);
  EXPECT_GT(std::ranges::count(with, "ok"), 100);
}

}  // namespace
}  // namespace farport
