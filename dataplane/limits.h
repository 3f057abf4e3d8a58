// Every limit that a peer, a device or a consumer can run into, with its reason. Past a limit there
// is a clear error to that one request, and everything else goes on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace farport::limits {

// One transfer. Linux's usbfs and vhci take more, but no driver asks for more than a few MiB.
inline constexpr uint32_t transfer_bytes_max = 16u << 20;
// USB/IP 1.1.1 allows at most 1024 isochronous packets in a request.
inline constexpr uint32_t iso_packets_max = 1024;
// One configuration descriptor with all it contains (wTotalLength is 16 bits: USB 2.0, 9.6.3).
inline constexpr uint32_t descriptor_bytes_max = 64u << 10;
// One run of serial bytes: 5 s at 115200 baud, far more than any driver asks for at once.
inline constexpr uint32_t serial_run_bytes_max = 64u << 10;

// Data in one frame. A frame is the unit of interleaving: an urgent frame waits for at most one.
inline constexpr uint32_t frame_data_bytes_max = 64u << 10;
// Frames sent and not yet acknowledged, per session and direction.
inline constexpr uint32_t frames_in_flight_max = 2048;
// Control messages (JSON) on channel 0, reassembled.
inline constexpr uint32_t message_bytes_max = 1u << 20;
// Of them, what a peer does not acknowledge is kept up to here; past it the session ends.
inline constexpr size_t messages_kept_max = 1024;
inline constexpr size_t messages_kept_bytes_max = 8u << 20;

// Transfers in flight on one channel; a slot number fits 16 bits on the wire.
inline constexpr uint32_t transfers_per_channel_max = 4096;
// Chains of transfers (transfer.h): one for each interface that a rule of drivers/ahead serves.
inline constexpr uint32_t chains_per_channel_max = 16;
inline constexpr uint32_t channels_per_session_max = 256;
inline constexpr uint32_t sessions_per_host_max = 64;

// What a device end grants to the driver end of one channel, in bytes of its own memory. It must
// hold the largest transfer, or that transfer could never be sent; and as much again as may be
// given back without being told yet.
inline constexpr uint32_t transfer_overhead_bytes = 256;
inline constexpr uint64_t usb_channel_credit_bytes = 19u << 20;
inline constexpr uint64_t serial_channel_credit_bytes = 512u << 10;
// Bulk leaves this much of the credit to control, interrupt and serial transfers.
inline constexpr uint32_t urgent_credit_bytes = 128u << 10;
// Given-back credit is told once so much has come together: this share of the window, or this many
// bytes if that is less.
inline constexpr uint64_t credit_told_bytes = 1u << 20;
inline constexpr uint64_t credit_told_share = 8;

static_assert(usb_channel_credit_bytes >= transfer_bytes_max + iso_packets_max * 16 +
                                              transfer_overhead_bytes + urgent_credit_bytes +
                                              credit_told_bytes);
static_assert(serial_channel_credit_bytes - serial_channel_credit_bytes / credit_told_share >=
              serial_run_bytes_max + transfer_overhead_bytes + urgent_credit_bytes);

}  // namespace farport::limits
