#include "drivers/usbip/usbip_server.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>

#include "devices/usbip/device_record.h"
#include "devices/usbip/tcp.h"
#include "drivers/usbip/usbip_driver.h"

namespace farport {

using namespace usbip;

namespace {

constexpr uint64_t accept_pause_ns = 100'000'000;

std::string peer_of(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  return getpeername(socket, generic, &length) == 0 ? address_text(*generic, length) : "unknown";
}

Result<FileDescriptor> open_listener(const std::string& text) {
  const auto address = parse_address(text, default_port);
  if (!address) return std::unexpected(address.error());
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(address->port);
  if (getaddrinfo(address->host.c_str(), port.c_str(), &hints, &found) != 0) {
    return fail(ErrorCode::usage, "the USB/IP server cannot listen on \"" + text +
                                      "\": give a numeric address such as 127.0.0.1:3240");
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> guard(found, freeaddrinfo);
  FileDescriptor socket(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(errno, "cannot make a socket for the USB/IP server");
  const int on = 1;
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (found->ai_family == AF_INET6) {
    setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  if (bind(socket.get(), found->ai_addr, found->ai_addrlen) != 0 ||
      ::listen(socket.get(), SOMAXCONN) != 0) {
    const int error = errno;
    const std::string what = "the USB/IP server cannot listen on " + text;
    if (error == EADDRINUSE) {
      return fail(ErrorCode::busy,
                  what + ": the port is in use (by usbipd?); stop that, or set another port");
    }
    return fail_errno(error, what);
  }
  return socket;
}

}  // namespace

// --- one client in the operation phase ---

class UsbipServer::Connection final : public RingOperation {
 public:
  Connection(UsbipServer& server, FileDescriptor socket, uint64_t number)
      : server_(server),
        socket_(std::move(socket)),
        number_(number),
        client_(peer_of(socket_.get())),
        deadline_(
            server.worker_, [](void* self) { static_cast<Connection*>(self)->close(); }, this) {
    deadline_.arm_after(server.settings_.operation_ns_max);
    receive(sizeof(wire::OpHeader));
  }

  uint64_t number() const { return number_; }

  void close() {
    closing_ = true;
    if (!outstanding_) return server_.finished(*this);
    shutdown(socket_.get(), SHUT_RDWR);
    server_.worker_.cancel(*this);
  }

  // The catalogue's answer to a list.
  void listed(const std::vector<DeviceInfo>& devices) {
    if (step_ != Step::listing || closing_) return;
    std::vector<DeviceRecord> records;
    for (const DeviceInfo& info : devices) {
      if (info.kind == DeviceKind::usb && records.size() < listed_devices_max) {
        records.push_back(record_of(info));
      }
    }
    reply_ = encode_list_reply(records);
    step_ = Step::sending;
    send();
  }

 private:
  enum class Step : uint8_t { header, busid, listing, sending };

  void completed(int result, uint32_t) override {
    outstanding_ = false;
    if (closing_) return server_.finished(*this);
    if (result <= 0) return close();  // gone, or failed
    done_ += static_cast<size_t>(result);
    if (step_ == Step::sending) return done_ < reply_.size() ? send() : close();
    if (done_ < wanted_) return receive(wanted_);
    if (step_ == Step::header) return header_received();
    import();
  }

  // Never more than the request: what follows an import belongs to the device's driver.
  void receive(size_t wanted) {
    wanted_ = wanted;
    outstanding_ = true;
    io_uring_prep_recv(server_.worker_.prepare(*this), socket_.get(), request_.data() + done_,
                       wanted - done_, 0);
  }

  void send() {
    outstanding_ = true;
    io_uring_prep_send(server_.worker_.prepare(*this), socket_.get(), reply_.data() + done_,
                       reply_.size() - done_, MSG_NOSIGNAL);
  }

  void header_received() {
    const OpHeader header = decode_op_header(std::span(request_).first<8>());
    const bool list = header.code == OpCode::request_list;
    if (!list && header.code != OpCode::request_import) return close();  // not USB/IP
    if (header.version != protocol_version) {
      return answer_error(list ? OpCode::reply_list : OpCode::reply_import);
    }
    if (!list) {
      step_ = Step::busid;
      return receive(sizeof(wire::ImportRequest));
    }
    step_ = Step::listing;
    done_ = 0;
    server_.catalogue_.list(client_,
                            [&worker = server_.worker_, server = std::weak_ptr(server_.self_),
                             number = number_](std::vector<DeviceInfo> devices) {
                              worker.post([server, number, devices = std::move(devices)] {
                                const auto alive = server.lock();
                                if (alive == nullptr) return;
                                for (const auto& connection : (*alive)->connections_) {
                                  if (connection->number() == number)
                                    return connection->listed(devices);
                                }
                              });
                            });
  }

  void import() {
    auto busid = decode_busid(std::span(request_).subspan<8, 32>());
    if (!busid) return answer_error(OpCode::reply_import);
    auto request = std::make_shared<UsbipImport>(std::move(socket_), client_, std::move(*busid),
                                                 server_.imports_);
    UsbipCatalogue& catalogue = server_.catalogue_;
    closing_ = true;
    server_.finished(*this);
    catalogue.import(std::move(request));
  }

  void answer_error(OpCode code) {
    const auto bytes =
        encode_op_header({protocol_version, code, static_cast<uint32_t>(OpStatus::error)});
    reply_.assign(bytes.begin(), bytes.end());
    done_ = 0;
    step_ = Step::sending;
    send();
  }

  UsbipServer& server_;
  FileDescriptor socket_;
  uint64_t number_;
  std::string client_;
  Timer deadline_;
  std::array<std::byte, sizeof(wire::ImportRequest)> request_{};
  std::vector<std::byte> reply_;
  size_t wanted_ = 0;
  size_t done_ = 0;  // bytes of the request received, or of the reply sent
  Step step_ = Step::header;
  bool outstanding_ = false;
  bool closing_ = false;
};

// --- the listener ---

class UsbipServer::Listener final : public RingOperation {
 public:
  Listener(UsbipServer& server, FileDescriptor socket)
      : server_(server),
        socket_(std::move(socket)),
        retry_(server.worker_, [](void* self) { static_cast<Listener*>(self)->accept(); }, this) {}

  int socket() const { return socket_.get(); }
  bool outstanding() const { return outstanding_; }

  void accept() {
    outstanding_ = true;
    io_uring_prep_accept(server_.worker_.prepare(*this), socket_.get(), nullptr, nullptr,
                         SOCK_CLOEXEC);
  }

  void stop() {
    retry_.disarm();
    if (outstanding_) server_.worker_.cancel(*this);
  }

 private:
  void completed(int result, uint32_t) override {
    outstanding_ = false;
    FileDescriptor accepted(result >= 0 ? result : -1);
    if (server_.stopping_) {
      server_.worker_.flush_later(server_);
      return;
    }
    // Without descriptors or memory, accepting at once again would spin.
    const bool short_of =
        result == -EMFILE || result == -ENFILE || result == -ENOBUFS || result == -ENOMEM;
    if (short_of) {
      retry_.arm_after(accept_pause_ns);
    } else {
      accept();
    }
    if (accepted) server_.accepted(std::move(accepted));
  }

  UsbipServer& server_;
  FileDescriptor socket_;
  Timer retry_;
  bool outstanding_ = false;
};

// --- the server ---

UsbipServer::UsbipServer(Worker& worker, const UsbipServerSettings& settings,
                         UsbipCatalogue& catalogue)
    : worker_(worker),
      settings_(settings),
      catalogue_(catalogue),
      self_(std::make_shared<UsbipServer*>(this)),
      imports_(std::make_shared<int>(0)) {}

UsbipServer::~UsbipServer() {
  assert(connections_.empty() && !listener_->outstanding());
  worker_.forget(*this);
}

Result<std::unique_ptr<UsbipServer>> UsbipServer::listen(Worker& worker,
                                                         const UsbipServerSettings& settings,
                                                         UsbipCatalogue& catalogue) {
  auto socket = open_listener(settings.address);
  if (!socket) return std::unexpected(socket.error());
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (getsockname(socket->get(), generic, &length) != 0) {
    return fail_errno(errno, "the USB/IP server's own address");
  }
  std::unique_ptr<UsbipServer> server(new UsbipServer(worker, settings, catalogue));
  server->address_ = address_text(*generic, length);
  server->listener_ = std::make_unique<Listener>(*server, std::move(*socket));
  return server;
}

void UsbipServer::start() { listener_->accept(); }

void UsbipServer::stop(std::function<void()> stopped) {
  assert(!stopping_);
  stopping_ = true;
  stopped_ = std::move(stopped);
  self_.reset();
  listener_->stop();
  std::vector<Connection*> open;
  for (const auto& connection : connections_) open.push_back(connection.get());
  for (Connection* connection : open) connection->close();
  worker_.flush_later(*this);
}

void UsbipServer::accepted(FileDescriptor socket) {
  // Imports that control has not answered yet count too: they hold a descriptor each.
  const size_t taken = connections_.size() + static_cast<size_t>(imports_.use_count() - 1);
  if (taken >= settings_.connections_max) return;  // closes it
  set_tcp_options(socket.get());
  connections_.push_back(
      std::make_unique<Connection>(*this, std::move(socket), next_connection_++));
}

// Called by the connection itself: it is destroyed at the end of the iteration.
void UsbipServer::finished(Connection& connection) {
  const auto found = std::find_if(connections_.begin(), connections_.end(),
                                  [&](const auto& each) { return each.get() == &connection; });
  if (found == connections_.end()) return;
  finished_.push_back(std::move(*found));
  connections_.erase(found);
  worker_.flush_later(*this);
}

void UsbipServer::flush() {
  finished_.clear();
  if (!stopping_ || !connections_.empty() || listener_->outstanding() || !stopped_) return;
  worker_.post(std::exchange(stopped_, nullptr));
}

// --- imports ---

UsbipImport::UsbipImport(FileDescriptor socket, std::string client, std::string busid,
                         std::shared_ptr<void> place)
    : socket_(std::move(socket)),
      client_(std::move(client)),
      busid_(std::move(busid)),
      place_(std::move(place)) {}

UsbipImport::~UsbipImport() { refuse(OpStatus::error); }

std::unique_ptr<Driver> UsbipImport::accept() {
  assert(socket_);
  place_.reset();
  return std::make_unique<UsbipDriver>(std::move(socket_), client_);
}

void UsbipImport::refuse(OpStatus status) {
  if (!socket_) return;
  send_refusal(socket_.get(), status);
  socket_.reset();
  place_.reset();
}

}  // namespace farport
