#include "dataplane/error.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace farport {

namespace {

constexpr std::array<std::pair<ErrorCode, std::string_view>, 7> kNames{{
    {ErrorCode::failed, "failed"},
    {ErrorCode::usage, "usage"},
    {ErrorCode::not_found, "not_found"},
    {ErrorCode::busy, "busy"},
    {ErrorCode::denied, "denied"},
    {ErrorCode::timed_out, "timed_out"},
    {ErrorCode::unreachable, "unreachable"},
}};

ErrorCode code_of_errno(int number) {
  switch (number) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return ErrorCode::not_found;
    case EBUSY:
    case EADDRINUSE:
      return ErrorCode::busy;
    case EACCES:
    case EPERM:
      return ErrorCode::denied;
    case ETIMEDOUT:
      return ErrorCode::timed_out;
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EPIPE:
      return ErrorCode::unreachable;
    default:
      return ErrorCode::failed;
  }
}

}  // namespace

Error errno_error(int number, std::string_view what) {
  std::string message(what);
  message += ": ";
  message += std::strerror(number);
  return {code_of_errno(number), std::move(message)};
}

int exit_code(ErrorCode code) {
  return code == ErrorCode::unreachable ? 6 : static_cast<int>(code);
}

std::string_view error_code_name(ErrorCode code) {
  for (const auto& [value, name] : kNames) {
    if (value == code) return name;
  }
  return "failed";
}

ErrorCode error_code_from_name(std::string_view name) {
  for (const auto& [value, text] : kNames) {
    if (text == name) return value;
  }
  return ErrorCode::failed;
}

}  // namespace farport
