"""All that the lab knows of farportd and farport: configuration keys, commands, the shape of their JSON.

Scenarios use these names only, so a change of the interface is a change of this file.
"""

import base64
import contextlib
import hashlib
import json
import re
import shlex

from guest import LabError, wait_until

PORT = 7411
USBIP_PORT = 3240
CONFIG = "/run/lab/farport.toml"
LOG = "/run/lab/farportd.log"
START_S = 90  # a second, of a guest that gets a processor
STOP_S = 20
ATTACH_S = 30
STATE = "/var/lib/farport"
# How long a consumer may see a pause before its device is unplugged: the default, and what scenarios set
# that wait for it.
RESUME_TIMEOUT_S = 30
SHORT_RESUME_TIMEOUT_S = 5
# Until that has happened in an emulated guest.
LINK_LOST_S = SHORT_RESUME_TIMEOUT_S + 30

# Exit codes of the CLI (DESIGN, Interfaces).
FAILED, USAGE, NOT_FOUND, BUSY, DENIED, UNREACHABLE = 1, 2, 3, 4, 5, 6


def config(name, peers=(), exports=(), usbip_server=False, imports=(), resume_timeout_s=RESUME_TIMEOUT_S,
           path_return_s=None, state=STATE, ahead=()):
    """TOML for the host `name`. peers: (name, address or addresses); exports: (pattern, host); imports:
    (name, address); ahead: (pattern, "on" or "off", rule)."""
    text = f'[host]\nname = "{name}"\nlisten = ["0.0.0.0:{PORT}"]\nstate_dir = "{state}"\n'
    text += f"\n[session]\nresume_timeout_s = {resume_timeout_s}\n"
    if path_return_s:
        text += f"path_return_s = {path_return_s}\n"
    for peer, address in peers:
        addresses = [address] if isinstance(address, str) else address
        words = ", ".join(f'"{one}:{PORT}"' for one in addresses)
        text += f'\n[[peer]]\nname = "{peer}"\naddresses = [{words}]\n'
    for pattern, host in exports:
        text += f'\n[[export]]\ndevice = "{pattern}"\nhosts = ["{host}"]\n'
    for pattern, switch, rule in ahead:
        text += f'\n[[ahead]]\ndevice = "{pattern}"\n{switch} = ["{rule}"]\n'
    if usbip_server:
        text += f'\n[usbip_server]\nlisten = "0.0.0.0:{USBIP_PORT}"\ninsecure = true\n'
    for lender, address in imports:
        text += f'\n[[usbip_import]]\nname = "{lender}"\naddress = "{address}:{USBIP_PORT}"\n'
    return text


def pair_configs(lab, both_wires=False, **options):
    """The usual two hosts: `a` exports all its USB devices and serial ports to `b`. options: config()'s."""
    exports = [("usb:*", "b"), ("serial:*", "b")]
    to_a, to_b = (lab.addresses_a, lab.addresses_b) if both_wires else (lab.address_a, lab.address_b)
    return (config("a", peers=[("b", to_b)], exports=exports, **options),
            config("b", peers=[("a", to_a)], **options))


def introduce(lab, text_a, text_b):
    """Each host pins the other's key: on the files, before the daemons run, as root may. Keys live as long as
    a guest's state_dir, so a later scenario finds them pinned."""
    shown = {}
    for guest, text in ((lab.a, text_a), (lab.b, text_b)):
        guest.write_file(CONFIG, text)
        shown[guest] = json.loads(guest.run(f"farport trust show --json --config {CONFIG}"))
    for guest, other in ((lab.a, lab.b), (lab.b, lab.a)):
        guest.run(f"farport trust add {other.name} {shown[other]['fingerprint']} --replace --config {CONFIG}")


def some_fingerprint(words):
    """A fingerprint that is well formed, of a key that nobody has."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(words.encode()).digest()).decode().rstrip("=")


def accepting_command(message):
    """The command in a refusal that would accept the key it tells of; None: it names none."""
    found = re.search(r"farport trust add \S+ SHA256:[A-Za-z0-9+/=]+(?: --replace)?", message)
    return found and found.group()


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
        self.killed = False
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
        self.killed = True

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

    def attachment(self, identity):
        """The attachment with that id, or None."""
        return next((one for one in self.attachments() if one["id"] == identity), None)

    def wait_open(self, identity, limit_s):
        """Waits until that attachment is open: for one that comes back by itself."""
        def is_open():
            one = self.attachment(identity)
            return one is not None and one["state"] == "open"

        wait_until(f"attachment {identity} of farportd in {self.guest.name} is open", limit_s, is_open)

    def detach(self, attachment):
        self.json("detach", str(attachment["id"]))

    def detach_all(self, limit_s=ATTACH_S):
        """Whatever is attached or waits to come back."""
        for one in self.attachments():
            result = self.cli("detach", one["id"])
            if result.status not in (0, NOT_FOUND):
                raise LabError(f"{self.guest.name}: {result}")
        self.wait_no_attachments(limit_s)

    def rule(self, attachment, name):
        """What that rule has done for an attachment (`farport stats`), as it is now: "on", "why", "round_trips_saved",
        "deviations". Figures are taken each second."""
        answer = self.json("stats", attachment["id"])
        found = [one for one in answer["rules"] if one["rule"] == name]
        if not found:
            raise LabError(f"{self.guest.name}: no rule {name} fits {attachment['id']}; {answer['rules']}")
        return found[0]

    def host(self, name):
        """What it says of another host: "state", "error", "resumes", "paths"."""
        hosts = _list(self.json("hosts"), "hosts")
        return next((one for one in hosts if one["name"] == name), {"state": "unknown", "error": "", "paths": []})

    def wait_connected(self, name, limit_s=START_S):
        wait_until(f"farportd in {self.guest.name} is connected with {name}", limit_s,
                   lambda: self.host(name)["state"] == "connected")

    def resumes(self, name):
        return self.host(name).get("resumes", 0)

    def address_in_use(self, name):
        """The address over which it has connected to that host; None: the other end did, or nothing is."""
        for path in self.host(name)["paths"]:
            if path["state"] == "in use":
                return path["address"].rpartition(":")[0]
        return None

    def trust(self):
        """Its own "fingerprint", the "keys" it has pinned and the "refusals" it counted."""
        return self.json("trust", "show")

    def wait_no_attachments(self, limit_s):
        wait_until(f"farportd in {self.guest.name} has no attachment left", limit_s, lambda: not self.attachments())


def _list(answer, key):
    return answer[key] if isinstance(answer, dict) else answer


@contextlib.contextmanager
def daemon(guest, text):
    """farportd in a guest for the length of the block; it must end well unless the block has failed or killed it."""
    one = Daemon(guest, text)
    try:
        yield one
    except BaseException:
        one.process.kill(9)
        raise
    if not one.killed:
        one.stop()


@contextlib.contextmanager
def pair(lab, **options):
    """The two hosts of pair_configs(), trusting each other."""
    text_a, text_b = pair_configs(lab, **options)
    introduce(lab, text_a, text_b)
    with daemon(lab.a, text_a) as a, daemon(lab.b, text_b) as b:
        yield a, b
