"""Hosts that do not know each other, that know another key, that are let in no longer; strangers at the port."""

import devices
import farport
from guest import LabError, wait_until
from scenario import scenario

REFUSED_S = 30
AT_ONCE_S = 15  # of an emulated guest; far below resume_timeout, after which it would come by itself
STATE = "/run/lab/fresh"  # so that nobody is known yet


def refused(daemon, host, words, limit_s=REFUSED_S):
    """What the daemon says of the host once that has the words in it."""
    return wait_until(f"farportd in {daemon.guest.name} says of {host}: {words}", limit_s,
                      lambda: (said := daemon.host(host)["error"] or "") and words in said and said)


def accept(daemon, message, fingerprint):
    """Runs the command that a refusal names, as a person would; it must be of that key."""
    command = farport.accepting_command(message)
    if not command or fingerprint not in command:
        raise LabError(f"no command that accepts {fingerprint} in: {message}")
    daemon.guest.run(command)


def count_refusals(daemon, reason):
    return sum(one["count"] for one in daemon.trust()["refusals"] if one["reason"] == reason)


def first_contact(a, b):
    """Both refuse, with the fingerprint and the command; run, it connects them."""
    keys = {one: one.trust()["fingerprint"] for one in (a, b)}
    for daemon, host, key in ((a, "b", keys[b]), (b, "a", keys[a])):
        message = refused(daemon, host, key)
        if daemon.host(host)["state"] == "connected":
            raise LabError(f"{daemon.guest.name} is connected with {host}, which it does not know")
        accept(daemon, message, key)
    for daemon, host in ((a, "b"), (b, "a")):
        daemon.wait_connected(host)
    if not count_refusals(a, "unknown_key") and not count_refusals(b, "unknown_key"):
        raise LabError("nobody counted the refusal of an unknown key")
    return keys


def removed_while_open(lab, a, b, disk, keys):
    """`farport trust remove` unplugs what is attached, at once, and the host stays out until it is added."""
    b.attach("a", farport.usb_name(disk), "vhci")
    reader = devices.Reader(lab.b, devices.block_device(lab.b, disk.serial))
    a.json("trust", "remove", "b")
    reader.wait_error(AT_ONCE_S, "host not trusted any more")
    devices.wait_usb_device_gone(lab.b, disk.serial, AT_ONCE_S)
    wait_until("the disk is given back to A's kernel", AT_ONCE_S,
               lambda: devices.driver_of(lab.a, disk.port) == "usb-storage")
    b.detach_all()
    # B still knows A; that it is A that refuses, A must tell B.
    refused(b, "a", keys[b])
    a.json("trust", "add", "b", keys[b])
    b.wait_connected("a")


def another_key(b, shown):
    """A key other than the pinned one: refused in capitals, with both, and nothing gets through."""
    wrong = farport.some_fingerprint("nobody's")
    b.json("trust", "add", "a", wrong, "--replace")
    message = refused(b, "a", "IS NOT THE PINNED ONE")
    if wrong not in message or shown not in message:
        raise LabError(f"the refusal of another key does not show both: {message}")
    if b.host("a")["state"] == "connected":
        raise LabError("B is connected with an A that shows another key than the pinned one")
    accept(b, message, shown)
    b.wait_connected("a")


def plain_text(lab, a, disk):
    """A client that speaks no TLS: nothing is told to it, it is counted, and sessions do not notice."""
    before = count_refusals(a, "not_tls")
    path = devices.block_device(lab.b, disk.serial)
    said = lab.b.try_run(f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 10 nc {lab.address_a} {farport.PORT}",
                         limit_s=20).output
    if "farport" in said.lower():
        raise LabError(f"a plain-text client was told {said!r}")
    wait_until("A counts the plain-text client", AT_ONCE_S, lambda: count_refusals(a, "not_tls") > before)
    lab.b.run(f"dd if={path} of=/dev/null bs=1M count=4 iflag=direct")


@scenario(short=True)
def trust_between_guests(lab):
    """First contact refused with the command that accepts it; a removed host, a wrong key, plain text get nothing."""
    text_a, text_b = farport.pair_configs(lab, state=STATE)
    for guest in lab.guests():
        guest.run(f"rm -rf {STATE}")
    with devices.gadget_disk(lab.a) as disk, farport.daemon(lab.a, text_a) as a, farport.daemon(lab.b, text_b) as b:
        keys = first_contact(a, b)
        removed_while_open(lab, a, b, disk, keys)
        another_key(b, keys[a])
        attachment = b.attach("a", farport.usb_name(disk), "vhci")
        plain_text(lab, a, disk)
        b.detach(attachment)
        devices.wait_usb_device_gone(lab.b, disk.serial)
