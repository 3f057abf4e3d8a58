// Rule `ftdi`: serial converters of FTDI (vendor 0403, vendor-class interfaces). Each IN packet
// begins with two status bytes (modem lines; line errors and transmitter), wMaxPacketSize at a
// time; when nothing was received the chip sends just these two every latency timer (16 ms unless
// SET_LATENCY_TIMER has said otherwise: 1 to 255 ms). [Linux, drivers/usb/serial/ftdi_sio.c and
// ftdi_sio.h; libftdi 1.5]
//
// The chip's timer paces the polls, whatever it is set to; while it brings only status, no more
// than PolledIn::quiet_extra polls are ahead. A consumer that listens gets every status packet
// (libftdi's reads end by them). One that does not (closed, throttled) finds one for each change of
// the two bytes, not one for each period: on the bus, too, none is made while nobody polls.
// ftdi_sio looks at a packet of two bytes only for changes, and for the transmitter being empty.
//
// On by default: a stream of packets, each handed on whole, in order. A reset or a flush of the
// chip's buffer towards the host drops what is kept here. In bit-bang modes, where each byte read
// is a sample of the pins at that time, nothing is polled.
//
// Tried with Linux's ftdi_sio, which has two transfers in flight, on QEMU's FT232BM (`./dev lab
// ahead_ftdi`); with no chip of FTDI's own.
#pragma once

#include <memory>

#include "drivers/ahead/polled_rule.h"

namespace farport {

class FtdiRule final : public PolledRule {
 public:
  static bool fits(const DeviceInfo& info, const usb::Interface& interface);
  static std::unique_ptr<Rule> make(RulePort& port, const usb::Interface& interface);

 private:
  using PolledRule::PolledRule;
  bool purges(const usb::Request& request) const override;
  void observe(const usb::Request& request) override;
  bool is_ours(const usb::Request& request) const;
};

}  // namespace farport
