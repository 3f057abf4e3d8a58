"""A slow link between the hosts: what compression makes of it, as real kernels see it."""

import time

import devices
import farport
import network
from guest import LabError
from scenario import scenario

LINK_MBIT_S = 2
TEXT_MB, RANDOM_MB = 8, 2
GAIN_MIN = 1.5  # of the text's goodput over the link's rate
COST_MAX = 0.2  # of what cannot be compressed


def _fill_with_text(disk):
    """Its first part, with lines like a log's; the rest stays as random as it was made."""
    lines = (TEXT_MB << 20) // 64
    disk.guest.run(f"awk 'BEGIN {{ srand(7); for (i = 0; i < {lines}; ++i) printf \"%07d sensor %02d reads %06.2f V "
                   f"at %08d ms, limit not reached\\n\", i, i % 13, rand() * 400, i * 17 }}' > /run/lab/text && "
                   f"dd if=/run/lab/text of={disk.file} bs=1M count={TEXT_MB} conv=notrunc", limit_s=180)


def _read(lab, disk, path, first_mb, count_mb):
    """Reads a part of the disk past the cache; MB/s, after a comparison of checksums."""
    start = time.monotonic()
    lab.b.run(f"dd if={path} of=/run/lab/part bs=1M skip={first_mb} count={count_mb} iflag=direct", limit_s=300)
    took_s = time.monotonic() - start
    got = lab.b.run("sha256sum < /run/lab/part")
    truth = lab.a.run(f"dd if={disk.file} bs=1M skip={first_mb} count={count_mb} 2>/dev/null | sha256sum")
    if got != truth:
        raise LabError(f"{count_mb} MB from {first_mb} on came as {got}, the disk holds {truth}")
    return count_mb * 1.048576 / took_s


@scenario()
def compression(lab):
    """A disk read at 2 Mbit/s: text comes faster than the link is, what cannot be compressed about as fast."""
    link = LINK_MBIT_S / 8
    with devices.gadget_disk(lab.a, size_mb=TEXT_MB + RANDOM_MB) as disk, farport.pair(lab) as (a, b):
        _fill_with_text(disk)
        attachment = b.attach("a", farport.usb_name(disk), "vhci")
        path = devices.block_device(lab.b, disk.serial)
        before = a.host("b")["compression"]
        with network.limited(lab, LINK_MBIT_S):
            text = _read(lab, disk, path, 0, TEXT_MB)
            after_text = a.host("b")["compression"]
            noise = _read(lab, disk, path, TEXT_MB, RANDOM_MB)
            after_noise = a.host("b")["compression"]
        received = b.host("a")["compression"]["frames_received"]
        b.detach(attachment)
        devices.wait_usb_device_gone(lab.b, disk.serial)
    note = (f"{LINK_MBIT_S} Mbit/s: text {text:.2f} MB/s ({text / link:.1f} times the link), random {noise:.2f} MB/s "
            f"({noise / link:.2f} times); {after_text['bytes_before'] >> 10} KiB sent as "
            f"{after_text['bytes_after'] >> 10} KiB")
    if not after_text["on"] or not after_text["frames_sent"] or after_text["frames_sent"] > received:
        raise LabError(f"compression did not turn on: {before}, {after_text}, {received} frames received; {note}")
    if text < GAIN_MIN * link:
        raise LabError(f"text gains too little: {note}; {after_text}")
    if noise < (1 - COST_MAX) * link:
        raise LabError(f"random data suffers: {note}; {after_noise}")
    if after_noise["on"]:
        raise LabError(f"compression is on after random data: {after_noise}; {note}")
    return note
