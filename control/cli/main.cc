// farport: the command line. Commands are in the table of commands.cc; the demo comes here, because
// it stands on the daemon.
#include <vector>

#include "control/cli/cli.h"
#include "control/cli/interrupt.h"
#include "control/demo/demo_command.h"

int main(int argc, char** argv) {
  using namespace farport;
  catch_interrupts();
  std::vector<Command> all(commands().begin(), commands().end());
  all.push_back({"demo", define_demo, "See it work: two hosts on this machine, in under a minute"});
  Output output = Output::standard();
  return run_cli({argv + 1, argv + argc}, all, output);
}
