// Two daemons on loopback: alpha has the devices, beta uses them.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tests/integration/hosts.h"

namespace farport::test {
namespace {

constexpr const char* kDisk = "usb:1d6b:0104:DISK0";
constexpr const char* kPort = "serial:PORT0";

EmulatedDeviceSettings disk() {
  EmulatedDeviceSettings settings;
  settings.name = "DISK0";
  settings.kind = EmulatedKind::disk;
  settings.size_bytes = 1 << 20;
  return settings;
}

EmulatedDeviceSettings serial_port() {
  EmulatedDeviceSettings settings;
  settings.name = "PORT0";
  settings.kind = EmulatedKind::serial;
  return settings;
}

HostSettings alpha_settings() {
  HostSettings settings;
  settings.name = "alpha";
  settings.devices = {disk(), serial_port()};
  settings.exported_to = {"beta", "gamma"};
  return settings;
}

HostSettings consumer_settings(const std::string& name, Host& alpha) {
  HostSettings settings;
  settings.name = name;
  settings.peers = {{"alpha", {alpha.address()}}};
  return settings;
}

AttachRequest request(const std::string& device) {
  AttachRequest request;
  request.host = "alpha";
  request.device = device;
  request.driver = "initiator";
  return request;
}

class TwoHosts : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(beta.wait_connected("alpha"));
    ASSERT_TRUE(alpha.wait_connected("beta"));
  }
  Waiter waiter(Host& host) { return {host.daemon().worker(), Drive::elsewhere, 10'000'000'000}; }
  Initiator& ready(Host& host, const std::string& device) {
    Initiator& initiator = host.initiators.at(device);
    EXPECT_TRUE(eventually([&] {
      std::promise<bool> answer;
      host.daemon().worker().post([&] { answer.set_value(initiator.ready()); });
      return answer.get_future().get();
    })) << initiator.failure();
    return initiator;
  }

  Host alpha{alpha_settings()};
  Host beta{consumer_settings("beta", alpha)};
};

TEST_F(TwoHosts, DevicesOfBothAreListed) {
  const auto list = beta.list();
  ASSERT_TRUE(list) << list.error().message;
  ASSERT_EQ(list->devices.size(), 2u);
  EXPECT_TRUE(list->problems.empty());
  EXPECT_EQ(list->devices[0].host, "alpha");
  EXPECT_EQ(list->devices[0].info.name, kPort);
  EXPECT_EQ(list->devices[1].info.name, kDisk);
  EXPECT_TRUE(list->devices[1].allowed);
  EXPECT_EQ(list->devices[1].source, "emulated");
  EXPECT_FALSE(list->devices[1].holder);
}

TEST_F(TwoHosts, ADiskIsWrittenAndReadBack) {
  const auto attached = beta.attach(request(kDisk));
  ASSERT_TRUE(attached) << attached.error().message;
  EXPECT_EQ(attached->id, "att-1");
  EXPECT_EQ(attached->state, "open");
  EXPECT_EQ(attached->device, kDisk);

  {
    BlockingDisk disk(ready(beta, kDisk), waiter(beta));
    const auto capacity = disk.capacity();
    ASSERT_TRUE(capacity) << capacity.error().message;
    std::vector<std::byte> wrote(256 << 10);
    std::mt19937 random(1);
    for (auto& one : wrote) one = static_cast<std::byte>(random());
    ASSERT_TRUE(disk.write(8, wrote));
    std::vector<std::byte> read(wrote.size());
    ASSERT_TRUE(disk.read(8, read));
    EXPECT_EQ(wrote, read);
  }

  ASSERT_TRUE(eventually([&] {
    const auto stats = beta.ask([](Service& service) { return service.stats("att-1"); });
    return stats && stats->meter.bytes >= (512u << 10);
  }));
  ASSERT_TRUE(beta.detach("att-1"));
  EXPECT_TRUE(beta.attachments().empty());
  const auto list = alpha.list("alpha");
  ASSERT_TRUE(list);
  for (const auto& device : list->devices) EXPECT_FALSE(device.holder) << device.info.name;
}

TEST_F(TwoHosts, SerialBytesComeBack) {
  const auto attached = beta.attach(request(kPort));
  ASSERT_TRUE(attached) << attached.error().message;
  BlockingSerial port(ready(beta, kPort), waiter(beta));
  ASSERT_TRUE(port.set_line({.baud = 3'000'000}));
  const std::string text = "carried there and back";
  ASSERT_TRUE(port.write(std::as_bytes(std::span(text))));
  const auto back = port.read_exactly(text.size());
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(std::memcmp(back->data(), text.data(), text.size()), 0);
}

// On a busy machine the device's host once heard of the end later than of the next request, and
// called the device busy.
TEST_F(TwoHosts, TheSameDeviceAgainAndAgain) {
  for (int turn = 1; turn <= 20; ++turn) {
    const auto attached = beta.attach(request(kDisk));
    ASSERT_TRUE(attached) << "turn " << turn << ": " << attached.error().message;
    ASSERT_TRUE(beta.detach(attached->id)) << "turn " << turn;
  }
}

TEST_F(TwoHosts, WhatCannotBeHadSaysWhy) {
  const auto code = [&](const AttachRequest& one) {
    const auto attached = beta.attach(one);
    EXPECT_FALSE(attached);
    if (attached) return ErrorCode::failed;
    EXPECT_FALSE(attached.error().message.empty());
    return attached.error().code;
  };
  EXPECT_EQ(code(request("usb:dead:beef")), ErrorCode::not_found);
  AttachRequest elsewhere = request(kDisk);
  elsewhere.host = "nowhere";
  EXPECT_EQ(code(elsewhere), ErrorCode::not_found);
  AttachRequest driver = request(kDisk);
  driver.driver = "teleport";
  EXPECT_EQ(code(driver), ErrorCode::usage);
  AttachRequest vm = request(kDisk);
  vm.vm = "unheard-of";
  EXPECT_EQ(code(vm), ErrorCode::not_found);
  EXPECT_TRUE(beta.attachments().empty());
}

TEST_F(TwoHosts, ABusyDeviceNamesItsHolder) {
  Host gamma(consumer_settings("gamma", alpha));
  ASSERT_TRUE(gamma.wait_connected("alpha"));
  ASSERT_TRUE(beta.attach(request(kDisk)));
  const auto second = gamma.attach(request(kDisk));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::busy);
  EXPECT_NE(second.error().message.find("host beta"), std::string::npos) << second.error().message;
  const auto list = gamma.list("alpha");
  ASSERT_TRUE(list);
  ASSERT_TRUE(list->devices[0].holder || list->devices[1].holder);
  ASSERT_TRUE(beta.detach("att-1"));
  EXPECT_TRUE(gamma.attach(request(kDisk)));
}

TEST_F(TwoHosts, NothingIsExportedWithoutARule) {
  Host delta(consumer_settings("delta", alpha));
  ASSERT_TRUE(delta.wait_connected("alpha"));
  const auto refused = delta.attach(request(kDisk));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::denied);
  const auto list = delta.list("alpha");
  ASSERT_TRUE(list);
  EXPECT_TRUE(list->devices.empty());
  const auto checks =
      delta.call<std::vector<Check>>([](Service& service, Callback<std::vector<Check>> done) {
        service.explain("alpha", kDisk, root(), std::move(done));
      });
  ASSERT_TRUE(checks);
  const auto rule = std::find_if(checks->begin(), checks->end(),
                                 [](const Check& one) { return one.name == "export rule"; });
  ASSERT_NE(rule, checks->end());
  EXPECT_FALSE(rule->ok);
  EXPECT_FALSE(rule->advice.empty());
}

