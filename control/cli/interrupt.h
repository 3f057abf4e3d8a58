// Ctrl-C and SIGTERM as something that can be asked: commands that wait look at it, say what state
// they leave, clean up, and end by themselves.
#pragma once

namespace farport {

// From here on the first SIGINT, SIGTERM or SIGHUP is noted instead of ending the process. A second
// SIGINT ends it, so that a person is never stuck. SIGPIPE is ignored: a reader that has gone is an
// error of the write.
void catch_interrupts();
bool interrupted();
// What a test may say in the place of a signal.
void set_interrupted(bool value);

}  // namespace farport
