// Who has which device of this host: rules, one holder at a time, opening and giving back. Lending
// to peers (Lender), local attachments and the usbip server all go through here.
//
// Thread rule: the control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/daemon/catalogue.h"
#include "control/daemon/event_log.h"
#include "control/daemon/service.h"

namespace farport {

// Who wants a device, as rules name it. `uid` and `groups` are known of this host's users only.
struct Consumer {
  std::string host, vm, user;
  std::optional<uint32_t> uid;
  std::vector<std::string> groups;
};

struct Access {
  bool allowed = false;
  std::string reason;  // which rule, or that there is none
};
using AccessCheck = std::function<Access(const DeviceInfo&, const Consumer&)>;
// What a device needs by its descriptors or the configuration's table, before anything is measured.
struct Nominal {
  uint64_t bytes_s = 0;  // 0: unknown
  std::string source;    // "descriptors", "configuration", or empty
};
using NominalCheck = std::function<Nominal(const DeviceInfo&)>;

class Loans {
 public:
  struct Loan {
    uint64_t id = 0;
    LocalDevice device;
    Nominal nominal;
    std::unique_ptr<Device> opened;  // moves to a worker
  };

  Loans(Catalogue& catalogue, EventLog& events, std::string host);

  // Rules can change at any time; what is lent stays lent.
  void set_rules(AccessCheck access, NominalCheck nominal);

  // As `consumer` sees this host, after asking the providers.
  void devices(const Consumer& consumer, std::function<void(std::vector<DeviceEntry>)> done);
  // Looks the device up, checks the rules and the holder, opens it. not_found, denied, busy, or
  // what the provider says. `trusted`: by no rule, for this host's root.
  void borrow(const std::string& name, const Consumer& consumer, bool trusted,
              std::function<void(Result<Loan>)> done);
  // The name of the first device that fits; empty: none does.
  std::string device_where(const std::function<bool(const DeviceInfo&)>& fits) const;
  // The device has stopped and is destroyed: the next one may have it.
  void give_back(uint64_t id, const std::string& why);
  // Told whenever a device that was in use is free again.
  void on_freed(std::function<void()> freed) { freed_ = std::move(freed); }
  // The loan will end soon; who asks meanwhile waits a little instead of hearing "busy".
  void ending(uint64_t id);
  // The steps of borrow(), each with what it finds and what would help.
  void explain(const std::string& name, const Consumer& consumer, bool trusted,
               std::function<void(std::vector<Check>)> done);

 private:
  struct Held {
    uint64_t id = 0;
    Holder holder;
    bool ending = false;
    std::vector<std::function<void()>> waiting;  // for the end
  };
  void borrow_found(const LocalDevice& device, const Consumer& consumer, bool trusted, bool waited,
                    std::function<void(Result<Loan>)> done);
  std::string busy_message(const std::string& name, const Holder& holder) const;

  Catalogue& catalogue_;
  EventLog& events_;
  const std::string host_;
  AccessCheck access_;
  NominalCheck nominal_;
  std::function<void()> freed_;
  std::map<std::string, Held> held_;  // by the device's stable name
  uint64_t next_id_ = 1;
};

}  // namespace farport
