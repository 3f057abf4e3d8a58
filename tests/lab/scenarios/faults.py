"""Devices pulled out and daemons killed in the middle of a read: an error, never a hang, and all is free again."""

import devices
import farport
import network
from guest import wait_until
from scenario import scenario

READ_MB = 64  # long enough to be still in mid-read; the reader starts over anyway
UNPLUG_S = 30
PAUSE_S = 1.5  # of a network: far below resume_timeout


def short_pair(lab):
    """Two hosts that do not wait long for each other."""
    return farport.pair(lab, resume_timeout_s=farport.SHORT_RESUME_TIMEOUT_S)


def unplug_mid_read(lab, disk, what):
    with farport.pair(lab) as (_, b):
        b.attach("a", farport.usb_name(disk), "vhci")
        reader = devices.Reader(lab.b, devices.block_device(lab.b, disk.serial))
        disk.unplug()
        reader.wait_error(UNPLUG_S, what)
        devices.wait_usb_device_gone(lab.b, disk.serial)
        b.wait_no_attachments(UNPLUG_S)
        farport.check_ports_clean(lab.b)

        disk.plug()
        attach_and_read(lab, b, disk)


def attach_and_read(lab, b, disk):
    attachment = b.attach("a", farport.usb_name(disk), "vhci")
    path = devices.block_device(lab.b, disk.serial)
    lab.b.run(f"dd if={path} of=/dev/null bs=1M count=4")
    b.detach(attachment)
    devices.wait_usb_device_gone(lab.b, disk.serial)


@scenario(short=True)
def unplug_qemu_disk(lab):
    """QEMU's disk pulled out while B reads it: an I/O error; plugged in again it attaches again."""
    with devices.qemu_disk(lab.a, lab.logs, size_mb=READ_MB) as disk:
        unplug_mid_read(lab, disk, "QEMU's disk unplugged")


@scenario()
def unplug_gadget_disk(lab):
    """The gadget unbound from its controller while B reads it."""
    with devices.gadget_disk(lab.a, size_mb=READ_MB) as disk:
        unplug_mid_read(lab, disk, "gadget unplugged")


@scenario(short=True)
def kill_device_host(lab):
    """farportd in A killed with -9 while B reads, and not started again in time: B gets an error, all is clean."""
    with devices.gadget_disk(lab.a, size_mb=READ_MB) as disk, short_pair(lab) as (a, b):
        b.attach("a", farport.usb_name(disk), "vhci")
        reader = devices.Reader(lab.b, devices.block_device(lab.b, disk.serial))
        a.kill()
        reader.wait_error(farport.LINK_LOST_S, "device host killed")
        devices.wait_usb_device_gone(lab.b, disk.serial)
        farport.check_ports_clean(lab.b)
        b.detach_all()
        a.start()
        attach_and_read(lab, b, disk)


@scenario(short=True)
def kill_consumer_host(lab):
    """farportd in B killed with -9 while B reads: an error, a clean kernel port, and A's disk is free again."""
    with devices.gadget_disk(lab.a, size_mb=READ_MB) as disk, short_pair(lab) as (a, b):
        b.attach("a", farport.usb_name(disk), "vhci")
        reader = devices.Reader(lab.b, devices.block_device(lab.b, disk.serial))
        b.kill()
        reader.wait_error(UNPLUG_S, "consumer host killed")
        devices.wait_usb_device_gone(lab.b, disk.serial)
        farport.check_ports_clean(lab.b)
        wait_until("the disk is given back to A's kernel", farport.LINK_LOST_S,
                   lambda: devices.driver_of(lab.a, disk.port) == "usb-storage")
        a.wait_no_attachments(UNPLUG_S)
        b.start()
        attach_and_read(lab, b, disk)


@scenario(short=True)
def network_lost(lab):
    """The wire silent for a moment: a pause. For longer than resume_timeout: an error, and both ends are free."""
    with devices.gadget_disk(lab.a, size_mb=READ_MB) as disk, short_pair(lab) as (a, b):
        b.attach("a", farport.usb_name(disk), "vhci")
        path = devices.block_device(lab.b, disk.serial)
        reader = devices.Reader(lab.b, path)
        network.cut(lab, PAUSE_S)
        before = devices.transfer_count(lab.b, path)
        wait_until("the read goes on after a pause", UNPLUG_S,
                   lambda: devices.transfer_count(lab.b, path) > before + 10)
        with network.lost(lab):
            reader.wait_error(farport.LINK_LOST_S, "network lost")
            devices.wait_usb_device_gone(lab.b, disk.serial)
            wait_until("the disk is given back to A's kernel", farport.LINK_LOST_S,
                       lambda: devices.driver_of(lab.a, disk.port) == "usb-storage")
        farport.check_ports_clean(lab.b)
        b.detach_all()
        attach_and_read(lab, b, disk)
