// What an emulated disk keeps its blocks in: memory, or a file.
//
// A file is read and written by pread and pwrite, on the worker. They work on the page cache, like
// a mapping would, so they may wait for storage only where a mapping's page fault would too; but a
// file that shrinks or a full file system gives an error here, which becomes a medium error of that
// one command, where a mapping would end the daemon by SIGBUS. It is an emulation: it need not keep
// a worker from ever waiting for a cold page, real disks come through devices/usb.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "dataplane/error.h"
#include "dataplane/file_descriptor.h"

namespace farport {

class DiskStorage {
 public:
  static constexpr uint32_t block_bytes = 512;

  // Zeros; memory is taken as it is written to.
  static Result<std::unique_ptr<DiskStorage>> in_memory(uint64_t size_bytes);
  // An existing file keeps its size (rounded down to whole blocks); a missing one is made, sparse,
  // of `size_bytes`, unless `read_only`. The file is locked against a second disk on it: busy.
  static Result<std::unique_ptr<DiskStorage>> in_file(const std::string& path, uint64_t size_bytes,
                                                      bool read_only);
  ~DiskStorage();
  DiskStorage(const DiskStorage&) = delete;
  DiskStorage& operator=(const DiskStorage&) = delete;

  uint64_t size_bytes() const { return size_bytes_; }
  uint64_t blocks() const { return size_bytes_ / block_bytes; }

  // Both lie within size_bytes(). False when the file could not be read or written.
  bool read(uint64_t offset, std::span<std::byte> data) const;
  bool write(uint64_t offset, std::span<const std::byte> data);
  // Starts writing the file's changed pages to storage, and does not wait for it.
  void start_writeback();

 private:
  DiskStorage() = default;
  std::byte* memory_ = nullptr;  // of a disk in memory
  FileDescriptor file_;          // of a disk in a file
  uint64_t size_bytes_ = 0;
};

}  // namespace farport
