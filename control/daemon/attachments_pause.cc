// Attachments whose session has no connection for a while: what is shown of them.
#include "control/daemon/attachments.h"

namespace farport {

// The record says what control has done; the session, whether anything can move now.
Attachment Attachments::shown_now(const Record& record) {
  Attachment shown = record.shown;
  const auto& session = record.attempt.session;
  if (shown.state == "open" && session != nullptr && session->paused()) shown.state = "paused";
  return shown;
}

}  // namespace farport
