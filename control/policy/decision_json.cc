#include <fmt/format.h>

#include <cmath>
#include <concepts>
#include <limits>
#include <nlohmann/json.hpp>

#include "control/policy/decision.h"

namespace farport {
namespace {

using nlohmann::json;

template <class T>
json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json();
}
// 50 or 12.5: people read these.
json percent_to_json(Percent percent) {
  if (percent.hundredths % 100 == 0) return percent.hundredths / 100;
  return percent.hundredths / 100.0;
}
json or_null(const std::optional<Percent>& value) {
  return value ? percent_to_json(*value) : json();
}

// Reads the fields of one JSON object; the first thing that is wrong is kept as the error.
class Fields {
 public:
  Fields(const json& object, std::string where, Error& error)
      : object_(object), where_(std::move(where)), error_(error) {
    if (!object.is_object()) wrong("", "an object");
  }

  void read(const char* key, std::string& value) {
    if (const json* field = find(key)) {
      if (!field->is_string()) return wrong(key, "a string");
      value = field->get<std::string>();
    }
  }
  void read(const char* key, bool& value) {
    if (const json* field = find(key)) {
      if (!field->is_boolean()) return wrong(key, "true or false");
      value = field->get<bool>();
    }
  }
  template <std::unsigned_integral T>
    requires(!std::same_as<T, bool>)
  void read(const char* key, T& value) {
    const json* field = find(key);
    if (field == nullptr) return;
    if (!field->is_number_unsigned() || field->get<uint64_t>() > std::numeric_limits<T>::max()) {
      return wrong(key, fmt::format("a whole number from 0 to {}", std::numeric_limits<T>::max()));
    }
    value = field->get<T>();
  }
  void read(const char* key, Percent& value) {
    const json* field = find(key);
    if (field == nullptr) return;
    if (!field->is_number()) return wrong(key, "a percentage");
    const double hundredths = std::round(field->get<double>() * 100);
    if (!(hundredths >= 0 && hundredths <= std::numeric_limits<uint32_t>::max())) {
      return wrong(key, "a percentage of 0 or more");
    }
    value.hundredths = static_cast<uint32_t>(hundredths);
  }
  // Absent or null: unknown.
  template <class T>
  void read(const char* key, std::optional<T>& value) {
    value.reset();
    if (!object_.is_object()) return;
    const auto found = object_.find(key);
    if (found == object_.end() || found->is_null()) return;
    read(key, value.emplace());
  }
  // Calls `each(element, where)` for every element of an array.
  template <class Each>
  void read_array(const char* key, Each each) {
    const json* field = find(key);
    if (field == nullptr) return;
    if (!field->is_array()) return wrong(key, "an array");
    for (size_t i = 0; i < field->size(); ++i) {
      each((*field)[i], fmt::format("{}{}[{}]", where_, key, i));
    }
  }
  const json* find(const char* key) {
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(key);
    if (found == object_.end()) {
      wrong(key, "a value, and there is none");
      return nullptr;
    }
    return &*found;
  }
  void wrong(std::string_view key, std::string_view expected) {
    if (!error_.message.empty()) return;
    error_.message = fmt::format("decision: {}{}: expected {}", where_, key, expected);
  }

