#!/usr/bin/env python3
"""Two farportd processes whose connection is cut, moved and attacked. Prints PASS or FAIL for each test.
usage: resuming.py FARPORTD [NAME]..."""

import contextlib
import os
import random
import resource
import signal
import socket
import struct
import threading
import time

from processes import ApiError, exchange, free_port, wait_until
from suite import DEVICES, PORT, check, host, main, peer_of, test, two_hosts


@contextlib.contextmanager
def hosts(paths=1, session=""):
    with two_hosts(session, paths) as (a, b, proxies):
        b.wait_connected("a")
        yield a, b, proxies


class Echo:
    """Bytes that go through a port and back, all the time, until stop() says how many came back right."""

    def __init__(self, path):
        self.path, self.rounds, self.error, self.ending = path, 0, None, False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            while not self.ending:
                data = random.Random(self.rounds).randbytes(600)
                if exchange(self.path, data) != data:
                    raise AssertionError(f"other bytes came back in round {self.rounds}")
                self.rounds += 1
        except Exception as error:  # told by the test, in its own thread
            self.error = error

    def wait_rounds(self, more):
        goal = self.rounds + more
        wait_until(f"{more} more rounds through {self.path}", lambda: self.error or self.rounds >= goal)
        if self.error:
            raise self.error

    def stop(self):
        self.ending = True
        self.thread.join(60)
        if self.error:
            raise self.error
        return self.rounds


@contextlib.contextmanager
def echo(path):
    one = Echo(path)
    try:
        yield one
    finally:
        one.stop()


@test
def a_cut_is_a_pause():
    with hosts() as (a, b, [wire]):
        attached = b.attach(PORT)
        with echo(attached["path"]) as bytes_:
            for round_ in range(10):
                bytes_.wait_rounds(2)
                wire.cut()
                wait_until("the session goes on", lambda n=round_: peer_of(b, "a")["resumes"] > n)
            bytes_.wait_rounds(2)
        check([one["id"] for one in b.attachments()] == [attached["id"]], f"attachments: {b.attachments()}")
        check(b.attachments()[0]["state"] == "open", f"attachments: {b.attachments()}")
        check(peer_of(a, "b")["resumes"] >= 10, f"a says {peer_of(a, 'b')}")


@test
def a_longer_cut_too():
    with hosts() as (_, b, [wire]):
        attached = b.attach(PORT)
        with echo(attached["path"]) as bytes_:
            bytes_.wait_rounds(2)
            wire.close_port()
            wait_until("b knows", lambda: peer_of(b, "a")["state"] == "resuming")
            wire.open_port()
            bytes_.wait_rounds(3)
        check(peer_of(b, "a")["state"] == "connected", f"b says {peer_of(b, 'a')}")


@test
def not_resumed_in_time():
    with hosts(session="[session]\nresume_timeout_s = 1\n") as (a, b, [wire]):
        b.attach(PORT)
        wire.close_port()
        b.wait_no_attachments()
        a.wait_free("serial:PORT0")
        wire.open_port()
        b.wait_connected("a")
        b.attach(PORT)


@test
def a_pause_is_shown():
    with hosts() as (_, b, [wire]):
        attached = b.attach(PORT)
        wire.close_port()
        wait_until("b knows", lambda: peer_of(b, "a")["state"] == "resuming")
        check(b.wait_state(attached, "paused")["path"] == attached["path"], f"attachments: {b.attachments()}")
        stats = b.get(f"/v1/attachments/{attached['id']}/stats")["attachment"]
        check(stats["state"] == "paused", f"stats: {stats}")
        wire.open_port()
        b.wait_state(attached, "open")
        check(exchange(attached["path"], b"it goes on") == b"it goes on", "other bytes came back")


def timed(function, *arguments):
    """What it returns, and how many seconds it took."""
    begin = time.monotonic()
    return function(*arguments), time.monotonic() - begin


