// Lends this host's USB devices to stock USB/IP clients (`usbip attach -r`): the server's
// catalogue, by the same rules and with the same one holder at a time as for peers.
//
// A client is known by its address alone: as the peer that has that address, or else, in rules, by
// the address itself ("192.0.2.7").
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "control/daemon/loans.h"
#include "control/daemon/local_run.h"
#include "drivers/usbip/usbip_server.h"

namespace farport {

class UsbipGateway final : private UsbipCatalogue {
 public:
  struct Parts {
    ControlLoop& loop;
    WorkerThread& worker;
    Loans& loans;
    std::function<uint64_t(const DeviceInfo&)> bus_rate;
    std::function<std::string(const std::string& address)> host_at;  // empty: no peer's
  };
  explicit UsbipGateway(Parts parts) : parts_(std::move(parts)) {}
  ~UsbipGateway();  // after stop()

  // busy: the port is in use. Waits up to 2 s for that to end; before the loop runs.
  Result<void> listen(const std::string& address);
  const std::string& address() const { return address_; }
  void start();
  // Ends the server and takes the devices back; `done` on the control thread.
  void stop(std::function<void()> done);

 private:
  // UsbipCatalogue, on the worker
  void list(const std::string& client, ListAnswer answer) override;
  void import(std::shared_ptr<UsbipImport> request) override;

  Consumer consumer(const std::string& client) const;
  void lend(const std::shared_ptr<UsbipImport>& request);
  void run(UsbipImport& request, Loans::Loan loan);
  void stopped();

  Parts parts_;
  std::string address_;
  std::unique_ptr<UsbipServer> server_;                 // lives on the worker once started
  std::map<uint64_t, std::shared_ptr<LocalRun>> runs_;  // by loan
  bool server_stopped_ = false;
  std::function<void()> stop_done_;
};

}  // namespace farport
