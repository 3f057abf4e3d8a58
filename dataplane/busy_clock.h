// How long a device had at least one control or bulk transfer in service, cumulated: the divisor of
// demand (meter.h says why the other types do not count).
#pragma once

#include <cstdint>

#include "dataplane/transfer.h"

namespace farport {

class BusyClock {
 public:
  void begin(TransferType type, uint64_t now_ns) {
    if (counts(type) && in_service_++ == 0) since_ns_ = now_ns;
  }
  void end(TransferType type, uint64_t now_ns) {
    if (counts(type) && --in_service_ == 0) busy_ns_ += now_ns - since_ns_;
  }
  // `now_ns` may be from before the present service began: of a result that is told later.
  uint64_t busy_ns(uint64_t now_ns) const {
    return busy_ns_ + (in_service_ > 0 && now_ns > since_ns_ ? now_ns - since_ns_ : 0);
  }

 private:
  static bool counts(TransferType type) {
    return type == TransferType::control || type == TransferType::bulk;
  }
  uint32_t in_service_ = 0;
  uint64_t since_ns_ = 0;
  uint64_t busy_ns_ = 0;
};

}  // namespace farport
