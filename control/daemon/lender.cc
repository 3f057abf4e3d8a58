#include "control/daemon/lender.h"

#include <fmt/format.h>

#include <utility>

#include "control/daemon/peer_message.h"
#include "dataplane/limits.h"

namespace farport {

using nlohmann::json;

namespace {
constexpr std::chrono::milliseconds kNoticeInterval{500};
}  // namespace

void Lender::request(PeerSession& session, uint32_t id, const json& request) {
  const auto op = peer::string_field(request, "op", 64);
  if (!op) return session.respond(id, peer::error_response(op.error()));
  if (*op == "devices") return devices(session, id);
  if (*op == "attach") return attach(session, id, request);
  if (*op == "release") return release(session, id, request);
  if (*op == "explain") return explain(session, id, request);
  session.respond(id, peer::error_response(
                          {ErrorCode::usage, fmt::format("this host knows no operation \"{}\"; "
                                                         "install the same release on both hosts",
                                                         *op)}));
}

void Lender::devices(PeerSession& session, uint32_t id) {
  loans_.devices({session.peer_name(), "", "", {}, {}},
                 [owner = session.weak_from_this(), id](const std::vector<DeviceEntry>& entries) {
                   const auto session = owner.lock();
                   if (!session) return;
                   json response = {{"ok", true}, {"devices", json::array()}};
                   for (const DeviceEntry& entry : entries) {
                     // What no rule opens to a host, that host need not know of.
                     if (!entry.allowed) continue;
                     if (response["devices"].size() == peer::devices_max) break;
                     response["devices"].push_back(peer::encode_entry(entry));
                   }
                   session->respond(id, response);
                 });
}

void Lender::attach(PeerSession& session, uint32_t id, const json& request) {
  const auto message = peer::decode_attach(request);
  if (!message) return session.respond(id, peer::error_response(message.error()));
  const Key key{&session, message->channel};
  if (!lent_.emplace(key, Lent{}).second) {
    return session.respond(
        id, peer::error_response(
                {ErrorCode::failed, fmt::format("channel {} is taken", message->channel)}));
  }
  // Who the peer is, the session says, not the message.
  const Consumer consumer{session.peer_name(), message->vm, message->user, {}, {}};
  // The session is kept, open or not, until the device is there: its address is the key.
  loans_.borrow(message->device, consumer, false,
                [this, kept = session.shared_from_this(), number = message->channel,
                 id](Result<Loans::Loan> loan) { opened(kept, number, id, std::move(loan)); });
}

void Lender::opened(const std::shared_ptr<PeerSession>& session, uint32_t number, uint32_t id,
                    Result<Loans::Loan> loan) {
  const Key key{session.get(), number};
  const auto lent = lent_.find(key);
  // The session has ended, or the peer gave up, while the device was being opened.
  const bool wanted = session->open() && lent != lent_.end() && !lent->second.released;
  if (!loan || !wanted) {
    if (lent != lent_.end()) lent_.erase(lent);
    const uint64_t given_back = loan ? loan->id : 0;
    const Error error =
        loan ? Error{ErrorCode::failed, "the request was taken back"} : loan.error();
    loan = std::unexpected(error);  // closes the device
    if (given_back != 0) loans_.give_back(given_back, "the host that asked went away");
    session->respond(id, peer::error_response(error));
    return;
  }
  lent->second.loan = loan->id;
  const DeviceInfo info = loan->opened->info();
  const bool serial = info.kind == DeviceKind::serial;
  const peer::AttachAnswer answer{
      info, loan->nominal.bytes_s, loan->nominal.source,
      serial ? limits::serial_channel_credit_bytes : limits::usb_channel_credit_bytes};
  session->add_device(number, std::move(loan->opened), answer.nominal_bytes_s, answer.credit_bytes,
                      id, peer::encode_answer(answer),
                      [this, session, key, loan_id = loan->id](bool added) {
                        if (added) return;
                        lent_.erase(key);
                        loans_.give_back(loan_id, "the channel could not be opened");
                      });
}

void Lender::release(PeerSession& session, uint32_t id, const json& request) {
  const auto channel = peer::number_field(request, "channel", 0x7fffffff);
  if (!channel) return session.respond(id, peer::error_response(channel.error()));
  const auto number = static_cast<uint32_t>(*channel);
  if (const auto lent = lent_.find({&session, number}); lent != lent_.end()) {
    lent->second.released = true;
    if (lent->second.loan != 0) {
      loans_.ending(lent->second.loan);
      session.close_channel(number,
                            {ErrorCode::failed, "the consumer's host took the request back"});
    }
  }
  session.respond(id, {{"ok", true}});
}

void Lender::explain(PeerSession& session, uint32_t id, const json& request) {
  const auto device = peer::string_field(request, "device", peer::name_bytes_max);
  const auto vm = peer::optional_string(request, "vm", peer::name_bytes_max);
  const auto user = peer::optional_string(request, "user", peer::name_bytes_max);
  for (const auto* field : {&device, &vm, &user}) {
    if (!*field) return session.respond(id, peer::error_response(field->error()));
  }
  loans_.explain(*device, {session.peer_name(), *vm, *user, {}, {}}, false,
                 [owner = session.weak_from_this(), id](const std::vector<Check>& checks) {
                   if (const auto session = owner.lock()) {
                     session->respond(id, {{"ok", true}, {"checks", checks}});
                   }
                 });
}

void Lender::devices_changed() {
  if (quiet_now_) {
    changed_again_ = true;
    return;
  }
  changed_again_ = false;
  quiet_now_ = true;
  quiet_.after(kNoticeInterval, [this] {
    quiet_now_ = false;
    if (changed_again_) devices_changed();
  });
  if (!sessions_) return;
  for (const auto& session : sessions_()) session->notify({{"op", "devices"}});
}

bool Lender::channel_closed(PeerSession& session, uint32_t number, const Error& why) {
  const auto lent = lent_.find({&session, number});
  if (lent == lent_.end() || lent->second.loan == 0) return false;
  const uint64_t loan = lent->second.loan;
  lent_.erase(lent);
  loans_.give_back(loan, why.message.empty() ? "detached" : why.message);
  return true;
}

void Lender::session_ending(PeerSession& session) {
  for (const auto& [key, lent] : lent_) {
    if (key.first == &session && lent.loan != 0) loans_.ending(lent.loan);
  }
}

// What is still being opened finds its session closed, and is given back then.
void Lender::session_closed(PeerSession& session, const Error& why) {
  std::vector<uint64_t> loans;
  std::erase_if(lent_, [&](const auto& one) {
    if (one.first.first != &session) return false;
    if (one.second.loan != 0) loans.push_back(one.second.loan);
    return true;
  });
  for (const uint64_t loan : loans) loans_.give_back(loan, why.message);
}

}  // namespace farport
