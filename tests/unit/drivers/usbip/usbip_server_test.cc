// The server over loopback TCP: stock `usbip list`, our own import, and clients that misbehave.
#include "drivers/usbip/usbip_server.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <future>
#include <thread>

#include "dataplane/local_channel.h"
#include "devices/emulated/provider.h"
#include "devices/usb/endpoint_table.h"
#include "devices/usbip/device_record.h"
#include "devices/usbip/tcp.h"
#include "devices/usbip/usbip_provider.h"
#include "tests/unit/devices/usbip/usbip_peer.h"
#include "tests/unit/fake_device.h"

namespace farport {
namespace {

using test::patience_ns;

uint8_t bulk_endpoint(const DeviceInfo& info, bool in) {
  const usb::EndpointTable endpoints = [&] {
    usb::EndpointTable table(info);
    table.set_configuration(1);
    return table;
  }();
  for (uint8_t number = 1; number < 16; ++number) {
    const auto address = static_cast<uint8_t>(number | (in ? 0x80 : 0));
    if (endpoints.find(address) != nullptr) return address;
  }
  return 0;
}

// Exports the devices of a provider as control would: opening them off the worker.
class TestCatalogue final : public UsbipCatalogue, public LocalChannel::Events {
 public:
  TestCatalogue(Worker& worker, DeviceProvider& provider) : worker_(worker), provider_(provider) {}

  void list(const std::string&, ListAnswer answer) override {
    lister_ = std::jthread([this, answer] { answer(provider_.list().value()); });
  }
  void import(std::shared_ptr<UsbipImport> request) override {
    const auto devices = provider_.list().value();
    for (const DeviceInfo& info : devices) {
      if (usbip::busid_of(info) != request->busid()) continue;
      auto device = provider_.open(info.name);
      if (!device) return request->refuse(usbip::OpStatus::busy);
      channels_.push_back(
          std::make_unique<LocalChannel>(worker_, std::move(*device), request->accept(), 0, *this));
      ++open;
      channels_.back()->start();
      return;
    }
    request->refuse(usbip::OpStatus::no_device);
  }
  void channel_closed(LocalChannel& channel, Error) override {
    worker_.post([this, &channel] {
      std::erase_if(channels_, [&](const auto& each) { return each.get() == &channel; });
      --open;
    });
  }
  void close_all() {
    for (const auto& channel : channels_) channel->close();
  }

  std::atomic<int> open{0};

