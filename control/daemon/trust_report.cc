#include "control/daemon/trust_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "control/daemon/service.h"

namespace farport {

using nlohmann::json;

namespace {

json time_or_null(int64_t unix_ms) {
  return unix_ms == 0 ? json(nullptr) : json(format_time(unix_ms));
}
json text_or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

Result<void> only_fields(const json& object, std::initializer_list<std::string_view> known) {
  if (!object.is_object()) return fail(ErrorCode::usage, "the request must be a JSON object");
  for (const auto& [name, value] : object.items()) {
    if (std::ranges::find(known, name) != known.end()) continue;
    return fail(ErrorCode::usage, fmt::format("the request has an unknown field '{}'", name));
  }
  return {};
}

// A field that may be missing, or the error of one that is of another type.
template <class T>
Result<T> field(const json& object, const char* name, std::string_view expected) {
  const auto found = object.find(name);
  if (found == object.end()) return T();
  if constexpr (std::is_same_v<T, bool>) {
    if (found->is_boolean()) return found->get<bool>();
  } else {
    if (found->is_string()) return found->get<std::string>();
  }
  return fail(ErrorCode::usage, fmt::format("'{}' must be {}", name, expected));
}

}  // namespace

void to_json(json& out, const TrustReport& value) {
  const TrustOverview& all = value.overview;
  json keys = json::array(), refusals = json::array();
  for (const PinnedKey& key : all.keys) {
    keys.push_back(
        {{"host", key.name}, {"fingerprint", key.fingerprint}, {"comment", key.comment}});
  }
  for (const Refusals::Entry& one : value.refusals) {
    refusals.push_back({{"reason", refusal_name(one.reason)},
                        {"address", one.address},
                        {"message", one.message},
                        {"count", one.count},
                        {"first", time_or_null(one.first_unix_ms)},
                        {"last", time_or_null(one.last_unix_ms)}});
  }
  out = {{"host", all.host},
         {"fingerprint", all.fingerprint},
         {"next_fingerprint", text_or_null(all.next_fingerprint)},
         {"folder", all.folder},
         {"authority", all.authority},
         {"certificate", text_or_null(all.certificate)},
         {"certificate_expires", time_or_null(all.certificate_expires_unix_s * 1000)},
         {"revoked_until", time_or_null(all.revoked_until_unix_s * 1000)},
         {"keys", std::move(keys)},
         {"refusals", std::move(refusals)}};
}

Result<TrustAddition> trust_addition_from_json(const json& object) {
  if (auto known = only_fields(object, {"host", "fingerprint", "comment", "replace"}); !known) {
    return std::unexpected(known.error());
  }
  auto host = field<std::string>(object, "host", "a text");
  auto fingerprint = field<std::string>(object, "fingerprint", "a text");
  auto comment = field<std::string>(object, "comment", "a text");
  const auto replace = field<bool>(object, "replace", "true or false");
  for (const auto* text : {&host, &fingerprint, &comment}) {
    if (!*text) return std::unexpected(text->error());
  }
  if (!replace) return std::unexpected(replace.error());
  if (host->empty() || fingerprint->empty()) {
    return fail(ErrorCode::usage, "'host' and 'fingerprint' are needed");
  }
  return TrustAddition{{std::move(*host), std::move(*fingerprint), std::move(*comment)}, *replace};
}

Result<bool> trust_prepare_from_json(const json& object) {
  if (auto known = only_fields(object, {"prepare"}); !known) {
    return std::unexpected(known.error());
  }
  return field<bool>(object, "prepare", "true or false");
}

}  // namespace farport
