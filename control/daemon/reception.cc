#include "control/daemon/reception.h"

#include <fmt/format.h>

#include <utility>

namespace farport {

using std::chrono::seconds;

namespace {
constexpr seconds kGreetingLimit{5};
}  // namespace

Reception::Reception(ControlLoop& loop, Security security, Refusals& refusals,
                     std::function<void(Visitor)> arrived)
    : loop_(loop),
      security_(std::move(security)),
      refusals_(refusals),
      arrived_(std::move(arrived)) {}

void Reception::accepted(PeerConnection connection) {
  if (stopped_) return;
  if (guests_.size() >= waiting_max) {
    turn_away(guests_.begin(), Refusal::too_many_half_open,
              {ErrorCode::busy, "too many connections have not said who they are"}, false);
  }
  auto stream = PeerStream::over(loop_, std::move(connection));
  if (!stream) return;
  guests_.push_back({std::move(*stream), std::make_unique<ControlTimer>(loop_), false});
  const Place guest = std::prev(guests_.end());
  guest->limit->after(kGreetingLimit, [this, guest] {
    turn_away(
        guest, guest->secured ? Refusal::bad_greeting : Refusal::handshake_timed_out,
        {ErrorCode::timed_out, fmt::format("it said nothing within {} s", kGreetingLimit.count())},
        guest->secured);
  });
  if (!security_.needs_tls(*guest->stream)) {
    guest->secured = true;
    return greet(guest);
  }
  auto tls = security_.trust ? security_.trust->begin(TlsRole::accepting)
                             : fail(ErrorCode::denied, "there is no host key");
  if (!tls) return turn_away(guest, Refusal::no_key, tls.error(), false);
  guest->stream->secure(std::move(*tls),
                        [this, guest](const std::expected<void, TrustError>& result) {
                          if (!result) {
                            return turn_away(guest, result.error(), false);
                          }
                          guest->secured = true;
                          greet(guest);
                        });
}

void Reception::greet(Place guest) {
  guest->stream->receive_greeting(
      [this, guest](const Result<Hello>& hello) { greeted(guest, hello); });
}

// The hello comes before the verdict on the key: then the refusal reaches whoever is refused.
void Reception::greeted(Place guest, const Result<Hello>& hello) {
  if (!hello) {
    const bool left = hello.error().code == ErrorCode::unreachable;
    return turn_away(guest, Refusal::bad_greeting, hello.error(), !left);
  }
  Visitor visitor{guest->stream, {}, *hello};
  if (guest->stream->tls() != nullptr) {
    // By the name that it has said: a known name with another key is told so, loudly.
    auto who = security_.trust->check(*guest->stream->tls(), hello->host_name);
    if (!who) return turn_away(guest, who.error(), true);
    visitor.who = std::move(*who);
  } else if (auto may = security_.may_be_plain(hello->host_name); !may) {
    return turn_away(guest, Refusal::not_tls, may.error(), true);
  } else {
    visitor.who.host = hello->host_name;
  }
  guests_.erase(guest);
  arrived_(std::move(visitor));
}

void Reception::refuse(const Visitor& visitor, Refusal reason, const Error& why) {
  refusals_.count(reason, visitor.stream->address(), why.message);
  visitor.stream->send_and_close(encode_refusal(why));
}

void Reception::turn_away(Place guest, const TrustError& why, bool tell) {
  const auto stream = guest->stream;
  guests_.erase(guest);
  refusals_.count(why, stream->address());
  if (tell) {
    stream->send_and_close(encode_refusal(why));
  } else {
    stream->close();
  }
}

void Reception::stop() {
  stopped_ = true;
  for (const Guest& guest : guests_) guest.stream->close();
  guests_.clear();
}

}  // namespace farport
