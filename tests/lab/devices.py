"""USB devices of the guests as scenarios handle them: made, found in /sys, read, written, taken away."""

import contextlib
import hashlib
import os
import random
import shlex
import time

from guest import LabError, wait_until

ENUMERATE_S = 30  # plugged to usable: a second in a healthy guest
DISK_MB = 16


def usb_port(guest, serial, limit_s=ENUMERATE_S):
    """Bus id (such as 3-1) of the device with that serial number, as soon as the kernel shows it."""
    found = wait_until(f"USB device {serial} in {guest.name}", limit_s, lambda: guest.try_run(
        f'for f in /sys/bus/usb/devices/*/serial; do [ "$(cat $f 2>/dev/null)" = {shlex.quote(serial)} ] && '
        'basename $(dirname $f); done; true').output.split())
    return found[0]


def has_usb_device(guest, serial):
    return serial in guest.run("cat /sys/bus/usb/devices/*/serial 2>/dev/null; true").split()


def wait_usb_device_gone(guest, serial, limit_s=ENUMERATE_S):
    wait_until(f"USB device {serial} gone from {guest.name}", limit_s, lambda: not has_usb_device(guest, serial))


def block_device(guest, serial, limit_s=ENUMERATE_S):
    """Path such as /dev/sda of the disk in the USB device with that serial number, ready to read."""
    port = usb_port(guest, serial, limit_s)
    name = wait_until(f"disk of {serial} in {guest.name}", limit_s, lambda: guest.try_run(
        f"for d in /sys/bus/usb/devices/{port}/{port}:*/host*/target*/*/block/*; do "
        "[ -b /dev/$(basename $d) ] && [ $(cat $d/size) -gt 0 ] && basename $d; done; true").output.split())
    return f"/dev/{name[0]}"


def tty_device(guest, serial, limit_s=ENUMERATE_S):
    """Path such as /dev/ttyACM0 of the port in the USB device with that serial number."""
    port = usb_port(guest, serial, limit_s)
    # cdc_acm has tty/NAME below the interface, USB serial adapters NAME/tty/NAME.
    found = wait_until(f"serial port of {serial} in {guest.name}", limit_s, lambda: guest.try_run(
        f"for t in /sys/bus/usb/devices/{port}/{port}:*/tty/tty* /sys/bus/usb/devices/{port}/{port}:*/ttyUSB*; do "
        "[ -c /dev/$(basename $t) ] && basename $t; done; true").output.split())
    return f"/dev/{found[0]}"


def driver_of(guest, port):
    """Kernel driver of the device's first interface, or an empty string."""
    return guest.run(f"basename $(readlink /sys/bus/usb/devices/{port}/{port}:1.0/driver) 2>/dev/null; true")


# Disks

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


@contextlib.contextmanager
def _present(device):
    """The device, made; taken away at the end. A failure of the scenario is not hidden by one of the removal."""
    try:
        yield device.make()
    except BaseException:
        with contextlib.suppress(Exception):
            device.remove()
        raise
    device.remove()


def gadget_disk(guest, name="disk", serial="LABDISK01", size_mb=DISK_MB, udc=0):
    return _present(GadgetDisk(guest, name, serial, size_mb, udc))


def qemu_disk(guest, folder, serial="LABQEMU01", size_mb=DISK_MB):
    return _present(QemuDisk(guest, folder, serial, size_mb))


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


class GadgetSourceSink:
    """A SourceSink gadget on dummy_hcd, which the kernel's usbtest driver tests from the other side."""

    vendor_product = "0525:a4a0"
    # Of drivers/usb/misc/usbtest.c; isochronous ones are left out, dummy_hcd has none. 1 to 8: bulk, plain and
    # scattered, both ways; 9, 10: control, alone and queued; 11, 12: unlink; 13: halts; 14: control OUT;
    # 17 to 20: unaligned; 21: control OUT unaligned; 24: unlink from a queue; 27, 28: bulk queues;
    # 29: toggle after CLEAR_HALT.
    TESTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 17, 18, 19, 20, 21, 24, 27, 28, 29)

    def __init__(self, guest, name, serial, udc):
        self.guest, self.name, self.serial, self.udc = guest, name, serial, udc

    def make(self):
        self.guest.run(f"sh /lab/gadget sourcesink {self.name} {self.udc} {self.serial}")
        self.port = usb_port(self.guest, self.serial)
        return self

    def remove(self):
        self.guest.run(f"sh /lab/gadget remove {self.name}")


def gadget_source_sink(guest, name="sourcesink", serial="LABSOURCE01", udc=2):
    return _present(GadgetSourceSink(guest, name, serial, udc))


def check_usbtest(guest, serial):
    """Every test of usbtest passes on that device in that guest."""
    guest.run("modprobe usbtest")
    port = usb_port(guest, serial)
    wait_until("usbtest drives the device", 10, lambda: driver_of(guest, port) == "usbtest")
    node = guest.run(f"printf /dev/bus/usb/%03d/%03d $(cat /sys/bus/usb/devices/{port}/busnum "
                     f"/sys/bus/usb/devices/{port}/devnum)")
    for test in GadgetSourceSink.TESTS:
        result = guest.try_run(f"/lab/usbtest {node} {test}", limit_s=120)
        if result.status != 0:
            raise LabError(f"usbtest in {guest.name}: {result}")
    guest.run("rmmod usbtest")
    return f"{len(GadgetSourceSink.TESTS)} tests of usbtest"


# Serial ports

