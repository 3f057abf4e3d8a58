// The provider of emulated devices: names, errors in settings, busy, replug, what survives.
#include "devices/emulated/provider.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "dataplane/worker.h"
#include "tests/unit/devices/emulated/emulated_fixture.h"

namespace farport {
namespace {

using Settings = EmulatedDeviceSettings;

class ProviderTest : public EmulatedFixture {
 protected:
  void make(std::vector<Settings> settings) {
    auto made = EmulatedProvider::create(settings);
    ASSERT_TRUE(made) << made.error().message;
    provider_ = std::move(*made);
  }
  std::unique_ptr<EmulatedDevice> open(const std::string& name) {
    auto device = provider_->open(name);
    EXPECT_TRUE(device) << device.error().message;
    if (!device) return nullptr;
    return std::unique_ptr<EmulatedDevice>(dynamic_cast<EmulatedDevice*>(device->release()));
  }
  ErrorCode open_error(const std::string& name) {
    auto device = provider_->open(name);
    return device ? ErrorCode{} : device.error().code;
  }
  // Writes or reads block 0 through the device.
  void write_block(Device& disk, std::byte fill) {
    move_block(disk, 0x2a, 0x00);
    Transfer& data = transfers_.make(TransferType::bulk, EmulatedDisk::endpoint_out, 512);
    std::ranges::fill(data.data(), fill);
    EXPECT_EQ(run(disk, data).status, TransferStatus::ok);
    run(disk, transfers_.make(TransferType::bulk, EmulatedDisk::endpoint_in, 13));
  }
  std::byte read_block(Device& disk) {
    move_block(disk, 0x28, 0x80);
    Transfer& data = run(disk, transfers_.make(TransferType::bulk, EmulatedDisk::endpoint_in, 512));
    EXPECT_EQ(data.status, TransferStatus::ok);
    run(disk, transfers_.make(TransferType::bulk, EmulatedDisk::endpoint_in, 13));
    return data.data()[511];
  }
  void move_block(Device& disk, uint8_t opcode, uint8_t flags) {
    std::vector<std::byte> bytes(31);
    const uint32_t fields[] = {bot::command_signature, 1, 512};
    std::memcpy(bytes.data(), fields, sizeof(fields));
    bytes[12] = std::byte{flags};
    bytes[14] = std::byte{10};
    bytes[15] = std::byte{opcode};
    bytes[23] = std::byte{1};
    EXPECT_EQ(
        run(disk, transfers_.out(TransferType::bulk, EmulatedDisk::endpoint_out, bytes)).status,
        TransferStatus::ok);
  }

