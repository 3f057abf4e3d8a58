#include "control/daemon/service.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace farport {
namespace {

using nlohmann::json;

TEST(DeviceReference, SplitsHostAndName) {
  struct Case {
    const char* text;
    const char* host;
    const char* device;
  };
  const Case cases[] = {
      {"usb:1d6b:0104:A1", "", "usb:1d6b:0104:A1"},
      {"alpha/usb:1d6b:0104:A1", "alpha", "usb:1d6b:0104:A1"},
      {"serial:by-id/usb-FTDI-if00", "", "serial:by-id/usb-FTDI-if00"},
      {"alpha/serial:by-id/usb-FTDI-if00", "alpha", "serial:by-id/usb-FTDI-if00"},
      {"alpha/ttyUSB0", "alpha", "ttyUSB0"},
      {"ttyUSB0", "", "ttyUSB0"},
  };
  for (const Case& one : cases) {
    const auto reference = parse_device_reference(one.text);
    ASSERT_TRUE(reference) << one.text;
    EXPECT_EQ(reference->host, one.host) << one.text;
    EXPECT_EQ(reference->device, one.device) << one.text;
  }
}

TEST(DeviceReference, RefusesWhatNamesNothing) {
  for (const std::string& text : {std::string(), std::string("alpha/"), std::string("/usb:1:2"),
                                  std::string("usb:\n1"), std::string(300, 'x')}) {
    const auto reference = parse_device_reference(text);
    ASSERT_FALSE(reference) << text;
    EXPECT_EQ(reference.error().code, ErrorCode::usage);
  }
}

TEST(AttachRequestJson, TakesEveryField) {
  const auto request = attach_request_from_json(json{{"device", "alpha/usb:1:2:3"},
                                                     {"driver", "vhci"},
                                                     {"name", "disk"},
                                                     {"vm", "build"},
                                                     {"listen", nullptr},
                                                     {"persistent", true},
                                                     {"wait", 60}});
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->host, "alpha");
  EXPECT_EQ(request->device, "usb:1:2:3");
  EXPECT_EQ(request->driver, "vhci");
  EXPECT_EQ(request->name, "disk");
  EXPECT_EQ(request->vm, "build");
  EXPECT_EQ(request->listen, "");
  EXPECT_TRUE(request->persistent);
  EXPECT_EQ(request->wait_s, 60u);
}

TEST(AttachRequestJson, RefusesBadInputAsUsage) {
  const json cases[] = {
      json::array(),
      json{{"host", "alpha"}},
      json{{"device", 7}},
      json{{"device", "usb:1:2"}, {"speed", "high"}},
      json{{"device", "alpha/usb:1:2"}, {"host", "beta"}},
      json{{"device", std::string(300, 'a')}},
      json{{"device", "usb:1:2"}, {"vm", "a\x1b[2J"}},
      json{{"device", "usb:1:2"}, {"persistent", "yes"}},
      json{{"device", "usb:1:2"}, {"wait", 5}},
      json{{"device", "usb:1:2"}, {"persistent", true}, {"wait", -1}},
      json{{"device", "usb:1:2"}, {"persistent", true}, {"wait", 3601}},
  };
  for (const json& one : cases) {
    const auto request = attach_request_from_json(one);
    ASSERT_FALSE(request) << one.dump();
    EXPECT_EQ(request.error().code, ErrorCode::usage) << one.dump();
    EXPECT_FALSE(request.error().message.empty());
  }
}

TEST(ServiceJson, TimesAreIsoOrNull) {
  Attachment attachment;
  attachment.id = "att-1";
  EXPECT_TRUE(json(attachment)["since"].is_null());
  attachment.since_unix_ms = 1769860800123;
  EXPECT_EQ(json(attachment)["since"], "2026-01-31T12:00:00.123Z");
}

TEST(ServiceJson, AWaitingAttachmentSaysWhy) {
  Attachment attachment;
  EXPECT_TRUE(json(attachment)["waiting"].is_null());
  attachment.waiting = Waiting{1769860800123, ErrorCode::busy, "in use by host gamma", 0, 0};
  const json out = attachment;
  EXPECT_EQ(out["waiting"]["code"], "busy");
  EXPECT_EQ(out["waiting"]["reason"], "in use by host gamma");
  EXPECT_EQ(out["waiting"]["since"], "2026-01-31T12:00:00.123Z");
  EXPECT_TRUE(out["waiting"]["next_try"].is_null());
}

TEST(ServiceJson, ADeviceIsOneLevelWithItsHolder) {
  DeviceEntry entry;
  entry.host = "alpha";
  entry.info.name = "usb:1d6b:0104:A1";
  entry.info.vendor = 0x1d6b;
  entry.info.speed = UsbSpeed::high;
  EXPECT_TRUE(json(entry)["holder"].is_null());
  entry.holder = Holder{"beta", "build", "root", 1769860800123};
  const json out = entry;
  EXPECT_EQ(out["host"], "alpha");
  EXPECT_EQ(out["name"], "usb:1d6b:0104:A1");
  EXPECT_EQ(out["vendor"], "1d6b");
  EXPECT_EQ(out["speed"], "high");
  EXPECT_EQ(out["holder"]["vm"], "build");
}

}  // namespace
}  // namespace farport
