#include "control/cli/api_client.h"

#include <fmt/format.h>
#include <grp.h>
#include <sys/stat.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <limits>
#include <optional>

#include "control/cli/interrupt.h"

namespace farport {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using UnixStream = asio::local::stream_protocol;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds kLook{100};  // how often a wait looks at the clock and at Ctrl-C

// Group root may read and write far more than this socket: nobody is told to join it.
Error denied_error(const std::string& path) {
  struct stat status{};
  const bool seen = stat(path.c_str(), &status) == 0;
  if (seen && status.st_gid == 0) {
    return {ErrorCode::denied,
            fmt::format("you may not use {}, which is root's alone: run this as root, or set "
                        "host.socket_group in farportd's configuration to a group that you are in "
                        "and start farportd again (where systemd holds the socket, set SocketGroup "
                        "with `systemctl edit farportd.socket` and restart that, too)",
                        path)};
  }
  std::string group = "its group";
  if (seen) {
    const ::group* found = getgrgid(status.st_gid);
    group = "group " + (found == nullptr ? std::to_string(status.st_gid) : found->gr_name);
  }
  return {ErrorCode::denied,
          fmt::format("you may not use {}: run this as root, or join {} (usermod -aG) and log in "
                      "again",
                      path, group)};
}

Error socket_error(const error_code& error, const std::string& path) {
  if (error == asio::error::access_denied) return denied_error(path);
  if (error == asio::error::connection_refused || error == boost::system::errc::not_a_socket ||
      error == boost::system::errc::no_such_file_or_directory) {
    return {ErrorCode::unreachable,
            fmt::format("farportd does not answer on {} ({}): start it (systemctl start farportd), "
                        "or name its socket with --socket or FARPORT_SOCKET",
                        path, error.message())};
  }
  return {ErrorCode::unreachable,
          fmt::format("cannot talk to farportd on {}: {}", path, error.message())};
}

// One connection, one request. Every step is asynchronous underneath, since only such steps can be
// given up.
class Exchange {
 public:
  using Clock = std::chrono::steady_clock;

  Exchange(const std::string& path, std::optional<milliseconds> limit,
           const ApiClient::Waiting& waiting)
      : path_(path), limit_(limit), waiting_(waiting), socket_(context_) {}

  Result<void> connect() {
    if (path_.size() >= sizeof(sockaddr_un::sun_path)) {
      return fail(ErrorCode::usage, fmt::format("the socket path {} is longer than {} characters",
                                                path_, sizeof(sockaddr_un::sun_path) - 1));
    }
    return step([this](auto done) {
      socket_.async_connect(UnixStream::endpoint(path_), [done](error_code error) { done(error); });
    });
  }

  Result<void> send(http::verb verb, const std::string& target, const std::string& body) {
    http::request<http::string_body> request(verb, target, 11);
    request.set(http::field::host, "farport");
    request.set(http::field::user_agent, "farport/" FARPORT_VERSION);
    if (!body.empty()) {
      request.set(http::field::content_type, "application/json");
      request.body() = body;
    }
    request.keep_alive(false);
    request.prepare_payload();
    return step([&](auto done) {
      http::async_write(socket_, request, [done](error_code error, size_t) { done(error); });
    });
  }

  // The whole answer: its status and body.
  Result<std::pair<unsigned, std::string>> receive() {
    http::response_parser<http::string_body> parser;
    parser.body_limit(ApiClient::answer_bytes_max);
    auto read = step([&](auto done) {
      http::async_read(socket_, buffer_, parser, [done](error_code error, size_t) { done(error); });
    });
    if (!read) return std::unexpected(read.error());
    return std::pair{parser.get().result_int(), std::move(parser.get().body())};
  }

  // The body piece by piece. A status other than 200 makes the body an error.
  Result<void> receive_pieces(const std::function<bool(std::string_view)>& take) {
    http::response_parser<http::buffer_body> parser;
    parser.body_limit(std::numeric_limits<uint64_t>::max());  // Boost 1.74 takes "none" for 0
    auto read = step([&](auto done) {
      http::async_read_header(socket_, buffer_, parser,
                              [done](error_code error, size_t) { done(error); });
    });
    if (!read) return read;
    const unsigned status = parser.get().result_int();
    std::string error_body;
    std::array<char, 16384> piece{};
    while (!parser.is_done()) {
      parser.get().body().data = piece.data();
      parser.get().body().size = piece.size();
      read = step([&](auto done) {
        http::async_read_some(socket_, buffer_, parser, [done](error_code error, size_t) {
          done(error == http::error::need_buffer ? error_code() : error);
        });
      });
      if (!read) return read;
      const std::string_view come(piece.data(), piece.size() - parser.get().body().size);
      if (status != 200) {
        error_body += come;
        if (error_body.size() > ApiClient::line_bytes_max) break;
      } else if (!take(come)) {
        return {};
      }
    }
    if (status != 200) return std::unexpected(api_error(status, error_body));
    return {};
  }

