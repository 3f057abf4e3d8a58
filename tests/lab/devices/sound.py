"""QEMU's USB sound card: isochronous transfers whose payload can be compared, in the file that it plays into."""

import contextlib
import struct
import time

from devices.usb import ENUMERATE_S, usb_port
from guest import LabError, wait_until

SECONDS = 2
RATE = 48000
WAV_HEADER_BYTES = 44
PLAYED_FRACTION_MIN = 0.5  # isochronous data may be late and lost, on an emulated machine more than elsewhere


class SoundCard:
    vendor_product = "46f4:0002"

    def __init__(self, guest, serial):
        self.guest, self.serial = guest, serial


@contextlib.contextmanager
def sound_card(guest, serial="LABAUDIO01"):
    identity = guest.plug("usb-audio", audiodev="audio", serial=serial)
    try:
        usb_port(guest, serial)
        yield SoundCard(guest, serial)
    finally:
        guest.unplug(identity)


def play(consumer, card):
    """Plays a count, left up and right down, in the consumer. What the card played must be runs of that count: what
    fraction of the samples came in order, and how many times as long as the sound it took."""
    consumer.run("modprobe -a snd_usb_audio snd_pcm_oss")
    wait_until(f"/dev/dsp in {consumer.name}", ENUMERATE_S, lambda: consumer.succeeds("test -c /dev/dsp"))
    frames = SECONDS * RATE
    data = b"".join(struct.pack("<hh", count % 20000 + 1, -(count % 20000) - 1) for count in range(frames))
    player = consumer.start("/lab/play /dev/dsp", limit_s=60)
    begin = time.monotonic()
    for start in range(0, len(data), 1 << 16):
        player.write(data[start:start + (1 << 16)])
    player.close_input()
    result = player.wait()
    took_s = time.monotonic() - begin
    if result.status != 0:
        raise LabError(f"{consumer.name}: {result}")

    played = card.guest.sound.read_bytes()[WAV_HEADER_BYTES:]
    samples = [pair for pair in struct.iter_unpack("<hh", played[:len(played) // 4 * 4]) if pair != (0, 0)]
    if wrong := [pair for pair in samples if pair[0] != -pair[1]]:
        raise LabError(f"{len(wrong)} frames that were never sent, such as {wrong[0]}")
    in_order = sum(1 for (one, _), (two, _) in zip(samples, samples[1:]) if two == one % 20000 + 1)
    return in_order / frames, took_s / SECONDS


def check_playing(consumer, card):
    """play(), of which enough must come in order."""
    in_order, _ = play(consumer, card)
    note = f"{100 * in_order:.0f} % of the samples played in order"
    if in_order < PLAYED_FRACTION_MIN:
        raise LabError(note)
    return note
