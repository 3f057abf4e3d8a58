"""Load on a disk by guest/blocks.cc, which checks every byte that it reads and times every transfer."""

import json
import signal

from guest import LabError


class Blocks:
    """One `blocks` in a guest. Its figures come as a dictionary when it ends; a time is the guest's."""

    def __init__(self, guest, *words, limit_s=3600):
        self.guest = guest
        self.command = guest.start("exec /lab/blocks " + " ".join(str(word) for word in words), limit_s)

    def ended(self):
        return self.command.ended.is_set()

    def result(self, limit_s=120):
        """What it found by itself; for those that end."""
        result = self.command.wait(limit_s)
        try:
            figures = json.loads(result.output)
        except ValueError:
            raise LabError(f"{self.guest.name}: {result}") from None
        figures["said"] = result.error.strip()[-400:]
        return figures

    def stop(self, limit_s=120):
        """Ends one that goes on until told; what it found."""
        self.command.kill(signal.SIGTERM)
        try:
            return self.result(limit_s)
        finally:
            self.command.kill()


def transfer_count(guest, path):
    """Reads and writes that the disk has completed since it is there."""
    words = guest.try_run(f"cat /sys/block/{path.rpartition('/')[2]}/stat").output.split()
    return int(words[0]) + int(words[4]) if len(words) > 4 else 0


class CheckedLoad:
    """Two processes on one disk of another guest: one reads, one writes and reads back; all is compared.

    The first half holds generation 1 and is read; the second half is written again and again.
    """

    SIZE = 64 << 10

    def __init__(self, disk):
        self.disk = disk
        self.half = (disk.size_mb << 20) // self.SIZE // 2
        Blocks(disk.guest, "fill", disk.file, 0, 2 * self.half, self.SIZE, 1).result()

    def start(self, consumer, path):
        self.parts = {
            "reader": Blocks(consumer, "read", path, 0, self.half, self.SIZE, 1),
            "writer": Blocks(consumer, "write", path, self.half, self.half, self.SIZE, 1)}

    def broken(self):
        """A process has given up."""
        return any(part.ended() for part in self.parts.values())

    def stop(self):
        """Figures of both; the disk itself is compared with what was written, too."""
        found = {name: part.stop() for name, part in self.parts.items()}
        written = found["writer"]["generation"]
        for name, first, generation in (("disk's first half", 0, 1), ("disk's second half", self.half, written)):
            found[name] = Blocks(self.disk.guest, "check", self.disk.file, first, self.half, self.SIZE,
                                 generation).result()
        return found


def check_found(found, what):
    """No error and no wrong byte in any of the figures of a CheckedLoad."""
    for name, one in found.items():
        if one["errors"] or one["wrong_bytes"]:
            raise LabError(f"{what}: the {name} met {one['errors']} errors ({one['error']}) and "
                           f"{one['wrong_bytes']} wrong bytes; {one['said']}")


def measure_rate(guest, path, how, size, limit_ms, seed):
    """MB/s of `blocks rate`: how is read, write or random."""
    found = Blocks(guest, "rate", path, how, size, limit_ms, seed).result()
    if found["errors"]:
        raise LabError(f"{how} of {path}: {found['error']}")
    return found["bytes"] / found["seconds"] / 1e6
