// One error type for everything that can go wrong outside our own code: a wire, a device, a file,
// a guest, a user. The message is shown to the user as it is, so it says what was wrong, where,
// and what to do. Our own bugs are not errors; they are assertions.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace farport {

// The values up to timed_out are the exit codes of `farport` (0 is success); unreachable shares
// exit code 6 with timed_out.
enum class ErrorCode : uint8_t {
  failed = 1,
  usage = 2,
  not_found = 3,
  busy = 4,
  denied = 5,
  timed_out = 6,
  unreachable = 7,
};

struct Error {
  ErrorCode code = ErrorCode::failed;
  std::string message;
};

template <class T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(ErrorCode code, std::string message) {
  return std::unexpected(Error{code, std::move(message)});
}
inline std::unexpected<Error> fail(std::string message) {
  return fail(ErrorCode::failed, std::move(message));
}

// The one place that turns an errno value into an Error: "<what>: <strerror>", with a code that
// fits (ENOENT -> not_found, EBUSY -> busy, EACCES/EPERM -> denied, ETIMEDOUT -> timed_out,
// connection errors -> unreachable). `number` is positive.
Error errno_error(int number, std::string_view what);
inline std::unexpected<Error> fail_errno(int number, std::string_view what) {
  return std::unexpected(errno_error(number, what));
}

// Process exit code of an error (DESIGN.md, Interfaces).
int exit_code(ErrorCode code);
// "failed", "usage", ... as used in JSON; and back (unknown text -> failed).
std::string_view error_code_name(ErrorCode code);
ErrorCode error_code_from_name(std::string_view name);

}  // namespace farport
