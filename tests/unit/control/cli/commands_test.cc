// Whole commands, against an API with a fake daemon behind it: what is printed, and the exit code.
#include <nlohmann/json.hpp>

#include "control/cli/cli.h"
#include "control/cli/interrupt.h"
#include "tests/unit/control/api/api_fixture.h"
#include "tests/unit/control/cli/captured_output.h"

namespace farport::test {
namespace {

using nlohmann::json;

struct Outcome {
  int code = 0;
  std::string out, err;
};

std::ostream& operator<<(std::ostream& stream, const Outcome& outcome) {
  return stream << outcome.code << "\n" << outcome.out << outcome.err;
}

class CommandsTest : public ApiFixture {
 protected:
  void SetUp() override {
    ApiFixture::SetUp();
    on_control([this] { furnish(); });
  }
  ~CommandsTest() override { set_interrupted(false); }

  void furnish() {
    HostEntry self, lab;
    self.name = "desk";
    self.self = true;
    self.state = "self";
    lab.name = "lab";
    lab.state = "connected";
    lab.compression = {
        .frames = 90, .bytes_before = 9'100'000, .bytes_after = 1'200'000, .on = true};
    service.host_list = {self, lab};

    DeviceEntry disk;
    disk.host = "lab";
    disk.info.name = "usb:1d6b:0104:STICK";
    disk.info.aliases = {"usb:1d6b:0104"};
    disk.info.description = "Emulated disk";
    disk.nominal_bytes_s = 53'200'000;
    disk.allowed = true;
    DeviceEntry scale = disk;
    scale.info.name = "serial:SCALE";
    scale.info.kind = DeviceKind::serial;
    scale.holder = Holder{"desk", "branch", "ada", 0};
    service.device_list = DeviceList{{disk, scale}, {{"shed", {ErrorCode::unreachable, "gone"}}}};

    Attachment one;
    one.id = "att-1";
    one.device_host = "lab";
    one.device = "serial:SCALE";
    one.driver = "pty";
    one.path = "/run/farport/tty/SCALE";
    one.vm = "branch";
    one.state = "open";
    one.verdict = "keep";
    service.attached = {one};
    service.attach_answer = one;
    Stats stats;
    stats.attachment = one;
    stats.meter.windows[0] = {1'000'000'000, true, true, 18.9e6, 21e6, 150};
    stats.service = {6'100'000, 6'400'000, 7'000'000, 8'000'000};
    stats.channel = {170'000, 365'000, 400'000, 500'000};
    service.stats_by_id["att-1"] = stats;

    VmEntry vm;
    vm.name = "branch";
    vm.host = "desk";
    vm.allocation_bytes_s = 12'500'000;
    vm.verdict = "migrate";
    service.vm_list = {vm};

    DecisionEntry decision;
    decision.number = 3;
    decision.vm = "branch";
    decision.vm_host = "desk";
    decision.verdict = "migrate";
    decision.target = "lab";
    decision.reasons = {"the disk needs too much", "measured: the disk"};
    service.decision_list = {decision};
    service.kept = {make_event(1, "daemon.started", "farportd starts"),
                    make_event(2, "attached", "a device came")};
    service.checks = std::vector<Check>{{"daemon", true, "runs", ""}};
  }

  Outcome run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--socket", socket_path});
    return run_bare(arguments);
  }
  static Outcome run_bare(const std::vector<std::string>& arguments) {
    CapturedOutput captured;
    const int code = run_cli(arguments, commands(), captured.output);
    return {code, captured.out(), captured.err()};
  }
};

TEST_F(CommandsTest, EachPrintsWhatTheDaemonKnows) {
  struct Case {
    std::vector<std::string> arguments;
    std::vector<std::string> contains;
  };
  const Case cases[] = {
      {{"devices"}, {"lab/usb:1d6b:0104:STICK", "53.2 MB/s", "free", "in use by desk, VM branch"}},
      {{"hosts"}, {"desk", "lab", "connected", "on, 9.1 MB as 1.2 MB"}},
      {{"vms"}, {"branch", "12.5 MB/s", "migrate"}},
      {{"attachments"}, {"att-1", "lab/serial:SCALE", "pty", "/run/farport/tty/SCALE", "keep"}},
      {{"stats"}, {"att-1", "18.9 MB/s", "21 MB/s", "6.1 ms / 6.4 ms", "170 us / 365 us"}},
      {{"stats", "att-1"}, {"1 s", "at the device", "7.0 ms", "in flight"}},
      {{"stats", "lab/serial:SCALE"}, {"at the device"}},
      {{"decisions"}, {"branch", "migrate to lab", "the disk needs too much"}},
      {{"decisions", "--explain", "3"}, {"migrate to lab", "- measured: the disk"}},
      {{"events"}, {"daemon.started", "a device came"}},
      {{"events", "--after", "1"}, {"a device came"}},
      {{"doctor"}, {"ok    socket", "ok    daemon", "vhci"}},
      {{"version"}, {"farport " FARPORT_VERSION, "farportd 9.8.7"}},
      {{"attach", "lab/serial:SCALE"}, {"att-1", "/run/farport/tty/SCALE"}},
      {{"detach", "att-1"}, {"att-1 is detached", "lab/serial:SCALE is free"}},
  };
  for (const Case& one : cases) {
    const Outcome outcome = run(one.arguments);
    EXPECT_EQ(outcome.code, 0) << one.arguments[0] << outcome;
    for (const std::string& text : one.contains) {
      EXPECT_NE(outcome.out.find(text), std::string::npos)
          << one.arguments[0] << ": no \"" << text << "\" in " << outcome;
    }
    EXPECT_EQ(outcome.out.find('\x1b'), std::string::npos) << "colour, and no terminal";
  }
  EXPECT_EQ(run({"events", "--after", "1"}).out.find("daemon.started"), std::string::npos);
}

TEST_F(CommandsTest, JsonIsTheApisOwn) {
  const std::vector<std::string> cases[] = {
      {"devices"},
      {"hosts"},
      {"vms"},
      {"attachments"},
      {"stats"},
      {"doctor"},
      {"version"},
      {"decisions"},
      {"stats", "att-1"},
      {"decisions", "--explain", "3"},
      {"attach", "lab/serial:SCALE"},
      {"detach", "att-1"},
      {"check-config", "--describe"},
  };
  for (auto arguments : cases) {
    arguments.emplace_back("--json");
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 0) << arguments[0] << outcome;
    EXPECT_FALSE(json::parse(outcome.out, nullptr, false).is_discarded())
        << arguments[0] << outcome;
    EXPECT_EQ(outcome.err, "") << arguments[0];
  }
  EXPECT_EQ(json::parse(run({"--json", "devices"}).out), json::parse([this] {
              const auto list = on_control([this] { return json(*service.device_list); });
              return list.dump();
            }()));
  EXPECT_EQ(json::parse(run({"attach", "x", "--json"}).out)["id"], "att-1");
  EXPECT_EQ(json::parse(run({"detach", "att-1", "--json"}).out)["state"], "detached");
  std::istringstream events(run({"events", "--json"}).out);
  int count = 0;
  for (std::string line; std::getline(events, line); ++count) {
    EXPECT_FALSE(json::parse(line, nullptr, false).is_discarded()) << line;
  }
  EXPECT_EQ(count, 2);
}

TEST_F(CommandsTest, EachHasHelp) {
  for (const Command& command : commands()) {
    const Outcome outcome = run_bare({std::string(command.name), "--help"});
    EXPECT_EQ(outcome.code, 0) << command.name << outcome;
    EXPECT_NE(outcome.out.find(command.description), std::string::npos) << outcome;
    EXPECT_NE(outcome.out.find("--json"), std::string::npos) << outcome;
  }
  const Outcome all = run_bare({});
  EXPECT_EQ(all.code, 0);
  for (const Command& command : commands()) {
    EXPECT_NE(all.out.find(command.name), std::string::npos) << command.name;
  }
  EXPECT_EQ(run_bare({"--version"}).out, "farport " FARPORT_VERSION "\n");
}

TEST_F(CommandsTest, WrongWordsAreUsageOnOneLine) {
  const std::vector<std::string> cases[] = {
      {"devise"},
      {"attach"},
      {"attach", "a", "b"},
      {"attach", "lab/"},
      {"attach", "/serial:SCALE"},
      {"detach"},
      {"devices", "--nonsense"},
      {"stats", "--watch", "never"},
      {"stats", "--watch", "0"},
      {"decisions", "--limit", "0"},
      {"decisions", "--limit", "-3"},
      {"decisions", "--explain", "x"},
      {"events", "--after", "x"},
      {"devices", "--socket"},
      {"--nonsense"},
  };
  for (const auto& arguments : cases) {
    const Outcome outcome = run_bare(arguments);
    EXPECT_EQ(outcome.code, 2) << arguments[0] << outcome;
    EXPECT_EQ(outcome.out, "") << arguments[0];
    EXPECT_TRUE(outcome.err.starts_with("farport: ")) << arguments[0] << outcome;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome;
  }
  EXPECT_NE(run_bare({"devise"}).err.find("did you mean devices?"), std::string::npos);
}

TEST_F(CommandsTest, TheApisErrorsBecomeExitCodes) {
  const std::pair<ErrorCode, int> cases[] = {{ErrorCode::failed, 1},     {ErrorCode::usage, 2},
                                             {ErrorCode::not_found, 3},  {ErrorCode::busy, 4},
                                             {ErrorCode::denied, 5},     {ErrorCode::timed_out, 6},
                                             {ErrorCode::unreachable, 6}};
  for (const auto& [code, exit] : cases) {
    on_control([&, code = code] {
      service.attach_answer = fail(code, "because");
      service.detach_answer = fail(code, "because");
      service.device_list = fail(code, "because");
    });
    const std::vector<std::string> commands_that_ask[] = {
        {"attach", "lab/serial:SCALE"}, {"detach", "att-1"}, {"devices", "lab"}};
    for (const auto& arguments : commands_that_ask) {
      const Outcome outcome = run(arguments);
      EXPECT_EQ(outcome.code, exit) << arguments[0] << outcome;
      EXPECT_NE(outcome.err.find("because"), std::string::npos) << outcome;
      EXPECT_EQ(outcome.out, "") << outcome;
    }
  }
}

TEST_F(CommandsTest, NearNamesAreSuggested) {
  on_control([this] { service.attach_answer = fail(ErrorCode::not_found, "there is none"); });
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"attach", "lab/usb:1d6b:0104:STCIK"}, "did you mean lab/usb:1d6b:0104:STICK?"},
      {{"attach", "lba/serial:SCALE"}, "did you mean lab?"},
      {{"attach", "lab/serial:SCALE", "--vm", "brnach"}, "did you mean branch?"},
      {{"detach", "att-2"}, "did you mean att-1?"},
      {{"stats", "lab/serial:SCLAE"}, "did you mean lab/serial:SCALE?"},
  };
  for (const auto& [arguments, meant] : cases) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 3) << outcome;
    EXPECT_NE(outcome.err.find(meant), std::string::npos) << outcome;
  }
  // What is there was not what could not be found.
  EXPECT_EQ(run({"attach", "lab/serial:SCALE"}).err.find("did you mean"), std::string::npos);
  EXPECT_EQ(run({"decisions", "--explain", "9"}).code, 3);
}

