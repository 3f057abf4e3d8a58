// Those who connect to this host, once they have said who they are.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "control/daemon/peers.h"

namespace farport {

void Peers::arrived(Visitor visitor) {
  if (stopping_) return;
  if (auto named = check_name("", visitor.hello); !named) {
    return reception_.refuse(visitor, Refusal::bad_greeting, named.error());
  }
  switch (visitor.hello.purpose) {
    case wire::Purpose::begin:
      return visit_begins(std::move(visitor));
    case wire::Purpose::resume:
      return visit_resumes(std::move(visitor));
    case wire::Purpose::probe:
      visitor.stream->send_and_close(encode_hello(
          our_hello(wire::Purpose::probe, visitor.hello.session, visitor.hello.connection, 0)));
      return;
  }
}

void Peers::visit_begins(Visitor visitor) {
  const std::string name = visitor.hello.host_name;
  const auto before = peers_.find(name);
  if (before != peers_.end() && before->second.live && visitor.who.fingerprint.empty() &&
      !before->second.live->who.fingerprint.empty()) {
    return reception_.refuse(
        visitor, Refusal::stolen_session,
        {ErrorCode::denied,
         "there is an encrypted session with this host; it must come encrypted"});
  }
  if (!keeps(name, false, visitor.hello.boot)) {
    // Not the visitor's fault: the two have connected to each other at once.
    visitor.stream->send_and_close(
        encode_refusal({ErrorCode::busy, "there is a session between the two hosts already"}));
    return;
  }
  const bool replaces = before != peers_.end() && before->second.live.has_value();
  if (!replaces && open_sessions().size() >= parts_.sessions_max) {
    return reception_.refuse(
        visitor, Refusal::too_many_sessions,
        {ErrorCode::busy, fmt::format("host {} has sessions with {} hosts, the most there can be",
                                      parts_.host, parts_.sessions_max)});
  }
  const auto stream = visitor.stream;
  // A greeting is far shorter than any socket's room: it leaves at once.
  stream->send(encode_hello(our_hello(wire::Purpose::begin, visitor.hello.session, 1, 0)),
               [this, name, visitor = std::move(visitor)](const Result<void>& sent) {
                 if (!sent || stopping_ || !keeps(name, false, visitor.hello.boot) ||
                     !still_trusted(visitor.who)) {
                   return visitor.stream->close();
                 }
                 Live live;
                 live.protection = visitor.stream->protection();
                 live.session = start_session(visitor.stream, visitor.hello, false);
                 live.id = visitor.hello.session;
                 live.who = visitor.who;
                 live.address = visitor.stream->address();
                 adopt(name, std::move(live));
               });
}

// A session that goes on over a new connection. Whoever claims one proves it: by its key, by a
// session id that nobody else was told, and by a count that only rises.
void Peers::visit_resumes(Visitor visitor) {
  const std::string name = visitor.hello.host_name;
  Live* live = nullptr;
  for (auto& [owner, peer] : peers_) {
    if (!peer.live || peer.live->id != visitor.hello.session) continue;
    if (owner != name) {
      return reception_.refuse(
          visitor, Refusal::stolen_session,
          {ErrorCode::denied, fmt::format("host {} claims a session of host {}", name, owner)});
    }
    live = &*peer.live;
  }
  if (live == nullptr || live->session->peer().boot != visitor.hello.boot) {
    return reception_.refuse(visitor, Refusal::unknown_session,
                             {ErrorCode::not_found,
                              "there is no such session here: it has ended, or farportd was "
                              "started again"});
  }
  if (live->who.fingerprint.empty() != visitor.who.fingerprint.empty()) {
    return reception_.refuse(
        visitor, Refusal::stolen_session,
        {ErrorCode::denied, "an encrypted session goes on over an encrypted connection only"});
  }
  if (visitor.hello.connection <= live->connection) {
    return reception_.refuse(
        visitor, Refusal::replayed_resume,
        {ErrorCode::denied, fmt::format("connection {} of this session has been there before",
                                        visitor.hello.connection)});
  }
  const auto session = live->session;
  session->where_it_stands([this, name, session,
                            visitor = std::move(visitor)](const ResumePoint& point) {
    const auto known = peers_.find(name);
    if (known == peers_.end() || !known->second.live || known->second.live->session != session) {
      return visitor.stream->close();
    }
    if (auto fits = check_resume(point, visitor.hello.received); !fits) {
      return reception_.refuse(visitor, Refusal::future_numbers, fits.error());
    }
    Live& live = *known->second.live;
    live.connection = visitor.hello.connection;
    if (live.resuming) live.resuming->stream->close();
    live.resuming = visitor;
    if (live.paused) {
      take_up_visit(name);
    } else {
      session->pause({ErrorCode::failed, "the peer goes on over another connection"});
    }
  });
}

void Peers::take_up_visit(const std::string& name) {
  Live& live = *peers_[name].live;
  const Visitor visitor = std::move(*std::exchange(live.resuming, {}));
  if (auto fits = check_resume(*live.paused, visitor.hello.received); !fits) {
    retry_after(name, kOthersTurn);  // nobody else goes on with it
    return reception_.refuse(visitor, Refusal::future_numbers, fits.error());
  }
  const Hello hello =
      our_hello(wire::Purpose::resume, live.id, live.connection, live.paused->received);
  visitor.stream->send(encode_hello(hello), [this, name, visitor](const Result<void>& sent) {
    const auto found = peers_.find(name);
    const bool wanted = found != peers_.end() && found->second.live && found->second.live->paused &&
                        found->second.live->connection == visitor.hello.connection;
    if (!sent || !wanted || !still_trusted(visitor.who)) {
      if (found != peers_.end()) retry_after(name, kOthersTurn);
      return visitor.stream->close();
    }
    found->second.live->who = visitor.who;
    found->second.paths.given_up();  // the other host chooses the path now
    go_on(name, *found->second.live, visitor.stream, visitor.hello.received);
  });
}

}  // namespace farport
