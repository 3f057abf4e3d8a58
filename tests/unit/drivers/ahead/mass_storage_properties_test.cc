// What a consumer sees of a disk, and what the disk sees of the consumer, is the same with the
// mass-storage rule and without it: random commands, failures, cancels and resets.
#include <random>

#include "tests/unit/drivers/ahead/ahead_fixture.h"

namespace farport {
namespace {

using Script = PacketDisk::Script;

uint32_t hash_of(std::span<const std::byte> bytes) {
  uint32_t hash = 2166136261;
  for (const std::byte byte : bytes) hash = (hash ^ static_cast<uint8_t>(byte)) * 16777619;
  return hash;
}

// A host that knows bulk-only and meets with failures: one side of the comparison. Its choices come
// from its seed and from what it sees.
class Side : public AheadFixture {
 public:
  Side(uint32_t seed, bool with_rule) : random_(seed) { attach_packets(with_rule); }
  void TestBody() override {}

  void play(int commands) {
    for (int i = 0; i < commands; ++i) one_command();
    saved_ = figures().round_trips_saved;
    device_ = disk_->seen;
    written_ = disk_->written;
    leave();
  }
  std::vector<std::string> steps_;
  std::vector<std::string> device_;
  std::vector<std::byte> written_;
  uint64_t saved_ = 0;

 private:
  // And waits for what the device end gathers.
  void run() {
    AheadFixture::run();
    loop_.advance(10'000'000);
    AheadFixture::run();
  }
  bool chance(int percent) { return static_cast<int>(random_() % 100) < percent; }
  uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }

  void note(const std::string& text) { steps_.push_back(text); }
  void note(const char* what, size_t number) {
    const Seen& seen = seen_[number];
    std::string text = what;
    text += seen.back ? " " + std::string(transfer_status_name(seen.status)) : " under way";
    text += " " + std::to_string(seen.actual) + " " + std::to_string(hash_of(seen.bytes));
    note(text);
  }

  void one_command() {
    const uint32_t kind = below(5);  // two reads, two writes, one without data
    const bool in = kind < 2;
    static constexpr uint32_t sizes[] = {512, 1024, 4096, 8192, 36, 13, 700, 31};
    const uint32_t bytes = kind == 4 ? 0 : sizes[below(std::size(sizes))];
    Script script;
    if (chance(25)) script.moves = below(bytes + 1);
    if (chance(15)) script.stalls_data = bytes != 0;
    if (chance(10)) script.stalls_status = true;
    if (chance(10)) script.rests_after = in && bytes != 0 ? below(bytes + 1) : PacketDisk::all;
    if (chance(5)) script.rests_before_status = true;
    if (chance(20)) script.status = static_cast<uint8_t>(1 + below(2));
    if (chance(5)) script.tag_error = 1;
    if (chance(5)) script.stalls_command = true;
    // By then it has all that the rule sends ahead.
    script.rests_before_command = chance(50);
    disk_->scripts = {script};
    note((in ? "read " : "write ") + std::to_string(bytes) + ", moves " +
         std::to_string(script.moves) + (script.stalls_data ? ", stalls data" : "") +
         (script.stalls_status ? ", stalls status" : "") +
         (script.stalls_command ? ", stalls command" : "") +
         (script.rests_before_status ? ", rests before status" : "") + ", rests after " +
         std::to_string(script.rests_after));

    const size_t wrapper = command(bytes, in);
    if (script.rests_before_command) {
      run();
      disk_->wake();
    }
    if (script.stalls_command) return refused_command(wrapper, bytes, in);
    if (!chance(20)) run();  // or ask for the data without waiting
    std::vector<size_t> parts;
    // Of a stage that rests half way, nothing is handed on before it is given up.
    const bool rests = script.rests_after != PacketDisk::all;
    if (bytes != 0) parts = data_stage(bytes, in, !rests && chance(40));
    run();
    note("wrapper", wrapper);
    if (give_up(parts)) return recover();
    bool stalled = false, odd = false;
    for (const size_t part : parts) {
      note("data", part);
      stalled |= seen_[part].status == TransferStatus::stall;
      odd |=
          seen_[part].status != TransferStatus::ok && seen_[part].status != TransferStatus::stall;
    }
    if (odd || chance(5)) return recover();
    if (stalled || chance(5)) clear(in ? PacketDisk::in : PacketDisk::out);
    if (!status_stage()) recover();
  }