  Error api_error(unsigned status, const std::string& body) const {
    const auto json = nlohmann::json::parse(body, nullptr, false);
    if (json.is_object() && json.contains("message") && json["message"].is_string()) {
      const auto code = json.find("code");
      return {code != json.end() && code->is_string()
                  ? error_code_from_name(code->get<std::string>())
                  : ErrorCode::failed,
              json["message"].get<std::string>()};
    }
    return {ErrorCode::failed,
            fmt::format("{} answers with status {} and no reason: is that farportd's socket?",
                        path_, status)};
  }

 private:
  // Runs one asynchronous step to its end, to the time limit, or to Ctrl-C.
  template <class Begin>
  Result<void> step(Begin begin) {
    struct State {
      bool over = false;
      error_code error;
    } state;
    begin([&state](error_code error) {
      state.over = true;
      state.error = error;
    });
    std::optional<Error> given_up;
    while (!state.over) {
      context_.restart();
      context_.run_for(kLook);
      if (state.over || given_up) continue;
      const auto passed = std::chrono::duration_cast<milliseconds>(Clock::now() - began_);
      if (interrupted()) {
        given_up = Error{ErrorCode::failed, "interrupted"};
      } else if (limit_ && passed >= *limit_) {
        given_up = Error{ErrorCode::timed_out,
                         fmt::format("farportd on {} has not answered within {:.0f} s", path_,
                                     std::chrono::duration<double>(*limit_).count())};
      } else if (waiting_) {
        waiting_(passed);
      }
      // The step then ends as aborted, and its memory is free.
      error_code ignored;
      if (given_up) socket_.close(ignored);
    }
    if (given_up) return std::unexpected(*given_up);
    if (!state.error) return {};
    if (state.error == http::error::end_of_stream || state.error == http::error::partial_message ||
        state.error == asio::error::connection_reset || state.error == asio::error::broken_pipe) {
      return fail(
          ErrorCode::unreachable,
          fmt::format("farportd on {} ended the connection: it has stopped, or has too many "
                      "connections; see its log (journalctl -u farportd)",
                      path_));
    }
    if (state.error.category() == http::make_error_code(http::error::bad_version).category()) {
      return fail(
          fmt::format("what answers on {} does not speak HTTP ({}): is that farportd's "
                      "socket?",
                      path_, state.error.message()));
    }
    return std::unexpected(socket_error(state.error, path_));
  }

  const std::string& path_;
  const std::optional<milliseconds> limit_;
  const ApiClient::Waiting& waiting_;
  const Clock::time_point began_ = Clock::now();
  asio::io_context context_;
  UnixStream::socket socket_;
  boost::beast::flat_buffer buffer_;
};

Result<std::string> ask(const std::string& path, http::verb verb, const std::string& target,
                        const std::string& body, milliseconds limit,
                        const ApiClient::Waiting& waiting) {
  Exchange exchange(path, limit, waiting);
  if (auto connected = exchange.connect(); !connected) return std::unexpected(connected.error());
  if (auto sent = exchange.send(verb, target, body); !sent) return std::unexpected(sent.error());
  auto answer = exchange.receive();
  if (!answer) return std::unexpected(answer.error());
  if (answer->first / 100 != 2)
    return std::unexpected(exchange.api_error(answer->first, answer->second));
  return std::move(answer->second);
}

Result<nlohmann::json> as_json(Result<std::string> body, const std::string& path) {
  if (!body) return std::unexpected(body.error());
  auto json = nlohmann::json::parse(*body, nullptr, false);
  if (json.is_discarded()) {
    return fail(fmt::format("what answers on {} sends no JSON: is that farportd's socket?", path));
  }
  return json;
}

}  // namespace

Result<nlohmann::json> ApiClient::get(const std::string& target, milliseconds limit) const {
  return as_json(ask(path_, http::verb::get, target, "", limit, {}), path_);
}

Result<nlohmann::json> ApiClient::post(const std::string& target, const nlohmann::json& body,
                                       milliseconds limit, const Waiting& waiting) const {
  const std::string text = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return as_json(ask(path_, http::verb::post, target, text, limit, waiting), path_);
}

Result<void> ApiClient::remove(const std::string& target, milliseconds limit,
                               const Waiting& waiting) const {
  auto answer = ask(path_, http::verb::delete_, target, "", limit, waiting);
  if (!answer) return std::unexpected(answer.error());
  return {};
}

Result<void> ApiClient::lines(const std::string& target,
                              const std::function<bool(const std::string&)>& take) const {
  const Waiting not_waiting;
  Exchange exchange(path_, std::nullopt, not_waiting);
  if (auto connected = exchange.connect(); !connected) return connected;
  if (auto sent = exchange.send(http::verb::get, target, ""); !sent) return sent;
  std::string rest;
  bool too_long = false;
  auto received = exchange.receive_pieces([&](std::string_view piece) {
    rest += piece;
    size_t begin = 0;
    for (size_t end; (end = rest.find('\n', begin)) != std::string::npos; begin = end + 1) {
      if (end > begin && !take(rest.substr(begin, end - begin))) return false;
    }
    rest.erase(0, begin);
    too_long = rest.size() > line_bytes_max;
    return !too_long;
  });
  if (too_long) {
    return fail(
        fmt::format("what answers on {} sends no lines: is that farportd's socket?", path_));
  }
  return received;
}

std::string percent_encode(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    const bool unreserved = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                            (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
    if (unreserved) {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

}  // namespace farport
