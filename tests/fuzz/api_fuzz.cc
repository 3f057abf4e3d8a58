// What comes over the Unix socket once HTTP's own framing (Boost.Beast) is off: method, target and
// JSON body.

#include "control/api/routes.cc"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/control/api/fake_service.h"

namespace farport::fuzz {
std::vector<std::string> examples() {
  return {"GET /v1/devices?host=desk%20top&x=1\n",
          "GET /v1/decisions?limit=18446744073709551616\n",
          "GET /v1/attachments/att-1/stats\n",
          "DELETE /v1/attachments/att-1\n",
          "GET /v1/events?after=5&follow=false\n",
          "GET /v1/explain?host=a&device=usb%3A1d6b\n",
          "POST /v1/attachments\n{\"device\": \"usb:1\", \"host\": \"desk\", \"driver\": \"pty\", "
          "\"name\": \"a\", \"vm\": \"\", \"listen\": \"\", \"line\": \"9600 8N1\"}",
          "POST /v1/attachments\n[[[{\"device\": 1e999}]]]"};
}
}  // namespace farport::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace farport;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const size_t line = std::min(text.find('\n'), size);
  const size_t space = std::min(text.find(' '), line);
  ApiRequest request;
  request.method = text.substr(0, space);
  request.target = text.substr(std::min(space + 1, line), line - std::min(space + 1, line));
  request.body = text.substr(std::min(line + 1, size));

  static test::FakeService service;
  service.attached.resize(1);
  service.attached[0].id = "att-1";
  service.stats_by_id["att-1"] = {};
  int answers = 0;
  answer(service, request, [&](const ApiResponse& response) {
    ++answers;
    fuzz_check(response.status >= 200 && response.status < 600);
    // Errors are JSON whatever the request was, and so is what is answered as JSON.
    if (response.content_type == "application/json" && !response.body.empty()) {
      fuzz_check(nlohmann::json::accept(response.body));
    }
  });
  fuzz_check(answers == 1);
  service.attach_requests.clear();
  return 0;
}
