"""Networks that fail under load: cut again and again, and lost while there is another one."""

import contextlib
import functools
import random

import devices
import farport
import network
from guest import LabError, wait_until
from scenario import scenario
from scenarios.stock import stock_export, usbip_detach_all

DISK_MB = 8  # small, so that every block is read and written again after each cut

CUTS, SHORT_CUTS = 100, 5
CUT_S, SHORT_CUT_S = (0.1, 10), (0.1, 2)
RESETS = 5
GO_ON_S = 45  # from the end of a cut until transfers are seen again; stock USB/IP waits for TCP's next try

PAUSE_MAX_S = 1.5
PATH_RETURN_S = 2
# On a path that has just been lost a session waits for twice as long before it goes back.
RETURN_LIMIT_S = 60

# What a consumer's kernel says when a device is lost, or a request to it.
LOST_LINES = r"USB disconnect|vhci_hcd: (connection closed|release socket|disconnect)|I/O error|reset .*USB device|" \
             r"rejecting I/O|device offline"


def cut_lengths(seed, count, bounds):
    """Seconds of each cut: as many in 0.1 to 1 as in 1 to 10, because what happens differs below a second."""
    chance = random.Random(seed)
    low, high = bounds
    return [round(low * (high / low) ** chance.random(), 3) for _ in range(count)]


def cuts_of(lab):
    return (cut_lengths(lab.seed, SHORT_CUTS, SHORT_CUT_S) if lab.short
            else cut_lengths(lab.seed, CUTS, CUT_S))


def break_under_load(lab, disk, path, breaks, mark):
    """Breaks the network while the disk is read and written, until all is done or something has failed.

    breaks: functions that do it, each by what it is called. Returns the figures of the load, at which of them it
    failed (0: none did), why, and the longest wait after one.
    """
    load = devices.CheckedLoad(disk)
    load.start(lab.b, path)
    failed, why, after_s = 0, "", 0.0
    for number, (name, do) in enumerate(breaks, 1):
        try:
            wait_progress(lab.b, load, path)
            do()
            after_s = max(after_s, wait_progress(lab.b, load, path))
        except LabError as error:
            why = str(error)
        lines = lab.b.kernel_said(LOST_LINES, mark)
        if why or lines or load.broken():
            failed, why = number, f"{name}: {lines[0] if lines else why or 'the load has given up'}"
            break
    found = load.stop()
    return found, failed, why, after_s


def wait_progress(guest, load, path):
    """Waits until transfers complete; how long that took, in seconds of the guest."""
    before, start = devices.transfer_count(guest, path), guest.uptime()
    wait_until(f"transfers on {path} go on", GO_ON_S,
               lambda: load.broken() or devices.transfer_count(guest, path) > before + 2)
    return guest.uptime() - start


def cuts(lab, lengths):
    return [(f"{seconds} s", functools.partial(network.cut, lab, seconds)) for seconds in lengths]


def amounts(found):
    return (f"read {found['reader']['bytes'] >> 20} MiB, written and read back {found['writer']['bytes'] >> 20} MiB, "
            f"longest transfer {max(found[one]['longest_s'] for one in ('reader', 'writer'))} s")


def through_farport(lab, breaks, what):
    """Farport goes on through all of it, and the consumer's kernel hears of nothing; the figures, as a text."""
    with devices.gadget_disk(lab.a, size_mb=DISK_MB) as disk, farport.pair(lab) as (a, b):
        attachment = b.attach("a", farport.usb_name(disk), "vhci")
        path = devices.block_device(lab.b, disk.serial)
        mark, before = lab.b.log_mark(), b.resumes("a")
        found, failed, why, after_s = break_under_load(lab, disk, path, breaks, mark)
        if failed:
            raise LabError(f"{what}: {failed} of {len(breaks)}, {why}")
        devices.check_found(found, what)
        if lines := lab.b.kernel_said(LOST_LINES, mark):
            raise LabError(f"{what}: B's kernel said: {lines[0]}")
        resumes = b.resumes("a") - before
        b.detach(attachment)
        devices.wait_usb_device_gone(lab.b, disk.serial)
        if a.attachments():
            raise LabError(f"attachments left in A: {a.attachments()}")
    return f"{resumes} resumes, 0 errors, 0 wrong bytes; {amounts(found)}; at most {after_s:.1f} s after one"


