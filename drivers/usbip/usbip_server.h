// A USB/IP server for stock clients (`usbip list -r`, `usbip attach -r`): listens, answers the
// operation phase, and hands a connection that asks for a device to control. The protocol has no
// authentication: who may connect is decided by the address it listens on, and by the catalogue.
//
// Control opens a device off the worker and then runs it, for one client, on the server's worker:
//
//   void Catalogue::import(std::shared_ptr<UsbipImport> request) {         // on the worker
//     control.post([=] {                                                   // on control's thread
//       auto device = open_allowed(request->busid(), request->client());
//       if (!device) return request->refuse(usbip::OpStatus::busy);
//       worker.post([=] { channel = LocalChannel(worker, device, request->accept(), ...).start();
//       });
//     });
//   }
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/error.h"
#include "dataplane/worker.h"
#include "devices/device_info.h"
#include "devices/usbip/protocol.h"
#include "drivers/driver.h"

namespace farport {

// A client's wish for one device. Thread-safe as long as one thread at a time holds it. Destroyed
// without an answer, it refuses with OpStatus::error.
class UsbipImport {
 public:
  // `place`: held until the answer, so that the server can count.
  UsbipImport(FileDescriptor socket, std::string client, std::string busid,
              std::shared_ptr<void> place = nullptr);
  ~UsbipImport();

  const std::string& busid() const { return busid_; }    // as usbip::busid_of() made it
  const std::string& client() const { return client_; }  // "192.0.2.7:50514"

  // One of the two, once. The driver goes into a LocalChannel, whose start() answers the client.
  std::unique_ptr<Driver> accept();
  void refuse(usbip::OpStatus status);

 private:
  FileDescriptor socket_;
  std::string client_;
  std::string busid_;
  std::shared_ptr<void> place_;
};

// What control exports. Both are called on the server's worker and must not block.
class UsbipCatalogue {
 public:
  // `answer` takes all devices that `client` may see, those in use included (the list has no way to
  // say busy; importing one is then refused as busy). It may be called from any thread, at once or
  // later, also when the server is gone; the worker has to be there.
  using ListAnswer = std::function<void(std::vector<DeviceInfo>)>;
  virtual void list(const std::string& client, ListAnswer answer) = 0;
  virtual void import(std::shared_ptr<UsbipImport> request) = 0;

 protected:
  ~UsbipCatalogue() = default;
};

struct UsbipServerSettings {
  // "127.0.0.1:3240", "[::1]:3240", "0.0.0.0:0" (any free port). Numeric: names may block.
  std::string address = "127.0.0.1:3240";
  uint32_t connections_max = 64;               // in the operation phase, all clients together
  uint64_t operation_ns_max = 10'000'000'000;  // from accept to the answered request
};

class UsbipServer final : private Flushable {
 public:
  // Binds and listens. `catalogue` outlives the server. Errors: a bad address (usage), a port in
  // use (busy), a privileged one (denied).
  static Result<std::unique_ptr<UsbipServer>> listen(Worker& worker,
                                                     const UsbipServerSettings& settings,
                                                     UsbipCatalogue& catalogue);
  // On the worker: before start(), or from `stopped` on (not from inside it).
  ~UsbipServer();

  // Where it listens, with the port the system chose. Any thread.
  const std::string& address() const { return address_; }

  // --- on the worker ---
  void start();
  // Closes the listener and the connections in the operation phase; imported devices are channels
  // of their own and go on. `stopped` is called when the server may be destroyed.
  void stop(std::function<void()> stopped);

 private:
  class Connection;
  class Listener;
  UsbipServer(Worker& worker, const UsbipServerSettings& settings, UsbipCatalogue& catalogue);
  void accepted(FileDescriptor socket);
  void finished(Connection& connection);
  void flush() override;

  Worker& worker_;
  UsbipServerSettings settings_;
  UsbipCatalogue& catalogue_;
  std::string address_;
  std::unique_ptr<Listener> listener_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::unique_ptr<Connection>> finished_;
  std::function<void()> stopped_;
  std::shared_ptr<UsbipServer*> self_;  // answers find out by it whether the server still lives
  std::shared_ptr<int> imports_;        // shared with every unanswered UsbipImport
  uint64_t next_connection_ = 0;
  bool stopping_ = false;
};

}  // namespace farport
