"""The kernel's SourceSink gadget, and the kernel's usbtest driver that tests it from the other side."""

from devices.usb import driver_of, present, usb_port
from guest import LabError, wait_until


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
    return present(GadgetSourceSink(guest, name, serial, udc))


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