 private:
  const json& object_;
  std::string where_;
  Error& error_;
};

json settings_to_json(const PolicySettings& settings) {
  return {{"mode", settings.mode == PolicyMode::automatic ? "auto" : "recommend"},
          {"threshold_percent", percent_to_json(settings.threshold)},
          {"hysteresis_percent", percent_to_json(settings.hysteresis)},
          {"min_interval_s", settings.min_interval_s},
          {"hold_evaluations", settings.hold_evaluations},
          {"horizon_s", settings.horizon_s}};
}

void settings_from_json(const json& object, PolicySettings& settings, Error& error) {
  Fields fields(object, "input.settings.", error);
  std::string mode;
  fields.read("mode", mode);
  if (mode != "auto" && mode != "recommend") fields.wrong("mode", "\"auto\" or \"recommend\"");
  settings.mode = mode == "auto" ? PolicyMode::automatic : PolicyMode::recommend;
  fields.read("threshold_percent", settings.threshold);
  fields.read("hysteresis_percent", settings.hysteresis);
  fields.read("min_interval_s", settings.min_interval_s);
  fields.read("hold_evaluations", settings.hold_evaluations);
  fields.read("horizon_s", settings.horizon_s);
}

json vm_to_json(const PolicyVm& vm) {
  return {{"name", vm.name},
          {"host", vm.host},
          {"allocation_bytes_s", or_null(vm.allocation_bytes_s)},
          {"threshold_percent", or_null(vm.threshold)},
          {"memory_bytes", or_null(vm.memory_bytes)},
          {"cpu_milli", or_null(vm.cpu_milli)},
          {"dirty_bytes_s", or_null(vm.dirty_bytes_s)},
          {"moving", vm.moving},
          {"since_last_move_s", or_null(vm.since_last_move_s)},
          {"evaluations_over", vm.evaluations_over}};
}

void vm_from_json(const json& object, PolicyVm& vm, Error& error) {
  Fields fields(object, "input.vm.", error);
  fields.read("name", vm.name);
  fields.read("host", vm.host);
  fields.read("allocation_bytes_s", vm.allocation_bytes_s);
  fields.read("threshold_percent", vm.threshold);
  fields.read("memory_bytes", vm.memory_bytes);
  fields.read("cpu_milli", vm.cpu_milli);
  fields.read("dirty_bytes_s", vm.dirty_bytes_s);
  fields.read("moving", vm.moving);
  fields.read("since_last_move_s", vm.since_last_move_s);
  fields.read("evaluations_over", vm.evaluations_over);
}

json device_to_json(const PolicyDevice& device) {
  return {{"name", device.name},
          {"host", device.host},
          {"nominal_bytes_s", or_null(device.nominal_bytes_s)},
          {"nominal_source", device.nominal_source},
          {"measured_bytes_s", or_null(device.measured_bytes_s)},
          {"window_full", device.window_full},
          {"threshold_percent", or_null(device.threshold)}};
}

PolicyDevice device_from_json(const json& object, const std::string& where, Error& error) {
  Fields fields(object, where + ".", error);
  PolicyDevice device;
  fields.read("name", device.name);
  fields.read("host", device.host);
  fields.read("nominal_bytes_s", device.nominal_bytes_s);
  fields.read("nominal_source", device.nominal_source);
  fields.read("measured_bytes_s", device.measured_bytes_s);
  fields.read("window_full", device.window_full);
  fields.read("threshold_percent", device.threshold);
  return device;
}

json host_to_json(const PolicyHost& host) {
  return {{"name", host.name},
          {"free_memory_bytes", or_null(host.free_memory_bytes)},
          {"free_cpu_milli", or_null(host.free_cpu_milli)},
          {"reaches_storage", or_null(host.reaches_storage)},
          {"reaches_network", or_null(host.reaches_network)},
          {"migration_bytes_s", or_null(host.migration_bytes_s)}};
}

PolicyHost host_from_json(const json& object, const std::string& where, Error& error) {
  Fields fields(object, where + ".", error);
  PolicyHost host;
  fields.read("name", host.name);
  fields.read("free_memory_bytes", host.free_memory_bytes);
  fields.read("free_cpu_milli", host.free_cpu_milli);
  fields.read("reaches_storage", host.reaches_storage);
  fields.read("reaches_network", host.reaches_network);
  fields.read("migration_bytes_s", host.migration_bytes_s);
  return host;
}

PolicyInput input_from_json(const json& object, Error& error) {
  PolicyInput input;
  Fields fields(object, "input.", error);
  if (const json* settings = fields.find("settings")) {
    settings_from_json(*settings, input.settings, error);
  }
  if (const json* vm = fields.find("vm")) vm_from_json(*vm, input.vm, error);
  fields.read_array("devices", [&](const json& element, const std::string& where) {
    input.devices.push_back(device_from_json(element, where, error));
  });
  fields.read_array("hosts", [&](const json& element, const std::string& where) {
    input.hosts.push_back(host_from_json(element, where, error));
  });
  return input;
}

void verdict_from_json(Fields& fields, Verdict& verdict, Error& error) {
  std::string action;
  fields.read("action", action);
  if (action != "keep" && action != "migrate") fields.wrong("action", "\"keep\" or \"migrate\"");
  verdict.action = action == "migrate" ? Action::migrate : Action::keep;
  fields.read("target", verdict.target);
  fields.read("over_threshold", verdict.over_threshold);
  fields.read("act", verdict.act);
  fields.read("demand_bytes_s", verdict.demand_bytes_s);
  fields.read_array("reasons", [&](const json& element, const std::string& where) {
    Fields reason(element, where + ".", error);
    std::string name, words;
    reason.read("code", name);
    reason.read("words", words);
    const auto code = reason_code_from_name(name);
    if (!code) return reason.wrong("code", "the name of a reason");
    verdict.reasons.push_back({*code, words});
  });
  if (verdict.reasons.empty()) fields.wrong("reasons", "at least one reason");
}

template <class T>
Result<T> unless(Error& error, T value) {
  if (!error.message.empty()) return std::unexpected(std::move(error));
  return value;
}

}  // namespace

