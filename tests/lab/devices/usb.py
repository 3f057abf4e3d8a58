"""USB devices in a guest: found in /sys by their serial numbers, watched, taken away."""

import contextlib
import shlex

from guest import wait_until

ENUMERATE_S = 30  # plugged to usable: a second in a healthy guest


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


def driver_of(guest, port):
    """Kernel driver of the device's first interface, or an empty string."""
    return guest.run(f"basename $(readlink /sys/bus/usb/devices/{port}/{port}:1.0/driver) 2>/dev/null; true")


@contextlib.contextmanager
def present(device):
    """The device, made; taken away at the end. A failure of the scenario is not hidden by one of the removal."""
    try:
        yield device.make()
    except BaseException:
        with contextlib.suppress(Exception):
            device.remove()
        raise
    device.remove()


class Gadget:
    """A USB gadget of guest/gadget on dummy_hcd: the kernel of the guest plays the device too. make() is the kind's."""

    vendor_product = "1d6b:0104"

    def __init__(self, guest, name, serial, udc):
        self.guest, self.name, self.serial, self.udc = guest, name, serial, udc

    def unplug(self):
        self.guest.run(f"sh /lab/gadget unplug {self.name}")

    def plug(self):
        self.guest.run(f"sh /lab/gadget plug {self.name} {self.udc}")

    def remove(self):
        self.guest.run(f"sh /lab/gadget remove {self.name}")


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

    def control_values(self, request, kind="21"):
        """wValue of each request with that bRequest and bmRequestType (of the class, to an interface), in order.

        A usbmon line (kernel, Documentation/usb/usbmon.rst): tag time S Co:BUS:DEVICE:0 s TYPE REQUEST VALUE ...
        """
        values = []
        for line in self.text.splitlines():
            words = line.split()
            if (len(words) > 7 and words[2] == "S" and words[3].startswith("Co:")
                    and int(words[3].split(":")[2]) == self.number and words[5:7] == [kind, f"{request:02x}"]):
                values.append(int(words[7], 16))
        return values