def paused(b, wire):
    """Until wire.open_port(), the network between the two is gone, and b knows."""
    wire.close_port()
    wait_until("b knows", lambda: peer_of(b, "a")["state"] == "resuming")


@test
def detach_while_paused():
    with hosts() as (a, b, [wire]):
        attached = b.attach(PORT)
        paused(b, wire)
        _, seconds = timed(b.detach, attached)
        check(seconds < 5, f"the detach took {seconds} s, and the network is still gone")
        check(not b.attachments(), f"attachments: {b.attachments()}")
        check(not os.path.lexists(attached["path"]), f"{attached['path']} is still there")
        check(a.devices("a")[PORT]["holder"] is not None, "a knows already: the test shows nothing")
        wire.open_port()
        # Asked before a has heard of the detach: it is told of that first, and finds the device free.
        again = b.attach(PORT)
        check(exchange(again["path"], b"again") == b"again", "other bytes came back")
        b.detach(again)
        a.wait_free("serial:PORT0")
        wait_until("no channel is left", lambda: peer_of(b, "a")["channels"] == peer_of(a, "b")["channels"] == 0)
        told = [one["type"] for one in b.events() if one["type"] == "detached"]
        check(len(told) == 2, f"b told {told}")


@test
def detach_while_paused_and_never_resumed():
    with hosts(session="[session]\nresume_timeout_s = 6\n") as (a, b, [wire]):
        attached = b.attach(PORT)
        paused(b, wire)
        _, seconds = timed(b.detach, attached)
        check(seconds < 4, f"the detach took {seconds} s")
        a.wait_free("serial:PORT0")
        wait_until("b gave it up", lambda: peer_of(b, "a")["state"] not in ("resuming", "connected"))
        wire.open_port()
        b.wait_connected("a")
        b.attach(PORT)


@test
def the_network_goes_while_it_detaches():
    with hosts() as (a, b, [wire]):
        attached = b.attach(PORT)
        wire.close_port()  # b does not know yet, maybe
        _, seconds = timed(b.detach, attached)
        check(seconds < 5, f"the detach took {seconds} s")
        wire.open_port()
        b.wait_connected("a")
        a.wait_free("serial:PORT0")
        b.attach(PORT)


@test
def an_attach_that_is_taken_back_while_paused_leaves_nothing():
    with hosts() as (a, b, [wire]):
        paused(b, wire)
        refused = []

        def attach():
            try:
                refused.append(b.attach(PORT))
            except ApiError as error:
                refused.append(error)
        asking = threading.Thread(target=attach)
        asking.start()
        opening = wait_until("it is being attached", b.attachments)[0]
        _, seconds = timed(b.detach, opening)
        check(seconds < 5, f"the detach took {seconds} s")
        asking.join()
        check(isinstance(refused[0], ApiError), f"it was attached: {refused}")
        wire.open_port()
        b.wait_connected("a")
        b.attach(PORT)  # "busy", if a had opened it for nobody


@test
def detach_while_it_resumes():
    with hosts(session="[session]\nresume_timeout_s = 2\n") as (a, b, [wire]):
        attached = b.attach(PORT)
        wire.close_port()
        wait_until("b knows", lambda: peer_of(b, "a")["state"] == "resuming")
        wire.open_port()
        b.detach(attached)
        b.wait_no_attachments()
        a.wait_free("serial:PORT0")


@test
def the_next_path_and_back():
    with hosts(paths=2, session="[session]\npath_return_s = 1\n") as (a, b, [first, second]):
        attached = b.attach(PORT)
        with echo(attached["path"]) as bytes_:
            bytes_.wait_rounds(1)
            check(peer_of(b, "a")["address"].endswith(f":{first.port}"), f"b says {peer_of(b, 'a')}")
            first.close_port()
            wait_until("it uses the second path",
                       lambda: peer_of(b, "a")["address"].endswith(f":{second.port}") and
                       peer_of(b, "a")["state"] == "connected")
            bytes_.wait_rounds(2)
            first.open_port()
            wait_until("it is back on the first path",
                       lambda: peer_of(b, "a")["address"].endswith(f":{first.port}") and
                       peer_of(b, "a")["state"] == "connected")
            bytes_.wait_rounds(2)
        check([one["id"] for one in b.attachments()] == [attached["id"]], f"attachments: {b.attachments()}")