json policy_input_to_json(const PolicyInput& input) {
  json devices = json::array();
  for (const PolicyDevice& device : input.devices) devices.push_back(device_to_json(device));
  json hosts = json::array();
  for (const PolicyHost& host : input.hosts) hosts.push_back(host_to_json(host));
  return {{"settings", settings_to_json(input.settings)},
          {"vm", vm_to_json(input.vm)},
          {"devices", std::move(devices)},
          {"hosts", std::move(hosts)}};
}

json decision_to_json(const Decision& decision) {
  const Verdict& verdict = decision.verdict;
  json reasons = json::array();
  for (const Reason& reason : verdict.reasons) {
    reasons.push_back({{"code", reason_code_name(reason.code)}, {"words", reason.words}});
  }
  return {{"sequence", decision.sequence},
          {"time_unix_ms", decision.time_unix_ms},
          {"vm", decision.input.vm.name},
          {"action", action_name(verdict.action)},
          {"target", verdict.target},
          {"over_threshold", verdict.over_threshold},
          {"act", verdict.act},
          {"demand_bytes_s", verdict.demand_bytes_s},
          {"reasons", std::move(reasons)},
          {"summary", summarize(decision)},
          {"input", policy_input_to_json(decision.input)}};
}

Result<PolicyInput> policy_input_from_json(const json& object) {
  Error error;
  PolicyInput input = input_from_json(object, error);
  return unless(error, std::move(input));
}

Result<Decision> decision_from_json(const json& object) {
  Error error;
  Decision decision;
  Fields fields(object, "", error);
  fields.read("sequence", decision.sequence);
  fields.read("time_unix_ms", decision.time_unix_ms);
  verdict_from_json(fields, decision.verdict, error);
  if (const json* input = fields.find("input")) decision.input = input_from_json(*input, error);
  return unless(error, std::move(decision));
}

Result<Decision> decision_from_text(std::string_view text) {
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded()) return fail("decision: not JSON");
  return decision_from_json(object);
}

Result<Verdict> replay(const json& decision) {
  Error error;
  Fields fields(decision, "", error);
  PolicyInput input;
  if (const json* object = fields.find("input")) input = input_from_json(*object, error);
  if (!error.message.empty()) return std::unexpected(std::move(error));
  return decide(input);
}

}  // namespace farport
