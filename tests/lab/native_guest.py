"""A guest whose kernel is a process: User-Mode Linux, Debian's own source, at the speed of this processor.

For figures. An emulated processor takes some thirty times as long for whatever a program computes, but not for
what it waits for, so that its ratios say nothing of real hosts. Here code runs as it is; what is dear is a system
call (system_call_us()), because each is two context switches of this machine.

It has gadgets, USB/IP and the network, but no QEMU: nothing of QEMU's can be plugged in.
"""

import os
import socket

from guest import Guest, LabError

# Of a wire, in each direction: what a card's queue takes before it drops.
WIRE_BYTES = 4 << 20
MTU = 9000
# Builtin modules' parameters: as in guest/modules.
PARAMETERS = ("dummy_hcd.num=4", "usb_storage.delay_use=0")


class NativeGuest(Guest):
    @staticmethod
    def wire():
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WIRE_BYTES)
        return ends

    def _boot(self, image, control, cards, memory_mb):
        log, console = open(self.kernel_log, "ab"), open(self.console_log, "wb")
        # It has one processor. On one of ours, its programs' system calls wake no other.
        ours = sorted(os.sched_getaffinity(0))
        own = ours[(ord(self.name[0]) - ord("a")) % len(ours)]
        # In a process namespace of its own, because the processes it traces would outlive it.
        namespace = ["unshare", "--pid", "--kill-child"] + ([] if os.geteuid() == 0 else ["--user", "--map-root-user"])
        command = ["taskset", "--cpu-list", str(own)] + namespace + ["--"]
        addresses = ",".join(address for _, address in cards)
        command += [str(image / "linux"), f"mem={memory_mb}M", f"initrd={image / 'initramfs'}", "loglevel=4",
                    "panic=-1", "con=null", f"con0=null,fd:{console.fileno()}", "ssl=null",
                    f"ssl0=fd:{control.fileno()}", f"ssl1=null,fd:{log.fileno()}", *PARAMETERS,
                    f"lab.host={self.name}", f"lab.address={addresses}", "lab.ports=ttyS0,ttyS1"]
        for number, (wire, _) in enumerate(cards):
            mac = f"52:54:00:00:{ord(self.name[0]):02x}:{number:02x}"
            command.append(f"vec{number}:transport=fd,fd={wire.fileno()},mac={mac},mtu={MTU},depth=128")
        return command, [log, console]

    def wait_ready(self):
        self._wait_greeting()

    def qmp(self, execute, **arguments):
        raise LabError(f"a native guest has no QEMU to {execute}")

    def reboot(self, kept=None):
        raise LabError("a native guest ends where it would reboot")

    def system_call_us(self):
        """What the cheapest system call costs here."""
        return float(self.run("/lab/calls"))
