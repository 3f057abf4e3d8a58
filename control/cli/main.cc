// farport: the command line. Its commands are in the table of commands.cc.
#include "control/cli/cli.h"
#include "control/cli/interrupt.h"

int main(int argc, char** argv) {
  using namespace farport;
  catch_interrupts();
  Output output = Output::standard();
  return run_cli({argv + 1, argv + argc}, commands(), output);
}
