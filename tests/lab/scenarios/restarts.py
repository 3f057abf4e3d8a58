"""Daemons and hosts that start again: devices come back by themselves, under the attachment they had."""

import devices
import farport
from guest import LabError, wait_until
from scenario import scenario

DISK_MB = 4
BACK_S = 60


def check_back(lab, b, attachment, disk):
    """The attachment is open again, with the same id, and the disk reads as it is."""
    b.wait_open(attachment["id"], BACK_S)
    path = devices.block_device(lab.b, disk.serial)
    read, truth = lab.b.run(f"sha256sum {path}").split()[0], disk.checksum()
    if read != truth:
        raise LabError(f"after a restart: read {read}, the disk holds {truth}")


@scenario()
def restarted_peer(lab):
    """farportd in A killed with -9 and started at once: the disk is plugged in afresh, as the same attachment."""
    with devices.gadget_disk(lab.a, size_mb=DISK_MB) as disk, farport.pair(lab) as (a, b):
        attachment = b.attach("a", farport.usb_name(disk), "vhci")
        reader = devices.Reader(lab.b, devices.block_device(lab.b, disk.serial))
        mark = lab.b.log_mark()
        a.kill()
        a.start()
        # What was in flight may or may not have reached the device: so it is an unplug, never a guess.
        reader.wait_error(BACK_S, "device host restarted")
        wait_until("B's kernel sees the unplug", BACK_S, lambda: lab.b.kernel_said("USB disconnect", mark))
        check_back(lab, b, attachment, disk)
        b.detach(attachment)
        devices.wait_usb_device_gone(lab.b, disk.serial)
        farport.check_ports_clean(lab.b)
        devices.block_device(lab.a, disk.serial)


@scenario()
def persistent_attachment(lab):
    """`attach --persistent` comes back after restarts of both daemons, a replug, a reboot of B; not once detached."""
    text_a, text_b = farport.pair_configs(lab)
    farport.introduce(lab, text_a, text_b)
    with devices.gadget_disk(lab.a, size_mb=DISK_MB) as disk, farport.daemon(lab.a, text_a) as a:
        with farport.daemon(lab.b, text_b) as b:
            attachment = b.attach("a", farport.usb_name(disk), "vhci", "--persistent")
            check_back(lab, b, attachment, disk)
            for one in (a, b):
                one.stop()
                one.start()
                check_back(lab, b, attachment, disk)
            disk.unplug()
            wait_until("it waits for its device", BACK_S,
                       lambda: (b.attachment(attachment["id"]) or {}).get("state") == "waiting")
            disk.plug()
            check_back(lab, b, attachment, disk)
            b.kill()
        lab.b.reboot()
        with farport.daemon(lab.b, text_b) as b:
            check_back(lab, b, attachment, disk)
            b.detach(attachment)
            devices.wait_usb_device_gone(lab.b, disk.serial)
        with farport.daemon(lab.b, text_b) as b:
            b.wait_connected("a")
            if left := b.attachments():
                raise LabError(f"detached, and back after a restart: {left}")
        devices.block_device(lab.a, disk.serial)
