// Counts every allocation of this process: the program that links this replaces malloc and its kin
// by thin wrappers around glibc's own.
#pragma once

#include <cstdint>

namespace farport::bench {

// Calls of malloc, calloc, realloc and the aligned ones since the process began, by all threads.
// operator new is among them: it calls malloc. Stays 0 under a sanitizer, which brings its own.
uint64_t allocation_count();

}  // namespace farport::bench
