#include "control/daemon/attachment_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "control/daemon/event_log.h"
#include "control/daemon/peer_message.h"
#include "dataplane/file_descriptor.h"

namespace farport {

using nlohmann::json;

namespace {

constexpr uint64_t kVersion = 1;
// Of the longest entries, the most there can be, with room to spare.
constexpr off_t kFileBytesMax = 16 << 20;

std::string doing(const char* what, const std::string& path) {
  return fmt::format("persistent attachments: cannot {} {}", what, path);
}

Result<KeptAttachment> decode_one(const json& in) {
  if (!in.is_object()) return fail("it is not an object");
  KeptAttachment kept;
  const auto id = peer::string_field(in, "id", 64);
  if (!id) return std::unexpected(id.error());
  kept.id = *id;
  const std::pair<const char*, std::string*> texts[] = {{"driver", &kept.request.driver},
                                                        {"name", &kept.request.name},
                                                        {"vm", &kept.request.vm},
                                                        {"listen", &kept.request.listen},
                                                        {"line", &kept.request.line},
                                                        {"user", &kept.user},
                                                        {"path", &kept.path}};
  for (const auto& [key, into] : texts) {
    auto text = peer::optional_string(in, key, peer::text_bytes_max);
    if (!text) return std::unexpected(text.error());
    *into = std::move(*text);
  }
  auto host = peer::string_field(in, "host", peer::name_bytes_max);
  if (!host) return std::unexpected(host.error());
  auto device = peer::string_field(in, "device", peer::name_bytes_max);
  if (!device) return std::unexpected(device.error());
  const auto uid = peer::number_field(in, "uid", std::numeric_limits<uid_t>::max());
  if (!uid) return std::unexpected(uid.error());
  const auto gid = peer::number_field(in, "gid", std::numeric_limits<gid_t>::max());
  if (!gid) return std::unexpected(gid.error());
  kept.request.host = std::move(*host);
  kept.request.device = std::move(*device);
  kept.request.persistent = true;
  kept.uid = static_cast<uid_t>(*uid);
  kept.gid = static_cast<gid_t>(*gid);
  return kept;
}

Result<std::string> read_file(const std::string& path) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return fail_errno(errno, doing("read", path));
  struct stat status{};
  if (fstat(file.get(), &status) != 0) return fail_errno(errno, doing("read", path));
  if (!S_ISREG(status.st_mode)) {
    return fail(fmt::format("{} is not a file: move it away, or set host.state_dir", path));
  }
  if (status.st_size > kFileBytesMax) return fail(fmt::format("{} is too long", path));
  std::string text(static_cast<size_t>(status.st_size), '\0');
  size_t got = 0;
  while (got < text.size()) {
    const ssize_t count = read(file.get(), text.data() + got, text.size() - got);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno(errno, doing("read", path));
    if (count == 0) break;
    got += static_cast<size_t>(count);
  }
  text.resize(got);
  return text;
}

// Written and synced: 0, or an errno value.
int write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = write(file, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    text.remove_prefix(static_cast<size_t>(count));
  }
  return fsync(file) == 0 ? 0 : errno;
}

}  // namespace

