"""Disks: made, found, read and written as a whole, read while something happens to them."""

import hashlib
import os
import random
import time

from devices.usb import ENUMERATE_S, present, usb_port
from guest import LabError, wait_until

DISK_MB = 16


def block_device(guest, serial, limit_s=ENUMERATE_S):
    """Path such as /dev/sda of the disk in the USB device with that serial number, ready to read."""
    port = usb_port(guest, serial, limit_s)
    name = wait_until(f"disk of {serial} in {guest.name}", limit_s, lambda: guest.try_run(
        f"for d in /sys/bus/usb/devices/{port}/{port}:*/host*/target*/*/block/*; do "
        "[ -b /dev/$(basename $d) ] && [ $(cat $d/size) -gt 0 ] && basename $d; done; true").output.split())
    return f"/dev/{name[0]}"


class GadgetDisk:
    """A configfs mass-storage gadget on dummy_hcd: the kernel of the guest plays the disk, in a RAM file."""

    vendor_product = "1d6b:0104"

    def __init__(self, guest, name, serial, size_mb, udc):
        self.guest, self.name, self.serial, self.size_mb, self.udc = guest, name, serial, size_mb, udc
        self.file = f"/run/lab/{name}.img"

    def make(self):
        self.guest.run(f"dd if=/dev/urandom of={self.file} bs=1M count={self.size_mb} 2>/dev/null")
        self.guest.run(f"sh /lab/gadget disk {self.name} {self.udc} {self.serial} {self.file}")
        self.port = usb_port(self.guest, self.serial)
        block_device(self.guest, self.serial)  # its own kernel has it first, as on any host
        return self

    def checksum(self):
        return _checksum(self.guest, self.file)

    def unplug(self):
        self.guest.run(f"sh /lab/gadget unplug {self.name}")

    def plug(self):
        self.guest.run(f"sh /lab/gadget plug {self.name} {self.udc}")

    def remove(self):
        self.guest.run(f"sh /lab/gadget remove {self.name}; rm -f {self.file}")


class QemuDisk:
    """QEMU's own usb-storage on its xHCI, in a file of the machine that runs the lab."""

    vendor_product = "46f4:0001"

    def __init__(self, guest, folder, serial, size_mb, driver="usb-storage"):
        self.guest, self.serial, self.size_mb, self.driver = guest, serial, size_mb, driver
        self.file = os.path.join(folder, f"{guest.name}-{serial}.img")

    def make(self):
        with open(self.file, "wb") as file:
            file.write(random.Random(self.serial).randbytes(self.size_mb << 20))
        self.plug()
        block_device(self.guest, self.serial)
        return self

    def plug(self):
        self.identity = self.guest.plug_disk(self.file, self.serial, self.driver)
        self.port = usb_port(self.guest, self.serial)

    def checksum(self):
        with open(self.file, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def unplug(self):
        self.guest.unplug(self.identity)
        self.identity = None

    def remove(self):
        if self.identity:
            self.unplug()
        os.unlink(self.file)


def gadget_disk(guest, name="disk", serial="LABDISK01", size_mb=DISK_MB, udc=0):
    return present(GadgetDisk(guest, name, serial, size_mb, udc))


def qemu_disk(guest, folder, serial="LABQEMU01", size_mb=DISK_MB):
    return present(QemuDisk(guest, folder, serial, size_mb))


def check_whole_disk(consumer, disk, path, what):
    """Reads all of the disk through `path` in the consumer, then writes all of it, comparing checksums.

    Returns the speeds, as a note for the scenario's line.
    """
    size = int(consumer.run(f"blockdev --getsize64 {path}"))
    if size != disk.size_mb << 20:
        raise LabError(f"{what}: {path} has {size} bytes, the disk {disk.size_mb << 20}")
    copy = "/run/lab/copy"
    truth = disk.checksum()
    read_s = _timed(consumer, f"dd if={path} of={copy} bs=1M")
    read = _checksum(consumer, copy)
    if read != truth:
        raise LabError(f"{what}: a read of the whole disk gives {read}, the disk holds {truth}")
    consumer.run(f"dd if=/dev/urandom of={copy} bs=1M count={disk.size_mb}")
    write_s = _timed(consumer, f"dd if={copy} of={path} bs=1M conv=fsync")
    written, truth = _checksum(consumer, copy), disk.checksum()
    consumer.run(f"rm {copy}")
    if written != truth:
        raise LabError(f"{what}: after a write of the whole disk it holds {truth}, written was {written}")
    megabytes = disk.size_mb * 1.048576
    return f"read {megabytes / read_s:.1f} MB/s, write {megabytes / write_s:.1f} MB/s"


def _timed(guest, command):
    start = time.monotonic()
    guest.run(command, limit_s=180)
    return time.monotonic() - start


def _checksum(guest, path):
    return guest.run(f"sha256sum {path}").split()[0]


class Reader:
    """Reads a disk over and over in the background, past the cache, until it meets an error."""

    def __init__(self, guest, path):
        self.guest, self.path, self.name = guest, path, os.path.basename(path)
        self.command = guest.start(
            f"while dd if={path} of=/dev/null bs=64k iflag=direct 2>/run/lab/reader; do :; done; cat /run/lab/reader",
            limit_s=300)
        start = self.sectors()
        # About 2 MiB in: the transfers of a read are in flight whenever the device now goes.
        wait_until(f"reading {path} in {guest.name}", 60, lambda: self.sectors() > start + 4096)

    def sectors(self):
        words = self.guest.try_run(f"cat /sys/block/{self.name}/stat").output.split()
        return int(words[2]) if len(words) > 2 else 0

    def wait_error(self, limit_s, what):
        """The read must end with an error: it may not hang, nor go on as if nothing had happened."""
        try:
            said = self.command.wait(limit_s).output
        except LabError:
            self.command.kill()
            raise LabError(f"{what}: the reader of {self.path} got no error within {limit_s} s") from None
        if "error" not in said.lower() and "no such" not in said.lower():
            raise LabError(f"{what}: the reader of {self.path} ended without an I/O error: {said.strip()}")
