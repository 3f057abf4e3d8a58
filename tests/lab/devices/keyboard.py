"""Keyboards: a HID gadget whose reports a scenario writes, QEMU's own, and the reports that a guest gets of one."""

from devices.usb import ENUMERATE_S, Gadget, present, usb_port
from guest import LabError, wait_until

REPORT_BYTES = 8  # a boot keyboard's: modifiers, reserved, six keys


class GadgetKeyboard(Gadget):
    """A boot keyboard of the kernel's HID function, on dummy_hcd."""

    def make(self):
        self.guest.run(f"sh /lab/gadget keyboard {self.name} {self.udc} {self.serial}")
        self.port = usb_port(self.guest, self.serial)
        self.far_end = "/dev/hidg0"
        wait_until("the gadget's own end", 10, lambda: self.guest.succeeds(f"test -c {self.far_end}"))
        return self

    def start_reports(self, reports):
        """Writes them, each as soon as the host has taken the one before; a Command to wait for."""
        octal = "".join(f"\\{byte:03o}" for report in reports for byte in report)
        return self.guest.start(f"printf '{octal}' > /run/lab/reports && "
                                f"dd if=/run/lab/reports of={self.far_end} bs={REPORT_BYTES}", limit_s=120)


def gadget_keyboard(guest, name="keyboard", serial="LABKEYS01", udc=3):
    return present(GadgetKeyboard(guest, name, serial, udc))


class QemuKeyboard:
    """QEMU's usb-kbd; its keys are pressed by QMP."""

    vendor_product = "0627:0001"

    def __init__(self, guest, serial):
        self.guest, self.serial = guest, serial

    def make(self):
        self.identity = self.guest.plug("usb-kbd", serial=self.serial)
        self.port = usb_port(self.guest, self.serial)
        return self

    def press(self, letter, hold_ms):
        """Presses and releases it; QEMU does one after the other."""
        self.guest.qmp("send-key", keys=[{"type": "qcode", "data": letter}], **{"hold-time": hold_ms})

    def remove(self):
        self.guest.unplug(self.identity)


def qemu_keyboard(guest, serial="LABKEYS02"):
    return present(QemuKeyboard(guest, serial))


class ReportReader:
    """The reports of a keyboard as a guest's kernel (hidraw) gives them, while the block runs."""

    # The kernel keeps so many for a reader that is late (drivers/hid/hidraw.c), and drops what follows.
    KEPT_MAX = 63

    def __init__(self, guest, serial):
        self.guest = guest
        port = usb_port(guest, serial)
        found = wait_until(f"hidraw of {serial} in {guest.name}", ENUMERATE_S, lambda: guest.try_run(
            f"for d in /sys/bus/usb/devices/{port}/{port}:1.0/*/hidraw/hidraw*; do "
            "[ -c /dev/${d##*/} ] && echo ${d##*/}; done; true").output.split())
        self.path = f"/dev/{found[0]}"

    def __enter__(self):
        self.command = self.guest.start(f"exec dd if={self.path} bs={REPORT_BYTES} 2>/dev/null", limit_s=600)
        wait_until(f"{self.path} is open", 10, lambda: self.guest.succeeds(
            f"ls -l /proc/*/fd 2>/dev/null | grep -q {self.path}"))
        return self

    def __exit__(self, *_):
        self.command.kill()

    def take(self, count, limit_s):
        """The next reports, each as bytes."""
        data = self.command.read(count * REPORT_BYTES, limit_s)
        return [data[start:start + REPORT_BYTES] for start in range(0, len(data), REPORT_BYTES)]

    def check_next(self, expected, limit_s, what):
        """The very reports, in order, none lost or doubled."""
        got = self.take(len(expected), limit_s)
        if got != expected:
            at = next(i for i, (one, other) in enumerate(zip(got, expected)) if one != other)
            raise LabError(f"{what}: report {at} of {len(expected)} came as {got[at].hex()}, "
                           f"it was {expected[at].hex()}")

    def check_no_more(self, what):
        if len(self.command.output) != self.command._read:
            raise LabError(f"{what}: more came than was sent: {bytes(self.command.output[-16:]).hex()}")
