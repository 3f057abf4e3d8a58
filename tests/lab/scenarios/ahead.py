"""The rules that hide latency (drivers/ahead), each with a real kernel's driver before it and a device behind it.

Each scenario runs the same load with the rule on and switched off, over a delayed wire: the content must be the
same, and the figures say what the rule is worth. Disks have a module of their own (latency).
"""

import contextlib
import hashlib
import random
import time

import devices
import farport
import network
from guest import LabError, wait_until
from scenario import scenario

ROUND_TRIP_MS = 20  # 10 ms each way
CONTENT_BYTES = 16 << 10
STATS_S = 10  # the daemon takes its figures each second


def word(on):
    return "on" if on else "off"


@contextlib.contextmanager
def forwarded(lab, device, rule, on):
    """The device in B as B's own kernel drives it, with that rule on or off; its daemon there, its attachment."""
    with farport.pair(lab, ahead=[("*", word(on), rule)]) as (_, b):
        attachment = b.attach("a", farport.usb_name(device), "vhci")
        yield b, attachment
        b.detach(attachment)
        devices.wait_usb_device_gone(lab.b, device.serial)


def check_rule(b, attachment, name, on):
    """It is as the configuration says, and did what that means; what it did, for people."""
    def shown():
        one = b.rule(attachment, name)
        return one if not on or one["round_trips_saved"] else None

    one = wait_until(f"rule {name} has saved a round trip", STATS_S, shown)
    if one["on"] != on or one["why"] != f"switched {word(on)} for this device":
        raise LabError(f"rule {name} was switched {word(on)}, but it says {one}")
    if not on and one["round_trips_saved"]:
        raise LabError(f"rule {name} is off, but it says {one}")
    return f"{one['round_trips_saved']} round trips saved, {one['deviations']} deviations"


def check_both_ways(one, other, seed, what):
    """Bytes both ways at a time: every one, in order, nothing more."""
    there, back = random.Random(seed).randbytes(CONTENT_BYTES), random.Random(seed + 1).randbytes(CONTENT_BYTES)
    for start in range(0, CONTENT_BYTES, 1024):
        piece = slice(start, start + 1024)
        one.send(there[piece])
        other.send(back[piece])
        for side, data in ((other, there[piece]), (one, back[piece])):
            got = side.receive(len(data), 30)
            if got != data:
                raise LabError(f"{what}: {len(got)} of {len(data)} bytes came, other than they were sent")


def compared(off_s, on_s, what):
    return f"{what}: {off_s:.2f} s without, {on_s:.2f} s with, ratio {off_s / on_s:.2f}"


STREAM_KB = 384
STREAM_ROUND_TRIP_MS = 50  # B's cdc_acm has 16 KiB in flight by itself


def _stream(lab, near, send):
    """Seconds until all that `send` has the device say is in B; send() gives its checksum."""
    reader = lab.b.start(f"head -c {STREAM_KB << 10} {near.path} | sha256sum", limit_s=300)
    wait_until(f"a reader of {near.path}", 20, lambda: lab.b.succeeds(
        f"test $(ls -l /proc/*/fd 2>/dev/null | grep -c {near.path}) -gt 1"))
    start = time.monotonic()
    truth = send()
    got = reader.wait(240)
    took_s = time.monotonic() - start
    if got.status != 0 or got.output.split()[0] != truth:
        raise LabError(f"a stream of {STREAM_KB} KiB came as another: {got}")
    return took_s


def _stream_from_gadget(lab, acm, near):
    file = "/run/lab/stream"
    truth = lab.a.run(f"dd if=/dev/urandom of={file} bs=1k count={STREAM_KB} 2>/dev/null; sha256sum {file}").split()[0]

    def send():
        lab.a.run(f"cat {file} > {acm.far_end}", limit_s=240)
        return truth

    return _stream(lab, near, send)


def _modem_lines(lab, acm, near):
    """The notifications of the control interface."""
    with devices.Tty(lab.a, acm.far_end):
        wait_until("DCD and DSR in B", 20, lambda: {"dcd", "dsr"} <= near.lines())
    wait_until("DCD and DSR gone", 20, lambda: not {"dcd", "dsr"} & near.lines())


