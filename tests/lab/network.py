"""The wires between the guests: cut without a word, slowed down, and as they were again.

By netem on both guests' cards, so that no carrier is lost: as behind a switch whose cable was pulled.
"""

import contextlib

from guest import LabError

CARDS = ("eth0", "eth1")


def _netem(guest, card, words):
    # By its full path: busybox has a tc of its own, without netem.
    guest.run(f"modprobe sch_netem; /usr/sbin/tc qdisc replace dev {card} root netem {words}")


def _restore(guest, card):
    guest.run(f"/usr/sbin/tc qdisc del dev {card} root 2>/dev/null; true")


@contextlib.contextmanager
def lost(lab, card=CARDS[0]):
    """Nothing gets through that wire, in either direction, while the block runs."""
    with _changed(lab, card, "loss 100%"):
        yield


@contextlib.contextmanager
def delayed(lab, round_trip_ms, card=CARDS[0]):
    """The wire's round trip takes so much longer: half of it on each guest's way out. 0: as it is."""
    if round_trip_ms == 0:
        yield
        return
    with _changed(lab, card, f"delay {round_trip_ms / 2:g}ms limit 10000"):
        yield


@contextlib.contextmanager
def limited(lab, mbit_s, card=CARDS[0]):
    """The wire carries that much in each direction, with a short queue before it."""
    with _changed(lab, card, f"rate {mbit_s}mbit limit 64"):
        yield


@contextlib.contextmanager
def _changed(lab, card, words):
    try:
        for guest in lab.guests():
            _netem(guest, card, words)
        yield
    finally:
        for guest in lab.guests():
            _restore(guest, card)


def cut(lab, seconds, card=CARDS[0]):
    """Cuts the wire for that long. The guests time it themselves: this machine may be busy."""
    text = (f"modprobe sch_netem; /usr/sbin/tc qdisc replace dev {card} root netem loss 100% && "
            f"sleep {seconds:.3f}; /usr/sbin/tc qdisc del dev {card} root")
    for command in [guest.start(text) for guest in lab.guests()]:
        command.check()


def reset(guest, port):
    """Resets the guest's TCP connections with that port at the far end, as a firewall that has lost its state does.

    Both ends are told (kernel, tcp_abort); there must be one.
    """
    killed = guest.run(f"modprobe tcp_diag; /usr/sbin/ss -H -K -t '( dport = :{port} or sport = :{port} )'")
    if not killed:
        raise LabError(f"{guest.name} has no connection with port {port} to reset")