@test
def the_other_side_resumes_when_nobody_comes():
    with hosts() as (a, b, [wire]):
        attached = b.attach(PORT)
        a.write_config(f'{DEVICES}[[peer]]\nname = "b"\naddress = "127.0.0.1:{b.port}"\n')
        a.process.send_signal(signal.SIGHUP)
        wait_until("a knows an address of b", lambda: peer_of(a, "b")["paths"])
        with echo(attached["path"]) as bytes_:
            bytes_.wait_rounds(1)
            wire.close_port()  # b's only address of a
            wait_until("a has resumed it", lambda: peer_of(b, "a")["resumes"] > 0)
            bytes_.wait_rounds(2)
        check([one["id"] for one in b.attachments()] == [attached["id"]], f"attachments: {b.attachments()}")


@test
def a_reload_with_other_addresses_moves_the_session():
    with hosts(paths=2) as (_, b, [first, second]):
        attached = b.attach(PORT)
        with echo(attached["path"]) as bytes_:
            bytes_.wait_rounds(1)
            b.write_config(f'[[peer]]\nname = "a"\naddress = "127.0.0.1:{second.port}"\n')
            b.process.send_signal(signal.SIGHUP)
            wait_until("it uses the address that is left",
                       lambda: peer_of(b, "a")["address"].endswith(f":{second.port}") and
                       peer_of(b, "a")["state"] == "connected")
            bytes_.wait_rounds(2)


# --- attackers (in plain text: what an attacker with a key could say) ---

HELLO, REFUSE = 1, 2
BEGIN, RESUME = 0, 1


def hello(name, boot, session, purpose=BEGIN, received=0, connection=1):
    body = struct.pack("<IHH16s16sIIIIII", 0x50524146, 1, 1, boot, session, 65536, 2048, 0, connection, purpose, 0)
    return struct.pack("<IBBHQQII", len(body) + len(name), HELLO, len(body), 0, 0, received, 0, 0) + body + name


def said_to(port, words, limit_s=10):
    """What the daemon answers until it closes: (frame type, text)."""
    with socket.create_connection(("127.0.0.1", port), timeout=limit_s) as one:
        one.sendall(words)
        answer = b""
        while len(answer) < 32 or len(answer) < 32 + struct.unpack_from("<I", answer)[0]:
            more = one.recv(4096)
            if not more:
                break
            answer += more
    if len(answer) < 32:
        return None, ""
    return answer[4], answer[32 + answer[5]:].decode()


def taken_apart(words):
    """name, boot and session id of a hello that was overheard."""
    length, _, body_bytes = struct.unpack_from("<IBB", words)
    _, _, _, boot, session = struct.unpack_from("<IHH16s16s", words, 32)
    return words[32 + body_bytes:32 + length], boot, session


@test
def false_resumes_are_refused():
    with hosts() as (a, b, [wire]):
        attached = b.attach(PORT)
        name, boot, session = taken_apart(wire.first_words[0])
        check(name == b"b", f"overheard {name}")
        with echo(attached["path"]) as bytes_:
            bytes_.wait_rounds(1)
            for what, words, reason in [
                    ("numbers from the future", hello(b"b", boot, session, RESUME, 1 << 40, 2), "claims frame"),
                    ("numbers from the past", hello(b"b", boot, session, RESUME, 0, 2), "goes back"),
                    ("a replayed resume", hello(b"b", boot, session, RESUME, 0, 1), "been there before"),
                    ("a stolen session", hello(b"eve", boot, session, RESUME, 0, 2), "claims a session of host b"),
                    ("an unknown session", hello(b"b", boot, b"x" * 16, RESUME, 0, 2), "no such session"),
                    ("another boot", hello(b"b", b"y" * 16, session, RESUME, 0, 2), "no such session")]:
                kind, text = said_to(a.port, words)
                check(kind == REFUSE and reason in text, f"{what}: {kind} {text!r}")
                bytes_.wait_rounds(1)
        check(peer_of(b, "a")["resumes"] == 0, f"the session was disturbed: {peer_of(b, 'a')}")