@scenario()
def ahead_cdc_acm(lab):
    """Rule cdc-acm under B's cdc_acm: bytes both ways, modem lines, an unplug; a stream beside the rule off."""
    took_s, notes = {}, []
    with devices.gadget_serial(lab.a) as acm:
        for on in (False, True):
            with forwarded(lab, acm, "cdc-acm", on) as (b, attachment):
                with devices.Tty(lab.b, devices.tty_device(lab.b, acm.serial)) as near:
                    near.set("115200 8N1")
                    with network.delayed(lab, ROUND_TRIP_MS):
                        _modem_lines(lab, acm, near)
                    with devices.Tty(lab.a, acm.far_end) as far:
                        check_both_ways(near, far, lab.seed, f"ACM, the rule {word(on)}")
                        with network.delayed(lab, STREAM_ROUND_TRIP_MS):
                            took_s[on] = _stream_from_gadget(lab, acm, near)
                    notes.append(check_rule(b, attachment, "cdc-acm", on))
        with farport.pair(lab) as (_, b):  # as it is unless said otherwise
            b.attach("a", farport.usb_name(acm), "vhci")
            with devices.Tty(lab.b, devices.tty_device(lab.b, acm.serial)) as near:
                with devices.Tty(lab.a, acm.far_end) as far:
                    devices.check_bytes(far, near, random.Random(lab.seed).randbytes(4096), "before the unplug")
                reader = lab.b.start(f"cat {near.path} > /dev/null", limit_s=120)
                acm.unplug()
                reader.wait(60)
            b.wait_no_attachments(30)
            acm.plug()
            devices.tty_device(lab.a, acm.serial)
            attachment = b.attach("a", farport.usb_name(acm), "vhci")
            with devices.Tty(lab.b, devices.tty_device(lab.b, acm.serial)) as near:
                with devices.Tty(lab.a, acm.far_end) as far:
                    check_both_ways(near, far, lab.seed, "after the replug")
            b.detach(attachment)
    return compared(took_s[False], took_s[True], f"{STREAM_KB} KiB at {STREAM_ROUND_TRIP_MS} ms") + f"; {notes[1]}"


BATCHES = 4


