#include "bench/forwarded_load.h"

namespace farport::bench {

Result<Measurement> run_forwarded(const Load&) {
  return fail("this build has no session to measure");
}

}  // namespace farport::bench
