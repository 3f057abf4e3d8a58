// The API's other end: one HTTP request on a Unix socket, waited for with a time limit, so that a
// daemon that hangs makes no command hang.
//
// Errors are the API's own ({"message", "code"}); those of the socket say what to do: start the
// daemon, join a group. A person's Ctrl-C (interrupt.h) ends a wait as `failed`.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "dataplane/error.h"

namespace farport {

class ApiClient {
 public:
  static constexpr std::chrono::seconds limit_default{20};
  static constexpr uint64_t answer_bytes_max = 64u << 20;
  static constexpr size_t line_bytes_max = 1u << 20;

  // Called every 100 ms while an answer is awaited, with the time that has passed.
  using Waiting = std::function<void(std::chrono::milliseconds)>;

  explicit ApiClient(std::string socket_path) : path_(std::move(socket_path)) {}
  const std::string& socket_path() const { return path_; }

  Result<nlohmann::json> get(const std::string& target,
                             std::chrono::milliseconds limit = limit_default) const;
  Result<nlohmann::json> post(const std::string& target, const nlohmann::json& body,
                              std::chrono::milliseconds limit, const Waiting& waiting = {}) const;
  // DELETE.
  Result<void> remove(const std::string& target, std::chrono::milliseconds limit,
                      const Waiting& waiting = {}) const;
  // Each line of the answer as it comes, until `take` says false, the daemon ends the stream or a
  // person interrupts. No limit on how long it rests.
  Result<void> lines(const std::string& target,
                     const std::function<bool(const std::string&)>& take) const;

 private:
  std::string path_;
};

// For a path or a query (RFC 3986, 2.1): everything but unreserved characters is escaped.
std::string percent_encode(std::string_view text);

}  // namespace farport