def through_stock(lab, breaks):
    """The same with stock USB/IP at both ends, until something fails: for comparison, not to be judged."""
    with devices.gadget_disk(lab.a, size_mb=DISK_MB) as disk, stock_export(lab.a, disk):
        lab.b.run(f"usbip attach -r {lab.address_a} -b {disk.port}")
        path = devices.block_device(lab.b, disk.serial)
        mark = lab.b.log_mark()
        found, failed, why, after_s = break_under_load(lab, disk, path, breaks, mark)
        usbip_detach_all(lab.b)
        devices.wait_usb_device_gone(lab.b, disk.serial)
    # What the disk itself holds says nothing after a write that failed.
    errors, wrong = (sum(found[one][key] for one in ("reader", "writer")) for key in ("errors", "wrong_bytes"))
    how = f"fails at {failed} of {len(breaks)}, {why}" if failed else "survives all"
    return (f"stock USB/IP {how}; {errors} errors, {wrong} wrong bytes; {amounts(found)}; "
            f"at most {after_s:.1f} s after one")


def described(lab, lengths):
    return (f"{len(lengths)} cuts of {min(lengths)} to {max(lengths)} s, {sum(lengths):.0f} s in all, "
            f"seed {lab.seed}")


@scenario(short=True)
def link_cuts(lab):
    """The wire cut again and again (100 times, 0.1 to 10 s) under a checked read and write: pauses, nothing else."""
    lengths = cuts_of(lab)
    what = described(lab, lengths)
    return f"{what}: {through_farport(lab, cuts(lab, lengths), what)}"


@scenario(needs_farport=False)
def link_cuts_stock(lab):
    """The same cuts with stock USB/IP at both ends, until something fails: printed for comparison, judged never.

    As long as TCP tries again within SCSI's 30 s, stock survives a wire that is merely silent.
    """
    lengths = cuts_of(lab)
    return f"{described(lab, lengths)}: {through_stock(lab, cuts(lab, lengths))}"


@scenario()
def connection_reset(lab):
    """The connection reset under load, as by a firewall that lost its state: resumed; stock USB/IP unplugs."""
    def resets(port):
        return [("reset", functools.partial(network.reset, lab.b, port))] * RESETS

    what = f"{RESETS} resets"
    ours = through_farport(lab, resets(farport.PORT), what)
    return f"{what}: {ours}\n    {through_stock(lab, resets(farport.USBIP_PORT))}"


@scenario()
def path_lost(lab):
    """Two networks, the first one lost under load: a pause of at most 1.5 s, nothing lost, and back again."""
    with devices.gadget_disk(lab.a, size_mb=DISK_MB) as disk, farport.pair(
            lab, both_wires=True, path_return_s=PATH_RETURN_S) as (a, b):
        attachment = b.attach("a", farport.usb_name(disk), "vhci")
        path = devices.block_device(lab.b, disk.serial)
        mark = lab.b.log_mark()
        hosts = {a: ("b", lab.addresses_b), b: ("a", lab.addresses_a)}

        def wait_path(number):
            def is_used():
                return any(one.address_in_use(host) == addresses[number] for one, (host, addresses) in hosts.items())

            start = lab.b.uptime()
            wait_until(f"the session uses network {number + 1}", RETURN_LIMIT_S, is_used)
            return lab.b.uptime() - start

        wait_path(0)
        count = (disk.size_mb << 20) // devices.CheckedLoad.SIZE
        devices.Blocks(lab.a, "fill", disk.file, 0, count, devices.CheckedLoad.SIZE, 1).result()

        def pause(change):
            """Longest transfer of a reader of single blocks while `change` runs, and what that returns."""
            reader = devices.Blocks(lab.b, "read", path, 0, count, devices.CheckedLoad.SIZE, 1)
            load = devices.transfer_count(lab.b, path)
            wait_until("the reader reads", 30, lambda: devices.transfer_count(lab.b, path) > load + 20)
            answer = change()
            more = devices.transfer_count(lab.b, path)
            wait_until("the reader goes on", 30, lambda: devices.transfer_count(lab.b, path) > more + 20)
            found = reader.stop()
            devices.check_found({"reader": found}, "path lost")
            return found["longest_s"], answer

        usual_s, _ = pause(lambda: None)
        with contextlib.ExitStack() as loss:
            lost_s, _ = pause(lambda: (loss.enter_context(network.lost(lab)), wait_path(1)))
        back_s, returned_s = pause(lambda: wait_path(0))
        if lines := lab.b.kernel_said(LOST_LINES, mark):
            raise LabError(f"B's kernel said: {lines[0]}")
        b.detach(attachment)
        devices.wait_usb_device_gone(lab.b, disk.serial)
    note = (f"longest read usually {usual_s} s, while the network is lost {lost_s} s, while it comes back {back_s} s; "
            f"back after {returned_s:.1f} s")
    if max(lost_s, back_s) > PAUSE_MAX_S:
        raise LabError(f"a pause of more than {PAUSE_MAX_S} s: {note}")
    return note