  std::unique_ptr<EmulatedProvider> provider_;
};

Settings disk(std::string name) { return {.name = std::move(name), .size_bytes = 1 << 20}; }
Settings port(std::string name) { return {.name = std::move(name), .kind = EmulatedKind::serial}; }

TEST_F(ProviderTest, ListsAllKinds) {
  make({disk("DISK0"), {.name = "LOAD0", .kind = EmulatedKind::source_sink}, port("PORT0")});
  const auto infos = *provider_->list();
  ASSERT_EQ(infos.size(), 3u);
  EXPECT_EQ(infos[0].name, "usb:1d6b:0104:DISK0");
  EXPECT_EQ(infos[1].name, "usb:0525:a4a0:LOAD0");
  EXPECT_EQ(infos[2].name, "serial:PORT0");
  EXPECT_EQ(infos[2].kind, DeviceKind::serial);
  for (const DeviceInfo& info : infos) EXPECT_TRUE(open(info.name));
}

struct Wrong {
  Settings settings;
  const char* says;
};

TEST_F(ProviderTest, WrongSettingsAreNamed) {
  auto odd_size = disk("D");
  odd_size.size_bytes = 1000;
  auto empty = disk("D");
  empty.size_bytes = 0;
  auto slow = disk("D");
  slow.speed = UsbSpeed::low;
  auto fault = disk("D");
  fault.faults = {{.probability = 1.5}};
  auto no_fault = disk("D");
  no_fault.faults = {{}};
  auto silent = port("P");
  silent.serial_mode = SerialMode::chatter;
  silent.lines_s = 0;
  auto nowhere = disk("D");
  nowhere.file = "/nonexistent/folder/disk.img";
  const Wrong table[] = {{disk(""), "name"},
                         {disk("white space"), "name"},
                         {disk(std::string(65, 'x')), "name"},
                         {odd_size, "multiple of 512"},
                         {empty, "size_bytes"},
                         {slow, "speed"},
                         {fault, "probability"},
                         {no_fault, "every"},
                         {silent, "lines_s"},
                         {nowhere, "/nonexistent/folder/disk.img"}};
  for (const Wrong& wrong : table) {
    const auto made = EmulatedProvider::create(std::span(&wrong.settings, 1));
    ASSERT_FALSE(made) << wrong.says;
    EXPECT_NE(made.error().message.find(wrong.says), std::string::npos) << made.error().message;
  }
  const std::vector<Settings> twins{disk("D"), disk("D")};
  EXPECT_FALSE(EmulatedProvider::create(twins));
}

TEST_F(ProviderTest, OneUserAtATime) {
  make({disk("DISK0")});
  auto first = open("usb:1d6b:0104:DISK0");
  EXPECT_EQ(open_error("DISK0"), ErrorCode::busy);
  EXPECT_EQ(provider_->list()->size(), 1u);
  first.reset();
  EXPECT_TRUE(open("DISK0"));
  EXPECT_EQ(open_error("DISK1"), ErrorCode::not_found);
}

TEST_F(ProviderTest, DataSurvivesDetachAndReplug) {
  make({disk("DISK0")});
  {
    auto device = open("DISK0");
    device->start_on(clock_, events_);
    write_block(*device, std::byte{0x42});
    device->stop();
  }
  ASSERT_TRUE(provider_->unplug("DISK0"));
  ASSERT_TRUE(provider_->plug("DISK0"));
  FakeDeviceEvents again;
  auto device = open("DISK0");
  device->start_on(clock_, again);
  EXPECT_EQ(read_block(*device), std::byte{0x42});
}

TEST_F(ProviderTest, UnplugTellsTheDeviceAndTheProvidersUser) {
  make({disk("DISK0"), port("PORT0")});
  int changes = 0;
  provider_->on_change([&changes] { ++changes; });
  auto device = open("DISK0");
  device->start_on(clock_, events_);
  EXPECT_TRUE(provider_->unplug("DISK0"));
  EXPECT_EQ(events_.unplug_reasons.size(), 1u);
  EXPECT_EQ(changes, 1);
  EXPECT_EQ(provider_->list()->size(), 1u);
  EXPECT_EQ(open_error("DISK0"), ErrorCode::not_found);
  EXPECT_TRUE(provider_->unplug("DISK0"));  // nothing changes
  EXPECT_EQ(changes, 1);
  EXPECT_TRUE(provider_->plug("DISK0"));
  EXPECT_EQ(changes, 2);
  EXPECT_EQ(open_error("DISK0"), ErrorCode::busy);  // until the one that is gone was let go
  device->stop();
  device.reset();
  EXPECT_TRUE(open("DISK0"));
  provider_->on_change({});
  EXPECT_TRUE(provider_->unplug("DISK0"));
  EXPECT_EQ(changes, 2);
  EXPECT_EQ(provider_->plug("DISK9").error().code, ErrorCode::not_found);
}

TEST_F(ProviderTest, UnpluggedBetweenOpenAndStart) {
  make({disk("DISK0")});
  auto device = open("DISK0");
  EXPECT_TRUE(provider_->unplug("DISK0"));
  device->start_on(clock_, events_);
  EXPECT_EQ(events_.unplug_reasons.size(), 1u);
  device->stop();
  EXPECT_EQ(events_.stopped, 1);
}

TEST_F(ProviderTest, InjectedUnplugLeavesTheList) {
  make({disk("DISK0")});
  int changes = 0;
  provider_->on_change([&changes] { ++changes; });
  auto device = open("DISK0");
  device->start_on(clock_, events_);
  EXPECT_TRUE(provider_->inject("DISK0", FaultKind::unplug));
  move_block(*device, 0x28, 0x80);
  run(*device, transfers_.make(TransferType::bulk, EmulatedDisk::endpoint_in, 512));
  EXPECT_EQ(events_.unplug_reasons.size(), 1u);
  EXPECT_EQ(changes, 1);
  EXPECT_TRUE(provider_->list()->empty());
}

TEST_F(ProviderTest, DeviceOutlivesItsProvider) {
  make({disk("DISK0")});
  auto device = open("DISK0");
  device->start_on(clock_, events_);
  provider_.reset();
  write_block(*device, std::byte{1});
  device->unplug_now("later");
  EXPECT_EQ(events_.unplug_reasons.size(), 1u);
}

// An unplug from another thread reaches the device on its worker.
TEST_F(ProviderTest, UnplugReachesTheWorker) {
  make({port("PORT0")});
  auto created = Worker::create({});
  if (!created) GTEST_SKIP() << "no io_uring here: " << created.error().message;
  const std::unique_ptr<Worker> worker = std::move(*created);
  auto device = open("PORT0");
  device->start(*worker, events_);
  std::thread other([this] { EXPECT_TRUE(provider_->unplug("PORT0")); });
  EXPECT_TRUE(worker->run_until([this] { return !events_.unplug_reasons.empty(); }, 10 * kSecond));
  other.join();
  device->stop();
  // A message to a device that has gone meanwhile is dropped.
  EXPECT_TRUE(provider_->plug("PORT0"));
  device.reset();
  FakeDeviceEvents again;
  device = open("PORT0");
  device->start(*worker, again);
  EXPECT_TRUE(provider_->unplug("PORT0"));
  device->stop();
  device.reset();
  bool after = false;
  worker->post([&after] { after = true; });
  EXPECT_TRUE(worker->run_until([&after] { return after; }, 10 * kSecond));
  EXPECT_TRUE(again.unplug_reasons.empty());
}

// --- disks in files ---

class FileDiskTest : public ProviderTest {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/farport-emulated-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    file_ = folder_ + "/disk.img";
  }
  void TearDown() override {
    ::unlink(file_.c_str());
    ::rmdir(folder_.c_str());
  }
  Settings file_disk() {
    auto settings = disk("DISK0");
    settings.file = file_;
    return settings;
  }
  std::string folder_, file_;
};

TEST_F(FileDiskTest, IsMadeWrittenAndLocked) {
  make({file_disk()});
  auto device = open("DISK0");
  device->start_on(clock_, events_);
  write_block(*device, std::byte{0x24});
  EXPECT_EQ(read_block(*device), std::byte{0x24});

  const Settings second = file_disk();
  const auto refused = EmulatedProvider::create(std::span(&second, 1));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::busy);

  device->stop();
  device.reset();
  provider_.reset();
  make({file_disk()});
  FakeDeviceEvents again;
  device = open("DISK0");
  device->start_on(clock_, again);
  EXPECT_EQ(read_block(*device), std::byte{0x24});
}

// A file that shrinks under the disk must not kill the daemon, only fail commands.
TEST_F(FileDiskTest, ShrunkenFileIsAMediumError) {
  make({file_disk()});
  auto device = open("DISK0");
  device->start_on(clock_, events_);
  ASSERT_EQ(::truncate(file_.c_str(), 0), 0);
  move_block(*device, 0x28, 0x80);
  Transfer& data =
      run(*device, transfers_.make(TransferType::bulk, EmulatedDisk::endpoint_in, 512));
  EXPECT_EQ(data.status, TransferStatus::stall);
}

TEST_F(FileDiskTest, ReadOnlyNeedsTheFile) {
  auto settings = file_disk();
  settings.read_only = true;
  EXPECT_FALSE(EmulatedProvider::create(std::span(&settings, 1)));
}

}  // namespace
}  // namespace farport
