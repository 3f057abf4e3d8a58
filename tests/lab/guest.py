"""A virtual machine of the lab: its QEMU process (or another: native_guest.py), its control channel, its QMP
socket, its kernel log.

Every channel between this process and QEMU is a socketpair that QEMU inherits, so a lab takes no port and
leaves no file; a guest dies with the process that started it. Every wait has a limit and ends in LabError.
"""

import contextlib
import json
import queue
import re
import shlex
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

QEMU = "qemu-system-x86_64"
# Without the flags that make kernel and C library copy by `rep movsb`: real processors do that fastest, TCG
# byte by byte, so that copies would take a share of the time that they take nowhere else.
CPU = "max,la57=off,erms=off,fsrm=off"
BOOT_S = 120  # an emulated guest needs 6 to 10 s; a busy machine may be far slower
COMMAND_S = 60
HEADER = struct.Struct("<III")  # kind, id, length; see guest/agent.cc
KERNEL_TROUBLE = re.compile(
    r"WARNING:|BUG:|Oops|Call Trace|blocked for more than|general protection|Kernel panic|"
    r"kernel NULL pointer|stack segment|refcount_t|KASAN|UBSAN|possible recursive|DEBUG_LOCKS|"
    r"leaked|soft lockup|rcu: INFO|detected stall"
)


class LabError(Exception):
    """A condition that a scenario expected did not hold; the message is the reason printed."""


def wait_until(what, limit_s, condition, interval_s=0.1):
    """Calls condition() until it returns something true, which is returned; LabError names `what` otherwise."""
    end = time.monotonic() + limit_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise LabError(f"{what}: not within {limit_s} s")
        time.sleep(interval_s)


class Result:
    """How a command in a guest ended: status (None: its time limit passed), output, error (text)."""

    def __init__(self, command, status, output, error):
        self.command, self.status, self.output, self.error = command, status, output, error

    def __str__(self):
        how = "did not end in its time limit" if self.status is None else f"exit {self.status}"
        said = (self.error.strip() or self.output.strip())[-400:]
        return f"`{self.command.strip().splitlines()[0][:120]}` {how}" + (f": {said}" if said else "")


