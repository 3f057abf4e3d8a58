#include "control/cli/names.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/cli/figures.h"
#include "control/cli/suggest.h"

namespace farport {

using nlohmann::json;

namespace {

std::vector<std::string> names_in(const ApiClient& api, const char* target) {
  std::vector<std::string> names;
  const auto answer = api.get(target);
  if (!answer) return names;
  for (const json& one : *answer) names.push_back(text_of(one, "name"));
  return names;
}

}  // namespace

std::vector<std::string> host_names(const ApiClient& api) { return names_in(api, "/v1/hosts"); }
std::vector<std::string> vm_names(const ApiClient& api) { return names_in(api, "/v1/vms"); }

std::vector<std::string> device_names(const ApiClient& api) {
  std::vector<std::string> names;
  const auto answer = api.get("/v1/devices");
  if (!answer) return names;
  for (const json& device : array_of(*answer, "devices")) {
    const std::string host = text_of(device, "host");
    names.push_back(full_name(host, text_of(device, "name")));
    for (const json& alias : array_of(device, "aliases")) {
      if (alias.is_string()) names.push_back(full_name(host, alias.get<std::string>()));
    }
  }
  return names;
}

Result<json> find_attachment(const ApiClient& api, const std::string& word) {
  auto attachments = api.get("/v1/attachments");
  if (!attachments) return std::unexpected(attachments.error());
  std::vector<json> found;
  std::vector<std::string> names;
  for (const json& one : *attachments) {
    const std::string id = text_of(one, "id"), device = text_of(one, "device");
    const std::string full = full_name(text_of(one, "device_host"), device);
    if (id == word) return one;
    names.insert(names.end(), {id, full});
    std::vector<std::string> own{device, full, text_of(one, "path")};
    for (const json& alias : array_of(one, "aliases")) {
      if (!alias.is_string()) continue;
      own.push_back(alias.get<std::string>());
      own.push_back(full_name(text_of(one, "device_host"), own.back()));
    }
    if (std::find(own.begin(), own.end(), word) != own.end()) found.push_back(one);
  }
  if (found.size() == 1) return found[0];
  if (found.size() > 1) {
    std::string ids;
    for (const json& one : found) ids += (ids.empty() ? "" : ", ") + text_of(one, "id");
    return fail(ErrorCode::usage,
                fmt::format("\"{}\" names several attachments: choose one of {}", word, ids));
  }
  const std::string meant = did_you_mean(word, names);
  return fail(ErrorCode::not_found,
              fmt::format("\"{}\" is not attached here{}", word,
                          meant.empty() ? ": `farport attachments` lists what is" : meant));
}

std::string did_you_mean_device(const ApiClient& api, const std::string& name) {
  const std::string meant = nearest(name, device_names(api));
  return meant.empty() || meant == name ? "" : fmt::format("did you mean {}?", meant);
}

std::string did_you_mean_host(const ApiClient& api, const std::string& name) {
  const std::string meant = nearest(name, host_names(api));
  return meant.empty() || meant == name ? "" : fmt::format("did you mean {}?", meant);
}

Error with_suggestion(Error error, const std::string& name, const std::vector<std::string>& names) {
  // What exists was not what could not be found.
  const bool exists = std::find(names.begin(), names.end(), name) != names.end();
  if (error.code == ErrorCode::not_found && !exists) error.message += did_you_mean(name, names);
  return error;
}

std::string waiting_words(const json& attachment) {
  const json& waiting = object_of(attachment, "waiting");
  const std::string next = text_of(waiting, "next_try"), until = text_of(waiting, "until");
  return fmt::format("since {}: {}; tries again {}{}", format_local_time(text_of(waiting, "since")),
                     text_of(waiting, "reason"),
                     next.empty() ? "when something changes" : "at " + format_local_time(next),
                     until.empty() ? "" : ", until " + format_local_time(until));
}

}  // namespace farport
