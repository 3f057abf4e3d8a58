#!/usr/bin/env python3
"""Two farportd processes with host keys, over TLS on loopback. Prints PASS or FAIL for each test.
usage: trusting.py FARPORTD [NAME]..."""

import contextlib
import socket
import ssl
import stat

from processes import ApiError, exchange, wait_until
from suite import PORT, check, main, peer_of, test, two_hosts

TLS = "[trust]\nloopback = true\n"


@contextlib.contextmanager
def strangers():
    """a and b, b with a as its peer; neither knows the other's key. The wire is between them."""
    with two_hosts(TLS) as (a, b, [wire]):
        yield a, b, wire


@contextlib.contextmanager
def friends():
    with strangers() as (a, b, wire):
        trust(a, b)
        trust(b, a)
        b.wait_connected("a")
        yield a, b, wire


def fingerprint(host):
    return host.get("/v1/trust")["fingerprint"]


def trust(host, other, key=None):
    host.call("POST", "/v1/trust/keys", {"host": other.name, "fingerprint": key or fingerprint(other)})


def distrust(host, name):
    host.call("DELETE", f"/v1/trust/keys/{name}")


def refusals(host):
    return {one["reason"]: one["count"] for one in host.get("/v1/trust")["refusals"]}


def wait_error(host, peer, *words):
    wait_until(f"{host.name} says {words} of {peer}", lambda: all(
        word in peer_of(host, peer)["error"] for word in words))


@test
def a_first_contact_is_refused_with_the_command_that_accepts_it():
    with strangers() as (a, b, _):
        command = f"farport trust add a {fingerprint(a)}"
        wait_error(b, "a", command)
        trust(b, a)
        # Now a must know b: its refusal reaches b, with its own command.
        wait_error(b, "a", f"farport trust add b {fingerprint(b)}")
        check("unknown_key" in refusals(a), f"a counted {refusals(a)}")
        trust(a, b)
        b.wait_connected("a")
        entry = peer_of(b, "a")
        check(entry["fingerprint"] == fingerprint(a), f"b says {entry}")
        attached = b.attach(PORT)
        check(exchange(attached["path"], b"over TLS") == b"over TLS", "other bytes came back")


def trust_check(host, peer):
    return next(one for one in host.get(f"/v1/explain?host={peer}&device=") if one["name"] == "trust")


@test
def doctor_gives_the_command_of_each_host():
    with strangers() as (a, b, _):
        wait_error(b, "a", fingerprint(a))
        check_ = trust_check(b, "a")
        for words in [f"here: if it shows the same, `farport trust add a {fingerprint(a)}`",
                      f"on a: `farport trust show`, and `farport trust add b {fingerprint(b)}`"]:
            check(not check_["ok"] and words in check_["advice"], f"doctor on b says {check_}")
        trust(b, a)
        wait_error(b, "a", f"farport trust add b {fingerprint(b)}")
        check_ = trust_check(b, "a")
        check(not check_["ok"] and check_["advice"] == f"on a: `farport trust add b {fingerprint(b)}`",
              f"doctor on b says {check_}")
        trust(a, b)
        b.wait_connected("a")
        check(trust_check(b, "a")["ok"], f"doctor on b says {trust_check(b, 'a')}")


@test
def nothing_crosses_in_plain_text():
    with friends() as (_, b, wire):
        attached = b.attach(PORT)
        exchange(attached["path"], b"a secret that is no secret" * 4)
        for words in wire.first_words:
            check(words[:1] == b"\x16", f"not a TLS handshake: {words[:32]!r}")
            check(b"FARP" not in words, "a hello in plain text")


@test
def a_session_resumes_over_tls():
    with friends() as (_, b, wire):
        attached = b.attach(PORT)
        for _ in range(3):
            before = peer_of(b, "a")["resumes"]
            wire.cut()
            wait_until("it goes on", lambda n=before: peer_of(b, "a")["resumes"] > n)
            check(exchange(attached["path"], b"still there") == b"still there", "other bytes came back")
        check([one["id"] for one in b.attachments()] == [attached["id"]], f"attachments: {b.attachments()}")


