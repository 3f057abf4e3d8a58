// Listing and opening against servers that a thread plays over loopback TCP. The good case, import
// of what our own server exports, is in tests/unit/drivers/usbip.
#include "devices/usbip/usbip_provider.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <functional>
#include <thread>

#include "dataplane/file_descriptor.h"
#include "devices/usbip/protocol.h"

namespace farport::usbip {
namespace {

// Accepts one connection, reads `request_bytes`, answers with `answer`, and closes it when the
// client has, or at once.
class ScriptedServer {
 public:
  ScriptedServer(size_t request_bytes, std::vector<std::byte> answer, bool close_at_once = true)
      : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(listener_.get(), generic, length), 0);
    EXPECT_EQ(listen(listener_.get(), 1), 0);
    EXPECT_EQ(getsockname(listener_.get(), generic, &length), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, request_bytes, answer = std::move(answer), close_at_once] {
      const FileDescriptor client(accept(listener_.get(), nullptr, nullptr));
      std::vector<std::byte> request(request_bytes);
      (void)recv(client.get(), request.data(), request.size(), MSG_WAITALL);
      (void)send(client.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      std::byte byte;
      if (!close_at_once) (void)recv(client.get(), &byte, 1, 0);
    });
  }
  ~ScriptedServer() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  std::unique_ptr<UsbipProvider> provider(uint32_t timeout_ms = 20'000) const {
    return std::move(
        UsbipProvider::create({{"old", "127.0.0.1:" + std::to_string(port_)}}, timeout_ms).value());
  }

 private:
  FileDescriptor listener_;
  uint16_t port_ = 0;
  std::thread thread_;
};

std::vector<std::byte> header(OpCode code, uint32_t status, uint16_t version = protocol_version) {
  const auto bytes = encode_op_header({version, code, status});
  return {bytes.begin(), bytes.end()};
}

DeviceRecord record(const std::string& busid, uint16_t product) {
  DeviceRecord record;
  record.busid = busid;
  record.speed = 3;
  record.vendor = 0x1d6b;
  record.product = product;
  record.interfaces = {{8, 6, 80}};
  record.interface_count = 1;
  return record;
}

TEST(UsbipProvider, NamesDevicesByTheirPort) {
  const ScriptedServer server(
      8, encode_list_reply(std::vector{record("1-1", 1), record("1-2.3", 2), record("1-4", 2)}));
  const auto devices = server.provider()->list();
  ASSERT_TRUE(devices) << devices.error().message;
  ASSERT_EQ(devices->size(), 3u);
  EXPECT_EQ((*devices)[0].name, "usb:port:1-1@old");
  EXPECT_EQ((*devices)[0].aliases, std::vector<std::string>{"usb:1d6b:0001@old"});
  EXPECT_EQ((*devices)[0].speed, UsbSpeed::high);
  EXPECT_EQ((*devices)[1].name, "usb:port:1-2.3@old");
  EXPECT_TRUE((*devices)[1].aliases.empty()) << "two have these numbers";
}

TEST(UsbipProvider, BadListsAreErrors) {
  auto cut = encode_list_reply(std::vector{record("1-1", 1)});
  cut.resize(cut.size() - 3);
  auto many = encode_list_reply({});
  std::fill(many.begin() + 8, many.end(), std::byte{0xff});
  auto endless = encode_list_reply(std::vector{record("1-1", 1)});
  std::fill(endless.begin() + 12 + 256, endless.begin() + 12 + 288, std::byte{'x'});
  for (const auto& answer : {cut, many, endless, header(OpCode::reply_list, 1),
                             header(OpCode::reply_import, 0), header(OpCode::reply_list, 0, 0x0106),
                             std::vector<std::byte>(4), std::vector<std::byte>()}) {
    const ScriptedServer server(8, answer);
    EXPECT_FALSE(server.provider()->list());
  }
}

TEST(UsbipProvider, RefusedImportsSayWhy) {
  struct Case {
    uint32_t status;
    ErrorCode code;
  };
  for (const Case& each : std::initializer_list<Case>{{1, ErrorCode::failed},
                                                      {2, ErrorCode::busy},
                                                      {3, ErrorCode::failed},
                                                      {4, ErrorCode::not_found},
                                                      {99, ErrorCode::failed}}) {
    const ScriptedServer server(40, header(OpCode::reply_import, each.status));
    const auto device = server.provider()->open("usb:port:1-1@old");
    ASSERT_FALSE(device);
    EXPECT_EQ(device.error().code, each.code) << device.error().message;
  }
}

TEST(UsbipProvider, ImportOfAnotherDeviceIsRefused) {
  const auto answer = encode_import_reply(record("1-2", 1));
  const ScriptedServer server(40, {answer.begin(), answer.end()});
  EXPECT_FALSE(server.provider()->open("usb:port:1-1@old"));
}

TEST(UsbipProvider, DescriptorsThatDoNotComeAreAnError) {
  const auto grant = encode_import_reply(record("1-1", 1));
  std::vector<std::byte> answer(grant.begin(), grant.end());
  Message reply;
  encode_reply({.seqnum = 1, .actual = 0xffffffff}, reply);  // of 18 asked for
  answer.insert(answer.end(), reply.begin(), reply.end());
  const ScriptedServer server(40, answer, false);
  EXPECT_FALSE(server.provider()->open("usb:port:1-1@old"));
}

TEST(UsbipProvider, SilentServerTimesOut) {
  const ScriptedServer server(8, {}, false);
  const auto devices = server.provider(50)->list();
  ASSERT_FALSE(devices);
  EXPECT_EQ(devices.error().code, ErrorCode::timed_out);
}

TEST(UsbipProvider, NobodyThereIsUnreachable) {
  const auto provider = UsbipProvider::create({{"old", "127.0.0.1:1"}}).value()->list();
  ASSERT_FALSE(provider);
  EXPECT_EQ(provider.error().code, ErrorCode::unreachable);
}

TEST(UsbipProvider, UnknownNamesAreNotFound) {
  const auto provider = std::move(UsbipProvider::create({{"old", "127.0.0.1:1"}}).value());
  for (const char* name : {"usb:port:1-1@new", "usb:port:1-1", "usb:port:@old",
                           "usb:port:12345678901234567890123456789012@old"}) {
    const auto device = provider->open(name);
    ASSERT_FALSE(device);
    EXPECT_EQ(device.error().code, ErrorCode::not_found) << name;
  }
}

TEST(UsbipProvider, BadConfigurationsAreUsageErrors) {
  for (const std::vector<UsbipHost>& hosts :
       std::vector<std::vector<UsbipHost>>{{{"old", "127.0.0.1:99999"}},
                                           {{"", "127.0.0.1"}},
                                           {{"a@b", "127.0.0.1"}},
                                           {{"old", "127.0.0.1"}, {"old", "127.0.0.2"}}}) {
    const auto provider = UsbipProvider::create(hosts);
    ASSERT_FALSE(provider);
    EXPECT_EQ(provider.error().code, ErrorCode::usage);
  }
}

}  // namespace
}  // namespace farport::usbip