class Command:
    """A command running in a guest."""

    def __init__(self, guest, number, text, limit_s):
        self.guest, self.number, self.text, self.limit_s = guest, number, text, limit_s
        self.output, self.error = bytearray(), bytearray()
        self.status = None
        self.ended = threading.Event()
        self._arrived = threading.Condition()
        self._read = 0

    def _take(self, kind, payload):
        with self._arrived:
            if kind == "O":
                self.output += payload
            elif kind == "E":
                self.error += payload
            elif kind == "X":
                self.status = struct.unpack("<i", payload)[0]
                self.ended.set()
            self._arrived.notify_all()

    def write(self, data):
        self.guest._send("I", self.number, data)

    def close_input(self):
        self.guest._send("I", self.number, b"")

    def kill(self, number=signal.SIGKILL):
        self.guest._send("K", self.number, struct.pack("<I", number))

    def read(self, count_or_end, limit_s=COMMAND_S):
        """Next bytes of standard output: a number of them, or up to and with the delimiter given."""

        def ready():
            new = self.output[self._read:]
            if isinstance(count_or_end, int):
                return len(new) >= count_or_end and count_or_end
            at = new.find(count_or_end)
            return at >= 0 and at + len(count_or_end)

        with self._arrived:
            self._arrived.wait_for(lambda: ready() or self.ended.is_set(), limit_s)
            size = ready()
            if not size:
                said = bytes(self.output[self._read:][-200:])
                raise LabError(f"{self.guest.name}: `{self.text}` said no {count_or_end!r} in {limit_s} s; "
                               f"only {said!r} {self.error.decode(errors='replace')}")
            data = bytes(self.output[self._read:self._read + size])
            self._read += size
            return data

    def read_some(self, limit_s):
        """Next bytes of standard output, as soon as there are any; none if the limit passed or it ended."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self.output) > self._read or self.ended.is_set(), limit_s)
            data = bytes(self.output[self._read:])
            self._read += len(data)
            return data

    def wait(self, limit_s=None):
        """The Result; LabError if it does not come (the agent reports even a command that hangs)."""
        limit_s = self.limit_s + 15 if limit_s is None else limit_s
        if not self.ended.wait(limit_s):
            raise LabError(f"{self.guest.name}: `{self.text}` still runs after {limit_s} s")
        status = None if self.status == -1 else self.status
        return Result(self.text, status, self.output.decode(errors="replace"), self.error.decode(errors="replace"))

    def check(self):
        """Waits; LabError unless it succeeded."""
        result = self.wait()
        if result.status != 0:
            raise LabError(f"{self.guest.name}: {result}")


class Guest:
    """One booted guest. `name` is its host name; `cards` lists a (socket, address/prefix) per network card."""

    def __init__(self, name, image, logs, cards, memory_mb=512):
        self.name = name
        self.kernel_log = Path(logs) / f"{name}.kernel.log"
        self.console_log = Path(logs) / f"{name}.console.log"
        self.sound = Path(logs) / f"{name}.wav"  # what QEMU's USB sound card plays
        self._process_log = Path(logs) / f"{name}.process.log"
        self._command_log = open(Path(logs) / f"{name}.commands.log", "w", buffering=1)
        self._commands, self._next, self._lock = {}, 1, threading.Lock()
        self._send_lock = threading.Lock()
        self._greeted = threading.Event()
        self._gone = threading.Event()
        self._qmp = self._serial = None
        self._qmp_events, self._qmp_replies = queue.Queue(), queue.Queue()
        self._plugged = self._marks = 0

        self._control, control = socket.socketpair()
        self.kernel_log.write_text("")
        command, own = self._boot(Path(image), control, cards, memory_mb)
        own.append(control)
        with open(self._process_log, "wb") as log:
            self._process = subprocess.Popen(
                # A guest never outlives this process, however that ends.
                ["setpriv", "--pdeathsig", "KILL", "--"] + command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[one.fileno() for one in own + [wire for wire, _ in cards]])
        for one in own:
            one.close()
        threading.Thread(target=self._read_control, daemon=True).start()

    @staticmethod
    def wire():
        """Two ends of a network cable, for two guests."""
        return socket.socketpair()

    def _boot(self, image, control, cards, memory_mb):
        """The command that runs it, and what else it inherits, to be closed here then."""
        self._qmp, qmp = socket.socketpair()
        self._serial, serial = socket.socketpair()  # the far end of QEMU's USB serial adapter
        addresses = ",".join(address for _, address in cards)
        arguments = [
            QEMU, "-accel", "tcg", "-machine", "pc,vmport=off", "-cpu", CPU, "-smp", "1",
            "-m", str(memory_mb), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", str(image / "vmlinux"), "-initrd", str(image / "initramfs"),
            "-append", f"console=ttyS0 loglevel=4 panic=-1 rcupdate.rcu_cpu_stall_timeout=120 watchdog_thresh=60 "
                       # A busy machine delivers no timer interrupt in time for the kernel's test of it.
                       "no_timer_check "
                       f"lab.host={self.name} lab.address={addresses}",
            "-serial", f"file:{self.console_log}",
            "-chardev", f"socket,id=qmp,fd={qmp.fileno()}", "-mon", "chardev=qmp,mode=control",
            "-chardev", f"socket,id=control,fd={control.fileno()}",
            "-chardev", f"file,id=kernel,path={self.kernel_log}",
            "-chardev", f"socket,id=serial,fd={serial.fileno()}",
            # Without QEMU's mixer, so that the file holds the very samples.
            "-audiodev", f"wav,id=audio,path={self.sound},out.mixing-engine=off,out.fixed-settings=off",
            "-device", "virtio-serial-pci",
            "-device", "virtserialport,chardev=control,name=lab.control",
            "-device", "virtserialport,chardev=kernel,name=lab.kernel",
            "-device", "qemu-xhci,id=xhci",
            "-object", "rng-random,id=random,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=random",
        ]
        for number, (wire, _) in enumerate(cards):
            mac = f"52:54:00:00:{ord(self.name[0]):02x}:{number:02x}"
            arguments += ["-netdev", f"socket,id=net{number},fd={wire.fileno()}",
                          "-device", f"virtio-net-pci,netdev=net{number},mac={mac}"]
        threading.Thread(target=self._read_qmp, daemon=True).start()
        return arguments, [qmp, serial]

    # Life

    def wait_ready(self):
        self._wait_greeting()
        self.qmp("qmp_capabilities")

    def _wait_greeting(self):
        end = time.monotonic() + BOOT_S
        while not self._greeted.wait(0.2):
            if self._process.poll() is not None or self._gone.is_set() or time.monotonic() > end:
                said = "\n".join(log.read_text(errors="replace")[-800:] for log in (self.console_log, self._process_log)
                                 if log.exists())
                raise LabError(f"guest {self.name} did not come up; its console and its process said: {said}")

    def reboot(self, kept="/var/lib/farport"):
        """As by the reset button. `kept` is a folder that a host has on its disk; a guest has none, so the lab
        carries it across, as it is now."""
        saved = self.run(f"tar -c {kept} | base64")
        self._greeted.clear()
        self.qmp("set-action", reboot="reset")
        self.qmp("system_reset")
        self._end_commands("rebooted")
        self._wait_greeting()
        self.qmp("set-action", reboot="shutdown")  # so that a panic ends the guest, as before
        self.write_file("/run/lab/kept", saved)
        self.run("base64 -d /run/lab/kept | tar -x -C /")

    def alive(self):
        return self._process.poll() is None and not self._gone.is_set()

    def stop(self):
        """Ends its process, this one only."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        for end in (self._control, self._qmp, self._serial, self._command_log):
            if end:
                end.close()

    # Commands

    def start(self, text, limit_s=COMMAND_S):
        """Starts a shell command; the Command can be written to, read from, waited for."""
        with self._lock:
            command = Command(self, self._next, text, limit_s)
            self._commands[self._next] = command
            self._next += 1
        self._send("R", command.number, struct.pack("<I", int(limit_s * 1000)) + text.encode())
        return command

    def try_run(self, text, limit_s=COMMAND_S):
        """Runs a shell command to its end, whatever its exit status."""
        command, start = self.start(text, limit_s), time.monotonic()
        try:
            result = command.wait()
        finally:
            self._commands.pop(command.number, None)
        self._command_log.write(f"{time.monotonic() - start:.2f} s: {result.status}: {text.splitlines()[0]}\n")
        return result

    def run(self, text, limit_s=COMMAND_S):
        """Standard output of a shell command that must succeed."""
        result = self.try_run(text, limit_s)
        if result.status != 0:
            raise LabError(f"{self.name}: {result}")
        return result.output.strip()

    def succeeds(self, text, limit_s=COMMAND_S):
        return self.try_run(text, limit_s).status == 0

    def uptime(self):
        """Seconds since it booted: its own clock, which an emulated processor may not keep with ours."""
        return float(self.run("cat /proc/uptime").split()[0])

    def write_file(self, path, text):
        folder, path = shlex.quote(str(Path(path).parent)), shlex.quote(path)
        self.run(f"mkdir -p {folder} && printf %s {shlex.quote(text)} > {path}")

    def _send(self, kind, number, payload):
        with self._send_lock:
            try:
                self._control.sendall(HEADER.pack(ord(kind), number, len(payload)) + payload)
            except OSError as error:
                raise LabError(f"guest {self.name} is gone: {error}") from error

    def _read_control(self):
        with contextlib.suppress(OSError), self._control.makefile("rb") as stream:
            while header := stream.read(HEADER.size):
                kind, number, size = HEADER.unpack(header)
                payload = stream.read(size)
                if chr(kind) == "H":
                    self._greeted.set()
                elif number in self._commands:
                    self._commands[number]._take(chr(kind), payload)
        self._gone.set()
        self._end_commands("is gone")

    def _end_commands(self, why):
        for command in [one for one in list(self._commands.values()) if not one.ended.is_set()]:
            command._take("E", f"guest {self.name} {why}".encode())
            command._take("X", struct.pack("<i", 255))

    # QMP

    def qmp(self, execute, descriptors=(), **arguments):
        """Carries out a QMP command and returns its answer. descriptors: sent with it, for getfd."""
        command = json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n"
        socket.send_fds(self._qmp, [command], descriptors)
        try:
            reply = self._qmp_replies.get(timeout=30)
        except queue.Empty:
            raise LabError(f"QEMU of {self.name} did not answer {execute}") from None
        if "error" in reply:
            raise LabError(f"QEMU of {self.name} refused {execute}: {reply['error']['desc']}")
        return reply["return"]

    def _read_qmp(self):
        with contextlib.suppress(OSError, ValueError), self._qmp.makefile("r") as stream:
            for line in stream:
                message = json.loads(line)
                if "event" in message:
                    self._qmp_events.put(message)
                elif "QMP" not in message:
                    self._qmp_replies.put(message)

    def plug(self, driver, **properties):
        """Plugs a device of QEMU's into the guest's xHCI; its id, for unplug()."""
        self._plugged += 1
        identity = f"{driver}-{self._plugged}"
        self.qmp("device_add", driver=driver, id=identity, bus="xhci.0", **properties)
        return identity

    def plug_disk(self, file, serial, driver="usb-storage"):
        """Plugs a USB disk backed by a file of this machine; its id."""
        self._plugged += 1
        node = f"disk-{self._plugged}"
        self.qmp("blockdev-add", **{"driver": "raw", "node-name": node,
                                    "file": {"driver": "file", "filename": str(file)}})
        return self.plug(driver, drive=node, serial=serial)

    def unplug(self, identity):
        """Pulls a plugged device out, whatever it is doing, and waits until QEMU has dropped it."""
        self.qmp("device_del", id=identity)
        end = time.monotonic() + 30
        while True:
            try:
                event = self._qmp_events.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise LabError(f"QEMU of {self.name} did not drop {identity}") from None
            if event["event"] == "DEVICE_DELETED" and event.get("data", {}).get("device") == identity:
                return

    # The far end of QEMU's USB serial adapter

    def serial_send(self, data):
        self._serial.sendall(data)

    def serial_receive(self, count, limit_s=15):
        """That many bytes, or those that came within the limit."""
        data, end = b"", time.monotonic() + limit_s
        while len(data) < count and time.monotonic() < end:
            self._serial.settimeout(max(0.01, end - time.monotonic()))
            with contextlib.suppress(TimeoutError):
                data += self._serial.recv(count - len(data))
        return data

    # Kernel log

    def settle_kernel_log(self):
        """Returns once all that the kernel has said until now is in the log on this side."""
        self._marks += 1
        mark = f"lab: mark {self._marks}."
        self.run(f"echo '{mark}' > /dev/kmsg", limit_s=10)
        wait_until(f"kernel log of {self.name}", 10, lambda: mark in self.kernel_log.read_text(errors="replace"))

    def log_mark(self):
        """A place in the kernel's log and the console, for kernel_trouble()."""
        return tuple(log.stat().st_size if log.exists() else 0 for log in (self.kernel_log, self.console_log))

    def logs_since(self, mark):
        """(name, text) of both logs from that mark on.

        The console is where a panic ends up: the agent that copies the kernel's log is dead by then.
        """
        for name, log, start in zip(("kernel log", "console"), (self.kernel_log, self.console_log), mark):
            if log.exists():
                yield name, log.read_bytes()[start:].decode(errors="replace")

    def kernel_said(self, pattern, since):
        """Lines of the kernel's log from that mark on in which the regular expression is found."""
        self.settle_kernel_log()
        text = self.kernel_log.read_bytes()[since[0]:].decode(errors="replace")
        return [line for line in text.splitlines() if re.search(pattern, line)]

    def kernel_trouble(self, since=(0, 0)):
        """Lines of both logs, from that mark on, that no healthy kernel writes."""
        lines = [line for _, text in self.logs_since(since) for line in text.splitlines()]
        return [line for line in lines if KERNEL_TROUBLE.search(line)]
