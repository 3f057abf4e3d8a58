// The consumer's side of serial_requests.h, shared by the drivers that present a serial port (pty,
// rfc2217): keeps reads and the notice resting on the port, sends output, and carries out requests
// in the order they are made, after the output that precedes them.
//
//   input    in_transfers_max reads rest on the port. What received() does not take is kept, its
//            transfer is not submitted again, and so the port is stopped by its own flow control.
//   output   read from the consumer straight into the memory of a transfer: begin_output(), then
//            end_output(). Nothing may be begun while a request waits (can_output()), so that what
//            the consumer wrote after a change of settings travels after it.
//   request  one at a time. Before line settings, modem lines and break, the output so far is given
//            time to leave the port, or it would be sent with the new settings: settle() asks for
//            a drain, bounded by the time those bytes take at the present baud rate, because flow
//            control may hold them for ever.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/scheduler.h"
#include "dataplane/worker.h"
#include "devices/serial_requests.h"
#include "drivers/driver.h"

namespace farport::serial {

struct ClientRequest {
  SerialRequest kind = SerialRequest::get_line;
  LineSettings line;      // set_line; get_line: the answer
  ModemControl modem;     // set_modem
  bool break_on = false;  // set_break
  bool purge_input = false, purge_output = false;
};

class SerialClient {
 public:
  struct Events {
    // Bytes from the port; answers how many it took. For the rest, call resume_input() later.
    virtual size_t received(std::span<const std::byte> bytes) = 0;
    // can_output() may have become true.
    virtual void output_possible() = 0;
    virtual void noticed(const SerialNotice& notice) = 0;
    virtual void request_done(const ClientRequest& request, TransferStatus status) = 0;
    // Once, after stop(): every transfer is back and released.
    virtual void client_idle() = 0;

   protected:
    ~Events() = default;
  };

  // Room for one read, with the transfer's headroom in one 4 KiB block.
  static constexpr uint32_t run_bytes = 4096 - Transfer::headroom_bytes;
  static constexpr uint32_t in_transfers_max = 8;
  static constexpr uint32_t out_transfers_max = 8;
  static constexpr size_t requests_max = 32;

  SerialClient(Worker& worker, DriverPort& port, Events& events);

  // Submits reads and the notice. False when no memory was to be had.
  bool start();
  // From Driver::completed(), for every transfer.
  void completed(Transfer& transfer);
  // Takes no more; client_idle() follows, from inside here when nothing is in flight.
  void stop();

  bool can_output() const {
    return !stopping_ && request_count_ == 0 && out_in_flight_ < out_transfers_max;
  }
  // A transfer with room for run_bytes; nullptr when there is no memory now (output_possible() is
  // called when there may be). To be followed by end_output() before anything else.
  Transfer* begin_output();
  void end_output(Transfer& transfer, uint32_t bytes);

  // False when requests_max are waiting. A purge of output ends what is in flight at once.
  bool request(const ClientRequest& request);
  bool requests_waiting() const { return request_count_ != 0; }
  // Those waiting now no longer wait for output to leave the port: the consumer that wrote it has
  // gone, and another is here.
  void hurry();

  void resume_input();
  // Line settings as last set or read.
  const LineSettings& line() const { return line_; }

 private:
  void submit_in(Transfer& transfer);
  void submit_notice(Transfer& transfer);
  void input_completed(Transfer& transfer);
  void output_completed(Transfer& transfer);
  void notice_completed(Transfer& transfer);
  void request_completed(Transfer& transfer);
  void retire(Transfer& transfer);
  void drop_input();
  void tell_idle();
  bool over(const Transfer& transfer) const;
  void retry_later();
  void retry();

  void advance();
  bool needs_settling() const;
  void settle();
  void settled();
  bool submit_request(const ClientRequest& request);
  void finish_request(TransferStatus status);

  DriverPort& port_;
  Events& events_;
  Timer settle_timer_;
  Timer retry_timer_;
  bool stopping_ = false;
  bool delivering_ = false;
  bool idle_told_ = false;
  uint32_t input_purges_ = 0;  // requests waiting that drop input
  uint32_t in_flight_ = 0;     // submitted, of every kind
  uint32_t out_in_flight_ = 0;
  uint64_t out_bytes_in_flight_ = 0;
  bool out_dirty_ = false;  // something was sent since the port was last known to be empty
  std::array<Transfer*, out_transfers_max> out_{};
  std::array<Transfer*, in_transfers_max> held_{};  // with bytes not taken yet, in order
  uint32_t held_count_ = 0;
  size_t held_taken_ = 0;                                 // of held_[0]
  std::array<Transfer*, in_transfers_max + 1> failed_{};  // to be submitted again by retry()
  uint32_t failed_count_ = 0;

  enum class Phase : uint8_t { idle, waiting, draining, asking };
  Phase phase_ = Phase::idle;
  bool settled_ = false;        // the time for settling is over
  Transfer* asking_ = nullptr;  // the control transfer in flight: a drain or the request itself
  std::array<ClientRequest, requests_max> requests_{};
  size_t request_first_ = 0, request_count_ = 0;
  size_t hurried_ = 0;  // of the first requests
  LineSettings line_;
};

}  // namespace farport::serial
