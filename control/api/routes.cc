#include "control/api/routes.h"

#include <array>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

namespace farport {

namespace {

using nlohmann::json;
using Query = std::map<std::string, std::string>;
using Done = std::function<void(ApiResponse)>;

constexpr size_t kDecisionsDefault = 100;
constexpr size_t kDecisionsMax = 10'000;

struct Call {
  Service& service;
  const ApiRequest& request;
  std::string id;  // the part of the path that the route leaves open
  Query query;
};

ApiResponse reply(const json& value, unsigned status = 200) {
  ApiResponse response;
  response.status = status;
  // Names from devices may hold any bytes: replaced, never thrown over.
  response.body = value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  return response;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Percent-decoding (RFC 3986, 2.1); nullopt when it is malformed.
std::optional<std::string> decode(std::string_view text, bool plus_is_space) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      decoded += ' ';
    } else if (text[i] != '%') {
      decoded += text[i];
    } else {
      if (text.size() - i < 3) return std::nullopt;
      const int high = hex_digit(text[i + 1]);
      const int low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      decoded += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return decoded;
}

std::optional<Query> parse_query(std::string_view text) {
  Query query;
  while (!text.empty()) {
    const auto end = text.find('&');
    const std::string_view pair = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (pair.empty()) continue;
    const auto equals = pair.find('=');
    auto key = decode(pair.substr(0, equals), true);
    auto value = equals == std::string_view::npos ? std::optional<std::string>("")
                                                  : decode(pair.substr(equals + 1), true);
    if (!key || !value) return std::nullopt;
    query[*key] = std::move(*value);
  }
  return query;
}

Result<uint64_t> number_in(const Query& query, const std::string& key, uint64_t otherwise) {
  const auto found = query.find(key);
  if (found == query.end()) return otherwise;
  uint64_t value = 0;
  const auto& text = found->second;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (fault != std::errc() || end != text.data() + text.size()) {
    return fail(ErrorCode::usage, "'" + key + "' must be a whole number, not '" + text + "'");
  }
  return value;
}

std::string text_in(const Query& query, const std::string& key) {
  const auto found = query.find(key);
  return found == query.end() ? std::string() : found->second;
}

template <class T>
std::function<void(Result<T>)> reply_with(Done done, unsigned status = 200) {
  return [done = std::move(done), status](Result<T> result) {
    done(result ? reply(json(*result), status) : error_response(result.error()));
  };
}

// --- the routes ---

void ping(const Call&, Done done) {
  ApiResponse response;
  response.content_type = "text/plain";
  response.body = "OK";
  done(std::move(response));
}

void healthz(const Call&, Done done) { done(reply({{"ok", true}})); }

void readyz(const Call& call, Done done) {
  const Health health = call.service.health();
  done(reply(json(health), health.ready ? 200 : 503));
}

void version(const Call& call, Done done) { done(reply(json(call.service.version()))); }
void hosts(const Call& call, Done done) {
  call.service.hosts(reply_with<std::vector<HostEntry>>(std::move(done)));
}
void vms(const Call& call, Done done) { done(reply(json(call.service.vms()))); }
void attachments(const Call& call, Done done) { done(reply(json(call.service.attachments()))); }

void devices(const Call& call, Done done) {
  call.service.devices(text_in(call.query, "host"), call.request.requester,
                       reply_with<DeviceList>(std::move(done)));
}

void attach(const Call& call, Done done) {
  const json body = json::parse(call.request.body, nullptr, false);
  if (body.is_discarded()) {
    done(error_response({ErrorCode::usage, "the body of the request is not JSON"}));
    return;
  }
  const auto request = attach_request_from_json(body);
  if (!request) {
    done(error_response(request.error()));
    return;
  }
  call.service.attach(*request, call.request.requester,
                      reply_with<Attachment>(std::move(done), 201));
}

void attachment(const Call& call, Done done) {
  for (const auto& entry : call.service.attachments()) {
    if (entry.id == call.id) return done(reply(json(entry)));
  }
  done(error_response({ErrorCode::not_found, "there is no attachment '" + call.id +
                                                 "': `farport attachments` lists them"}));
}

void detach(const Call& call, Done done) {
  call.service.detach(call.id, call.request.requester,
                      [done = std::move(done)](Result<void> result) {
                        if (!result) return done(error_response(result.error()));
                        ApiResponse response;
                        response.status = 204;
                        done(std::move(response));
                      });
}

void stats(const Call& call, Done done) {
  const auto found = call.service.stats(call.id);
  done(found ? reply(json(*found)) : error_response(found.error()));
}

void decisions(const Call& call, Done done) {
  const auto limit = number_in(call.query, "limit", kDecisionsDefault);
  if (!limit || *limit > kDecisionsMax) {
    done(error_response(limit ? Error{ErrorCode::usage, "'limit' is at most 10000"}
                              : limit.error()));
    return;
  }
  done(reply(json(call.service.decisions(*limit))));
}

void events(const Call& call, Done done) {
  const auto after = number_in(call.query, "after", ~uint64_t{0});
  if (!after) return done(error_response(after.error()));
  const std::string follow = text_in(call.query, "follow");
  if (!follow.empty() && follow != "true" && follow != "false") {
    return done(
        error_response({ErrorCode::usage, "'follow' must be true or false, not '" + follow + "'"}));
  }
  ApiResponse response;
  response.content_type = "application/x-ndjson";
  if (follow != "false") {
    response.events_after = *after;
  } else {  // those that are kept come at once, before the subscription ends
    const auto kept = call.service.subscribe(
        *after, [&response](const Event& event) { response.body += reply(json(event)).body; });
  }
  done(std::move(response));
}

void explain(const Call& call, Done done) {
  call.service.explain(text_in(call.query, "host"), text_in(call.query, "device"),
                       call.request.requester, reply_with<std::vector<Check>>(std::move(done)));
}

// --- trust ---

void trust(const Call& call, Done done) {
  const auto report = call.service.trust();
  done(report ? reply(json(*report)) : error_response(report.error()));
}

void trust_add(const Call& call, Done done) {
  const json body = json::parse(call.request.body, nullptr, false);
  const auto addition = trust_addition_from_json(body);
  if (!addition) return done(error_response(addition.error()));
  const auto added = call.service.trust_add(*addition, call.request.requester);
  done(added ? reply({{"host", addition->key.name},
                      {"fingerprint", addition->key.fingerprint},
                      {"added", *added}},
                     *added ? 201 : 200)
             : error_response(added.error()));
}

void trust_remove(const Call& call, Done done) {
  const auto removed = call.service.trust_remove(call.id, text_in(call.query, "fingerprint"),
                                                 call.request.requester);
  if (!removed) return done(error_response(removed.error()));
  ApiResponse response;
  response.status = 204;
  done(std::move(response));
}

void trust_renew(const Call& call, Done done) {
  const json body = json::parse(call.request.body, nullptr, false);
  const auto prepare = trust_prepare_from_json(body);
  if (!prepare) return done(error_response(prepare.error()));
  const auto fingerprint = call.service.trust_renew(*prepare, call.request.requester);
  done(fingerprint ? reply({{"fingerprint", *fingerprint}, {"prepared", *prepare}})
                   : error_response(fingerprint.error()));
}

struct Route {
  std::string_view method;
  std::string_view path;  // "*" stands for one part, which becomes Call::id
  void (*run)(const Call&, Done);
};

constexpr std::array kRoutes{
    Route{"GET", "/_ping", ping},
    Route{"GET", "/healthz", healthz},
    Route{"GET", "/readyz", readyz},
    Route{"GET", "/v1/version", version},
    Route{"GET", "/v1/hosts", hosts},
    Route{"GET", "/v1/devices", devices},
    Route{"GET", "/v1/attachments", attachments},
    Route{"POST", "/v1/attachments", attach},
    Route{"GET", "/v1/attachments/*", attachment},
    Route{"DELETE", "/v1/attachments/*", detach},
    Route{"GET", "/v1/attachments/*/stats", stats},
    Route{"GET", "/v1/vms", vms},
    Route{"GET", "/v1/decisions", decisions},
    Route{"GET", "/v1/events", events},
    Route{"GET", "/v1/explain", explain},
    Route{"GET", "/v1/trust", trust},
    Route{"POST", "/v1/trust/keys", trust_add},
    Route{"DELETE", "/v1/trust/keys/*", trust_remove},
    Route{"POST", "/v1/trust/renew", trust_renew},
};

// Whether `path` fits `pattern`; then `id` is what stood for its star.
bool fits(std::string_view pattern, std::string_view path, std::string_view& id) {
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == path;
  const auto tail = pattern.substr(star + 1);
  if (path.size() <= star + tail.size() || !path.starts_with(pattern.substr(0, star)) ||
      !path.ends_with(tail)) {
    return false;
  }
  id = path.substr(star, path.size() - star - tail.size());
  return id.find('/') == std::string_view::npos;
}

}  // namespace

unsigned http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::usage:
      return 400;
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::busy:
      return 409;
    case ErrorCode::denied:
      return 403;
    case ErrorCode::timed_out:
      return 504;
    case ErrorCode::unreachable:
      return 502;
    case ErrorCode::failed:
      break;
  }
  return 500;
}

