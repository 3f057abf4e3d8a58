#include "control/daemon/usbip_gateway.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <thread>
#include <utility>

#include "control/config/units.h"
#include "devices/usbip/device_record.h"

namespace farport {

namespace {

usbip::OpStatus status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::not_found:
      return usbip::OpStatus::no_device;
    case ErrorCode::busy:
      return usbip::OpStatus::busy;
    case ErrorCode::denied:
      return usbip::OpStatus::not_available;
    default:
      return usbip::OpStatus::device_error;
  }
}

}  // namespace

UsbipGateway::~UsbipGateway() = default;

Result<void> UsbipGateway::listen(const std::string& address) {
  UsbipServerSettings settings;
  settings.address = address;
  // The ring of a daemon that was killed gives up its sockets a moment after the process has ended.
  constexpr auto pause = std::chrono::milliseconds(50);
  constexpr int tries = 40;
  auto server = UsbipServer::listen(parts_.worker.worker(), settings, *this);
  for (int i = 1; i < tries && !server && server.error().code == ErrorCode::busy; ++i) {
    std::this_thread::sleep_for(pause);
    server = UsbipServer::listen(parts_.worker.worker(), settings, *this);
  }
  if (!server) return std::unexpected(server.error());
  server_ = std::move(*server);
  address_ = server_->address();
  return {};
}

void UsbipGateway::start() {
  if (server_ == nullptr) return;
  parts_.worker.post([this] { server_->start(); });
  spdlog::info("listening for USB/IP clients on {}", address_);
}

Consumer UsbipGateway::consumer(const std::string& client) const {
  const auto from = parse_host_port(client, 0);
  const std::string address = from ? from->host : client;
  const std::string host = parts_.host_at(address);
  return {host.empty() ? address : host, "", "", {}, {}};
}

void UsbipGateway::list(const std::string& client, ListAnswer answer) {
  parts_.loop.post([this, client, answer = std::move(answer)] {
    parts_.loans.devices(consumer(client), [answer](const std::vector<DeviceEntry>& entries) {
      std::vector<DeviceInfo> infos;
      for (const DeviceEntry& entry : entries) {
        if (entry.allowed && entry.info.kind == DeviceKind::usb) infos.push_back(entry.info);
      }
      answer(std::move(infos));
    });
  });
}

void UsbipGateway::import(std::shared_ptr<UsbipImport> request) {
  parts_.loop.post([this, request = std::move(request)] { lend(request); });
}

void UsbipGateway::lend(const std::shared_ptr<UsbipImport>& request) {
  if (stop_done_) return request->refuse(usbip::OpStatus::not_available);
  const std::string name = parts_.loans.device_where([&request](const DeviceInfo& info) {
    return info.kind == DeviceKind::usb && usbip::busid_of(info) == request->busid();
  });
  if (name.empty()) return request->refuse(usbip::OpStatus::no_device);
  parts_.loans.borrow(
      name, consumer(request->client()), false, [this, request](Result<Loans::Loan> loan) {
        if (loan) return run(*request, std::move(*loan));
        spdlog::warn("USB/IP client {}: {}", request->client(), loan.error().message);
        request->refuse(status_of(loan.error().code));
      });
}

void UsbipGateway::run(UsbipImport& request, Loans::Loan loan) {
  const uint64_t id = loan.id;
  const uint64_t bus_rate = parts_.bus_rate(loan.opened->info());
  runs_[id] = LocalRun::start(
      parts_.loop, parts_.worker, std::move(loan.opened), request.accept(), bus_rate,
      [](const std::string&) {},
      [this, id](const Error& why) {
        runs_.erase(id);
        parts_.loans.give_back(id, why.message.empty() ? "detached" : why.message);
        stopped();
      });
  if (stop_done_) runs_[id]->close();
}

void UsbipGateway::stop(std::function<void()> done) {
  stop_done_ = std::move(done);
  if (server_ == nullptr) server_stopped_ = true;
  for (const auto& [id, run] : runs_) run->close();
  if (server_ != nullptr) {
    parts_.worker.post([this] {
      server_->stop([this] {
        // Not from inside its own call.
        parts_.worker.post([this] {
          server_.reset();
          parts_.loop.post([this] {
            server_stopped_ = true;
            stopped();
          });
        });
      });
    });
  }
  stopped();
}

void UsbipGateway::stopped() {
  if (stop_done_ && server_stopped_ && runs_.empty()) std::exchange(stop_done_, nullptr)();
}

}  // namespace farport