 private:
  Worker& worker_;
  DeviceProvider& provider_;
  std::vector<std::unique_ptr<LocalChannel>> channels_;
  std::jthread lister_;  // control's thread, for as long as a list takes
};

class UsbipServerTest : public testing::Test {
 protected:
  void start(UsbipServerSettings settings = {}) {
    const EmulatedDeviceSettings disk{.name = "disk"};
    provider_ = std::move(EmulatedProvider::create(std::span(&disk, 1)).value());
    worker_ = std::move(Worker::create({}).value());
    catalogue_ = std::make_unique<TestCatalogue>(*worker_, *provider_);
    if (settings.address.ends_with(":3240")) settings.address = "127.0.0.1:0";
    auto server = UsbipServer::listen(*worker_, settings, *catalogue_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
    worker_->post([this] { server_->start(); });
    thread_ = std::thread([this] { worker_->run(); });
  }
  void TearDown() override {
    if (!thread_.joinable()) return;
    std::promise<void> stopped;
    worker_->post([&] {
      catalogue_->close_all();
      server_->stop([&] { stopped.set_value(); });
    });
    EXPECT_EQ(stopped.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
    EXPECT_TRUE(eventually([&] { return catalogue_->open == 0; }));
    worker_->post([this] { server_.reset(); });
    worker_->post([this] { worker_->stop(); });
    thread_.join();
  }

  // Asks again after each iteration that the worker makes.
  bool eventually(const std::function<bool()>& done) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done()) {
      if (std::chrono::steady_clock::now() > until) return false;
      std::promise<void> turned;
      worker_->post([&] { turned.set_value(); });
      turned.get_future().wait();
    }
    return true;
  }
  uint16_t port() const { return usbip::parse_address(server_->address(), 0).value().port; }
  FileDescriptor connect() const {
    FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port());
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const timeval limit{20, 0};
    setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return socket;
  }
  static void send(const FileDescriptor& socket, std::span<const std::byte> bytes) {
    EXPECT_EQ(::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  // recv() that goes on when interrupted: the end of an earlier test's io_uring does that.
  static ssize_t receive_some(const FileDescriptor& socket, std::span<std::byte> bytes) {
    ssize_t count = 0;
    do {
      count = recv(socket.get(), bytes.data(), bytes.size(), 0);
    } while (count < 0 && errno == EINTR);
    return count;
  }
  static std::vector<std::byte> receive(const FileDescriptor& socket, size_t length) {
    std::vector<std::byte> bytes(length);
    size_t got = 0;
    while (got < length) {
      const ssize_t count = receive_some(socket, std::span(bytes).subspan(got));
      if (count <= 0) break;
      got += static_cast<size_t>(count);
    }
    bytes.resize(got);
    return bytes;
  }
  // The end of the connection, not just silence.
  static bool closed(const FileDescriptor& socket) {
    std::byte byte;
    const ssize_t count = receive_some(socket, std::span(&byte, 1));
    return count == 0 || (count < 0 && errno == ECONNRESET);
  }
  usbip::OpStatus import_status(const FileDescriptor& socket, std::string_view busid) {
    send(socket, usbip::encode_import_request(busid));
    const auto bytes = receive(socket, 8);
    if (bytes.size() != 8) return usbip::OpStatus::not_available;
    return static_cast<usbip::OpStatus>(
        usbip::decode_op_header(std::span<const std::byte, 8>(bytes.data(), 8)).status);
  }
  std::unique_ptr<UsbipProvider> importer() const {
    return std::move(UsbipProvider::create({{"here", server_->address()}}, 20'000).value());
  }
  static constexpr std::string_view disk_busid = "usb:1d6b:0104:disk";

  std::unique_ptr<EmulatedProvider> provider_;
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<TestCatalogue> catalogue_;
  std::unique_ptr<UsbipServer> server_;
  std::thread thread_;
};

TEST_F(UsbipServerTest, StockListShowsTheDevice) {
  const std::string program = access("/usr/sbin/usbip", X_OK) == 0 ? "/usr/sbin/usbip" : "";
  if (program.empty()) GTEST_SKIP() << "this machine has no usbip (Debian package usbip)";
  start();
  const std::string command =
      program + " --tcp-port " + std::to_string(port()) + " list -r 127.0.0.1 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string output;
  std::array<char, 256> line;
  while (fgets(line.data(), line.size(), pipe) != nullptr) output += line.data();
  EXPECT_EQ(pclose(pipe), 0) << output;
  EXPECT_NE(output.find(disk_busid), std::string::npos) << output;
  EXPECT_NE(output.find("(1d6b:0104)"), std::string::npos) << output;
  EXPECT_NE(output.find("(08/06/50)"), std::string::npos) << output;
}

TEST_F(UsbipServerTest, WhatWeExportWeCanImport) {
  start();
  const auto importer = this->importer();
  const auto devices = importer->list();
  ASSERT_TRUE(devices) << devices.error().message;
  ASSERT_EQ(devices->size(), 1u);
  EXPECT_EQ((*devices)[0].name, "usb:port:usb:1d6b:0104:disk@here");
  const auto worker = std::move(Worker::create({}).value());
  auto device = importer->open("usb:1d6b:0104@here");
  ASSERT_TRUE(device) << device.error().message;
  const DeviceInfo original = provider_->list().value()[0];
  EXPECT_EQ((*device)->info().device_descriptor, original.device_descriptor);
  EXPECT_EQ((*device)->info().configurations, original.configurations);
  EXPECT_EQ((*device)->info().serial_number, "disk");
  EXPECT_EQ((*device)->info().speed, original.speed);

  // In use now: listed all the same, and refused as busy.
  EXPECT_EQ(importer->list().value().size(), 1u);
  const auto second = importer->open("usb:1d6b:0104@here");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::busy);

  // An INQUIRY (SPC-4, 6.4) through the bulk-only transport, across both ends.
  FakeDeviceEvents events;
  TestTransfers transfers;
  (*device)->start(*worker, events);
  Transfer& set = transfers.make(TransferType::control, 0x00, 0);
  set.setup = {0x00, 9, 1, 0, 0, 0, 0, 0};
  Transfer& command = transfers.make(TransferType::bulk, bulk_endpoint(original, false), 31);
  const std::array<uint8_t, 31> cbw = {'U', 'S',  'B', 'C', 1,    0, 0, 0, 36, 0, 0,
                                       0,   0x80, 0,   6,   0x12, 0, 0, 0, 36, 0};
  std::memcpy(command.data().data(), cbw.data(), cbw.size());
  for (Transfer* transfer : {&set, &command}) {
    (*device)->submit(*transfer);
    ASSERT_TRUE(worker->run_until([&] { return events.has(*transfer); }, patience_ns));
    ASSERT_EQ(transfer->status, TransferStatus::ok);
  }
  Transfer& inquiry = transfers.make(TransferType::bulk, bulk_endpoint(original, true), 36);
  (*device)->submit(inquiry);
  ASSERT_TRUE(worker->run_until([&] { return events.has(inquiry); }, patience_ns));
  EXPECT_EQ(inquiry.actual, 36u);
  EXPECT_EQ(std::memcmp(inquiry.data().data() + 8, "FARPORT", 7), 0);
  (*device)->stop();
  ASSERT_TRUE(worker->run_until([&] { return events.stopped == 1; }, patience_ns));
  // The device is free again.
  EXPECT_TRUE(eventually([&] { return catalogue_->open == 0; }));
}

TEST_F(UsbipServerTest, UnpluggedDeviceIsUnpluggedForTheClient) {
  start();
  const auto worker = std::move(Worker::create({}).value());
  auto device = importer()->open("usb:1d6b:0104@here");
  ASSERT_TRUE(device) << device.error().message;
  FakeDeviceEvents events;
  (*device)->start(*worker, events);
  ASSERT_TRUE(provider_->unplug("disk"));
  EXPECT_TRUE(worker->run_until([&] { return events.unplug_reasons.size() == 1; }, patience_ns));
  (*device)->stop();
  EXPECT_EQ(events.stopped, 1);
}

TEST_F(UsbipServerTest, ClientThatVanishesFreesTheDevice) {
  start();
  FileDescriptor client = connect();
  EXPECT_EQ(import_status(client, disk_busid), usbip::OpStatus::ok);
  EXPECT_EQ(receive(client, 312).size(), 312u);
  EXPECT_EQ(import_status(connect(), disk_busid), usbip::OpStatus::busy);
  client.reset();
  EXPECT_TRUE(eventually([&] { return catalogue_->open == 0; }));
  EXPECT_EQ(import_status(connect(), disk_busid), usbip::OpStatus::ok);
}

TEST_F(UsbipServerTest, WrongRequestsAreRefusedAndOthersGoOn) {
  start();
  EXPECT_EQ(import_status(connect(), "1-1"), usbip::OpStatus::no_device);

  const FileDescriptor old = connect();
  send(old, usbip::encode_op_header({0x0106, usbip::OpCode::request_list, 0}));
  const auto answer = receive(old, 8);
  ASSERT_EQ(answer.size(), 8u);
  EXPECT_EQ(usbip::decode_op_header(std::span<const std::byte, 8>(answer.data(), 8)).status, 5u);
  EXPECT_TRUE(closed(old));

  const FileDescriptor http = connect();
  send(http, std::as_bytes(std::span("GET / HTTP/1.0\r\n\r\n")));
  EXPECT_TRUE(closed(http));

  const FileDescriptor endless = connect();
  auto request = usbip::encode_import_request("");
  std::fill(request.begin() + 8, request.end(), std::byte{'x'});
  send(endless, request);
  EXPECT_EQ(receive(endless, 8).size(), 8u);
  EXPECT_TRUE(closed(endless));

  const FileDescriptor cut = connect();
  send(cut, std::span(request).first<20>());
  shutdown(cut.get(), SHUT_WR);
  EXPECT_TRUE(closed(cut));

  EXPECT_EQ(importer()->list().value().size(), 1u);
}

TEST_F(UsbipServerTest, SlowClientsAreNotWaitedFor) {
  start({.operation_ns_max = 50'000'000});
  const FileDescriptor silent = connect();
  const FileDescriptor slow = connect();
  send(slow, std::as_bytes(std::span("\x01", 1)));
  EXPECT_TRUE(closed(silent));
  EXPECT_TRUE(closed(slow));
}

TEST_F(UsbipServerTest, TooManyConnectionsAreTurnedAway) {
  start({.connections_max = 2});
  const FileDescriptor first = connect();
  const FileDescriptor second = connect();
  EXPECT_TRUE(closed(connect()));
  send(first, usbip::encode_op_header({.code = usbip::OpCode::request_list}));
  EXPECT_EQ(receive(first, 12).size(), 12u);
}

TEST_F(UsbipServerTest, StopsWithConnectionsOpen) {
  start();
  const FileDescriptor waiting = connect();
  const FileDescriptor importing = connect();
  EXPECT_EQ(import_status(importing, disk_busid), usbip::OpStatus::ok);
  TearDown();
  EXPECT_TRUE(closed(waiting));
}

TEST_F(UsbipServerTest, ListensOnIpv6) {
  const FileDescriptor probe(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  if (!probe || bind(probe.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    GTEST_SKIP() << "this machine has no IPv6";
  }
  start({.address = "[::1]:0"});
  EXPECT_TRUE(server_->address().starts_with("[::1]:")) << server_->address();
  EXPECT_EQ(importer()->list().value().size(), 1u);
}

TEST_F(UsbipServerTest, BadAddressesSayWhatIsWrong) {
  start();
  struct Case {
    std::string address;
    ErrorCode code;
  };
  for (const Case& each : std::initializer_list<Case>{
           {server_->address(), ErrorCode::busy},
           {"localhost:0", ErrorCode::usage},
           {"127.0.0.1:x", ErrorCode::usage},
           {"::1:3240", ErrorCode::usage},
           {"192.0.2.1:3240", ErrorCode::failed},
       }) {
    const auto server = UsbipServer::listen(*worker_, {.address = each.address}, *catalogue_);
    ASSERT_FALSE(server) << each.address;
    EXPECT_EQ(server.error().code, each.code) << server.error().message;
    EXPECT_NE(server.error().message.find(each.address), std::string::npos)
        << server.error().message;
  }
}

}  // namespace
}  // namespace farport