std::string encode_attachments(const std::vector<KeptAttachment>& attachments) {
  json list = json::array();
  for (const KeptAttachment& one : attachments) {
    const AttachRequest& request = one.request;
    list.push_back({{"id", one.id},
                    {"host", request.host},
                    {"device", request.device},
                    {"driver", request.driver},
                    {"name", request.name},
                    {"vm", request.vm},
                    {"listen", request.listen},
                    {"line", request.line},
                    {"user", one.user},
                    {"uid", one.uid},
                    {"gid", one.gid},
                    {"path", one.path}});
  }
  const json out = {{"version", kVersion}, {"attachments", std::move(list)}};
  return out.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<LoadedAttachments> decode_attachments(std::string_view text) {
  const json in = json::parse(text, nullptr, false);
  if (in.is_discarded() || !in.is_object()) return fail("it is not a JSON object");
  const auto version = peer::number_field(in, "version", std::numeric_limits<uint64_t>::max());
  if (!version) return std::unexpected(version.error());
  if (*version != kVersion) {
    return fail(
        fmt::format("it has version {}, and this farportd reads version {}", *version, kVersion));
  }
  const auto list = in.find("attachments");
  if (list == in.end() || !list->is_array()) return fail("it has no list of attachments");
  LoadedAttachments loaded;
  std::set<std::string> ids;
  for (size_t i = 0; i < list->size(); ++i) {
    auto one = decode_one((*list)[i]);
    if (one && !ids.insert(one->id).second) one = fail(fmt::format("{} is there twice", one->id));
    if (one && loaded.attachments.size() == persistent_attachments_max) one = fail("too many");
    if (one) {
      loaded.attachments.push_back(std::move(*one));
    } else {
      loaded.warnings.push_back(fmt::format("entry {}: {}", i + 1, one.error().message));
    }
  }
  return loaded;
}

Result<LoadedAttachments> load_attachments(const std::string& path) {
  if (path.empty() || access(path.c_str(), F_OK) != 0) {
    if (!path.empty() && errno != ENOENT) return fail_errno(errno, doing("read", path));
    return LoadedAttachments{};
  }
  const auto text = read_file(path);
  if (!text) return std::unexpected(text.error());
  auto loaded = decode_attachments(*text);
  if (loaded && loaded->warnings.empty()) return loaded;
  // Whatever it was, it is not written over.
  const std::string aside = fmt::format("{}.bad-{}", path, unix_now_ms());
  if (rename(path.c_str(), aside.c_str()) != 0) return fail_errno(errno, doing("move", path));
  if (!loaded) {
    const std::string why = loaded.error().message;
    loaded = LoadedAttachments{};
    loaded->warnings.push_back(
        fmt::format("{} cannot be used: {}; it was moved to {}, and no persistent attachment is "
                    "restored: attach them again, or repair it and put it back",
                    path, why, aside));
    return loaded;
  }
  for (std::string& warning : loaded->warnings) {
    warning = fmt::format("{}: {}; that one is not restored, the file as it was is {}", path,
                          warning, aside);
  }
  // What is sound must not wait for the next change to be on disk again.
  if (auto written = write_attachments(path, loaded->attachments); !written) {
    loaded->warnings.push_back(written.error().message);
  }
  return loaded;
}

Result<void> write_attachments(const std::string& path,
                               const std::vector<KeptAttachment>& attachments) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const std::string fresh = path + ".new";
  std::error_code ignored;  // what cannot be made is told by open()
  std::filesystem::create_directories(folder, ignored);
  FileDescriptor file(
      open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640));
  if (!file) return fail_errno(errno, doing("write", fresh));
  if (const int number = write_all(file.get(), encode_attachments(attachments)); number != 0) {
    unlink(fresh.c_str());
    return fail_errno(number, doing("write", fresh));
  }
  file.reset();
  if (rename(fresh.c_str(), path.c_str()) != 0) return fail_errno(errno, doing("write", path));
  const FileDescriptor directory(
      open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || fsync(directory.get()) != 0) return fail_errno(errno, doing("sync", folder));
  return {};
}

void AttachmentFile::save(std::vector<KeptAttachment> attachments, Callback<void> done) {
  if (path_.empty()) return done({});
  next_ = std::move(attachments);
  waiting_.push_back(std::move(done));
  if (!writing_) write();
}

void AttachmentFile::write() {
  writing_ = true;
  loop_.offload([path = path_,
                 attachments = std::move(next_)] { return write_attachments(path, attachments); },
                [this, told = std::exchange(waiting_, {})](const Result<void>& written) {
                  if (waiting_.empty()) {
                    writing_ = false;
                  } else {
                    write();
                  }
                  for (const auto& done : told) done(written);
                  if (writing_) return;
                  for (const auto& done : std::exchange(idle_, {})) done();
                });
}

void AttachmentFile::idle(std::function<void()> done) {
  if (!writing_) return done();
  idle_.push_back(std::move(done));
}

}  // namespace farport
