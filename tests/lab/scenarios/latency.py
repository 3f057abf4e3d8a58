"""A disk behind a slow network: Farport and stock USB/IP side by side, on the same gadget in the same run."""

import contextlib
import statistics

import devices
import farport
import network
from guest import LabError
from scenario import scenario
from scenarios.stock import stock_export, usbip_detach_all

DISK_MB = 16
# Added round trip in ms; what Farport's reads must at least be, as a multiple of stock USB/IP's; rounds. In a
# round one system is measured right after the other, because the machine may be slower in the next, and they
# take turns to be the first; of the rates and of the ratios within a round the medians count. Where no network
# takes the time, all of it is the machine's, whose noise makes a round's ratio differ by some 8 %.
CASES = ((0, 1.0, 15), (10, 2.5, 5), (50, 2.5, 5))
# Name, `blocks rate` how, bytes of a request. usb-storage cuts a request at 120 KiB (max_sectors_kb).
WORKLOADS = (("sequential read", "read", 1 << 20), ("random 4 KiB read", "random", 4 << 10),
             ("sequential write", "write", 1 << 20))
JUDGED = ("sequential read", "random 4 KiB read")
FIGURE_MS = 2000
WARM_UP_MS = 1500


def rules_used(daemon, attachment):
    """What the rules that hide latency have done for an attachment (`farport stats`), for people."""
    rules = daemon.json("stats", attachment["id"]).get("rules", [])
    return "; ".join(f"{one['rule']} {'on' if one['on'] else 'off'} ({one['why']}), {one['round_trips_saved']} round "
                     f"trips saved, {one['deviations']} deviations" for one in rules) or "no rule"


@contextlib.contextmanager
def through_stock(lab, disk):
    with stock_export(lab.a, disk):
        lab.b.run(f"usbip attach -r {lab.address_a} -b {disk.port}")
        yield devices.block_device(lab.b, disk.serial), lambda: "nothing ahead"
        usbip_detach_all(lab.b)
        devices.wait_usb_device_gone(lab.b, disk.serial)
    devices.block_device(lab.a, disk.serial)


@contextlib.contextmanager
def through_farport(lab, disk):
    with farport.pair(lab) as (_, b):
        attachment = b.attach("a", farport.usb_name(disk), "vhci")
        yield devices.block_device(lab.b, disk.serial), lambda: rules_used(b, attachment)
        b.detach(attachment)
        devices.wait_usb_device_gone(lab.b, disk.serial)
    devices.block_device(lab.a, disk.serial)


SYSTEMS = {"stock": through_stock, "Farport": through_farport}


def measure(lab, path, turn, rates):
    """Adds the MB/s of each workload to those that `rates` has by its name."""
    for name, how, size in WORKLOADS:
        rates[name].append(devices.measure_rate(lab.b, path, how, size, FIGURE_MS, lab.seed + turn))


def measure_both(lab, disk, added_ms, rounds):
    """MB/s of each round, by system and workload; and what Farport's rules have done in the last round."""
    rates = {system: {name: [] for name, _, _ in WORKLOADS} for system in SYSTEMS}
    used = {}
    for turn in range(rounds):
        for system, through in list(SYSTEMS.items())[::-1 if turn % 2 else 1]:
            with network.delayed(lab, added_ms), through(lab, disk) as (path, rules):
                # A new connection first finds out how much the network takes.
                devices.measure_rate(lab.b, path, "read", 1 << 20, WARM_UP_MS, lab.seed)
                measure(lab, path, turn, rates[system])
                used[system] = rules()
    return rates, used["Farport"]


@scenario(native=True)
def latency(lab):
    """Disk throughput at 0, 10 and 50 ms of added round trip, Farport beside stock USB/IP, and what it must be."""
    lines, short = [], []
    with devices.gadget_disk(lab.a, size_mb=DISK_MB) as disk:
        path = devices.block_device(lab.a, disk.serial)
        alone = ", ".join(f"{name} {devices.measure_rate(lab.a, path, how, size, FIGURE_MS, lab.seed):.3f} MB/s"
                          for name, how, size in WORKLOADS)
        lines.append(f"the disk on its own host: {alone}")
        for added_ms, required, rounds in CASES:
            rates, used = measure_both(lab, disk, added_ms, rounds)
            for name, _, _ in WORKLOADS:
                stock, ours = rates["stock"][name], rates["Farport"][name]
                ratios = [one / other for one, other in zip(ours, stock)]
                ratio = statistics.median(ratios)
                line = (f"{added_ms:2} ms added (half each way), {name:17}: "
                        f"stock {statistics.median(stock):7.3f} MB/s, Farport {statistics.median(ours):7.3f} MB/s, "
                        f"ratio {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
                if name in JUDGED:
                    line += f" (required {required})"
                    if ratio < required:
                        short.append(line)
                lines.append(line)
            lines.append(f"{added_ms:2} ms added, Farport's rules: {used}")
        lines.append(f"a system call takes {lab.b.system_call_us():.1f} us in these guests")
    table = "\n    ".join(lines)
    if short:
        raise LabError(f"{len(short)} ratios are below what is required:\n    {table}")
    return f"medians of {', '.join(f'{rounds} rounds at {ms} ms' for ms, _, rounds in CASES)}\n    {table}"
