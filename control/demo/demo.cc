#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>

#include "control/cli/decision_text.h"
#include "control/cli/figures.h"
#include "control/cli/interrupt.h"
#include "control/demo/copy.h"
#include "control/demo/demo_command.h"
#include "control/demo/demo_files.h"
#include "control/demo/demo_host.h"
#include "control/demo/disk_consumer.h"
#include "control/policy/words.h"

namespace farport {

using nlohmann::json;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int kSerialLines = 3;
constexpr seconds kConnectLimit{15};
constexpr seconds kAttachLimit{20};
constexpr seconds kLineLimit{10};
constexpr seconds kDecisionLimit{10};

// What happened is told in order; whatever ends it, everything it made goes with it, the consumers
// before the daemons and these before their folder.
class Demo {
 public:
  explicit Demo(Session& session) : out_(session.out) {}
  ~Demo();

  Result<void> show();
  Result<void> keep();

 private:
  Result<void> start_hosts();
  Result<void> wait_connected();
  Result<void> show_serial();
  Result<void> show_disk(const char* title, const std::string& vm, Copy::Direction direction);
  Result<void> compare(uint32_t read_checksum);
  Result<json> attach(const std::string& device, const std::string& driver, const std::string& vm);
  Result<void> detach_disk();
  Result<json> decision_on(const std::string& vm);
  Result<void> healthy();
  void heading(const std::string& text) {
    out_.line();
    out_.line({{text, Colour::bold}});
  }
  ApiClient& api() { return *api_; }

