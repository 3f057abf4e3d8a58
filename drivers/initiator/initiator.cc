#include "drivers/initiator/initiator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "dataplane/limits.h"
#include "dataplane/worker.h"

namespace farport {

namespace {

constexpr uint8_t kStandardIn = 0x80;
constexpr uint8_t kStandardOut = 0x00;
constexpr uint8_t kEndpointOut = 0x02;
constexpr uint8_t kClearFeature = 1;
constexpr uint8_t kGetDescriptor = 6;
constexpr uint8_t kSetConfiguration = 9;
constexpr uint8_t kDescriptorDevice = 1;
constexpr uint8_t kDescriptorConfiguration = 2;
constexpr uint16_t kDeviceBytes = 18;
constexpr uint16_t kConfigurationHeaderBytes = 9;

std::span<const uint8_t> moved_bytes(const Transfer& transfer) {
  const auto moved = transfer.moved();
  return {reinterpret_cast<const uint8_t*>(moved.data()), moved.size()};
}

}  // namespace

// One seldom transfer: carries its callback while it is in flight, then is used again.
struct Initiator::Request final : TransferUser {
  explicit Request(Initiator& initiator) : initiator(initiator) {}
  void transfer_done(Transfer& transfer) override {
    busy = false;
    const Done call = std::exchange(done, {});
    if (call) call(transfer);
    initiator.release(transfer);
  }
  void initiator_stopping() override {}
  Initiator& initiator;
  Done done;
  bool busy = false;
};

Initiator::Initiator(Ready ready) : ready_(std::move(ready)) {}

Initiator::~Initiator() { assert(users_.empty() && "an initiator's users go before it"); }

Result<void> Initiator::start(Worker& worker, DriverPort& port) { return start_on(worker, port); }

Result<void> Initiator::start_on(Scheduler& scheduler, DriverPort& port) {
  assert(state_ == State::idle);
  scheduler_ = &scheduler;
  port_ = &port;
  state_ = State::enumerating;
  if (port.info().kind == DeviceKind::usb) {
    enumerate();
    return {};
  }
  soon_ = std::make_unique<Timer>(
      scheduler, [](void* context) { static_cast<Initiator*>(context)->finish_enumeration({}); },
      this);
  soon_->arm_after(0);
  return {};
}

void Initiator::completed(Transfer& transfer) {
  auto* user = static_cast<TransferUser*>(transfer.driver_context);
  if (user == nullptr) return release(transfer);  // abandoned
  user->transfer_done(transfer);
}

void Initiator::unplugged(std::string_view reason) {
  unplugged_ = true;
  if (failure_.empty()) failure_ = fmt::format("{} is gone: {}", port_->info().name, reason);
  if (state_ == State::enumerating) finish_enumeration(fail(ErrorCode::not_found, failure_));
}

void Initiator::stop() {
  if (failure_.empty()) failure_ = fmt::format("{} was detached", port_->info().name);
  if (state_ == State::enumerating) finish_enumeration(fail(failure_));
  state_ = State::stopping;
  soon_.reset();
  const auto users = users_;  // one may remove itself
  for (TransferUser* user : users) {
    if (std::ranges::find(users_, user) != users_.end()) user->initiator_stopping();
  }
  check_stopped();
}

void Initiator::check_stopped() {
  if (state_ != State::stopping || allocated_ > 0) return;
  state_ = State::stopped;
  port_->driver_stopped();
}

// --- users ---

void Initiator::add(TransferUser& user) { users_.push_back(&user); }
void Initiator::remove(TransferUser& user) { std::erase(users_, &user); }

Transfer* Initiator::allocate(TransferUser& user, uint32_t length, uint16_t packet_count) {
  if (state_ != State::enumerating && state_ != State::ready) return nullptr;
  Transfer* transfer = port_->allocate(length, packet_count);
  if (transfer == nullptr) return nullptr;
  ++allocated_;
  transfer->driver_context = &user;
  return transfer;
}

void Initiator::release(Transfer& transfer) {
  assert(allocated_ > 0);
  port_->release(transfer);
  --allocated_;
  check_stopped();
}

void Initiator::abandon(Transfer& transfer) {
  transfer.driver_context = nullptr;
  port_->cancel(transfer);
}

// --- one transfer ---

bool Initiator::request(Transfer& transfer, Done done) {
  auto* request = static_cast<Request*>(static_cast<TransferUser*>(transfer.driver_context));
  request->busy = true;
  request->done = std::move(done);
  submit(transfer);
  return true;
}

bool Initiator::control(const std::array<uint8_t, 8>& setup, std::span<const std::byte> data,
                        Done done) {
  const auto length = static_cast<uint16_t>(setup[6] | setup[7] << 8);
  const bool in = (setup[0] & 0x80) != 0;
  if (!in && data.size() < length) return false;
  Transfer* transfer = allocate_request(length);
  if (transfer == nullptr) return false;
  transfer->type = TransferType::control;
  transfer->endpoint = setup[0] & 0x80;
  transfer->setup = setup;
  if (!in && length > 0) std::memcpy(transfer->data().data(), data.data(), length);
  return request(*transfer, std::move(done));
}

bool Initiator::receive(TransferType type, uint8_t endpoint, uint32_t length, Done done) {
  Transfer* transfer = allocate_request(length);
  if (transfer == nullptr) return false;
  transfer->type = type;
  transfer->endpoint = endpoint;
  return request(*transfer, std::move(done));
}

bool Initiator::send(TransferType type, uint8_t endpoint, std::span<const std::byte> data,
                     Done done) {
  if (data.size() > limits::transfer_bytes_max) return false;
  Transfer* transfer = allocate_request(static_cast<uint32_t>(data.size()));
  if (transfer == nullptr) return false;
  transfer->type = type;
  transfer->endpoint = endpoint;
  if (!data.empty()) std::memcpy(transfer->data().data(), data.data(), data.size());
  return request(*transfer, std::move(done));
}

bool Initiator::clear_halt(uint8_t endpoint, Done done) {
  return control(make_setup(kEndpointOut, kClearFeature, 0, endpoint, 0), {}, std::move(done));
}

Transfer* Initiator::allocate_request(uint32_t length) {
  auto idle = std::ranges::find_if(requests_, [](const auto& request) { return !request->busy; });
  if (idle == requests_.end()) {
    requests_.push_back(std::make_unique<Request>(*this));
    idle = requests_.end() - 1;
  }
  return allocate(**idle, length);
}

// --- enumeration: what a host asks a new device (USB 2.0, 9.1.2) ---

void Initiator::enumerate() {
  get_descriptor(kDescriptorDevice, kDeviceBytes, &Initiator::got_device);
}

void Initiator::get_descriptor(uint8_t type, uint16_t length,
                               void (Initiator::*next)(const Transfer&)) {
  const bool sent =
      control(make_setup(kStandardIn, kGetDescriptor, static_cast<uint16_t>(type << 8), 0, length),
              {}, [this, next](const Transfer& transfer) {
                if (state_ == State::enumerating) (this->*next)(transfer);
              });
  if (!sent) finish_enumeration(fail("no memory to enumerate the device"));
}

void Initiator::got_device(const Transfer& transfer) {
  const auto bytes = moved_bytes(transfer);
  if (transfer.status != TransferStatus::ok) {
    return finish_enumeration(
        std::unexpected(transfer_error(transfer.status, "reading the device descriptor")));
  }
  if (bytes.size() < kDeviceBytes || bytes[1] != kDescriptorDevice) {
    return finish_enumeration(fail("the device descriptor is malformed"));
  }
  device_descriptor_.assign(bytes.begin(), bytes.end());
  get_descriptor(kDescriptorConfiguration, kConfigurationHeaderBytes,
                 &Initiator::got_configuration_header);
}

void Initiator::got_configuration_header(const Transfer& transfer) {
  const auto bytes = moved_bytes(transfer);
  if (transfer.status != TransferStatus::ok || bytes.size() < kConfigurationHeaderBytes) {
    return finish_enumeration(std::unexpected(
        transfer_error(transfer.status, "reading the configuration descriptor's length")));
  }
  get_descriptor(kDescriptorConfiguration, static_cast<uint16_t>(bytes[2] | bytes[3] << 8),
                 &Initiator::got_configuration);
}

void Initiator::got_configuration(const Transfer& transfer) {
  if (transfer.status != TransferStatus::ok) {
    return finish_enumeration(
        std::unexpected(transfer_error(transfer.status, "reading the configuration descriptor")));
  }
  auto layout = parse_configuration(moved_bytes(transfer));
  if (!layout) return finish_enumeration(std::unexpected(layout.error()));
  layout_ = std::move(*layout);
  const bool sent =
      control(make_setup(kStandardOut, kSetConfiguration, layout_.configuration_value, 0, 0), {},
              [this](const Transfer& set) {
                if (state_ == State::enumerating) configured(set);
              });
  if (!sent) finish_enumeration(fail("no memory to enumerate the device"));
}

void Initiator::configured(const Transfer& transfer) {
  if (transfer.status != TransferStatus::ok) {
    return finish_enumeration(
        std::unexpected(transfer_error(transfer.status, "setting the configuration")));
  }
  finish_enumeration({});
}

void Initiator::finish_enumeration(Result<void> outcome) {
  state_ = outcome ? State::ready : State::failed;
  if (!outcome && failure_.empty()) failure_ = outcome.error().message;
  if (ready_) std::exchange(ready_, {})(std::move(outcome));
}

Error transfer_error(TransferStatus status, std::string_view what) {
  ErrorCode code = ErrorCode::failed;
  if (status == TransferStatus::unplugged) code = ErrorCode::not_found;
  if (status == TransferStatus::timed_out) code = ErrorCode::timed_out;
  if (status == TransferStatus::link_lost) code = ErrorCode::unreachable;
  if (status == TransferStatus::ok) return {code, fmt::format("{}: too short an answer", what)};
  return {code, fmt::format("{}: {}", what, transfer_status_name(status))};
}

}  // namespace farport
