#include "devices/emulated/source_sink.h"

#include <algorithm>
#include <cstring>

#include "devices/emulated/pattern.h"

namespace farport {

namespace {

constexpr std::array<uint8_t, 4> kServed = {
    EmulatedSourceSink::bulk_out, EmulatedSourceSink::bulk_in, EmulatedSourceSink::interrupt_out,
    EmulatedSourceSink::interrupt_in};

// Vendor requests of f_sourcesink, from Intel's compliance device: write data, read it back.
constexpr uint8_t kControlWrite = 0x5b;
constexpr uint8_t kControlRead = 0x5c;
constexpr size_t kControlBytesMax = 4096;

UsbDescription describe(const EmulatedDeviceSettings& settings) {
  using Device = EmulatedSourceSink;
  constexpr std::array<uint16_t, 3> bulk{64, 512, 1024};
  // At high speed the default setting must not ask for more (USB 2.0, 5.7.3).
  constexpr std::array<uint16_t, 3> interrupt_default{64, 64, 64};
  constexpr std::array<uint16_t, 3> interrupt{64, 1024, 1024};
  constexpr std::array<uint16_t, 3> isochronous{1023, 1024, 1024};
  constexpr std::array<uint8_t, 3> every_ms{1, 4, 4};
  AlternateDescription first{.interface_class = 0xff};
  first.endpoints = {{Device::bulk_in, TransferType::bulk, bulk, {}},
                     {Device::bulk_out, TransferType::bulk, bulk, {}},
                     {Device::interrupt_in, TransferType::interrupt, interrupt_default, every_ms},
                     {Device::interrupt_out, TransferType::interrupt, interrupt_default, every_ms}};
  AlternateDescription second{.interface_class = 0xff};
  second.endpoints = {{Device::bulk_in, TransferType::bulk, bulk, {}},
                      {Device::bulk_out, TransferType::bulk, bulk, {}},
                      {Device::interrupt_in, TransferType::interrupt, interrupt, every_ms},
                      {Device::interrupt_out, TransferType::interrupt, interrupt, every_ms},
                      {Device::isochronous_in, TransferType::isochronous, isochronous, every_ms},
                      {Device::isochronous_out, TransferType::isochronous, isochronous, every_ms}};
  const UsbIdentity identity = usb_identity(settings);
  return {.vendor = identity.vendor,
          .product = identity.product,
          .speed = settings.speed,
          .manufacturer = "Farport",
          .product_name = "Emulated source/sink",
          .serial_number = settings.name,
          .alternates = {std::move(first), std::move(second)}};
}

}  // namespace

EmulatedSourceSink::EmulatedSourceSink(const EmulatedDeviceSettings& settings,
                                       std::shared_ptr<DeviceLink> link)
    : EmulatedUsbDevice(settings, std::move(link), describe(settings)) {
  control_data_.reserve(kControlBytesMax);
}

void EmulatedSourceSink::power_on(Scheduler& scheduler) {
  for (Isochronous& state : isochronous_) {
    state.device = this;
    state.address = &state == &isochronous_[0] ? isochronous_out : isochronous_in;
    state.timer.emplace(
        scheduler,
        [](void* context) {
          auto& ended = *static_cast<Isochronous*>(context);
          ended.device->isochronous_ended(ended);
        },
        &state);
  }
  EmulatedUsbDevice::power_on(scheduler);
}

Transfer* EmulatedSourceSink::take_any() {
  for (Isochronous& state : isochronous_) state.timer->disarm();
  return EmulatedUsbDevice::take_any();
}

void EmulatedSourceSink::interface_set() {
  for (Isochronous& state : isochronous_) state.free_ns = 0;
}

EmulatedUsbDevice::Answer EmulatedSourceSink::request(const SetupPacket& setup,
                                                      std::span<std::byte> data) {
  if (setup.value != 0 || setup.index != 0 || setup.length > kControlBytesMax) return {};
  if (setup.request_type == 0x40 && setup.request == kControlWrite) {
    control_data_.assign(data.begin(), data.end());
    return static_cast<uint32_t>(data.size());
  }
  if (setup.request_type == 0xc0 && setup.request == kControlRead) {
    const size_t count = std::min(data.size(), control_data_.size());
    if (count > 0) std::memcpy(data.data(), control_data_.data(), count);
    return static_cast<uint32_t>(count);
  }
  return {};
}

// Round robin over the endpoints, as a host controller serves them.
UsbEndpoint* EmulatedSourceSink::next_ready() {
  for (size_t i = 1; i <= kServed.size(); ++i) {
    const size_t candidate = (served_last_ + i) % kServed.size();
    UsbEndpoint* endpoint = endpoints_.find(kServed[candidate]);
    if (endpoint == nullptr || endpoint->waiting.empty()) continue;
    served_last_ = candidate;
    return endpoint;
  }
  return nullptr;
}

std::optional<uint64_t> EmulatedSourceSink::service_bytes(const UsbEndpoint&,
                                                          const Transfer& transfer) {
  return transfer.length;
}

void EmulatedSourceSink::carry_out(UsbEndpoint& endpoint, Transfer& transfer, bool half) {
  const uint32_t count = half ? transfer.length / 2 : transfer.length;
  const auto data = transfer.data().first(count);
  const uint64_t offset = endpoint.stream_bytes;
  endpoint.stream_bytes += count;
  if (transfer.in()) {
    fill_pattern(settings_.pattern, data, offset, endpoint.max_packet_bytes);
    return complete_in(transfer, count);
  }
  if (matches_pattern(settings_.pattern, data, offset, endpoint.max_packet_bytes)) {
    return complete(transfer, TransferStatus::ok, count);
  }
  ++mismatches_;
  complete_and_halt(endpoint, transfer, TransferStatus::stall, count);
}

void EmulatedSourceSink::carry_out_stall(UsbEndpoint& endpoint, Transfer& transfer) {
  complete_and_halt(endpoint, transfer, TransferStatus::stall, 0);
}

// --- isochronous ---

void EmulatedSourceSink::submit_isochronous(UsbEndpoint& endpoint, Transfer& transfer) {
  uint64_t total = 0;
  bool fits = transfer.packet_count > 0;
  for (const IsoPacket& packet : transfer.packets()) {
    total += packet.length;
    if (!transfer.in() && packet.length > endpoint.max_packet_bytes) fits = false;
  }
  if (!fits || total > transfer.length) return complete(transfer, TransferStatus::invalid, 0);
  transfer.device_cookie = scheduler_->now_ns();
  endpoint.waiting.push(transfer);
  Isochronous& state = isochronous_[transfer.in() ? 1 : 0];
  if (!state.timer->armed()) begin_isochronous(state);
}

void EmulatedSourceSink::begin_isochronous(Isochronous& state) {
  UsbEndpoint* endpoint = endpoints_.find(state.address);
  if (!running() || endpoint == nullptr || endpoint->waiting.empty()) return;
  const Transfer& transfer = *endpoint->waiting.front();
  state.fault = faults_.next();
  state.start_ns = std::max(state.free_ns, transfer.device_cookie);
  state.end_ns = state.start_ns + transfer.packet_count * packet_ns(*endpoint);
  state.timer->arm_at(state.end_ns);
}

void EmulatedSourceSink::isochronous_ended(Isochronous& state) {
  UsbEndpoint* endpoint = endpoints_.find(state.address);
  if (endpoint == nullptr || endpoint->waiting.empty()) return;
  state.free_ns = state.end_ns;
  if (state.fault == FaultKind::unplug) return unplug_self();
  Transfer& transfer = *endpoint->waiting.pop();
  transfer.start_frame = static_cast<uint32_t>(state.start_ns / packet_ns(*endpoint));
  const uint32_t moved = carry_packets(*endpoint, transfer, state.fault);
  complete(transfer, TransferStatus::ok, moved);
  if (!state.timer->armed()) begin_isochronous(state);
}

void EmulatedSourceSink::cancelled_isochronous(UsbEndpoint& endpoint, bool first) {
  if (!first) return;
  Isochronous& state = isochronous_[(endpoint.address & 0x80) != 0 ? 1 : 0];
  state.timer->disarm();
  state.free_ns = scheduler_->now_ns();
  begin_isochronous(state);
}

// Moves all packets of a transfer; the bytes moved, which for IN end up packed back to back.
uint32_t EmulatedSourceSink::carry_packets(UsbEndpoint& endpoint, Transfer& transfer,
                                           std::optional<FaultKind> fault) {
  uint32_t from = 0;  // of this packet in an OUT transfer's data
  uint32_t moved = 0;
  for (IsoPacket& packet : transfer.packets()) {
    packet.actual = std::min<uint32_t>(packet.length, endpoint.max_packet_bytes);
    packet.status = static_cast<uint32_t>(TransferStatus::ok);
    if (fault == FaultKind::short_data) packet.actual /= 2;
    if (fault == FaultKind::late || fault == FaultKind::stall) {
      // Isochronous endpoints have no handshake, so they cannot stall: nothing answers.
      packet.actual = 0;
      packet.status = static_cast<uint32_t>(fault == FaultKind::late ? TransferStatus::late
                                                                     : TransferStatus::protocol);
      ++transfer.error_count;
    }
    const auto data = transfer.data().subspan(transfer.in() ? moved : from, packet.actual);
    if (transfer.in()) {
      fill_pattern(settings_.pattern, data, endpoint.stream_bytes, endpoint.max_packet_bytes);
    } else if (!matches_pattern(settings_.pattern, data, endpoint.stream_bytes,
                                endpoint.max_packet_bytes)) {
      ++mismatches_;
    }
    endpoint.stream_bytes += packet.actual;
    moved += packet.actual;
    from += packet.length;
  }
  return moved;
}

// USB 2.0, table 9-13: 2^(bInterval-1) frames of 1 ms, or microframes of 125 us.
uint64_t EmulatedSourceSink::packet_ns(const UsbEndpoint& endpoint) const {
  const uint64_t frame_ns = speed() == UsbSpeed::full ? 1'000'000 : 125'000;
  return frame_ns << (endpoint.interval - 1);
}

}  // namespace farport