  Output& out_;
  std::optional<DemoFolder> folder_;
  std::unique_ptr<ChildHost> lab_;
  DiskConsumer disk_;
  std::unique_ptr<DemoHost> desk_;
  std::optional<ApiClient> api_;
  std::string serial_path_, disk_attachment_;
  std::optional<uint32_t> written_;
};

Demo::~Demo() {
  out_.progress({{"cleaning up ...", Colour::dim}});
  desk_.reset();  // gives the devices back
  lab_.reset();
  folder_.reset();
  out_.clear_progress();
}

Result<void> Demo::healthy() {
  if (interrupted()) return fail("interrupted");
  if (out_.closed()) return fail("");  // nobody looks any more
  if (lab_->ended()) return fail(ErrorCode::unreachable, "host lab has ended by itself");
  return {};
}

Result<void> Demo::start_hosts() {
  auto folder = DemoFolder::create();
  if (!folder) return std::unexpected(folder.error());
  folder_.emplace(std::move(*folder));
  const auto lab_file = folder_->write_config("lab", "\"127.0.0.1:0\"", lab_config());
  if (!lab_file) return std::unexpected(lab_file.error());
  auto lab = ChildHost::start(*lab_file, folder_->file("lab.log"));
  if (!lab) return std::unexpected(lab.error());
  lab_ = std::move(*lab);
  const auto desk_file = folder_->write_config("desk", "", desk_config(lab_->address()));
  if (!desk_file) return std::unexpected(desk_file.error());
  auto desk = DemoHost::start(*desk_file, folder_->file("desk.log"), disk_.type());
  if (!desk) return std::unexpected(desk.error());
  desk_ = std::move(*desk);
  disk_.set_worker(desk_->daemon().worker());
  api_.emplace(folder_->socket("desk"));
  return {};
}

Result<void> Demo::wait_connected() {
  const auto until = Clock::now() + kConnectLimit;
  while (Clock::now() < until) {
    if (auto well = healthy(); !well) return well;
    const auto hosts = api().get("/v1/hosts");
    if (!hosts) return std::unexpected(hosts.error());
    for (const json& host : *hosts) {
      if (text_of(host, "name") == "lab" && text_of(host, "state") == "connected") return {};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return fail(ErrorCode::timed_out, "the two hosts did not connect");
}

Result<json> Demo::attach(const std::string& device, const std::string& driver,
                          const std::string& vm) {
  return api().post("/v1/attachments",
                    {{"host", "lab"}, {"device", device}, {"driver", driver}, {"vm", vm}},
                    kAttachLimit);
}

// Lines of the serial port as any program would read them.
Result<std::vector<std::string>> read_lines(const std::string& path, int count) {
  const FileDescriptor port(open(path.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  if (!port) return fail_errno(errno, "cannot open " + path);
  termios settings{};
  if (tcgetattr(port.get(), &settings) != 0) return fail_errno(errno, "no terminal: " + path);
  cfmakeraw(&settings);
  cfsetspeed(&settings, B115200);
  if (tcsetattr(port.get(), TCSANOW, &settings) != 0) return fail_errno(errno, "tcsetattr " + path);
  std::vector<std::string> lines;
  std::string text;
  const auto until = Clock::now() + kLineLimit;
  while (static_cast<int>(lines.size()) < count) {
    if (interrupted()) return fail("interrupted");
    if (Clock::now() > until) return fail(ErrorCode::timed_out, "nothing comes from " + path);
    pollfd waiting{port.get(), POLLIN, 0};
    if (poll(&waiting, 1, 100) <= 0) continue;
    std::array<char, 256> piece{};
    const ssize_t got = read(port.get(), piece.data(), piece.size());
    if (got < 0 && errno == EAGAIN) continue;
    if (got <= 0) return fail(path + " was hung up");
    text.append(piece.data(), static_cast<size_t>(got));
    for (size_t end; (end = text.find("\r\n")) != std::string::npos; text.erase(0, end + 2)) {
      lines.push_back(text.substr(0, end));
    }
  }
  lines.resize(static_cast<size_t>(count));
  return lines;
}

Result<void> Demo::show_serial() {
  heading("1  A serial port of lab, used on desk");
  const auto attached = attach(demo_serial, "pty", "");
  if (!attached) return std::unexpected(attached.error());
  serial_path_ = text_of(*attached, "path");
  out_.line({"  lab/", demo_serial, " is at ", {serial_path_, Colour::bold}});
  const auto lines = read_lines(serial_path_, kSerialLines);
  if (!lines) return std::unexpected(lines.error());
  std::string all;
  for (const std::string& line : *lines) all += "  " + line;
  out_.line({"  it says:", {all, Colour::green}});
  return {};
}

// The decision by what was measured, once there is one: while there is not, the disk is kept busy,
// as nothing else is measured.
Result<json> Demo::decision_on(const std::string& vm) {
  json found;
  Result<void> wrong;
  const auto until = Clock::now() + kDecisionLimit;
  const auto missing = [&] {
    const auto all = api().get("/v1/decisions");
    if (!all) wrong = std::unexpected(all.error());
    if (wrong) wrong = healthy();
    if (!wrong) return false;
    for (const json& one : *all) {
      const json& devices = array_of(object_of(object_of(one, "record"), "input"), "devices");
      if (text_of(one, "vm") != vm || devices.empty()) continue;
      if (flag_of(devices[0], "window_full")) found = one;
    }
    return found.is_null() && Clock::now() < until;
  };
  Copy copy(out_, api(), disk_, disk_attachment_);
  if (auto read = copy.read_while(missing); !read) return std::unexpected(read.error());
  if (!wrong) return std::unexpected(wrong.error());
  if (found.is_null()) return fail(ErrorCode::timed_out, "no decision was made for VM " + vm);
  return found;
}

Result<void> Demo::show_disk(const char* title, const std::string& vm, Copy::Direction direction) {
  heading(title);
  const auto attached = attach(demo_disk, "initiator", vm);
  if (!attached) return std::unexpected(attached.error());
  disk_attachment_ = text_of(*attached, "id");
  if (const auto capacity = disk_.capacity(); !capacity) return std::unexpected(capacity.error());
  Copy copy(out_, api(), disk_, disk_attachment_);
  const auto checksum = copy.run(direction, demo_copy_bytes, [this] { return healthy(); });
  if (!checksum) return std::unexpected(checksum.error());
  const auto decision = decision_on(vm);
  if (direction == Copy::Direction::write) {
    written_ = *checksum;
  } else if (auto equal = compare(*checksum); !equal) {
    return equal;
  }
  if (!decision) return std::unexpected(decision.error());
  print_decision(out_, *decision);
  return {};
}

Result<void> Demo::compare(uint32_t read_checksum) {
  const bool equal = written_ == read_checksum;
  out_.line({fmt::format("  CRC-32 written {:08x}, read back {:08x}: ", written_.value_or(0),
                         read_checksum),
             equal ? Cell{"equal", Colour::green} : Cell{"NOT EQUAL", Colour::red}});
  return equal ? Result<void>() : fail("what was read is not what was written");
}

Result<void> Demo::detach_disk() {
  return api().remove("/v1/attachments/" + disk_attachment_, kAttachLimit);
}

Result<void> Demo::show() {
  out_.progress({{"starting two hosts ...", Colour::dim}});
  if (auto started = start_hosts(); !started) return started;
  if (auto connected = wait_connected(); !connected) return connected;
  out_.line({{"Farport", Colour::bold},
             ": two hosts on this machine, without hardware. ",
             {"lab", Colour::bold},
             " has an emulated USB"});
  out_.line({"disk and a serial port; ",
             {"desk", Colour::bold},
             " uses them, over TCP to ",
             lab_->address(),
             "."});
  if (auto done = show_serial(); !done) return done;
  if (auto done = show_disk("2  A USB disk of lab, for VM studio on desk (allocation 125 MB/s)",
                            "studio", Copy::Direction::write);
      !done) {
    return done;
  }
  if (auto done = detach_disk(); !done) return done;
  if (auto done = show_disk("3  The same disk, for VM branch on desk (allocation 12.5 MB/s)",
                            "branch", Copy::Direction::read);
      !done) {
    return done;
  }
  return {};
}

// How this program was most likely called.
std::string own_name() {
  std::error_code fault;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", fault);
  if (fault) return "farport";
  const auto near = path.lexically_relative(std::filesystem::current_path(fault));
  const std::string text = near.native();
  return fault || text.empty() || text.starts_with("..") ? path.string() : text;
}

Result<void> Demo::keep() {
  const std::string farport = own_name();
  out_.line();
  out_.line({{"It goes on until Ctrl-C. In another terminal, for instance:", Colour::bold}});
  out_.line("  S=" + folder_->socket("desk"));
  for (const char* command :
       {"devices", "stats --watch 1", "decisions", "events --follow", "detach lab/serial:SCALE",
        "attach lab/serial:SCALE --driver rfc2217"}) {
    out_.line(fmt::format("  {} --socket $S {}", farport, command));
  }
  out_.line("  cat " + serial_path_);
  out_.line(fmt::format("  less {}/*.toml {}/*.log", folder_->path(), folder_->path()));
  while (!interrupted()) {
    if (lab_->ended()) return fail(ErrorCode::unreachable, "host lab has ended by itself");
    poll(nullptr, 0, 500);  // ended early by Ctrl-C
  }
  return {};
}

Result<void> run_demo(Session& session, bool keep) {
  if (session.json) {
    return fail(ErrorCode::usage,
                "the demo is for people and has no JSON; with --keep, every command it names has");
  }
  const auto began = Clock::now();
  Result<void> done;
  {
    Demo demo(session);
    done = demo.show();
    if (done && keep) done = demo.keep();
  }
  if (interrupted() && !(done && keep)) {
    return fail("interrupted; what the demo had begun is cleaned up");
  }
  if (!done) return done;
  session.out.line();
  session.out.line(fmt::format("Done in {:.0f} s; the hosts have ended and left nothing behind.",
                               std::chrono::duration<double>(Clock::now() - began).count()));
  if (!keep) session.out.line("To look around: farport demo --keep, or ./dev demo --keep");
  return {};
}

}  // namespace

Run define_demo(CLI::App& app) {
  const auto keep = std::make_shared<bool>(false);
  app.add_flag("--keep", *keep, "Leave it running at the end, and say what to try next");
  return [keep](Session& session) { return run_demo(session, *keep); };
}

}  // namespace farport