  // Who is told so differs with the rule: the wrapper's sender, or whoever comes next.
  void refused_command(size_t wrapper, uint32_t bytes, bool in) {
    if (!chance(50)) run();
    const size_t next = bytes == 0 ? ask(13) : in ? ask(bytes) : send(pattern(bytes));
    run();
    const bool told = seen_[wrapper].status == TransferStatus::stall ||
                      seen_[next].status == TransferStatus::stall;
    note(told && seen_[wrapper].back && seen_[next].back ? "told" : "not told");
    recover();
  }

  std::vector<size_t> data_stage(uint32_t bytes, bool in, bool one_by_one) {
    std::vector<size_t> parts;
    const uint32_t asked = in && chance(5) ? (bytes / 512 + 2) * 512 : bytes;
    const auto data = pattern(asked);
    for (uint32_t at = 0; at < asked;) {
      uint32_t part = asked - at;
      if (part > 512 && chance(50)) part = 512 * (1 + below(part / 512));
      parts.push_back(in ? ask(part) : send(std::span(data).subspan(at, part)));
      if (one_by_one) {
        run();
        const Seen& seen = seen_[parts.back()];
        if (!seen.back || seen.status != TransferStatus::ok || seen.actual < part) break;
      }
      at += part;
    }
    return parts;
  }

  // Cancels what the device does not serve. Whether it did.
  bool give_up(const std::vector<size_t>& parts) {
    bool any = false;
    for (size_t i = parts.size(); i-- > 0;) {
      if (seen_[parts[i]].back) continue;
      any = true;
      cancel(parts[i]);
    }
    if (!any) return false;
    run();
    for (const size_t part : parts) note("given up", part);
    return true;
  }

  bool status_stage() {
    for (int attempt = 0; attempt < 2; ++attempt) {
      const size_t end = ask(13);
      run();
      if (give_up({end})) return false;
      note("status", end);
      if (seen_[end].status == TransferStatus::ok) return seen_[end].actual == 13;
      if (seen_[end].status != TransferStatus::stall) return false;
      clear(PacketDisk::in);
    }
    return false;
  }

  void clear(uint8_t endpoint) {
    const size_t number = clear_halt(endpoint);
    run();
    note("clear", number);
  }
  void recover() {
    const size_t number = chance(50) ? port_reset() : bulk_reset();
    run();
    note("reset", number);
    clear(PacketDisk::in);
    clear(PacketDisk::out);
    // What was still under way is given up: usb-storage has none by now.
    std::vector<size_t> left;
    for (const auto& [flying, transfer] : flying_) left.push_back(flying);
    for (const size_t one : left) cancel(one);
    run();
    disk_->scripts.clear();
  }

  std::mt19937 random_;
};

// The first, with what came before it.
std::string difference(const std::vector<std::string>& with,
                       const std::vector<std::string>& without) {
  std::string text;
  for (size_t i = 0; i < std::max(with.size(), without.size()); ++i) {
    const std::string one = i < with.size() ? with[i] : "nothing";
    const std::string other = i < without.size() ? without[i] : "nothing";
    if (one != other) return text + "with: " + one + "\nwithout: " + other;
    text += one + "\n";
  }
  return {};
}

TEST(MassStorageProperties, TheConsumersViewIsTheSame) {
  uint64_t saved = 0;
  for (uint32_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Side with(seed, true), without(seed, false);
    with.play(12);
    without.play(12);
    ASSERT_EQ("", difference(with.steps_, without.steps_));
    ASSERT_EQ("", difference(with.device_, without.device_));
    ASSERT_EQ(with.written_, without.written_);
    EXPECT_EQ(without.saved_, 0u);
    saved += with.saved_;
  }
  EXPECT_GT(saved, 1000u);
}

}  // namespace
}  // namespace farport
