#include "devices/emulated/disk_storage.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <cstring>

namespace farport {

Result<std::unique_ptr<DiskStorage>> DiskStorage::in_memory(uint64_t size_bytes) {
  assert(size_bytes > 0 && size_bytes % block_bytes == 0);
  void* memory = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return fail_errno(errno, fmt::format("memory for an emulated disk of {} bytes", size_bytes));
  }
  std::unique_ptr<DiskStorage> storage(new DiskStorage);
  storage->memory_ = static_cast<std::byte*>(memory);
  storage->size_bytes_ = size_bytes;
  return storage;
}

Result<std::unique_ptr<DiskStorage>> DiskStorage::in_file(const std::string& path,
                                                          uint64_t size_bytes, bool read_only) {
  const std::string what = fmt::format("emulated disk's file {}", path);
  const int flags = (read_only ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC | O_NONBLOCK;
  std::unique_ptr<DiskStorage> storage(new DiskStorage);
  storage->file_.reset(::open(path.c_str(), flags, 0600));
  if (!storage->file_) return fail_errno(errno, what);
  const int file = storage->file_.get();
  struct stat status{};
  if (::fstat(file, &status) != 0) return fail_errno(errno, what);
  if (!S_ISREG(status.st_mode)) return fail(what + ": not a regular file");
  if (::flock(file, LOCK_EX | LOCK_NB) != 0) {
    return fail(ErrorCode::busy, what + ": in use by another emulated disk");
  }
  if (status.st_size == 0) {
    if (read_only || size_bytes == 0) return fail(what + ": is empty; give it a size_bytes");
    if (::ftruncate(file, static_cast<off_t>(size_bytes)) != 0) return fail_errno(errno, what);
    status.st_size = static_cast<off_t>(size_bytes);
  }
  storage->size_bytes_ = static_cast<uint64_t>(status.st_size) / block_bytes * block_bytes;
  if (storage->size_bytes_ == 0) return fail(what + ": smaller than one block of 512 bytes");
  return storage;
}

DiskStorage::~DiskStorage() {
  if (memory_ != nullptr) ::munmap(memory_, size_bytes_);
}

bool DiskStorage::read(uint64_t offset, std::span<std::byte> data) const {
  assert(offset <= size_bytes_ && data.size() <= size_bytes_ - offset);
  if (memory_ != nullptr) {
    if (!data.empty()) std::memcpy(data.data(), memory_ + offset, data.size());
    return true;
  }
  while (!data.empty()) {
    const ssize_t count =
        ::pread(file_.get(), data.data(), data.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    data = data.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return true;
}

bool DiskStorage::write(uint64_t offset, std::span<const std::byte> data) {
  assert(offset <= size_bytes_ && data.size() <= size_bytes_ - offset);
  if (memory_ != nullptr) {
    if (!data.empty()) std::memcpy(memory_ + offset, data.data(), data.size());
    return true;
  }
  while (!data.empty()) {
    const ssize_t count =
        ::pwrite(file_.get(), data.data(), data.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    data = data.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return true;
}

void DiskStorage::start_writeback() {
  if (file_) (void)::sync_file_range(file_.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
}

}  // namespace farport
