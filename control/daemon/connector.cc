#include "control/daemon/connector.h"

#include <fmt/format.h>

#include <utility>

namespace farport {

using std::chrono::milliseconds;

namespace {
constexpr milliseconds kStagger{200};
}  // namespace

Connector::Connector(ControlLoop& loop, Security security, std::string host,
                     std::vector<Path> paths, milliseconds limit,
                     std::function<void(Result<Reached>)> done)
    : loop_(loop),
      security_(std::move(security)),
      host_(std::move(host)),
      paths_(std::move(paths)),
      limit_(limit),
      stagger_(loop),
      whole_(loop),
      done_(std::move(done)) {}

std::shared_ptr<Connector> Connector::start(ControlLoop& loop, Security security, std::string host,
                                            std::vector<Path> paths, milliseconds limit,
                                            std::function<void(Result<Reached>)> done) {
  std::shared_ptr<Connector> connector(new Connector(loop, std::move(security), std::move(host),
                                                     std::move(paths), limit, std::move(done)));
  const std::weak_ptr<Connector> owner = connector;
  connector->whole_.after(limit, [owner, limit] {
    if (const auto self = owner.lock()) {
      self->finish(
          fail(ErrorCode::timed_out, fmt::format("host {} did not answer within {} s", self->host_,
                                                 static_cast<double>(limit.count()) / 1000)));
    }
  });
  loop.post([owner] {
    if (const auto self = owner.lock()) self->next();
  });
  return connector;
}

void Connector::next() {
  if (!done_ || begun_ == paths_.size()) return;
  const Path path = paths_[begun_++];
  const std::weak_ptr<Connector> owner = weak_from_this();
  connect(loop_, path.address, limit_, [owner, path](Result<PeerConnection> connection) {
    if (const auto self = owner.lock(); self && self->done_) {
      self->connected(path, std::move(connection));
    }
  });
  stagger_.after(kStagger, [owner] {
    if (const auto self = owner.lock()) self->next();
  });
}

void Connector::connected(const Path& path, Result<PeerConnection> connection) {
  if (!connection) return failed(path, connection.error());
  auto stream = PeerStream::over(loop_, std::move(*connection));
  if (!stream) return failed(path, stream.error());
  if (!security_.needs_tls(**stream)) {
    if (auto may = security_.may_be_plain(host_); !may) return failed(path, may.error());
    return finish(Reached{std::move(*stream), {}, path.path});
  }
  if (security_.trust == nullptr) {
    return failed(path, {ErrorCode::denied, "there is no host key to be encrypted with"});
  }
  auto tls = security_.trust->begin(TlsRole::connecting);
  if (!tls) return failed(path, tls.error());
  securing_.push_back(*stream);
  const std::weak_ptr<Connector> owner = weak_from_this();
  (*stream)->secure(std::move(*tls), [owner, path, stream = std::weak_ptr(*stream)](
                                         const std::expected<void, TrustError>& result) {
    const auto self = owner.lock();
    const auto kept = stream.lock();
    if (self && kept && self->done_) self->secured(path, kept, result);
  });
}

void Connector::secured(const Path& path, std::shared_ptr<PeerStream> stream,
                        std::expected<void, TrustError> result) {
  if (!result) {
    return failed(path, {result.error().code,
                         fmt::format("{}: {}", stream->address(), result.error().message)});
  }
  auto who = security_.trust->check(*stream->tls(), host_);
  if (!who) {
    if (security_.refusals != nullptr) {
      security_.refusals->count(who.error(), stream->address());
    }
    // Told there too, where a person may look.
    stream->send_and_close(encode_refusal(
        {ErrorCode::denied,
         "it does not take this host's key: see `farport hosts` there, which names the command"}));
    return failed(path, who.error());
  }
  finish(Reached{std::move(stream), std::move(*who), path.path});
}

void Connector::failed(const Path&, const Error& why) {
  errors_.push_back(why);
  if (++failed_ == paths_.size()) {
    std::string all;
    for (const Error& error : errors_) {
      // A key that is refused is refused at every address alike.
      if (all.find(error.message) != std::string::npos) continue;
      all += (all.empty() ? "" : "; ") + error.message;
    }
    return finish(fail(errors_.front().code, all));
  }
  if (begun_ == failed_) next();
}

void Connector::finish(Result<Reached> result) {
  if (!done_) return;
  stagger_.cancel();
  whole_.cancel();
  for (const auto& stream : securing_) {
    if (!result || stream != result->stream) stream->close();
  }
  const auto done = std::exchange(done_, nullptr);
  const auto self = shared_from_this();
  done(std::move(result));
}

}  // namespace farport