TEST_F(CommandsTest, AHostThatIsLeftOutIsNamed) {
  const Outcome outcome = run({"devices"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_NE(outcome.err.find("shed"), std::string::npos) << outcome;
}

TEST_F(CommandsTest, TheRequestIsAsItWasSaid) {
  run({"attach", "lab/serial:SCALE", "--driver", "pty", "--name", "scale", "--vm", "branch",
       "--listen", "127.0.0.1:4000", "--line", "2400 7E2"});
  const auto requests = on_control([this] { return service.attach_requests; });
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].host, "lab");
  EXPECT_EQ(requests[0].device, "serial:SCALE");
  EXPECT_EQ(requests[0].driver, "pty");
  EXPECT_EQ(requests[0].name, "scale");
  EXPECT_EQ(requests[0].vm, "branch");
  EXPECT_EQ(requests[0].listen, "127.0.0.1:4000");
  EXPECT_EQ(requests[0].line, "2400 7E2");
}

TEST_F(CommandsTest, DetachTakesWhateverNamesIt) {
  for (const char* word : {"att-1", "serial:SCALE", "lab/serial:SCALE", "/run/farport/tty/SCALE"}) {
    EXPECT_EQ(run({"detach", word}).code, 0) << word;
  }
  EXPECT_EQ(on_control([this] { return service.detach_requests; }),
            (std::vector<std::string>{"att-1", "att-1", "att-1", "att-1"}));
  on_control([this] {
    Attachment other = service.attached[0];
    other.id = "att-2";
    other.device_host = "shed";
    service.attached.push_back(other);
  });
  const Outcome several = run({"detach", "serial:SCALE"});
  EXPECT_EQ(several.code, 2);
  EXPECT_NE(several.err.find("att-1, att-2"), std::string::npos) << several;
}