TEST_F(TwoHosts, AnUnplugEndsTheAttachment) {
  ASSERT_TRUE(beta.attach(request(kDisk)));
  ASSERT_TRUE(alpha.devices().unplug(kDisk));
  EXPECT_TRUE(eventually([&] { return beta.attachments().empty(); }));
  EXPECT_TRUE(beta.wait_event("detached"));
  EXPECT_TRUE(alpha.wait_event("device.freed"));
  EXPECT_TRUE(alpha.wait_event("device.unplugged"));
  ASSERT_TRUE(alpha.devices().plug(kDisk));
  const auto again = beta.attach(request(kDisk));
  EXPECT_TRUE(again) << again.error().message;
}

TEST_F(TwoHosts, OnlyWhoAttachedMayDetach) {
  ASSERT_TRUE(beta.attach(request(kDisk), user(1000, "ann")));
  const auto other = beta.detach("att-1", user(1001, "bob"));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::denied);
  EXPECT_TRUE(beta.detach("att-1", user(1000, "ann")));
  EXPECT_EQ(beta.detach("att-1").error().code, ErrorCode::not_found);
}

TEST_F(TwoHosts, ADaemonThatStopsGivesEverythingBack) {
  ASSERT_TRUE(beta.attach(request(kDisk)));
  ASSERT_TRUE(beta.attach(request(kPort)));
  beta.stop();
  EXPECT_TRUE(eventually([&] {
    const auto list = alpha.list("alpha");
    return list && !list->devices[0].holder && !list->devices[1].holder;
  }));
}

