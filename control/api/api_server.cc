#include "control/api/api_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <deque>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "control/api/routes.h"

namespace farport {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using UnixStream = asio::local::stream_protocol;

class ApiConnection;

class ApiServer::Shared : public std::enable_shared_from_this<ApiServer::Shared> {
 public:
  Shared(asio::io_context& context, Service& service, UnixListener listener, std::string path)
      : service(service),
        inherited_(listener.inherited),
        path_(std::move(path)),
        acceptor_(context, UnixStream(), listener.socket.release()),
        retry_(context) {}

  void accept();
  void stop();

  Service& service;
  std::set<std::shared_ptr<ApiConnection>> connections;

 private:
  bool inherited_;
  std::string path_;
  bool stopped_ = false;
  asio::basic_socket_acceptor<UnixStream> acceptor_;
  asio::steady_timer retry_;
};

// One caller: requests in turn, or one stream of events until it leaves.
class ApiConnection : public std::enable_shared_from_this<ApiConnection> {
 public:
  ApiConnection(std::shared_ptr<ApiServer::Shared> server, UnixStream::socket socket,
                Caller requester)
      : server_(std::move(server)), stream_(std::move(socket)), requester_(std::move(requester)) {}

  void read() {
    parser_.emplace();
    parser_->body_limit(ApiServer::body_bytes_max);
    parser_->header_limit(ApiServer::header_bytes_max);
    stream_.expires_after(std::chrono::seconds(ApiServer::request_seconds_max));
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](error_code error, size_t) { self->take(error); });
  }

  void close() {
    subscription_.reset();
    error_code ignored;
    stream_.socket().close(ignored);
    server_->connections.erase(shared_from_this());
  }

 private:
  void take(error_code error) {
    if (error == http::error::body_limit || error == http::error::header_limit) {
      return write(too_large(), false);
    }
    if (error.category() == http::make_error_code(http::error::end_of_stream).category() &&
        error != http::error::end_of_stream && error != http::error::partial_message) {
      return write(
          error_response({ErrorCode::usage, "the request is not HTTP: " + error.message()}), false);
    }
    if (error) return close();
    stream_.expires_never();
    auto request = parser_->release();
    const bool keep = request.keep_alive();
    answer(server_->service,
           {std::string(request.method_string()), std::string(request.target()),
            std::move(request.body()), requester_},
           [self = shared_from_this(), keep](ApiResponse response) {
             if (response.events_after) {
               self->stream_events(*response.events_after);
             } else {
               self->write(std::move(response), keep);
             }
           });
  }

  static ApiResponse too_large() {
    ApiResponse response = error_response({ErrorCode::usage, "the request is too large"});
    response.status = 413;
    return response;
  }

  void write(ApiResponse response, bool keep) {
    if (!stream_.socket().is_open()) return;  // the server has stopped meanwhile
    auto message = std::make_shared<http::response<http::string_body>>();
    message->version(11);
    message->result(response.status);
    message->set(http::field::server, "farport");
    message->set(http::field::content_type, response.content_type);
    if (!response.allow.empty()) message->set(http::field::allow, response.allow);
    message->keep_alive(keep);
    message->body() = std::move(response.body);
    message->prepare_payload();
    stream_.expires_after(std::chrono::seconds(ApiServer::request_seconds_max));
    http::async_write(stream_, *message,
                      [self = shared_from_this(), message, keep](error_code error, size_t) {
                        if (error || !keep) {
                          self->close();
                        } else {
                          self->read();
                        }
                      });
  }

  // --- events: chunked JSON lines until the caller leaves ---

  void stream_events(uint64_t after) {
    if (!stream_.socket().is_open()) return;
    unsent_.push_back(
        "HTTP/1.1 200 OK\r\nServer: farport\r\nContent-Type: application/x-ndjson\r\n"
        "Cache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n");
    unsent_bytes_ = unsent_.back().size();
    send_unsent();
    watch_for_end();
    subscription_ = server_->service.subscribe(after, [this](const Event& event) { queue(event); });
  }

  void queue(const Event& event) {
    const std::string line =
        nlohmann::json(event).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    std::array<char, 20> size{};
    std::snprintf(size.data(), size.size(), "%zx\r\n", line.size());
    unsent_.push_back(size.data() + line + "\r\n");
    unsent_bytes_ += unsent_.back().size();
    if (unsent_bytes_ > ApiServer::unsent_bytes_max) {
      // Not from inside the subscription's callback.
      asio::post(stream_.get_executor(), [self = shared_from_this()] { self->close(); });
      return;
    }
    send_unsent();
  }

  void send_unsent() {
    if (sending_ || unsent_.empty()) return;
    sending_ = true;
    asio::async_write(stream_.socket(), asio::buffer(unsent_.front()),
                      [self = shared_from_this()](error_code error, size_t) {
                        self->sending_ = false;
                        if (error) return self->close();
                        self->unsent_bytes_ -= self->unsent_.front().size();
                        self->unsent_.pop_front();
                        self->send_unsent();
                      });
  }

  // A caller of a stream says nothing more: what comes next is its end.
  void watch_for_end() {
    stream_.socket().async_wait(UnixStream::socket::wait_read,
                                [self = shared_from_this()](error_code) { self->close(); });
  }

  std::shared_ptr<ApiServer::Shared> server_;
  beast::basic_stream<UnixStream> stream_;
  Caller requester_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::unique_ptr<EventSubscription> subscription_;
  std::deque<std::string> unsent_;
  size_t unsent_bytes_ = 0;
  bool sending_ = false;
};

void ApiServer::Shared::accept() {
  acceptor_.async_accept([self = shared_from_this()](error_code error, UnixStream::socket socket) {
    if (self->stopped_) return;
    if (error) {  // out of descriptors, say: not again at once
      self->retry_.expires_after(std::chrono::milliseconds(100));
      self->retry_.async_wait([self](error_code) {
        if (!self->stopped_) self->accept();
      });
      return;
    }
    if (self->connections.size() < ApiServer::connections_max) {
      if (auto requester = peer_of(socket.native_handle()); requester) {
        auto connection =
            std::make_shared<ApiConnection>(self, std::move(socket), std::move(*requester));
        self->connections.insert(connection);
        connection->read();
      }
    }
    // Past the limit the new connection is closed at once; those there are served.
    self->accept();
  });
}

void ApiServer::Shared::stop() {
  stopped_ = true;
  error_code ignored;
  acceptor_.close(ignored);
  retry_.cancel();
  while (!connections.empty()) {
    const auto connection = *connections.begin();
    connection->close();
  }
  if (!inherited_) ::unlink(path_.c_str());
}

ApiServer::ApiServer(asio::io_context& context, Service& service, UnixListener listener,
                     std::string path)
    : shared_(std::make_shared<Shared>(context, service, std::move(listener), std::move(path))) {
  shared_->accept();
}

ApiServer::~ApiServer() { shared_->stop(); }

size_t ApiServer::connections() const { return shared_->connections.size(); }

}  // namespace farport
