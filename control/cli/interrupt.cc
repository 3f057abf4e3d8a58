#include "control/cli/interrupt.h"

#include <csignal>
#include <initializer_list>

namespace farport {

namespace {

volatile std::sig_atomic_t interrupt_seen = 0;

void note_interrupt(int signal) {
  interrupt_seen = 1;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void catch_interrupts() {
  struct sigaction action{};
  action.sa_handler = note_interrupt;  // without SA_RESTART: what waits wakes up
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

bool interrupted() { return interrupt_seen != 0; }
void set_interrupted(bool value) { interrupt_seen = value ? 1 : 0; }

}  // namespace farport