TEST_F(TwoHosts, AHostThatComesBackIsConnectedAgain) {
  ASSERT_TRUE(beta.attach(request(kDisk)));
  HostSettings again = alpha_settings();
  const std::string address = alpha.address();
  again.port = static_cast<uint16_t>(std::stoi(address.substr(address.find(':') + 1)));
  alpha.stop();
  EXPECT_TRUE(beta.wait_event("peer.lost"));
  EXPECT_TRUE(eventually([&] { return beta.attachments().at(0).state == "waiting"; }));
  const auto lost = beta.attach(request(kPort));
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, ErrorCode::unreachable);
  const auto list = beta.list();
  ASSERT_TRUE(list);
  ASSERT_EQ(list->problems.size(), 1u);
  EXPECT_EQ(list->problems[0].host, "alpha");
  Host back(again);
  ASSERT_TRUE(beta.wait_connected("alpha"));
  ASSERT_TRUE(eventually([&] { return beta.attachments().at(0).state == "open"; }));
  EXPECT_EQ(beta.attachments().at(0).id, "att-1");
  ASSERT_TRUE(beta.detach("att-1"));
}

TEST_F(TwoHosts, APersistentAttachmentFollowsItsDevice) {
  AttachRequest wanted = request(kDisk);
  wanted.persistent = true;
  const auto attached = beta.attach(wanted);
  ASSERT_TRUE(attached) << attached.error().message;
  EXPECT_EQ(attached->state, "open");
  const auto state = [&] { return beta.attachments().at(0).state; };
  for (int turn = 1; turn <= 3; ++turn) {
    ASSERT_TRUE(alpha.devices().unplug(kDisk));
    ASSERT_TRUE(eventually([&] { return state() == "waiting"; })) << turn;
    ASSERT_TRUE(alpha.devices().plug(kDisk));
    ASSERT_TRUE(eventually([&] { return state() == "open"; })) << turn;
  }
  EXPECT_TRUE(beta.detach("att-1"));
  EXPECT_TRUE(beta.attachments().empty());
}

// The device's host says when it is free; nobody polls for it.
TEST_F(TwoHosts, APersistentAttachmentWaitsForTheOtherHolder) {
  HostSettings patient = consumer_settings("gamma", alpha);
  patient.retry.first = patient.retry.last = std::chrono::hours(1);
  Host gamma(patient);
  ASSERT_TRUE(gamma.wait_connected("alpha"));
  ASSERT_TRUE(beta.attach(request(kDisk)));
  AttachRequest wanted = request(kDisk);
  wanted.persistent = true;
  const auto waiting = gamma.attach(wanted);
  ASSERT_TRUE(waiting) << waiting.error().message;
  EXPECT_EQ(waiting->state, "waiting");
  ASSERT_TRUE(waiting->waiting);
  EXPECT_EQ(waiting->waiting->code, ErrorCode::busy);
  ASSERT_TRUE(beta.detach("att-1"));
  EXPECT_TRUE(gamma.wait_event("attached"));
}

// With a short window, the decision once flipped to keep as soon as the disk had nothing to do.
TEST_F(TwoHosts, AnIdleDiskKeepsItsMeasuredDemand) {
  AttachRequest wanted = request(kDisk);
  ASSERT_TRUE(beta.attach(wanted));
  BlockingDisk disk(ready(beta, kDisk), waiter(beta));
  const auto window = [&] {
    const auto stats = beta.ask([](Service& service) { return service.stats("att-1"); });
    return stats ? stats->meter.windows[0] : MeterWindow{};
  };
  std::vector<std::byte> read(64 << 10);
  ASSERT_TRUE(eventually([&] { return disk.read(0, read).has_value() && window().measured; }));
  ASSERT_GT(window().demand_bytes_s, 0);
  ASSERT_TRUE(eventually([&] { return window().transfers_s == 0; }));
  EXPECT_TRUE(window().measured);
  EXPECT_GT(window().demand_bytes_s, 0);
}

}  // namespace
}  // namespace farport::test
