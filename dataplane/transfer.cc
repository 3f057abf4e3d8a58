#include "dataplane/transfer.h"

namespace farport {

std::string_view transfer_status_name(TransferStatus status) {
  switch (status) {
    case TransferStatus::ok:
      return "ok";
    case TransferStatus::stall:
      return "stall";
    case TransferStatus::cancelled:
      return "cancelled";
    case TransferStatus::unplugged:
      return "unplugged";
    case TransferStatus::timed_out:
      return "timed out";
    case TransferStatus::overflow:
      return "overflow";
    case TransferStatus::short_read:
      return "short";
    case TransferStatus::protocol:
      return "protocol error";
    case TransferStatus::late:
      return "late";
    case TransferStatus::invalid:
      return "invalid";
    case TransferStatus::no_memory:
      return "no memory";
    case TransferStatus::link_lost:
      return "link lost";
  }
  return "unknown";
}

}  // namespace farport