ApiResponse error_response(const Error& error) {
  return reply({{"message", error.message}, {"code", error_code_name(error.code)}},
               http_status(error.code));
}

void answer(Service& service, const ApiRequest& request, Done done) {
  const std::string_view target = request.target;
  const auto question = target.find('?');
  const auto path = target.substr(0, question);
  auto query = question == std::string_view::npos ? std::optional<Query>(Query())
                                                  : parse_query(target.substr(question + 1));
  if (!query) {
    return done(error_response({ErrorCode::usage, "the query of the request is malformed"}));
  }
  std::string allow;
  for (const Route& route : kRoutes) {
    std::string_view id;
    if (!fits(route.path, path, id)) continue;
    if (route.method != request.method) {
      allow += (allow.empty() ? "" : ", ") + std::string(route.method);
      continue;
    }
    const auto decoded = decode(id, false);
    if (!decoded) {
      return done(error_response({ErrorCode::usage, "the path of the request is malformed"}));
    }
    return route.run({service, request, *decoded, std::move(*query)}, std::move(done));
  }
  if (allow.empty()) {
    return done(error_response(
        {ErrorCode::not_found, "there is no '" + std::string(path) + "' in this API"}));
  }
  ApiResponse response = error_response(
      {ErrorCode::usage, "'" + std::string(path) + "' takes " + allow + ", not " + request.method});
  response.status = 405;
  response.allow = std::move(allow);
  done(std::move(response));
}

}  // namespace farport
