#include "drivers/initiator/serial_line.h"

#include <algorithm>
#include <cstring>

#include "dataplane/limits.h"

namespace farport {

using namespace serial;

SerialLine::SerialLine(Initiator& initiator, Listener listener)
    : initiator_(initiator), listener_(std::move(listener)) {
  initiator_.add(*this);
  for (uint32_t i = 0; i <= reads_in_flight; ++i) {
    const bool notice = i == reads_in_flight;
    Transfer* transfer = initiator_.allocate(*this, notice ? sizeof(SerialNotice) : read_bytes);
    if (transfer == nullptr) continue;
    transfer->type = notice ? TransferType::interrupt : TransferType::serial;
    transfer->endpoint = notice ? endpoint_notice : endpoint_in;
    in_flight_.push_back(transfer);
    initiator_.submit(*transfer);
  }
}

SerialLine::~SerialLine() {
  *alive_ = false;
  for (Transfer* transfer : in_flight_) initiator_.abandon(*transfer);
  initiator_.remove(*this);
}

void SerialLine::transfer_done(Transfer& transfer) {
  if (transfer.status != TransferStatus::ok) return forget(transfer);
  if (transfer.endpoint == endpoint_in) {
    if (listener_.received) listener_.received(transfer.moved());
  } else if (SerialNotice notice; transfer.actual == sizeof(notice)) {
    std::memcpy(&notice, transfer.data().data(), sizeof(notice));
    lines_ = notice.lines;
    if (listener_.noticed) listener_.noticed(notice);
  }
  if (!initiator_.ready()) return forget(transfer);
  initiator_.submit(transfer);
}

void SerialLine::forget(Transfer& transfer) {
  std::erase(in_flight_, &transfer);
  initiator_.release(transfer);
}

// All our transfers are in flight, and come back by themselves.
void SerialLine::initiator_stopping() {}

void SerialLine::write(std::span<const std::byte> data, Done done) {
  const size_t count = std::min<size_t>(data.size(), limits::serial_run_bytes_max);
  const bool last = count == data.size();
  const bool sent = initiator_.send(
      TransferType::serial, endpoint_out, data.first(count),
      [alive = alive_, last, done](const Transfer& transfer) {
        if (!*alive) return;
        if (transfer.status != TransferStatus::ok || transfer.actual < transfer.length) {
          if (done) done(std::unexpected(transfer_error(transfer.status, "writing")));
        } else if (last && done) {
          done({});
        }
      });
  if (!sent) return done(fail(ErrorCode::not_found, "writing: the serial port is gone"));
  if (!last) write(data.subspan(count), std::move(done));
}

void SerialLine::request(SerialRequest request, uint16_t value, std::span<const std::byte> data,
                         Done done) {
  const auto setup =
      make_setup(0x41, static_cast<uint8_t>(request), value, 0, static_cast<uint16_t>(data.size()));
  const bool sent =
      initiator_.control(setup, data, [alive = alive_, done](const Transfer& transfer) {
        if (!*alive) return;
        if (transfer.status == TransferStatus::ok) return done({});
        done(std::unexpected(transfer_error(transfer.status, "setting the serial port")));
      });
  if (!sent) done(fail(ErrorCode::not_found, "setting the serial port: it is gone"));
}

void SerialLine::set_line(const LineSettings& line, Done done) {
  request(SerialRequest::set_line, 0, std::as_bytes(std::span(&line, 1)), std::move(done));
}

void SerialLine::set_modem(ModemControl control, Done done) {
  request(SerialRequest::set_modem, 0, std::as_bytes(std::span(&control, 1)), std::move(done));
}

void SerialLine::set_break(bool on, Done done) {
  request(SerialRequest::set_break, on ? 1 : 0, {}, std::move(done));
}

void SerialLine::purge(bool input, bool output, Done done) {
  const auto what = static_cast<uint16_t>((input ? 1 : 0) | (output ? 2 : 0));
  request(SerialRequest::purge, what, {}, std::move(done));
}

void SerialLine::drain(Done done) { request(SerialRequest::drain, 0, {}, std::move(done)); }

void SerialLine::get_line(std::function<void(Result<LineSettings>)> done) {
  const auto setup =
      make_setup(0xc1, static_cast<uint8_t>(SerialRequest::get_line), 0, 0, sizeof(LineSettings));
  const bool sent = initiator_.control(setup, {}, [alive = alive_, done](const Transfer& transfer) {
    if (!*alive) return;
    if (transfer.status != TransferStatus::ok || transfer.actual < sizeof(LineSettings)) {
      return done(std::unexpected(transfer_error(transfer.status, "reading line settings")));
    }
    LineSettings line;
    std::memcpy(&line, transfer.data().data(), sizeof(line));
    done(line);
  });
  if (!sent) done(fail(ErrorCode::not_found, "reading line settings: the serial port is gone"));
}

}  // namespace farport
