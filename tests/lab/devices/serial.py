"""Serial ports: made, found, held open in a guest, and bytes compared across them."""

import contextlib
import shlex

from devices.usb import ENUMERATE_S, Gadget, present, usb_port
from guest import LabError, wait_until


def tty_device(guest, serial, limit_s=ENUMERATE_S):
    """Path such as /dev/ttyACM0 of the port in the USB device with that serial number."""
    port = usb_port(guest, serial, limit_s)
    # cdc_acm has tty/NAME below the interface, USB serial adapters NAME/tty/NAME.
    found = wait_until(f"serial port of {serial} in {guest.name}", limit_s, lambda: guest.try_run(
        f"for t in /sys/bus/usb/devices/{port}/{port}:*/tty/tty* /sys/bus/usb/devices/{port}/{port}:*/ttyUSB*; do "
        "[ -c /dev/$(basename $t) ] && basename $t; done; true").output.split())
    return f"/dev/{found[0]}"


class GadgetSerial(Gadget):
    """An ACM gadget on dummy_hcd: `port` is the host's side (ttyACM*), `far_end` the device's (ttyGS*)."""

    def make(self):
        self.guest.run(f"sh /lab/gadget acm {self.name} {self.udc} {self.serial}")
        self.port = tty_device(self.guest, self.serial)
        number = self.guest.run(f"cat /sys/kernel/config/usb_gadget/{self.name}/functions/acm.0/port_num")
        self.far_end = f"/dev/ttyGS{number}"
        return self


def gadget_serial(guest, name="acm", serial="LABACM01", udc=1):
    return present(GadgetSerial(guest, name, serial, udc))


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
    return present(QemuSerial(guest, serial))


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