@test
def a_host_that_is_removed_is_out_at_once():
    with friends() as (a, b, _):
        b.attach(PORT)
        distrust(a, "b")
        a.wait_free("serial:PORT0")
        wait_error(b, "a", "farport trust add b")
        trust(a, b)
        b.wait_connected("a")


@test
def another_key_than_the_pinned_one():
    with strangers() as (a, b, _):
        other = "SHA256:" + "A" * 43
        trust(b, a, other)
        wait_error(b, "a", "IS NOT THE PINNED ONE")
        check(peer_of(b, "a")["state"] != "connected", "it connected all the same")


@test
def a_key_is_renewed_under_an_open_session():
    with friends() as (a, b, _):
        attached = b.attach(PORT)
        coming = b.call("POST", "/v1/trust/renew", {"prepare": True})["fingerprint"]
        trust(a, b, coming)
        b.call("POST", "/v1/trust/renew", {"prepare": False})
        check(fingerprint(b) == coming, f"b shows {fingerprint(b)}")
        wait_until("the session shows the new key", lambda: peer_of(a, "b").get("fingerprint") == coming)
        check(exchange(attached["path"], b"renewed") == b"renewed", "other bytes came back")
        check([one["id"] for one in b.attachments()] == [attached["id"]], f"attachments: {b.attachments()}")


@test
def keys_are_secret():
    with friends() as (a, _, _):
        key = a.folder / "trust" / "host_key"
        check(stat.S_IMODE(key.stat().st_mode) == 0o600, f"mode {key.stat().st_mode:o}")
        check(stat.S_IMODE(key.parent.stat().st_mode) == 0o700, f"mode {key.parent.stat().st_mode:o}")
        secret = "".join(key.read_text().splitlines()[1:-1])
        check(secret[:32] not in a.log.read_text(), "the key is in the log")
        key.chmod(0o644)
        a.stop()
        status, said = a.run_to_end()
        check(status != 0 and "host_key" in said and "600" in said, f"{status}: {said}")


def said_to(port, words):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
        one.sendall(words)
        with contextlib.suppress(OSError):
            while one.recv(4096):
                pass


@test
def strangers_are_refused_and_counted():
    with friends() as (a, b, _):
        attached = b.attach(PORT)
        for what, reason, act in [
                ("plain text", "not_tls", lambda: said_to(a.port, b"GET / HTTP/1.1\r\n\r\n")),
                ("a client of TLS 1.2", "old_version", lambda: shake_hands(a.port, ssl.TLSVersion.TLSv1_2)),
                ("a client without a key", "no_key", lambda: shake_hands(a.port, ssl.TLSVersion.TLSv1_3))]:
            before = refusals(a).get(reason, 0)
            act()
            wait_until(f"a counts {what} as {reason}: {refusals(a)}",
                       lambda r=reason, n=before: refusals(a).get(r, 0) > n)
        check(exchange(attached["path"], b"undisturbed") == b"undisturbed", "other bytes came back")
        check(peer_of(b, "a")["resumes"] == 0, f"the session was disturbed: {peer_of(b, 'a')}")
        log = a.log.read_text()
        for _ in range(5):
            said_to(a.port, b"GET / HTTP/1.1\r\n\r\n")
        wait_until("a counts them", lambda: refusals(a)["not_tls"] >= 6)
        check(a.log.read_text().count("TLS") <= log.count("TLS") + 1, "a logs each of them")


def shake_hands(port, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", port), timeout=10) as one, contextlib.suppress(ssl.SSLError, OSError):
        with context.wrap_socket(one) as secure:
            secure.sendall(b"hello")
            secure.recv(100)


@test
def a_bad_fingerprint_is_refused():
    with friends() as (a, _, _):
        try:
            a.call("POST", "/v1/trust/keys", {"host": "c", "fingerprint": "nonsense"})
        except ApiError as error:
            check(error.status == 400 and "SHA256" in error.message, str(error))
        else:
            raise AssertionError("a bad fingerprint was taken")


if __name__ == "__main__":
    main()
