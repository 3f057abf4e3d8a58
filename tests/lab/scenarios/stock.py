"""Stock tools only: these prove the lab itself, and give farport's scenarios something to be compared with."""

import contextlib

import devices
from guest import LabError, wait_until
from scenario import scenario


@contextlib.contextmanager
def stock_export(server, disk):
    """The disk lent by the server's stock usbipd, for the length of the block."""
    daemon = server.start("exec usbipd", limit_s=600)
    try:
        wait_until("usbipd listens", 20, lambda: server.succeeds("netstat -ltn | grep -q ':3240 '"))
        server.run(f"usbip bind -b {disk.port}")
        yield
        server.run(f"usbip unbind -b {disk.port}")
    finally:
        daemon.kill()


def usbip_detach_all(consumer):
    consumer.run("for port in $(usbip port 2>/dev/null | sed -n 's/^Port \\([0-9]*\\):.*/\\1/p'); do "
                 "usbip detach -p $port; done")


@scenario(short=True, needs_farport=False)
def stock_usbip_baseline(lab):
    """A gadget disk lent by a stock usbipd, attached by stock usbip: whole-disk read and write."""
    with devices.gadget_disk(lab.a) as disk:
        with stock_export(lab.a, disk):
            lab.b.run(f"usbip attach -r {lab.address_a} -b {disk.port}")
            path = devices.block_device(lab.b, disk.serial)
            note = devices.check_whole_disk(lab.b, disk, path, "stock usbip")
            usbip_detach_all(lab.b)
            devices.wait_usb_device_gone(lab.b, disk.serial)
        devices.block_device(lab.a, disk.serial)
    return note


@scenario(needs_farport=False)
def local_usbtest(lab):
    """The kernel's usbtest passes on the SourceSink gadget where it is: what fails elsewhere, the path broke."""
    with devices.gadget_source_sink(lab.a) as gadget:
        return devices.check_usbtest(lab.a, gadget.serial)


@scenario(needs_farport=False)
def local_sound(lab):
    """Isochronous OUT where the sound card is: how much of it this emulated machine plays at all."""
    with devices.sound_card(lab.a) as card:
        return devices.check_playing(lab.a, card)


@scenario(needs_farport=False)
def local_devices(lab):
    """The lab's other devices work where they are: QEMU's disk and serial adapter, the ACM gadget's lines."""
    with devices.qemu_disk(lab.a, lab.logs) as disk:
        devices.check_whole_disk(lab.a, disk, devices.block_device(lab.a, disk.serial), "QEMU's disk")
        reader = devices.Reader(lab.a, devices.block_device(lab.a, disk.serial))
        disk.unplug()
        reader.wait_error(30, "QEMU's disk unplugged")

    with devices.qemu_serial(lab.a) as adapter, devices.Tty(lab.a, adapter.port) as port:
        port.send(b"out of the guest")
        if lab.a.serial_receive(16) != b"out of the guest":
            raise LabError("QEMU's serial adapter lost bytes")
        lab.a.serial_send(b"into the guest")
        if port.receive(14) != b"into the guest":
            raise LabError("QEMU's serial adapter lost bytes")

    with devices.gadget_serial(lab.a) as acm, devices.Tty(lab.a, acm.port) as port:
        if port.lines() - {"cts"} != {"dtr", "rts"}:  # cdc_acm has no CTS and always shows it
            raise LabError(f"an open ttyACM shows {port.lines()}, not DTR and RTS")
        with devices.Tty(lab.a, acm.far_end) as far:
            wait_until("DCD and DSR", 10, lambda: {"dcd", "dsr"} <= port.lines())
            devices.check_bytes(port, far, bytes(range(256)) * 8, "ttyACM to ttyGS")
            devices.check_bytes(far, port, bytes(range(256)) * 8, "ttyGS to ttyACM")
        wait_until("DCD and DSR gone", 10, lambda: not {"dcd", "dsr"} & port.lines())
