#include "devices/usbip/usbip_device.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "dataplane/limits.h"
#include "devices/usb/requests.h"
#include "devices/usbip/iso_packets.h"

namespace farport {

using namespace usbip;

namespace {
constexpr uint32_t index_bits = 12;
static_assert(limits::transfers_per_channel_max <= 1u << index_bits);
constexpr uint32_t generation_step = 1u << (index_bits + 1);
}  // namespace

UsbipDevice::UsbipDevice(FileDescriptor socket, DeviceInfo info, uint32_t devid)
    : info_(std::move(info)), devid_(devid), socket_(std::move(socket)), endpoints_(info_) {}

UsbipDevice::~UsbipDevice() { assert(!stream_ || closed_); }

void UsbipDevice::start(Worker& worker, DeviceEvents& events) {
  worker_ = &worker;
  events_ = &events;
  stream_.reset(new SocketStream(worker, *this));
  stream_->start(std::move(socket_));
}

// --- requests ---

void UsbipDevice::submit(Transfer& transfer) {
  if (gone_) return finish(transfer, TransferStatus::unplugged, 0);
  if (stopping_) return finish(transfer, TransferStatus::cancelled, 0);
  if (transfer.type == TransferType::control && usb::Request(transfer.setup).is_set_address()) {
    return finish(transfer, TransferStatus::stall, 0);  // addresses are the server's own affair
  }
  Request request{.devid = devid_, .flags = urb_flags_of(transfer.flags)};
  if (!check(transfer, request)) return finish(transfer, TransferStatus::invalid, 0);
  Slot* slot = take_slot();
  if (slot == nullptr) return finish(transfer, TransferStatus::no_memory, 0);
  slot->transfer = &transfer;
  slot->length = request.length;
  transfer.device_context = slot;
  request.seqnum = slot->seqnum;
  Outgoing& message = slot->submit;
  message.add(message.message.data(), message_bytes);
  if (!request.in) message.add(transfer.data().data(), request.length);
  if (transfer.packet_count != 0) {
    slot->table = worker_->buffers().allocate(transfer.table_bytes());
    const std::span table(slot->table.data(), slot->table ? transfer.table_bytes() : 0);
    if (table.empty() || !put_iso_request(transfer, table)) {
      slot->submit_sent = slot->answered = true;  // it never left
      transfer.status = table.empty() ? TransferStatus::no_memory : TransferStatus::invalid;
      transfer.actual = 0;
      return settle(*slot);
    }
    message.add(table.data(), table.size());
  }
  encode_request(request, message.message);
  stream_->send(message);
}

// What the host's usb_submit_urb() would refuse; fills in what the endpoint says.
bool UsbipDevice::check(const Transfer& transfer, Request& request) const {
  if (transfer.length > limits::transfer_bytes_max) return false;
  request.endpoint = transfer.endpoint & 0x0f;
  request.in = transfer.in();
  request.length = transfer.length;
  if (request.in) request.flags |= urb_flags::direction_in;
  if (transfer.type == TransferType::control) return check_control(transfer, request);
  const usb::Endpoint* endpoint = endpoints_.find(transfer.endpoint);
  if (endpoint == nullptr || endpoint->type != transfer.type) return false;
  if (endpoint->periodic()) return check_periodic(transfer, *endpoint, request);
  return transfer.packet_count == 0;
}

bool UsbipDevice::check_control(const Transfer& transfer, Request& request) const {
  const usb::Request setup(transfer.setup);
  if (request.endpoint != 0 || setup.length > transfer.length || transfer.packet_count != 0) {
    return false;
  }
  // Linux takes a request without data for one of direction OUT, whatever its setup packet says.
  request.in = setup.in() && setup.length != 0;
  request.flags = urb_flags_of(transfer.flags) | (request.in ? urb_flags::direction_in : 0);
  request.length = setup.length;
  request.setup = transfer.setup;
  return true;
}

bool UsbipDevice::check_periodic(const Transfer& transfer, const usb::Endpoint& endpoint,
                                 Request& request) const {
  const bool frames = info_.speed == UsbSpeed::low || info_.speed == UsbSpeed::full;
  const uint32_t microframes = endpoint.interval_microframes(info_.speed);
  request.interval = std::max(1u, frames ? microframes / 8 : microframes);
  if (transfer.type != TransferType::isochronous) return transfer.packet_count == 0;
  if (transfer.packet_count == 0 || transfer.packet_count > limits::iso_packets_max) return false;
  request.packet_count = transfer.packet_count;
  request.start_frame = transfer.start_frame;
  const uint32_t bytes_max = endpoint.bytes_interval(info_.speed);
  return std::all_of(transfer.packets().begin(), transfer.packets().end(),
                     [&](const IsoPacket& packet) { return packet.length <= bytes_max; });
}

void UsbipDevice::cancel(Transfer& transfer) {
  if (gone_ || stopping_) return;  // it is on its way back already
  Slot& slot = *static_cast<Slot*>(transfer.device_context);
  if (slot.answered || slot.unlinking) return;
  slot.unlinking = true;
  encode_request({.command = Command::unlink,
                  .seqnum = slot.seqnum | 1,
                  .devid = devid_,
                  .unlink_seqnum = slot.seqnum},
                 slot.unlink.message);
  slot.unlink.add(slot.unlink.message.data(), message_bytes);
  stream_->send(slot.unlink);
}

void UsbipDevice::sent(SocketStream::Outgoing& message) {
  Slot& slot = *static_cast<Outgoing&>(message).slot;
  (&message == &slot.submit ? slot.submit_sent : slot.unlink_sent) = true;
  settle(slot);
}

// --- replies ---

void UsbipDevice::received() {
  while (!gone_ && !stopping_ && stream_->filled()) {
    if (incoming_ != nullptr) {
      reply_complete();
    } else if (!read_reply()) {
      return;
    }
  }
}

bool UsbipDevice::read_reply() {
  const std::byte* bytes = stream_->take(message_bytes);
  if (bytes == nullptr) return false;
  const auto reply = decode_reply(std::span<const std::byte, message_bytes>(bytes, message_bytes));
  if (!reply) {
    ended(reply.error().message);
  } else if (reply->command == Command::submit_reply) {
    submit_reply(*reply);
  } else {
    unlink_reply(*reply);
  }
  return true;
}

void UsbipDevice::submit_reply(const Reply& reply) {
  Slot* slot = find(reply.seqnum);
  if (slot == nullptr || (reply.seqnum & 1) != 0 || slot->answered) {
    return ended("the USB/IP server answered a request that was never made");
  }
  Transfer& transfer = *slot->transfer;
  if (reply.actual > slot->length) {
    return ended("the USB/IP server claims to have moved more bytes than were asked for");
  }
  std::span<std::byte> table;
  if (transfer.packet_count != 0 && reply.packet_count != 0) {
    if (reply.packet_count != transfer.packet_count) {
      return ended("the USB/IP server answered with another number of isochronous packets");
    }
    table = {slot->table.data(), transfer.table_bytes()};
  } else if (transfer.packet_count != 0 && (reply.actual != 0 || reply.status == 0)) {
    return ended("the USB/IP server left out the isochronous packets");
  }
  incoming_ = slot;
  incoming_reply_ = reply;
  const bool data =
      transfer.type == TransferType::control ? (transfer.setup[0] & 0x80) != 0 : transfer.in();
  stream_->fill(data ? transfer.data().first(reply.actual) : std::span<std::byte>{}, table);
}

void UsbipDevice::reply_complete() {
  Slot& slot = *std::exchange(incoming_, nullptr);
  const Reply& reply = incoming_reply_;
  Transfer& transfer = *slot.transfer;
  TransferStatus status = status_of(reply.status);
  if (transfer.packet_count != 0 && reply.packet_count != 0) {
    const std::span table(slot.table.data(), transfer.table_bytes());
    if (!take_iso_reply(transfer, table, reply.actual)) {
      // Answered, but with packets that nobody may trust: it ends with the rest, as unplugged.
      return ended("the USB/IP server's isochronous packets do not add up");
    }
    transfer.start_frame = reply.start_frame;
    transfer.error_count = reply.error_count;
  }
  if (transfer.type == TransferType::control && status == TransferStatus::ok) {
    endpoints_.observe(transfer.setup);
    info_.configuration_value = endpoints_.configuration_value();
  }
  answered(slot, status, reply.actual);
}

void UsbipDevice::unlink_reply(const Reply& reply) {
  Slot* slot = find(reply.seqnum);
  if (slot == nullptr || (reply.seqnum & 1) == 0 || !slot->unlinking || slot->unlink_answered) {
    return ended("the USB/IP server answered a cancellation that was never made");
  }
  slot->unlink_answered = true;
  // Whatever the status: no reply to the request itself will come any more. A stock server that was
  // beaten by the device says 0 and has dropped the data (drivers/usb/usbip/stub_tx.c).
  if (!slot->answered) return answered(*slot, TransferStatus::cancelled, 0);
  settle(*slot);
}

void UsbipDevice::answered(Slot& slot, TransferStatus status, uint32_t actual) {
  slot.answered = true;
  slot.transfer->status = status;
  slot.transfer->actual = actual;
  settle(slot);
}

// The kernel may still be reading a request that has its answer already: its memory has to wait.
void UsbipDevice::settle(Slot& slot) {
  if (!slot.answered || !slot.submit_sent) return;
  const bool done = !slot.unlinking || (slot.unlink_sent && slot.unlink_answered);
  Transfer* transfer = std::exchange(slot.transfer, nullptr);
  if (done) {
    slot.in_use = false;
    slot.table.reset();
    slot.next_free = std::exchange(free_, &slot);
  }
  if (transfer != nullptr) events_->completed(*transfer);
}

void UsbipDevice::finish(Transfer& transfer, TransferStatus status, uint32_t actual) {
  transfer.status = status;
  transfer.actual = actual;
  events_->completed(transfer);
}

// --- the end ---

void UsbipDevice::stop() {
  if (closed_) return events_->device_stopped();
  stopping_ = true;
  stream_->close();
}

void UsbipDevice::ended(std::string_view reason) {
  if (gone_) return;
  gone_ = true;
  gone_reason_ = reason;
  stream_->close();
}

// Only now does nothing of the kernel's refer to the transfers' memory.
void UsbipDevice::closed() {
  closed_ = true;
  incoming_ = nullptr;
  for (const auto& slot : slots_) {
    Transfer* transfer = std::exchange(slot->transfer, nullptr);
    slot->table.reset();
    if (transfer == nullptr) continue;
    finish(*transfer, gone_ ? TransferStatus::unplugged : TransferStatus::cancelled, 0);
  }
  if (gone_) events_->unplugged(gone_reason_);
  if (stopping_) events_->device_stopped();
}

// --- bookkeeping ---

UsbipDevice::Slot* UsbipDevice::take_slot() {
  if (free_ == nullptr) {
    if (slots_.size() >= limits::transfers_per_channel_max) return nullptr;
    slots_.push_back(std::make_unique<Slot>());
    free_ = slots_.back().get();
    free_->seqnum = static_cast<uint32_t>(slots_.size() - 1) << 1;
  }
  Slot* slot = std::exchange(free_, free_->next_free);
  const uint32_t seqnum = slot->seqnum + generation_step;
  *slot = {};
  slot->seqnum = seqnum;
  slot->in_use = true;
  slot->submit.slot = slot->unlink.slot = slot;
  return slot;
}

UsbipDevice::Slot* UsbipDevice::find(uint32_t seqnum) {
  const uint32_t index = (seqnum >> 1) & ((1u << index_bits) - 1);
  if (index >= slots_.size()) return nullptr;
  Slot* slot = slots_[index].get();
  return slot->in_use && slot->seqnum == (seqnum & ~1u) ? slot : nullptr;
}

}  // namespace farport
