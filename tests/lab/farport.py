"""All that the lab knows of farportd and farport: configuration keys, commands, the shape of their JSON.

Scenarios use these names only, so a change of the interface is a change of this file.
"""

import contextlib
import json
import shlex

from guest import LabError, wait_until

PORT = 7411
USBIP_PORT = 3240
CONFIG = "/run/lab/farport.toml"
LOG = "/run/lab/farportd.log"
START_S = 30
STOP_S = 20
ATTACH_S = 30
# How long a consumer may see a pause before its device is unplugged (resume_timeout), and some more
# for an emulated guest to notice.
LINK_LOST_S = 30 + 30

# Exit codes of the CLI (DESIGN, Interfaces).
FAILED, USAGE, NOT_FOUND, BUSY, DENIED, UNREACHABLE = 1, 2, 3, 4, 5, 6


def config(name, peers=(), exports=(), usbip_server=False, imports=()):
    """TOML for the host `name`. peers: (name, address); exports: (pattern, host); imports: (name, address)."""
    text = f'[host]\nname = "{name}"\nlisten = ["0.0.0.0:{PORT}"]\ninsecure = true\n'
    for peer, address in peers:
        text += f'\n[[peer]]\nname = "{peer}"\naddress = "{address}:{PORT}"\n'
    for pattern, host in exports:
        text += f'\n[[export]]\ndevice = "{pattern}"\nhosts = ["{host}"]\n'
    if usbip_server:
        text += f'\n[usbip_server]\nlisten = "0.0.0.0:{USBIP_PORT}"\ninsecure = true\n'
    for lender, address in imports:
        text += f'\n[[usbip_import]]\nname = "{lender}"\naddress = "{address}:{USBIP_PORT}"\n'
    return text


def usb_name(device):
    return f"usb:{device.vendor_product}:{device.serial}"


def serial_name(port):
    return "serial:" + port.removeprefix("/dev/")


def imported_name(lender, disk):
    """A disk lent by a stock usbipd, as a device of the host that imports it; no serial number is told."""
    return f"usb:port:{disk.port}@{lender}"


def check_ports_clean(guest):
    """No vhci port of the guest is in use."""
    def clean():
        # Lines "hs 0000 004 ...": kind, port, state; 4 is free (kernel, drivers/usb/usbip/usbip_common.h).
        states = guest.run("cat /sys/devices/platform/vhci_hcd.*/status* | awk '$1 != \"hub\" {print $3}' | sort -u")
        return states == "004"

    wait_until(f"every vhci port of {guest.name} is free", 15, clean)


class Daemon:
    """farportd in a guest."""

    def __init__(self, guest, text):
        self.guest = guest
        guest.write_file(CONFIG, text)
        self.start()

    def start(self):
        self.process = self.guest.start(f"exec farportd --config {CONFIG} >> {LOG} 2>&1", limit_s=3600)

        def ready():
            if self.process.ended.is_set():
                raise LabError(f"farportd in {self.guest.name} ended at its start with "
                               f"{self.process.wait().status}: {self.guest.run(f'tail -5 {LOG}')}")
            return self.guest.succeeds("farport devices --json")

        wait_until(f"farportd in {self.guest.name} answers", START_S, ready)

    def kill(self):
        """kill -9, and nothing else: what it held is as it left it."""
        self.process.kill(9)
        self.process.wait(10)

    def stop(self):
        """Ends as systemd would end it; it must do so cleanly and in time."""
        self.process.kill(15)
        status = self.process.wait(STOP_S).status
        if status != 0:
            raise LabError(f"farportd in {self.guest.name} ended with {status} on SIGTERM: "
                           f"{self.guest.run(f'tail -5 {LOG}')}")

    def cli(self, *words, limit_s=ATTACH_S):
        """Result of `farport WORDS`, whatever its exit status."""
        return self.guest.try_run(shlex.join(["farport", *words]), limit_s=limit_s)

    def json(self, *words):
        result = self.cli(*words, "--json")
        if result.status != 0:
            raise LabError(f"{self.guest.name}: {result}")
        try:
            return json.loads(result.output)
        except ValueError:
            raise LabError(f"{self.guest.name}: farport {' '.join(words)} --json printed {result.output!r}") from None

    def devices(self):
        """Dictionaries with at least "host" and "name"."""
        return _list(self.json("devices"), "devices")

    def attachments(self):
        return _list(self.json("attachments"), "attachments")

    def wait_device(self, host, name, limit_s=START_S):
        """Waits until the device NAME of HOST is seen from here."""
        wait_until(f"{host}/{name} seen by farportd in {self.guest.name}", limit_s, lambda: any(
            one["host"] == host and name in [one["name"], *one.get("aliases", [])] for one in self.devices()))

    def attach(self, host, name, driver, *options):
        """Attaches it, once it is seen; a dictionary with "id" and "path"."""
        self.wait_device(host, name)
        answer = self.json("attach", f"{host}/{name}", "--driver", driver, *options)
        return answer.get("attachment", answer)

    def detach(self, attachment):
        self.json("detach", str(attachment["id"]))

    def wait_no_attachments(self, limit_s):
        wait_until(f"farportd in {self.guest.name} has no attachment left", limit_s, lambda: not self.attachments())


def _list(answer, key):
    return answer[key] if isinstance(answer, dict) else answer


@contextlib.contextmanager
def daemon(guest, text):
    """farportd in a guest for the length of the block; it must end well unless the block has failed."""
    one = Daemon(guest, text)
    try:
        yield one
    except BaseException:
        one.process.kill(9)
        raise
    one.stop()


@contextlib.contextmanager
def pair(lab):
    """The usual two hosts: `a` exports all its USB devices and serial ports to `b`."""
    exports = [("usb:*", "b"), ("serial:*", "b")]
    with daemon(lab.a, config("a", peers=[("b", lab.address_b)], exports=exports)) as a:
        with daemon(lab.b, config("b", peers=[("a", lab.address_a)])) as b:
            yield a, b
