// What each path of the API means: the table of routes, from a request to a call of the Service and
// back to a status and JSON. Knows nothing of sockets.
//
//   GET    /_ping                        "OK"
//   GET    /healthz, /readyz             200 or 503, with the checks
//   GET    /v1/version
//   GET    /v1/hosts
//   GET    /v1/devices[?host=HOST]
//   GET    /v1/attachments               POST: attach (attach_request_from_json)
//   GET    /v1/attachments/ID            DELETE: detach, 204
//   GET    /v1/attachments/ID/stats
//   GET    /v1/vms
//   GET    /v1/decisions[?limit=N]       the latest N (100), oldest first
//   GET    /v1/events[?after=N]          JSON lines as they come; after=0: first all
//                                        that are kept; &follow=false: and no more
//   GET    /v1/trust, POST /v1/trust/keys, DELETE /v1/trust/keys/HOST[?fingerprint=F],
//   POST   /v1/trust/renew               whom this host trusts (control/daemon/trust_report.h)
//   GET    /v1/explain[?host=H&device=D] the steps of `farport doctor`
//
// Errors are {"message": "...", "code": "not_found"} with the status that fits.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "control/daemon/service.h"

namespace farport {

struct ApiRequest {
  std::string method;  // "GET"
  std::string target;  // as on the request line, with its query
  std::string body;
  Caller requester;
};

struct ApiResponse {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::string allow;                     // with 405
  std::optional<uint64_t> events_after;  // set: an event stream follows, from this sequence
};

// Answers once, possibly from inside the call.
void answer(Service& service, const ApiRequest& request, std::function<void(ApiResponse)> done);

ApiResponse error_response(const Error& error);
unsigned http_status(ErrorCode code);

}  // namespace farport
