// What a peer sends on a session: every frame type, to a device end and to a driver end. Whatever
// comes, the session ends in order and all memory comes back. Built with the session's own sources.

#include "dataplane/session.h"
#include "dataplane/worker.h"
#include "tests/fuzz/stream_link.h"
#include "tests/unit/dataplane/simulated_loop.h"
#include "tests/unit/fake_device.h"
#include "tests/unit/fake_driver.h"

using namespace farport;

namespace {
struct Events final : SessionEvents, ChannelEvents {
  void session_paused(Session&, const ResumePoint&, const Error&) override {}
  void session_message(Session&, wire::MessageKind, uint32_t, std::string) override {}
  void session_closed(Session&, Error) override { closed = true; }
  void channel_closed(Channel&, Error) override {}
  bool closed = false;
};

template <class Body>
std::string frame(wire::FrameType type, uint32_t channel, const Body& body, size_t data_bytes = 0,
                  uint32_t transfer = 0) {
  wire::FrameHeader header{};
  header.bytes = static_cast<uint32_t>(sizeof body + data_bytes);
  header.type = static_cast<uint8_t>(type);
  header.body_bytes = sizeof body;
  header.channel = channel;
  header.transfer = transfer;
  return std::string(1, '\1') + fuzz::bytes_of(std::span(&header, 1)) +
         fuzz::bytes_of(std::span(&body, 1)) + std::string(data_bytes, 'd');
}

// A channel of each kind, one transfer of each direction in flight at the driver end.
void open_channels(Session& session, Events& events, uint8_t kind) {
  auto device = std::make_unique<FakeDevice>();
  device->on_submit = [kind](Transfer& transfer) {
    transfer.status = TransferStatus::ok;
    transfer.actual = (kind & 2) != 0 ? transfer.length : 0;
    return (kind & 4) != 0;
  };
  session.add_device_channel(1, std::move(device), 0, limits::usb_channel_credit_bytes, events);
  auto driver = std::make_unique<FakeDriver>();
  FakeDriver& used = *driver;
  DriverChannel* channel = session.add_driver_channel(2, events);
  channel->start({}, 0, limits::usb_channel_credit_bytes, std::move(driver));
  for (const uint8_t endpoint : {0x81, 0x01, 0x82}) {
    Transfer* transfer = used.port->allocate(100'000);
    std::fill(transfer->data().begin(), transfer->data().end(), std::byte{1});
    transfer->type = TransferType::bulk;
    transfer->endpoint = endpoint;
    used.port->submit(*transfer);
    if (endpoint == 0x82 && (kind & 8) != 0) used.port->cancel(*transfer);
  }
}
}  // namespace

namespace farport::fuzz {
std::vector<std::string> examples() {
  using enum wire::FrameType;
  wire::SubmitBody out{};
  out.length = 100;
  out.endpoint = 0x01;
  out.type = static_cast<uint8_t>(TransferType::bulk);
  wire::CompleteBody done{};
  done.actual = 100;
  return {"\6" + frame(submit, 1, out, 60) + frame(data, 1, wire::DataBody{60}, 40),
          std::string(1, '\0') + frame(complete, 2, done, 100, 0x10000),
          "\2" + frame(credit, 2, wire::CreditBody{1 << 20}) + frame(ping, 0, wire::PingBody{1}),
          "\4" + frame(message, 0, wire::MessageBody{1, 1, 0, 0}, 9),
          "\4" + frame(close, 1, wire::ReasonBody{1, 1, 0}, 3)};
}
}  // namespace farport::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto worker = Worker::create({});  // only its address is used
  SimulatedLoop loop;
  fuzz::Input input(data, size);
  const uint8_t kind = input.byte();
  Events events;
  auto owned = std::make_unique<fuzz::StreamLink>(loop);
  fuzz::StreamLink& link = *owned;
  Hello peer;
  peer.host_name = "fuzzer";
  peer.frame_data_bytes_max = (kind & 0x80) == 0 ? limits::frame_data_bytes_max : 4096;
  auto session = std::make_unique<Session>(**worker, loop, SessionSettings{.host_name = "here"},
                                           std::move(peer), std::move(owned), events);
  session->start();
  open_channels(*session, events, kind);
  loop.flush();
  while (link.take_frame(input)) loop.flush();
  session->close({ErrorCode::failed, "over"});
  for (int i = 0; i < 20 && !events.closed; ++i) loop.flush();
  fuzz_check(events.closed);
  session.reset();
  fuzz_check(loop.buffers().bytes_in_use() == 0);
  return 0;
}
