// The part of Rfc2217Driver that understands its client: data, options, requests and their answers.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "drivers/rfc2217/rfc2217_driver.h"

namespace farport {

using com_port::Change;
using com_port::Command;
using com_port::Request;
using serial::ClientRequest;
using serial::SerialClient;
using serial::SerialRequest;

namespace {

// Whether two requests may be made as one.
bool go_together(const Request& a, const Request& b) {
  const Change change = com_port::change_of(a);
  return change == com_port::change_of(b) && (change == Change::line || change == Change::modem);
}

// Whether the port is asked, or the answer is known.
bool needs_port(const Request& request) {
  return com_port::change_of(request) != Change::none || request.command == Command::purge_data;
}

}  // namespace

// Goes through what was read, as far as the port keeps up: stops at data it cannot take yet, and
// while a request is at the port.
void Rfc2217Driver::parse() {
  while (socket_ && !port_side_->requests_waiting()) {
    if (held_) {
      const Request request = *std::exchange(held_, std::nullopt);
      handle_request(request);
      continue;
    }
    if (!data_.empty()) {
      if (group_size_ > 0) {
        if (!submit_group()) break;
        continue;
      }
      if (!send_data()) break;
    }
    const auto event = parser_.next(rest_);
    if (!event) {
      end_data();
      if (group_size_ > 0) submit_group();
      break;
    }
    handle(*event);
  }
  end_data();
  send_output();
}

void Rfc2217Driver::handle(const telnet::Event& event) {
  switch (event.kind) {
    case telnet::Event::Kind::data:
      data_ = event.bytes;
      return;
    case telnet::Event::Kind::negotiation:
      options_.negotiate(event.command, event.option, output_);
      return;
    case telnet::Event::Kind::subnegotiation:
      if (event.option != telnet::option_com_port) return;
      // What cannot be understood is not answered, as the RFC has no answer for it.
      if (const auto request = com_port::decode(event.bytes)) handle_request(*request);
      return;
    case telnet::Event::Kind::command:
      if (event.command == telnet::brk) {
        end_data();
        if (group_size_ > 0) submit_group();  // it came before
        set_break(true);
        break_timer_->arm_after(telnet_break_ns);
      } else if (event.command == telnet::are_you_there) {
        const std::string text = fmt::format("\r\n[farport: {}]\r\n", port_->info().name);
        telnet::append_data(output_, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
      }
      return;
    case telnet::Event::Kind::error: {
      const std::string text = fmt::format("\r\nfarport: {}; closing\r\n", event.message);
      telnet::append_data(output_, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
      send_output();
      disconnect();
      return;
    }
  }
}

void Rfc2217Driver::handle_request(const Request& request) {
  const bool full = group_size_ == group_.size();
  if (group_size_ > 0 && (full || !go_together(group_[0], request))) {
    held_ = request;
    submit_group();
    return;
  }
  if (!needs_port(request)) return answer(request);
  end_data();
  group_[group_size_++] = request;
  if (!go_together(request, request)) submit_group();
}

// With the state of now: for a setting that is what it has become.
void Rfc2217Driver::answer(const Request& request) {
  switch (request.command) {
    case Command::signature:
      if (request.text.empty()) com_port::append_signature(output_, "farport " FARPORT_VERSION);
      return;
    case Command::notify_line_state:
      return com_port::append_value(output_, request.command, com_port::line_state(conditions_));
    case Command::notify_modem_state:
      return com_port::append_value(output_, request.command, com_port::modem_state(lines_, 0));
    case Command::flow_control_suspend:
      suspended_ = true;
      return;
    case Command::flow_control_resume:
      suspended_ = false;
      return port_side_->resume_input();
    case Command::set_line_state_mask:
      line_state_mask_ = static_cast<uint8_t>(request.value);
      return com_port::append_value(output_, request.command, line_state_mask_);
    case Command::set_modem_state_mask:
      modem_state_mask_ = static_cast<uint8_t>(request.value);
      return com_port::append_value(output_, request.command, modem_state_mask_);
    case Command::purge_data:
      return com_port::append_value(output_, request.command, static_cast<uint8_t>(request.value));
    default:
      return com_port::append_setting(output_, request, state());
  }
}

// True when all of data_ is taken.
bool Rfc2217Driver::send_data() {
  while (!data_.empty()) {
    if (filling_ == nullptr) {
      if (!port_side_->can_output()) return false;
      filling_ = port_side_->begin_output();
      filled_ = 0;
      if (filling_ == nullptr) return false;
    }
    const size_t count = std::min<size_t>(data_.size(), SerialClient::run_bytes - filled_);
    std::memcpy(filling_->data().data() + filled_, data_.data(), count);
    data_ = data_.subspan(count);
    filled_ += static_cast<uint32_t>(count);
    if (filled_ == SerialClient::run_bytes) end_data();
  }
  return true;
}

void Rfc2217Driver::end_data() {
  if (filling_ != nullptr) port_side_->end_output(*std::exchange(filling_, nullptr), filled_);
}

// False when the port takes no more requests now: tried again when one is done.
bool Rfc2217Driver::submit_group() {
  ClientRequest made;
  switch (com_port::change_of(group_[0])) {
    case Change::line:
      return group_active_ = submit_lines(0, group_size_);
    case Change::modem:
      made.kind = SerialRequest::set_modem;
      for (size_t i = 0; i < group_size_; ++i) com_port::apply(group_[i], made.modem);
      break;
    case Change::brk:
      made.kind = SerialRequest::set_break;
      made.break_on = group_[0].value == com_port::control::break_on;
      break;
    case Change::none:
      made.kind = SerialRequest::purge;
      made.purge_input = (group_[0].value & 1) != 0;
      made.purge_output = (group_[0].value & 2) != 0;
      break;
  }
  return group_active_ = port_side_->request(made);
}

bool Rfc2217Driver::submit_lines(size_t first, size_t count) {
  ClientRequest made;
  made.kind = SerialRequest::set_line;
  made.line = port_side_->line();
  // A value that the RFC does not have changes nothing, and is answered with what is.
  for (size_t i = first; i < first + count; ++i) (void)com_port::apply(group_[i], made.line);
  return port_side_->request(made);
}

void Rfc2217Driver::request_done(const ClientRequest& request, TransferStatus status) {
  const bool done = status == TransferStatus::ok;
  // `invalid`: a port without modem lines; see the top of rfc2217_driver.h.
  if (request.kind == SerialRequest::set_modem && (done || status == TransferStatus::invalid)) {
    own_lines_ = static_cast<uint8_t>((own_lines_ & ~request.modem.mask) |
                                      (request.modem.lines & request.modem.mask));
  }
  if (request.kind == SerialRequest::set_break && done) break_on_ = request.break_on;
  if (group_active_) group_done(status);
  parse();
}

void Rfc2217Driver::group_done(TransferStatus status) {
  if (com_port::change_of(group_[0]) == Change::line && group_size_ > 1) return lines_done(status);
  for (size_t i = 0; i < group_size_; ++i) answer(group_[i]);
  group_size_ = 0;
  group_active_ = false;
}

// Several line settings: when the port refuses them together, each is tried by itself, so that
// those it can do are done and answered so.
void Rfc2217Driver::lines_done(TransferStatus status) {
  if (!group_one_by_one_ && status == TransferStatus::ok) {
    group_answered_ = group_size_;
    for (size_t i = 0; i < group_size_; ++i) answer(group_[i]);
  } else if (!group_one_by_one_) {
    group_one_by_one_ = true;
    group_answered_ = 0;
  } else {
    answer(group_[group_answered_++]);
  }
  if (group_answered_ < group_size_ && submit_lines(group_answered_, 1)) return;
  group_size_ = 0;
  group_active_ = group_one_by_one_ = false;
}

void Rfc2217Driver::output_possible() { parse(); }

// NOTIFY-MODEMSTATE and NOTIFY-LINESTATE, as the masks allow: the present state once the option is
// agreed upon, then every change.
void Rfc2217Driver::announce() {
  const bool agreed =
      options_.on(telnet::option_com_port, false) || options_.on(telnet::option_com_port, true);
  if (!socket_ || !agreed || !lines_known_ || backlog() >= output_bytes_max) return;
  const uint8_t changed = std::exchange(changed_, uint8_t{0});
  const uint8_t state = com_port::modem_state(lines_, announced_ ? changed : uint8_t{0});
  // The level bits of what changed, and the change bits.
  const uint8_t news = com_port::modem_state(changed, 0) | (state & 0x0f);
  if (!announced_ || (news & modem_state_mask_) != 0) {
    com_port::append_value(output_, Command::notify_modem_state, state & modem_state_mask_);
  }
  announced_ = true;
  const uint8_t conditions =
      com_port::line_state(std::exchange(conditions_, uint8_t{0})) & line_state_mask_;
  if (conditions != 0) {
    com_port::append_value(output_, Command::notify_line_state, conditions);
  }
}

void Rfc2217Driver::set_lines(uint8_t lines) {
  ClientRequest made;
  made.kind = SerialRequest::set_modem;
  made.modem = {.mask = serial::line::dtr | serial::line::rts, .lines = lines};
  port_side_->request(made);
}

void Rfc2217Driver::set_break(bool on) {
  ClientRequest made;
  made.kind = SerialRequest::set_break;
  made.break_on = on;
  port_side_->request(made);
}

}  // namespace farport