def _reports(seed, count):
    """Reports of a boot keyboard, each with its number. Letters only: the consumer's kernel obeys others (SysRq)."""
    chance = random.Random(seed)
    letters = range(4, 4 + 26)  # HID usage tables, page 7
    return [bytes([0, 0, letters[number // 26], letters[number % 26], *chance.choices(letters, k=4)])
            for number in range(count)]


def _batches(keyboard, reader, seed, what):
    """Seconds for reports written one after the other, in batches that the reader's kernel can keep."""
    took_s = 0
    for number in range(BATCHES):
        reports = _reports(seed + number, reader.KEPT_MAX)
        start = time.monotonic()
        writer = keyboard.start_reports(reports)
        reader.check_next(reports, 60, f"{what}, batch {number}")
        took_s += time.monotonic() - start
        writer.check()
    reader.check_no_more(what)
    return took_s


@scenario()
def ahead_interrupt_in(lab):
    """Rule interrupt-in under B's usbhid: a HID gadget's reports, each once and in order, beside the rule off."""
    # The gadget ends each report with an empty packet: a round trip of its own, which no reader sees.
    took_s, notes = {}, []
    with devices.gadget_keyboard(lab.a) as keyboard:
        for on in (False, True):
            with network.delayed(lab, ROUND_TRIP_MS), forwarded(lab, keyboard, "interrupt-in", on) as (b, attachment):
                with devices.ReportReader(lab.b, keyboard.serial) as reader:
                    took_s[on] = _batches(keyboard, reader, lab.seed, f"the rule {word(on)}")
                    notes.append(check_rule(b, attachment, "interrupt-in", on))
    count = BATCHES * devices.ReportReader.KEPT_MAX
    return compared(took_s[False], took_s[True], f"{count} reports at {ROUND_TRIP_MS} ms") + f"; {notes[1]}"


@scenario()
def ahead_keyboard(lab):
    """QEMU's USB keyboard used in B with the rule as it comes: keys pressed by QMP arrive, each once, in order."""
    letters = "thequickbrownfoxjumps"
    with devices.qemu_keyboard(lab.a) as keyboard, network.delayed(lab, ROUND_TRIP_MS), farport.pair(lab) as (_, b):
        attachment = b.attach("a", farport.usb_name(keyboard), "vhci")
        with devices.ReportReader(lab.b, keyboard.serial) as reader:
            for letter in letters:
                keyboard.press(letter, hold_ms=40)
                down = bytes([0, 0, 4 + ord(letter) - ord("a"), 0, 0, 0, 0, 0])  # HID usage tables, page 7
                reader.check_next([down, bytes(8)], 30, f"key {letter}")
            reader.check_no_more("all keys")
            one = b.rule(attachment, "interrupt-in")
        b.detach(attachment)
        devices.wait_usb_device_gone(lab.b, keyboard.serial)
    if not one["on"]:
        raise LabError(f"the rule is off: {one}")
    return f"{len(letters)} keys; {one['round_trips_saved']} round trips saved"


LATENCY_TIMER_MS = 5
SET_LATENCY_TIMER = 0x09  # a vendor request to the device (Linux, drivers/usb/serial/ftdi_sio.h)


def _set_latency_timer(lab, adapter, path):
    """B's ftdi_sio is told another time, and the chip hears of it."""
    setting = f"/sys/bus/usb-serial/devices/{path.removeprefix('/dev/')}/latency_timer"
    with devices.UsbMonitor(lab.a, adapter) as monitor:
        lab.b.run(f"echo {LATENCY_TIMER_MS} > {setting}")
    if (told := monitor.control_values(SET_LATENCY_TIMER, "40")) != [LATENCY_TIMER_MS]:
        raise LabError(f"the latency timer was set to {LATENCY_TIMER_MS} ms, the chip was told {told}")
    if (shown := lab.b.run(f"cat {setting}")) != str(LATENCY_TIMER_MS):
        raise LabError(f"the latency timer was set to {LATENCY_TIMER_MS} ms, B shows {shown}")


@scenario()
def ahead_ftdi(lab):
    """Rule ftdi under B's ftdi_sio: QEMU's FT232BM, bytes both ways, latency timer, a stream beside the rule off."""
    took_s, notes = {}, []
    stream = random.Random(lab.seed).randbytes(STREAM_KB << 10)
    with devices.qemu_serial(lab.a) as adapter:
        far = devices.HostSerial(lab.a)

        def send():
            far.send(stream)
            return hashlib.sha256(stream).hexdigest()

        for on in (False, True):
            with forwarded(lab, adapter, "ftdi", on) as (b, attachment):
                path = devices.tty_device(lab.b, adapter.serial)
                with devices.Tty(lab.b, path) as near, network.delayed(lab, ROUND_TRIP_MS):
                    near.set("115200 8N1")
                    _set_latency_timer(lab, adapter, path)
                    check_both_ways(near, far, lab.seed, f"FTDI, the rule {word(on)}")
                    took_s[on] = _stream(lab, near, send)
                    notes.append(check_rule(b, attachment, "ftdi", on))
    return compared(took_s[False], took_s[True], f"{STREAM_KB} KiB at {ROUND_TRIP_MS} ms") + f"; {notes[1]}"


@scenario()
def ahead_isochronous_out(lab):
    """Rule isochronous-out, which is off by default: QEMU's sound card played by B's snd_usb_audio, on beside off."""
    lines = []
    for on in (False, True):
        with devices.sound_card(lab.a) as card, forwarded(lab, card, "isochronous-out", on) as (b, attachment):
            with network.delayed(lab, ROUND_TRIP_MS):
                in_order, pace = devices.play(lab.b, card)
                lines.append(f"{word(on)}: {100 * in_order:.0f} % in order, in {pace:.2f} times its length; "
                             + check_rule(b, attachment, "isochronous-out", on))
    return f"at {ROUND_TRIP_MS} ms\n    " + "\n    ".join(lines)


RECORDED_S = 3
# Of the samples that B records with the rule on: what is missing came too late.
RECORDED_IN_ORDER_MIN = 0.95


def record(consumer):
    """Fraction of the samples in order and count of gaps; or why the kernel gave up."""
    try:
        return (*devices.record(consumer, RECORDED_S), "")
    except LabError as error:
        return 0.0, 0, str(error)


@scenario()
def ahead_isochronous_in(lab):
    """Rule isochronous-in under B's snd_usb_audio, which has 12 ms in flight by itself: a microphone records."""
    lines = []
    for on in (False, True):
        with devices.microphone(lab.a) as device, forwarded(lab, device, "isochronous-in", on) as (b, attachment):
            with network.delayed(lab, ROUND_TRIP_MS):
                in_order, gaps, why = record(lab.b)
            if on and in_order < RECORDED_IN_ORDER_MIN:
                raise LabError(why or f"only {100 * in_order:.1f} % of the samples are in order, {gaps} gaps")
            lines.append(f"{word(on)}: " + (f"{100 * in_order:.2f} % in order, {gaps} gaps; " if not why else
                                            f"B's kernel gives up: {why.rsplit(': ', 1)[-1]}; ")
                         + check_rule(b, attachment, "isochronous-in", on))
    return f"{RECORDED_S} s at {ROUND_TRIP_MS} ms\n    " + "\n    ".join(lines)
