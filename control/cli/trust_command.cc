// trust: this host's key, and whom it lets in. Through farportd, so that it takes effect on open
// sessions at once; where no farportd runs, root works on the files, and is told so.
#include <fmt/format.h>
#include <unistd.h>

#include <functional>
#include <memory>

#include "control/cli/cli.h"
#include "control/cli/figures.h"
#include "control/cli/suggest.h"
#include "control/config/config.h"
#include "control/daemon/service.h"
#include "control/trust/host_trust.h"

namespace farport {

using nlohmann::json;

namespace {

constexpr std::chrono::seconds kLimit{20};

struct Words {
  std::string host, fingerprint, comment;
  bool replace = false, prepare = false;
  std::string config;  // where the files are, when no farportd runs
};

// Where farportd would keep its keys.
Result<std::unique_ptr<HostTrust>> open_files(const Words& words) {
  ConfigSources sources;
  if (!words.config.empty()) {
    sources.path = words.config;
    sources.must_exist = true;
  }
  sources.environment = farport_environment();
  auto config = config_or_error(load_config(sources));
  if (!config) return std::unexpected(config.error());
  const TrustConfig& trust = config->trust;
  return HostTrust::open({config->host.name,
                          trust_folder(config->host.state_dir),
                          {trust.authority, trust.certificate, trust.key, trust.revoked},
                          {}});
}

// By the daemon's answer, or by what `by_files` does when none runs and this is root.
template <class T>
Result<T> daemon_or_files(Session& session, const Words& words, Result<T> answer,
                          const std::function<Result<T>(HostTrust&)>& by_files) {
  if (answer || answer.error().code != ErrorCode::unreachable || geteuid() != 0) return answer;
  auto trust = open_files(words);
  if (!trust) return std::unexpected(trust.error());
  auto done = by_files(**trust);
  if (done) {
    session.out.note(fmt::format("farportd does not answer on {}: worked on the files in {}",
                                 session.socket, (*trust)->overview().folder));
  }
  return done;
}

Result<json> report(Session& session, const Words& words) {
  return daemon_or_files<json>(
      session, words, session.api().get("/v1/trust"),
      [](HostTrust& trust) -> Result<json> { return json(TrustReport{trust.overview(), {}}); });
}

std::string day_of(const json& object, const char* key) {
  return text_of(object, key).substr(0, 10);
}

void print_own(Output& out, const json& all) {
  const std::string host = text_of(all, "host"), key = text_of(all, "fingerprint");
  out.line({"host         ", {host, Colour::bold}});
  out.line({"fingerprint  ", {key, Colour::bold}});
  if (const auto next = text_of(all, "next_fingerprint"); !next.empty()) {
    out.line(
        {"next         ", {next, Colour::bold}, " (prepared: `farport trust renew` takes it)"});
  }
  if (const auto file = text_of(all, "certificate"); !file.empty()) {
    out.line(fmt::format("certificate  {}, until {}", file, day_of(all, "certificate_expires")));
  }
  out.line();
  out.line({{"On the other host, to let this one in:", Colour::dim}});
  out.line(fmt::format("    farport trust add {} {}", host, key));
}

void print_known(Output& out, const json& all) {
  Table table({{"HOST"}, {"FINGERPRINT"}, {"COMMENT"}});
  for (const json& key : array_of(all, "keys")) {
    table.add({text_of(key, "host"), text_of(key, "fingerprint"), text_of(key, "comment")});
  }
  if (!table.empty()) table.print(out);
  if (flag_of(all, "authority")) {
    out.line("Other hosts are let in by the authority's certificates (trust.authority).");
  } else if (table.empty()) {
    out.line("No other host is let in: `farport trust show` there tells what to add here.");
  }
}

Result<void> show(Session& session, const Words& words, void (*print)(Output&, const json&)) {
  const auto all = report(session, words);
  if (!all) return std::unexpected(all.error());
  if (session.json) {
    session.out.json(*all);
  } else {
    print(session.out, *all);
  }
  return {};
}

Result<void> add(Session& session, const Words& words) {
  const json body = {{"host", words.host},
                     {"fingerprint", words.fingerprint},
                     {"comment", words.comment},
                     {"replace", words.replace}};
  const auto added = daemon_or_files<json>(
      session, words, session.api().post("/v1/trust/keys", body, kLimit),
      [&](HostTrust& trust) -> Result<json> {
        const auto fresh = trust.add({words.host, words.fingerprint, words.comment}, words.replace);
        if (!fresh) return std::unexpected(fresh.error());
        return json{{"host", words.host}, {"fingerprint", words.fingerprint}, {"added", *fresh}};
      });
  if (!added) return std::unexpected(added.error());
  if (session.json) {
    session.out.json(*added);
  } else {
    session.out.line(fmt::format("host {} is {} with {}{}", words.host,
                                 flag_of(*added, "added") ? "trusted now" : "trusted already",
                                 words.fingerprint, words.replace ? " alone" : ""));
  }
  return {};
}

Result<void> remove(Session& session, const Words& words) {
  std::string target = "/v1/trust/keys/" + percent_encode(words.host);
  if (!words.fingerprint.empty()) target += "?fingerprint=" + percent_encode(words.fingerprint);
  auto removed = daemon_or_files<void>(session, words, session.api().remove(target, kLimit),
                                       [&](HostTrust& trust) -> Result<void> {
                                         auto done = trust.remove(words.host, words.fingerprint);
                                         if (!done) return std::unexpected(done.error());
                                         return {};
                                       });
  if (!removed) return removed;
  if (session.json) {
    session.out.json({{"host", words.host}, {"removed", true}});
  } else {
    session.out.line(fmt::format("host {} is not trusted any more{}{}", words.host,
                                 words.fingerprint.empty() ? "" : " with ", words.fingerprint));
  }
  return {};
}

Result<void> renew(Session& session, const Words& words) {
  const auto renewed = daemon_or_files<json>(
      session, words, session.api().post("/v1/trust/renew", {{"prepare", words.prepare}}, kLimit),
      [&](HostTrust& trust) -> Result<json> {
        const auto fingerprint = words.prepare ? trust.prepare() : trust.renew();
        if (!fingerprint) return std::unexpected(fingerprint.error());
        return json{{"fingerprint", *fingerprint}, {"prepared", words.prepare}};
      });
  if (!renewed) return std::unexpected(renewed.error());
  if (session.json) {
    session.out.json(*renewed);
    return {};
  }
  const std::string key = text_of(*renewed, "fingerprint");
  if (words.prepare) {
    session.out.line({"the next key is ", {key, Colour::bold}});
    session.out.line(
        "Add it on every other host (farport trust add THIS-HOST FINGERPRINT), then run here: "
        "farport trust renew");
  } else {
    session.out.line({"this host shows ", {key, Colour::bold}, " now"});
    session.out.line(
        "On the other hosts the old one can go: farport trust remove THIS-HOST OLD-FINGERPRINT");
  }
  return {};
}

}  // namespace

Run define_trust(CLI::App& app) {
  const auto words = std::make_shared<Words>();
  const auto chosen = std::make_shared<Run>();
  app.require_subcommand(1, 1);
  app.fallthrough();  // --json and --socket stand after the word, too
  app.add_option("--config", words->config,
                 "farportd's configuration, for its files when it does not run")
      ->type_name("FILE");
  const auto command = [&](const char* name, const char* help,
                           Result<void> (*run)(Session&, const Words&)) {
    CLI::App* sub = app.add_subcommand(name, help);
    sub->footer("");
    sub->callback([chosen, words, run] {
      *chosen = [words, run](Session& session) { return run(session, *words); };
    });
    return sub;
  };
  command("show", "This host's key, and the command that accepts it on another host",
          [](Session& session, const Words& w) { return show(session, w, print_own); });
  command("list", "The hosts that are let in, with their keys",
          [](Session& session, const Words& w) { return show(session, w, print_known); });
  CLI::App* adding = command("add", "Let a host in, by the fingerprint it shows", add);
  adding->add_option("host", words->host, "Its name")->required()->type_name("HOST");
  adding->add_option("fingerprint", words->fingerprint, "What `farport trust show` prints there")
      ->required()
      ->type_name("FINGERPRINT");
  adding->add_option("--comment", words->comment, "A note beside it")->type_name("TEXT");
  adding->add_flag("--replace", words->replace, "Instead of all other keys of the host");
  CLI::App* removing = command("remove", "Let a host in no longer; its sessions end", remove);
  removing->add_option("host", words->host, "Its name")->required()->type_name("HOST");
  removing->add_option("fingerprint", words->fingerprint, "This one of its keys only")
      ->type_name("FINGERPRINT");
  CLI::App* renewing = command("renew", "Take the prepared key as this host's own", renew);
  renewing->add_flag("--prepare", words->prepare,
                     "Make the next key and show it, to be added on the other hosts first");
  return [chosen](Session& session) { return (*chosen)(session); };
}

}  // namespace farport
