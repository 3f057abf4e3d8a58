// Attachments whose session has no connection for a while: what is shown of them, and how one that
// is let go of ends without the peer.
#include "control/daemon/attachments.h"

namespace farport {

// The record says what control has done; the session, whether anything can move now.
Attachment Attachments::shown_now(const Record& record) {
  Attachment shown = record.shown;
  const auto& session = record.attempt.session;
  if (shown.state == "open" && session != nullptr && session->paused()) shown.state = "paused";
  return shown;
}

// While the session is paused the peer cannot answer, and the consumer need not wait for it: the
// attachment is over when its driver is gone. The channel keeps its end for the peer, which hears
// of it with the next connection, or gives the device back when the session ends.
void Attachments::part(const Record& record) {
  const Attempt& attempt = record.attempt;
  if (!record.ending || attempt.session == nullptr || !attempt.session->paused()) return;
  attempt.session->drop_driver(attempt.channel);
}

void Attachments::session_paused(PeerSession& session) {
  for (const auto& [id, record] : records_) {
    if (record.attempt.session.get() == &session) part(record);
  }
}

void Attachments::driver_gone(PeerSession& session, uint32_t number) {
  const Record* const record = find(session, number);
  if (record != nullptr && record->ending) end(key_of(*record), record->why);
}

}  // namespace farport
