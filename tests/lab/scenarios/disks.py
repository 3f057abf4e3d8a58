"""Disks used on another host: through vhci, and with stock USB/IP at either end."""

import devices
import farport
from guest import LabError
from scenario import scenario
from scenarios.stock import stock_export, usbip_detach_all


def use_disk(lab, disk, what):
    """Attach in B, read and write all of it, detach; afterwards A's kernel has it again."""
    with farport.pair(lab) as (_, b):
        attachment = b.attach("a", farport.usb_name(disk), "vhci")
        note = devices.check_whole_disk(lab.b, disk, devices.block_device(lab.b, disk.serial), what)
        b.detach(attachment)
        devices.wait_usb_device_gone(lab.b, disk.serial)
        devices.block_device(lab.a, disk.serial)
    return note


@scenario(short=True)
def gadget_disk(lab):
    """A kernel's mass-storage gadget (high speed), whole-disk read and write through vhci."""
    with devices.gadget_disk(lab.a) as disk:
        return use_disk(lab, disk, "gadget disk")


@scenario(short=True)
def qemu_disk(lab):
    """QEMU's usb-storage (SuperSpeed), whole-disk read and write through vhci."""
    with devices.qemu_disk(lab.a, lab.logs) as disk:
        return use_disk(lab, disk, "QEMU's disk")


@scenario(short=True)
def stock_client(lab):
    """Stock `usbip list` and `usbip attach` in B use farportd's USB/IP server in A unchanged."""
    text = farport.config("a", peers=[("b", lab.address_b)], exports=[("usb:*", "*")], usbip_server=True)
    with devices.gadget_disk(lab.a) as disk, farport.daemon(lab.a, text) as a:
        a.wait_device("a", farport.usb_name(disk))
        listed = lab.b.run(f"usbip list -r {lab.address_a}")
        if f"{disk.port}:" not in listed or "1d6b:0104" not in listed:
            raise LabError(f"usbip list -r does not show {disk.port} with 1d6b:0104: {listed}")
        lab.b.run(f"usbip attach -r {lab.address_a} -b {disk.port}")
        note = devices.check_whole_disk(lab.b, disk, devices.block_device(lab.b, disk.serial), "stock client")
        usbip_detach_all(lab.b)
        devices.wait_usb_device_gone(lab.b, disk.serial)
        devices.block_device(lab.a, disk.serial)
        return note


@scenario(short=True)
def stock_server(lab):
    """A disk lent by a stock usbipd in A, imported and used by farportd in B."""
    with devices.gadget_disk(lab.a) as disk, stock_export(lab.a, disk):
        text = farport.config("b", exports=[("usb:*", "b")], imports=[("old", lab.address_a)])
        with farport.daemon(lab.b, text) as b:
            name = farport.imported_name("old", disk)
            attachment = b.attach("b", name, "vhci")
            note = devices.check_whole_disk(lab.b, disk, devices.block_device(lab.b, disk.serial), "stock server")
            b.detach(attachment)
            devices.wait_usb_device_gone(lab.b, disk.serial)
            # A stock usbipd frees a device when its client's connection ends: it can be had again.
            b.detach(b.attach("b", name, "vhci"))
    return note


@scenario(short=True)
def attach_again(lab):
    """Attach, read, detach, over and over: 20 times, 5 in the short form; nothing is left behind."""
    times = 5 if lab.short else 20
    with devices.gadget_disk(lab.a, size_mb=4) as disk, farport.pair(lab) as (a, b):
        truth = disk.checksum()
        for turn in range(1, times + 1):
            attachment = b.attach("a", farport.usb_name(disk), "vhci")
            path = devices.block_device(lab.b, disk.serial)
            read = lab.b.run(f"sha256sum {path}").split()[0]
            if read != truth:
                raise LabError(f"turn {turn}: read {read}, the disk holds {truth}")
            b.detach(attachment)
            devices.wait_usb_device_gone(lab.b, disk.serial)
            farport.check_ports_clean(lab.b)
        if a.attachments() or b.attachments():
            raise LabError(f"attachments left: {a.attachments()} {b.attachments()}")
        devices.block_device(lab.a, disk.serial)
    return f"{times} times"


@scenario()
def refusals(lab):
    """Unknown host, device and attachment, a busy device and one without a rule: exit code and words."""
    with devices.gadget_disk(lab.a, size_mb=4) as disk, devices.gadget_disk(
            lab.a, name="secret", serial="LABSECRET01", size_mb=4, udc=1) as secret:
        allowed = farport.config("a", peers=[("b", lab.address_b)], exports=[(farport.usb_name(disk), "b")])
        asking = farport.config("b", peers=[("a", lab.address_a)])
        farport.introduce(lab, allowed, asking)
        with farport.daemon(lab.a, allowed), farport.daemon(lab.b, asking) as b:
            attachment = b.attach("a", farport.usb_name(disk), "vhci")
            for words, statuses in (
                    (["attach", "nowhere/usb:1:2:3"], {farport.NOT_FOUND}),
                    (["attach", "a/usb:dead:beef:0"], {farport.NOT_FOUND}),
                    (["detach", "999999"], {farport.NOT_FOUND}),
                    (["attach", f"a/{farport.usb_name(disk)}", "--driver", "vhci"], {farport.BUSY}),
                    # A host may say that it will not, or not admit that the device exists.
                    (["attach", f"a/{farport.usb_name(secret)}", "--driver", "vhci"],
                     {farport.DENIED, farport.NOT_FOUND}),
                    (["attach"], {farport.USAGE})):
                result = b.cli(*words)
                if result.status not in statuses or not result.error.strip():
                    raise LabError(f"expected exit {statuses} with a reason: {result}")
            if secret.serial in b.cli("devices", "--json").output:
                raise LabError("a device without a rule is listed to another host")
            devices.block_device(lab.b, disk.serial)  # and the attachment is undisturbed
            b.detach(attachment)
