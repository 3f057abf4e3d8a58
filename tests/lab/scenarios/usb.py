"""What USB can do besides disks and serial ports: every kind of transfer, against the kernel's own tests."""

import devices
import farport
from scenario import scenario


@scenario()
def usbtest_suite(lab):
    """The kernel's usbtest in B passes on A's SourceSink gadget: sizes, queues, scatter, unlink, halts, control.

    Stock usbip does not pass: in test 24 usbip_host of kernel 6.1 reads a transfer that it has freed, and faults.
    """
    with devices.gadget_source_sink(lab.a) as gadget, farport.pair(lab) as (_, b):
        attachment = b.attach("a", farport.usb_name(gadget), "vhci")
        note = devices.check_usbtest(lab.b, gadget.serial)
        b.detach(attachment)
        devices.wait_usb_device_gone(lab.b, gadget.serial)
        return note


@scenario()
def sound_isochronous(lab):
    """QEMU's USB sound card used in B: isochronous OUT through vhci; the samples are compared where they end."""
    with devices.sound_card(lab.a) as card, farport.pair(lab) as (_, b):
        attachment = b.attach("a", farport.usb_name(card), "vhci")
        note = devices.check_playing(lab.b, card)
        b.detach(attachment)
        devices.wait_usb_device_gone(lab.b, card.serial)
        return note