class GadgetSerial:
    """An ACM gadget on dummy_hcd: `port` is the host's side (ttyACM*), `far_end` the device's (ttyGS*)."""

    vendor_product = "1d6b:0104"

    def __init__(self, guest, name, serial, udc):
        self.guest, self.name, self.serial, self.udc = guest, name, serial, udc

    def make(self):
        self.guest.run(f"sh /lab/gadget acm {self.name} {self.udc} {self.serial}")
        self.port = tty_device(self.guest, self.serial)
        number = self.guest.run(f"cat /sys/kernel/config/usb_gadget/{self.name}/functions/acm.0/port_num")
        self.far_end = f"/dev/ttyGS{number}"
        return self

    def unplug(self):
        self.guest.run(f"sh /lab/gadget unplug {self.name}")

    def plug(self):
        self.guest.run(f"sh /lab/gadget plug {self.name} {self.udc}")

    def remove(self):
        self.guest.run(f"sh /lab/gadget remove {self.name}")


def gadget_serial(guest, name="acm", serial="LABACM01", udc=1):
    return _present(GadgetSerial(guest, name, serial, udc))


class QemuSerial:
    """QEMU's usb-serial (an FTDI adapter): /dev/ttyUSB* in the guest, HostSerial on this side."""

    vendor_product = "0403:6001"

    def __init__(self, guest, serial):
        self.guest, self.serial = guest, serial

    def make(self):
        self.identity = self.guest.plug("usb-serial", chardev="serial", serial=self.serial, **{"always-plugged": True})
        self.port = tty_device(self.guest, self.serial)
        return self

    def remove(self):
        self.guest.unplug(self.identity)


def qemu_serial(guest, serial="LABFTDI01"):
    return _present(QemuSerial(guest, serial))


class HostSerial:
    """The far end of QEMU's usb-serial, for check_bytes()."""

    def __init__(self, guest):
        self.send, self.receive = guest.serial_send, guest.serial_receive


class Tty:
    """A serial port held open in a guest by guest/tty.cc, whose commands these are."""

    def __init__(self, guest, path, inspect=False):
        self.guest, self.path = guest, path
        self.command = guest.start(f"exec /lab/tty {shlex.quote(path)} {'inspect' if inspect else ''}", limit_s=600)
        self._answer("open")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(LabError):
            self.command.close_input()
            self.command.wait(15)

    def ask(self, line, limit_s=30):
        self.command.write(line.encode() + b"\n")
        return self._answer(line, limit_s)

    def _answer(self, line, limit_s=30):
        verdict, _, answer = self.command.read(b"\n", limit_s).decode().strip().partition(" ")
        if verdict != "ok":
            raise LabError(f"{self.guest.name}: {self.path}: {line}: {answer}")
        return answer

    def set(self, baud_and_frame):
        self.ask(f"set {baud_and_frame}")

    def show(self):
        return self.ask("show")

    def lines(self):
        return set(self.ask("lines").split())

    def raise_lines(self, *names):
        self.ask("raise " + " ".join(names))

    def drop_lines(self, *names):
        self.ask("drop " + " ".join(names))

    def send_break(self, ms):
        self.ask(f"break {ms}")

    def send(self, data):
        for start in range(0, len(data), 2048):
            self.ask("send " + data[start:start + 2048].hex())

    def receive(self, count, limit_s=15):
        return bytes.fromhex(self.ask(f"receive {count} {int(limit_s * 1000)}", limit_s + 15))


def check_bytes(sender, receiver, data, what):
    """Every byte, in order, nothing more. Senders and receivers are Tty, or have send() and receive()."""
    sender.send(data)
    got = receiver.receive(len(data), 30)
    if got != data:
        same = next((i for i, (x, y) in enumerate(zip(got, data)) if x != y), min(len(got), len(data)))
        raise LabError(f"{what}: {len(got)} of {len(data)} bytes came, the first {same} as sent")


class UsbMonitor:
    """Control requests that reach a device while the block runs, as its guest's kernel (usbmon) sees them."""

    def __init__(self, guest, device):
        self.guest, self.device = guest, device
        self.file = "/run/lab/usbmon"

    def __enter__(self):
        port = usb_port(self.guest, self.device.serial)
        self.number = int(self.guest.run(f"cat /sys/bus/usb/devices/{port}/devnum"))
        monitor = f"/sys/kernel/debug/usb/usbmon/{port.split('-')[0]}"
        self.command = self.guest.start(f"exec cat {monitor}u > {self.file}", limit_s=300)
        wait_until("usbmon is read", 10, lambda: self.guest.succeeds(f"grep -q 'nreaders 1 ' {monitor}s"))
        return self

    def __exit__(self, *_):
        # What happened is in the kernel's ring before this; cat has it when it has nothing left to read.
        wait_until("usbmon's reader has all", 10, self._settled, interval_s=0.3)
        self.command.kill()
        self.text = self.guest.run(f"cat {self.file}")

    def _settled(self):
        before = getattr(self, "_size", None)
        self._size = self.guest.run(f"stat -c %s {self.file}")
        return before == self._size

    def control_values(self, request):
        """wValue of each class request to an interface with that bRequest, in order.

        A usbmon line (kernel, Documentation/usb/usbmon.rst): tag time S Co:BUS:DEVICE:0 s TYPE REQUEST VALUE ...
        """
        values = []
        for line in self.text.splitlines():
            words = line.split()
            if (len(words) > 7 and words[2] == "S" and words[3].startswith("Co:")
                    and int(words[3].split(":")[2]) == self.number and words[5:7] == ["21", f"{request:02x}"]):
                values.append(int(words[7], 16))
        return values
