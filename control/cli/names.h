// Names that a daemon knows, to find what a person meant.
#pragma once

#include <string>
#include <vector>

#include "control/cli/api_client.h"
#include "dataplane/error.h"

namespace farport {

// Each is empty when the daemon does not say.
std::vector<std::string> host_names(const ApiClient& api);
// "HOST/NAME" of every device, with its aliases.
std::vector<std::string> device_names(const ApiClient& api);
std::vector<std::string> vm_names(const ApiClient& api);

// The attachment that `word` names: by id, by device ("HOST/NAME" or "NAME"), or by where it is
// found. not_found with a suggestion; usage when it names several.
Result<nlohmann::json> find_attachment(const ApiClient& api, const std::string& word);

// "did you mean X?", or empty.
std::string did_you_mean_device(const ApiClient& api, const std::string& name);
std::string did_you_mean_host(const ApiClient& api, const std::string& name);

// With "; did you mean ...?" when the error is not_found and a name is near.
Error with_suggestion(Error error, const std::string& name, const std::vector<std::string>& names);

// Of an attachment in state "waiting": since when, why, and when it tries again.
std::string waiting_words(const nlohmann::json& attachment);

}  // namespace farport
