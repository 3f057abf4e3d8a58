// What a command would have printed.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#include "control/cli/output.h"

namespace farport::test {

// A FILE in memory.
class MemoryFile {
 public:
  MemoryFile() : file_(open_memstream(&data_, &size_)) {}
  ~MemoryFile() {
    std::fclose(file_);
    std::free(data_);
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  FILE* file() { return file_; }
  std::string text() {
    std::fflush(file_);
    return {data_, size_};
  }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
  FILE* file_;
};

struct CapturedOutput {
  explicit CapturedOutput(Output::Settings settings = {})
      : output(out_file.file(), err_file.file(), settings) {}
  std::string out() {
    output.flush();
    return out_file.text();
  }
  std::string err() { return err_file.text(); }

  MemoryFile out_file, err_file;
  Output output;
};

}  // namespace farport::test