// Whoever gives up waiting is told what is left behind.
TEST_F(CommandsTest, CtrlCDuringAttachSaysWhatItLeaves) {
  for (const bool there : {true, false}) {
    on_control([&] {
      service.hold = true;
      if (there) {
        service.attached[0].state = "opening";
      } else {
        service.attached.clear();
      }
    });
    set_interrupted(true);
    const Outcome outcome = run({"attach", "lab/serial:SCALE"});
    EXPECT_EQ(outcome.code, 1) << outcome;
    EXPECT_NE(outcome.err.find("interrupted"), std::string::npos) << outcome;
    EXPECT_NE(outcome.err.find(there ? "opening as att-1" : "is not attached"), std::string::npos)
        << outcome;
  }
}

TEST_F(CommandsTest, DoctorFailsWithTheFirstStepThatDoes) {
  on_control([this] {
    service.checks = std::vector<Check>{{"daemon", true, "runs", ""},
                                        {"device", false, "not there", "plug it in"}};
  });
  const Outcome outcome = run({"doctor", "lab/serial:SCLAE"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.out.find("FAIL  device"), std::string::npos) << outcome;
  EXPECT_NE(outcome.out.find("plug it in"), std::string::npos) << outcome;
  EXPECT_NE(outcome.err.find("did you mean lab/serial:SCALE?"), std::string::npos) << outcome;
  EXPECT_EQ(on_control([this] { return service.explanations.back(); }),
            (std::pair<std::string, std::string>("lab", "serial:SCLAE")));
  run({"doctor", "lab/"});
  EXPECT_EQ(on_control([this] { return service.explanations.back(); }),
            (std::pair<std::string, std::string>("lab", "")));
}

TEST_F(CommandsTest, WithoutADaemonTheExitCodeIsSix) {
  const std::string nowhere = folder.file("nowhere.sock");
  for (const char* command :
       {"devices", "hosts", "vms", "attachments", "stats", "decisions", "events", "doctor"}) {
    const Outcome outcome = run_bare({command, "--socket", nowhere});
    EXPECT_EQ(outcome.code, 6) << command << outcome;
    EXPECT_NE((outcome.err + outcome.out).find(nowhere), std::string::npos) << outcome;
  }
  const Outcome version = run_bare({"version", "--socket", nowhere, "--json"});
  EXPECT_EQ(version.code, 0);
  EXPECT_TRUE(json::parse(version.out)["daemon"].is_null());
}

TEST_F(CommandsTest, TheSocketIsFoundByFlagThenByEnvironment) {
  setenv("FARPORT_SOCKET", socket_path.c_str(), 1);
  EXPECT_EQ(run_bare({"hosts"}).code, 0);
  EXPECT_EQ(run_bare({"hosts", "--socket", folder.file("nowhere.sock")}).code, 6);
  unsetenv("FARPORT_SOCKET");
}

TEST_F(CommandsTest, AnEmptyDaemonSaysWhatToTry) {
  on_control([this] {
    service.device_list = DeviceList{};
    service.attached.clear();
    service.vm_list.clear();
    service.decision_list.clear();
  });
  for (const char* command : {"devices", "attachments", "stats", "vms", "decisions"}) {
    const Outcome outcome = run({command});
    EXPECT_EQ(outcome.code, 0) << command;
    EXPECT_FALSE(outcome.out.empty()) << command;
  }
}

}  // namespace
}  // namespace farport::test