@contextlib.contextmanager
def one_host(config, listen=""):
    with contextlib.ExitStack() as stack:
        a = host(stack, "a", config)
        if listen:
            a.config.write_text(a.config.read_text().replace("listen = [", f'listen = ["{listen}", '))
        yield a.start()


LAB = '[[peer]]\nname = "lab"\naddresses = ["127.0.0.1:9", "192.0.2.7:7411"]\n'
NEAR = '[[peer]]\nname = "near"\naddress = "127.0.0.1:9"\n'


@test
def a_local_user_is_no_host_of_elsewhere():
    # In plain text; 192.0.2.7 is nobody's (RFC 5737).
    with one_host(LAB + NEAR) as a:
        kind, text = said_to(a.port, hello(b"lab", b"l" * 16, b"s" * 16))
        check(kind == REFUSE and "192.0.2.7" in text and "loopback = true" in text, f"lab: {kind} {text!r}")
        for name in (b"near", b"anybody"):  # nobody else can connect: they are of this machine
            kind, text = said_to(a.port, hello(name, name[:1] * 16, name[:1] * 16))
            check(kind == HELLO and text == "a", f"{name}: {kind} {text!r}")
        wait_until("a tells who was refused", lambda: [
            one for one in a.get("/v1/trust")["refusals"] if "host lab" in one["message"]])


@test
def nor_one_that_nobody_has_configured_where_others_may_connect():
    with one_host(NEAR, listen=f"0.0.0.0:{free_port()}") as a:
        kind, text = said_to(a.port, hello(b"stranger", b"t" * 16, b"t" * 16))
        check(kind == REFUSE and "[[peer]]" in text and "loopback = true" in text, f"{kind} {text!r}")
        kind, text = said_to(a.port, hello(b"near", b"n" * 16, b"n" * 16))
        check(kind == HELLO and text == "a", f"near: {kind} {text!r}")


@test
def a_pinned_host_is_not_looked_for_in_plain_text():
    # Whoever listens on its loopback address would be it.
    with hosts() as (_, b, [wire]):
        b.attach(PORT)
        b.call("POST", "/v1/trust/keys", {"host": "a", "fingerprint": "SHA256:" + "A" * 43})
        wire.cut()
        wait_until("b says why", lambda: any("known here by its key" in one for one in
                                             (peer_of(b, "a")["error"], b.log.read_text())))
        check(peer_of(b, "a")["state"] != "connected", f"b says {peer_of(b, 'a')}")


@test
def ten_thousand_half_open_connections():
    with hosts() as (a, b, _):
        attached = b.attach(PORT)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        count = min(10_000, hard - 200) if hard != resource.RLIM_INFINITY else 10_000
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))
        open_ = []
        try:
            with echo(attached["path"]) as bytes_:
                bytes_.wait_rounds(1)
                _, before = a.threads_and_rss()
                for _ in range(count):
                    open_.append(socket.create_connection(("127.0.0.1", a.port), timeout=10))
                _, during = a.threads_and_rss()
                bytes_.wait_rounds(2)
                # A friend is let in beside them.
                kind, text = said_to(a.port, hello(b"friend", b"f" * 16, b"s" * 16))
                check(kind == HELLO and text == "a", f"a friend was not let in: {kind} {text!r}")
        finally:
            for one in open_:
                one.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        check(count >= 1000, f"only {count} connections were possible here")
        check(during - before < 16e6, f"{count} strangers cost {during - before} bytes")
        check(peer_of(b, "a")["resumes"] == 0, f"the session was disturbed: {peer_of(b, 'a')}")


if __name__ == "__main__":
    main()
