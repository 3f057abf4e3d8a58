"""Serial ports used on another host: bytes, line settings, modem lines, breaks, hangup."""

import devices
import farport
import rfc2217
from guest import LabError, wait_until
from scenario import scenario

SETTINGS = ("115200 8N1", "2400 7E2")
# The kernel holds every pty at 8 data bits without parity (drivers/tty/pty.c, pty_set_termios).
PTY_SETTINGS = ("115200 8N1", "2400 8N2")
EVERY_BYTE = bytes(range(256)) * 16
SEVEN_BITS = bytes(range(128)) * 32


def check_settings(lab, acm, near, what, both=SETTINGS):
    """Both settings, made at the consumer's side, reach the real port; bytes cross both ways at each."""
    with devices.Tty(lab.a, acm.port, inspect=True) as real, devices.Tty(lab.a, acm.far_end) as far:
        for settings in both:
            near.set(settings)
            wait_until(f"{what}: the real port takes {settings}", 10, lambda: real.show() == settings)
            data = SEVEN_BITS if " 7" in settings else EVERY_BYTE
            devices.check_bytes(near, far, data, f"{what}, {settings}, to the device")
            devices.check_bytes(far, near, data, f"{what}, {settings}, from the device")


@scenario(short=True)
def serial_pty(lab):
    """An ACM port as a pty in B: bytes both ways at two line settings; a second attach is refused."""
    with devices.gadget_serial(lab.a) as acm, farport.pair(lab) as (_, b):
        attachment = b.attach("a", farport.serial_name(acm.port), "pty")
        with devices.Tty(lab.b, attachment["path"]) as near:
            check_settings(lab, acm, near, "pty", PTY_SETTINGS)
        b.detach(attachment)
        attachment = b.attach("a", farport.serial_name(acm.port), "pty", "--line", SETTINGS[1])
        with devices.Tty(lab.b, attachment["path"]), devices.Tty(lab.a, acm.port, inspect=True) as real:
            wait_until("the line given at the attach", 10, lambda: real.show() == SETTINGS[1])
        b.detach(attachment)
        wait_until("the pty's path is gone", 10, lambda: not lab.b.succeeds(f"test -e {attachment['path']}"))


@scenario(short=True)
def serial_rfc2217(lab):
    """An ACM port as an RFC 2217 server in B: settings, modem lines both ways, DTR and RTS at one time."""
    with devices.gadget_serial(lab.a) as acm, farport.pair(lab) as (_, b):
        attachment = b.attach("a", farport.serial_name(acm.port), "rfc2217")
        with rfc2217.Client(lab.b, attachment["path"]) as near:
            check_settings(lab, acm, near, "RFC 2217")

            with devices.Tty(lab.a, acm.port, inspect=True) as real:
                def outputs():
                    return real.lines() & {"dtr", "rts"}

                near.control("dtr on", "rts on")
                wait_until("DTR and RTS on", 10, lambda: outputs() == {"dtr", "rts"})
                near.control("rts off")
                wait_until("RTS off alone", 10, lambda: outputs() == {"dtr"})
                near.control("dtr off")
                wait_until("both off", 10, lambda: not outputs())
                with devices.UsbMonitor(lab.a, acm) as monitor:
                    near.control("dtr on", "rts on")
                    wait_until("both on again", 10, lambda: outputs() == {"dtr", "rts"})
                    near.control("dtr off", "rts off")
                    wait_until("both off again", 10, lambda: not outputs())
                # CDC 1.2, SET_CONTROL_LINE_STATE (0x22): bit 0 DTR, bit 1 RTS. One request for each change of both.
                changes = monitor.control_values(0x22)
                if changes != [3, 0]:
                    raise LabError(f"DTR and RTS changed together reached the device as {changes}")

            def notices(*lines):
                near.poll(0.2)
                return near.modem_lines & {"dcd", "dsr"} == set(lines)

            with devices.Tty(lab.a, acm.far_end):  # an open far end raises DCD and DSR
                wait_until("notice of DCD and DSR", 10, lambda: notices("dcd", "dsr"))
            wait_until("notice of their fall", 10, lambda: notices())
        b.detach(attachment)


@scenario()
def serial_as_usb(lab):
    """The ACM gadget forwarded as a USB device: B's own cdc_acm drives it, modem lines included."""
    with devices.gadget_serial(lab.a) as acm, farport.pair(lab) as (_, b):
        attachment = b.attach("a", farport.usb_name(acm), "vhci")
        with devices.Tty(lab.b, devices.tty_device(lab.b, acm.serial)) as near:
            with devices.Tty(lab.a, acm.far_end) as far:
                wait_until("DCD and DSR in B", 10, lambda: {"dcd", "dsr"} <= near.lines())
                for settings in SETTINGS:
                    near.set(settings)
                    devices.check_bytes(near, far, SEVEN_BITS, f"ACM over vhci, {settings}, to the device")
                    devices.check_bytes(far, near, SEVEN_BITS, f"ACM over vhci, {settings}, from the device")
            wait_until("DCD and DSR gone", 10, lambda: not {"dcd", "dsr"} & near.lines())
        b.detach(attachment)
        devices.wait_usb_device_gone(lab.b, acm.serial)


@scenario()
def serial_adapter(lab):
    """QEMU's FTDI adapter, as a pty and as a USB device under B's ftdi_sio: bytes both ways."""
    with devices.qemu_serial(lab.a) as adapter, farport.pair(lab) as (_, b):
        far = devices.HostSerial(lab.a)
        attachment = b.attach("a", farport.serial_name(adapter.port), "pty")
        with devices.Tty(lab.b, attachment["path"]) as near:
            near.set("115200 8N1")
            devices.check_bytes(near, far, EVERY_BYTE, "FTDI as a pty, to the device")
            devices.check_bytes(far, near, EVERY_BYTE, "FTDI as a pty, from the device")
        b.detach(attachment)

        attachment = b.attach("a", farport.usb_name(adapter), "vhci")
        with devices.Tty(lab.b, devices.tty_device(lab.b, adapter.serial)) as near:
            near.set("115200 8N1")
            devices.check_bytes(near, far, EVERY_BYTE, "FTDI over vhci, to the device")
            devices.check_bytes(far, near, EVERY_BYTE, "FTDI over vhci, from the device")
        b.detach(attachment)
        devices.wait_usb_device_gone(lab.b, adapter.serial)


@scenario()
def serial_unplug(lab):
    """A serial port unplugged while B reads it: the reader is hung up on, and a replugged one attaches again."""
    with devices.gadget_serial(lab.a) as acm, farport.pair(lab) as (_, b):
        attachment = b.attach("a", farport.serial_name(acm.port), "pty")
        # Not into the agent's pipe: busybox's cat splices, and holds the pipe's lock while the tty has nothing.
        reader = lab.b.start(f"cat {attachment['path']} > /dev/null", limit_s=120)
        wait_until("the pty is open", 10, lambda: lab.b.succeeds(f"ls -l /proc/*/fd 2>/dev/null | grep -q "
                                                                 f"\"$(readlink -f {attachment['path']})\""))
        acm.unplug()
        if reader.wait(30).status is None:
            raise LabError("the reader was not hung up on")
        b.wait_no_attachments(30)
        acm.plug()
        attachment = b.attach("a", farport.serial_name(acm.port), "pty")
        with devices.Tty(lab.b, attachment["path"]) as near, devices.Tty(lab.a, acm.far_end) as far:
            devices.check_bytes(near, far, EVERY_BYTE, "after a replug")
        b.detach(attachment)
