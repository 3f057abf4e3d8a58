// farportd: one host's daemon.
#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <filesystem>
#include <future>
#include <nlohmann/json.hpp>

#include "control/api/api_server.h"
#include "control/api/unix_listener.h"
#include "control/config/config.h"
#include "control/daemon/daemon.h"
#include "control/daemon/privileges.h"
#include "control/daemon/standard.h"

namespace farport {
namespace {

struct Flags {
  std::string config;
  std::map<std::string, std::string> overrides;
};

int report(const Error& error) {
  spdlog::critical("{}", error.message);
  return exit_code(error.code);
}

ConfigReport read_config(const Flags& flags) {
  ConfigSources sources;
  if (!flags.config.empty()) {
    sources.path = flags.config;
    sources.must_exist = true;
  }
  sources.environment = farport_environment();
  sources.overrides = flags.overrides;
  return load_config(sources);
}

// The message of a log line as the inside of a JSON string.
class JsonMessage final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    const std::string text =
        nlohmann::json(std::string(message.payload.data(), message.payload.size()))
            .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    out.append(text.data() + 1, text.data() + text.size() - 1);
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JsonMessage>();
  }
};

void set_up_log(const HostConfig& host) {
  // To standard error, where systemd and people both look; JSON lines for collectors.
  spdlog::set_default_logger(spdlog::stderr_color_mt("farportd"));
  spdlog::set_level(spdlog::level::from_str(host.log_level));
  if (host.log_json) {
    auto formatter = std::make_unique<spdlog::pattern_formatter>();
    formatter->add_flag<JsonMessage>('*').set_pattern(
        R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","message":"%*"})");
    spdlog::set_formatter(std::move(formatter));
  } else {
    spdlog::set_pattern("%^%l%$ %v");
  }
  spdlog::flush_on(spdlog::level::info);
}

void reload(Daemon& daemon, Config& running, const Flags& flags) {
  ConfigReport report = read_config(flags);
  for (const auto& error : report.errors) spdlog::error("reload: {}", error);
  if (!report.errors.empty()) {
    spdlog::error("reload: nothing was changed");
    return;
  }
  for (const auto& warning : report.warnings) spdlog::warn("{}", warning);
  for (const ConfigChange& change : diff(running, report.config)) {
    spdlog::info("reload: {} was {}, is {}{}", change.key, change.before, change.after,
                 change.restart ? "; takes effect when farportd is started again" : "");
  }
  daemon.reload(live_settings(report.config));
  running = std::move(report.config);
}

// Serves until a signal says otherwise.
int serve(Daemon& daemon, Config config, const Flags& flags, boost::asio::io_context& context,
          boost::asio::signal_set& signals) {
  auto listener = listen_unix({.path = config.host.socket,
                               .group = config.host.socket_group,
                               .mode = static_cast<mode_t>(config.host.socket_mode)});
  if (!listener) return report(listener.error());
  std::unique_ptr<ApiServer> api;
  std::promise<void> served;
  daemon.loop().post([&] {
    api = std::make_unique<ApiServer>(daemon.loop().context(), daemon.service(),
                                      std::move(*listener), config.host.socket);
    served.set_value();
  });
  served.get_future().wait();
  spdlog::info("host {}: ready, API on {}", config.host.name, config.host.socket);
  sd_notify(0, "READY=1");

  std::function<void()> wait = [&] {
    signals.async_wait([&](const boost::system::error_code& error, int number) {
      if (error) return;
      if (number != SIGHUP) return context.stop();
      sd_notify(0, "RELOADING=1");
      reload(daemon, config, flags);
      sd_notify(0, "READY=1");
      wait();
    });
  };
  wait();
  context.run();

  spdlog::info("host {}: stops", config.host.name);
  sd_notify(0, "STOPPING=1");
  std::promise<void> closed;
  daemon.loop().post([&] {
    api.reset();
    closed.set_value();
  });
  closed.get_future().wait();
  if (!daemon.stop()) {
    unlink(config.host.socket.c_str());
    // Something holds on to a thread; the kernel takes everything back.
    std::_Exit(exit_code(ErrorCode::timed_out));
  }
  return 0;
}

PrivilegeNeeds needs_of(const Config& config) {
  PrivilegeNeeds needs;
  const auto is_low = [](const HostPort& address) {
    return address.port != 0 && address.port < 1024;  // ip(7)
  };
  needs.low_ports = std::ranges::any_of(config.host.listen, is_low) ||
                    (config.usbip_server && is_low(config.usbip_server->listen));
  needs.folders = {config.host.run_dir, config.host.state_dir,
                   std::filesystem::path(config.host.socket).parent_path().string()};
  return needs;
}

int run(const Flags& flags) {
  ConfigReport report = read_config(flags);
  set_up_log(report.config.host);
  for (const auto& error : report.errors) spdlog::critical("{}", error);
  if (!report.errors.empty()) return exit_code(ErrorCode::usage);
  for (const auto& warning : report.warnings) spdlog::warn("{}", warning);
  // Before the first thread: each has its own.
  const auto privileges = drop_privileges(needs_of(report.config));
  if (!privileges) return farport::report(privileges.error());
  spdlog::info("{}", *privileges);
  // Before anything is held that a signal would leave behind.
  boost::asio::io_context context;
  boost::asio::signal_set signals(context, SIGINT, SIGTERM, SIGHUP);
  auto settings = daemon_settings(report.config);
  if (!settings) return farport::report(settings.error());
  auto daemon = Daemon::start(std::move(*settings));
  if (!daemon) return farport::report(daemon.error());
  return serve(**daemon, std::move(report.config), flags, context, signals);
}

}  // namespace
}  // namespace farport

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  // Whatever the one who starts it has: what it makes is written by nobody else.
  umask(0022);
  CLI::App app("Carries USB devices and serial ports between hosts", "farportd");
  farport::Flags flags;
  std::vector<std::string> set;
  app.add_option("-c,--config", flags.config,
                 "configuration file (default /etc/farport/farport.toml)");
  app.add_option("--run-dir", flags.overrides["host.run_dir"], "folder of lock, sockets and ptys");
  app.add_option("--socket", flags.overrides["host.socket"], "Unix socket of the API");
  app.add_option("--log-level", flags.overrides["host.log_level"], "debug, info, warn or error");
  app.add_option("-s,--set", set, "KEY=VALUE of the configuration, as in host.listen=127.0.0.1:0")
      ->allow_extra_args(false);
  app.set_version_flag("--version", std::string("farportd ") + FARPORT_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int result = app.exit(error);
    return result == 0 ? 0 : farport::exit_code(farport::ErrorCode::usage);
  }
  std::erase_if(flags.overrides, [](const auto& one) { return one.second.empty(); });
  for (const std::string& one : set) {
    const size_t equals = one.find('=');
    if (equals == std::string::npos) {
      fmt::print(stderr, "farportd: --set {}: write KEY=VALUE, as in host.listen=127.0.0.1:0\n",
                 one);
      return farport::exit_code(farport::ErrorCode::usage);
    }
    flags.overrides[one.substr(0, equals)] = one.substr(equals + 1);
  }
  return farport::run(flags);
}
