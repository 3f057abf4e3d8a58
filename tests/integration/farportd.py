#!/usr/bin/env python3
"""Two farportd processes on loopback: a has emulated devices, b uses them. Prints PASS, FAIL or SKIP
for each test. usage: farportd.py FARPORTD [NAME]..."""

import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess

import suite
from processes import ApiError, exchange, free_port, wait_until
from suite import Skip, check, farportd, main, test

PORT = "serial:PORT0"
DISK = "usb:1d6b:0104:DISK0"
DEVICES = """
[[emulated]]
name = "PORT0"
kind = "serial"
[[emulated]]
name = "DISK0"
kind = "disk"
"""
EXPORT_TO_B = '[[export]]\ndevice = "*"\nhosts = ["b"]\n'


@contextlib.contextmanager
def host(name, config="", **settings):
    with contextlib.ExitStack() as stack:
        yield suite.host(stack, name, config, **settings)


@contextlib.contextmanager
def pair(a_config=DEVICES + EXPORT_TO_B, session="[session]\nresume_timeout_s = 2\n"):
    with host("a", session + a_config) as a:
        a.start()
        with host("b", f'{session}[[peer]]\nname = "a"\naddress = "127.0.0.1:{a.port}"\n') as b:
            b.start()
            b.wait_connected("a")
            yield a, b


def check_serial(attachment, seed):
    data = random.Random(seed).randbytes(2000)
    check(exchange(attachment["path"], data) == data, "other bytes came back than were sent")


def refused(status, call, *words):
    """The call fails with this status, and its message holds the words."""
    try:
        call()
    except ApiError as error:
        check(error.status == status, f"status {error.status} instead of {status}: {error.message}")
        for word in words:
            check(word in error.message, f"{word!r} is not in: {error.message}")
        return
    raise AssertionError("it was not refused")


# --- starting ---

def ends_with(status, config, *words, replace=None):
    with host("a", config) as a:
        if replace:
            a.config.write_text(a.config.read_text().replace(*replace))
        got, said = a.run_to_end()
        check(got == status, f"exit status {got} instead of {status}: {said}")
        for word in words:
            check(word in said, f"{word!r} is not in: {said}")


@test
def unknown_key():
    ends_with(2, "[polcy]\nthreshold = 50\n", "polcy", "farport.toml:8")


@test
def wrong_type():
    ends_with(2, '[[export]]\ndevice = 7\n', "device", "farport.toml:9")


@test
def port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken, host("a", port=taken.getsockname()[1]) as a:
        status, said = a.run_to_end()
        check(status == 4, f"exit status {status}: {said}")
        check(f"127.0.0.1:{a.port}" in said and "in use" in said, said)


@test
def usbip_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ends_with(4, f'[usbip_server]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n', "in use")


@test
def a_second_daemon_with_the_same_folder():
    with host("a") as a:
        a.start()
        second = subprocess.run([farportd(), "--config", a.config, "--set", f"host.listen=127.0.0.1:{free_port()}"],
                                capture_output=True, text=True, timeout=30, check=False)
        check(second.returncode == 4, f"exit status {second.returncode}: {second.stderr}")
        check(str(a.process.pid) in second.stderr, second.stderr)
        a.get("/v1/version")


@test
def a_socket_path_that_exists():
    with host("a") as a:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(a.socket))
        a.start()  # nobody listens on it: replaced
        a.stop()
        check(not a.socket.exists(), "the socket was left behind")
        a.socket.write_text("mine")
        status, said = a.run_to_end()
        check(status != 0 and str(a.socket) in said, said)
        check(a.socket.read_text() == "mine", "a file that is no socket was touched")


@test
def a_socket_that_another_daemon_serves():
    with host("a") as a, host("c") as c:
        a.start()
        c.config.write_text(c.config.read_text().replace(str(c.socket), str(a.socket)))
        status, said = c.run_to_end()
        check(status == 4, f"exit status {status}: {said}")
        check(a.get("/v1/version")["host"] == "a", "the first daemon lost its socket")


# --- using devices ---

@test
def serial_bytes_through_a_pty():
    with pair() as (a, b):
        check(f"a/{PORT}" in b.devices() and f"a/{DISK}" in b.devices(), "b does not see a's devices")
        attachment = b.attach(f"a/{PORT}")
        check(attachment["driver"] == "pty" and os.path.exists(attachment["path"]), str(attachment))
        check_serial(attachment, 1)
        check(a.devices("a")[f"a/{PORT}"]["holder"]["host"] == "b", "a does not say who has it")
        b.detach(attachment)
        check(not os.path.lexists(attachment["path"]), "the pty's link is still there")
        a.wait_free(PORT)


@test
def refusals():
    with pair(DEVICES + f'[[export]]\ndevice = "{PORT}"\nhosts = ["b"]\n') as (a, b):
        refused(404, lambda: b.attach("a/usb:dead:beef"), "usb:dead:beef")
        refused(404, lambda: b.attach(f"nowhere/{PORT}"), "nowhere")
        refused(403, lambda: b.attach(f"a/{DISK}"), "export")
        refused(400, lambda: b.attach(f"a/{PORT}", driver="teleport"), "teleport", "pty")
        refused(404, lambda: b.attach(f"a/{PORT}", vm="unheard-of"), "unheard-of")
        refused(404, lambda: b.call("DELETE", "/v1/attachments/att-99"), "att-99")
        attachment = b.attach(f"a/{PORT}")
        refused(409, lambda: b.attach(f"a/{PORT}"), "in use", "host b")
        refused(409, lambda: a.attach(PORT), "in use", "host b")
        check_serial(attachment, 2)


@test
def a_device_of_this_host():
    with host("a", DEVICES) as a:
        a.start()
        attachment = a.attach(PORT)
        check_serial(attachment, 3)
        a.detach(attachment)
        check_serial(a.attach(PORT), 4)


@test
def rfc2217_answers():
    with pair() as (_, b):
        attachment = b.attach(f"a/{PORT}", driver="rfc2217")
        address, port = attachment["path"].rsplit(":", 1)
        with socket.create_connection((address, int(port)), 10) as client:
            client.sendall(bytes([255, 251, 44]))  # IAC WILL COM-PORT-OPTION (RFC 2217)
            said = b""
            while bytes([255, 253, 44]) not in said:  # IAC DO COM-PORT-OPTION
                more = client.recv(1024)
                check(more, f"closed after {said!r}")
                said += more
        b.detach(attachment)
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection((address, int(port)), 10).close()
            raise AssertionError("the port still listens")


@test
def stock_usbip_list():
    usbip = shutil.which("usbip") or shutil.which("usbip", path="/usr/sbin:/sbin")
    if not usbip:
        raise Skip("usbip is not installed")
    port = free_port()
    config = DEVICES + f'[usbip_server]\nlisten = "127.0.0.1:{port}"\n[[export]]\ndevice = "usb:*"\n'
    with host("a", config + 'hosts = ["127.0.0.1"]\n') as a:
        a.start()
        listed = subprocess.run([usbip, "--tcp-port", str(port), "list", "-r", "127.0.0.1"], capture_output=True,
                                text=True, timeout=30, check=False)
        check(listed.returncode == 0 and "1d6b:0104" in listed.stdout, f"{listed.stdout}{listed.stderr}")
    with host("a", config + 'hosts = ["b"]\n') as a:
        a.start()
        listed = subprocess.run([usbip, "--tcp-port", str(port), "list", "-r", "127.0.0.1"], capture_output=True,
                                text=True, timeout=30, check=False)
        check("1d6b:0104" not in listed.stdout, f"listed without a rule: {listed.stdout}")


# --- dying and coming back ---

@test
def the_device_host_is_killed():
    with pair() as (a, b):
        attachment = b.attach(f"a/{PORT}")
        a.kill()
        b.wait_no_attachments()  # once nobody has resumed it
        check(not os.path.lexists(attachment["path"]), "the pty's link is still there")
        refused(502, lambda: b.attach(f"a/{PORT}"), "not connected")
        a.start()
        b.wait_connected("a")
        check_serial(b.attach(f"a/{PORT}"), 5)


@test
def the_device_comes_back_with_its_daemon():
    with pair(session="") as (a, b):
        attachment = b.attach(f"a/{PORT}")
        for turn, (seed, end) in enumerate([(51, a.kill), (52, a.stop)], 2):
            end()
            a.start()
            wait_until(f"it is attached for the {turn}. time",
                       lambda n=turn: [one["type"] for one in b.events()].count("attached") == n)
            again = b.wait_state(attachment, "open")
            check(again["path"] == attachment["path"] and again["waiting"] is None, f"{again}")
            check_serial(again, seed)
        types = [event["type"] for event in b.events() if event["attachment"] == attachment["id"]]
        check(types == ["attached"] + ["attachment.waiting", "attached"] * 2, f"{types}")


@test
def a_persistent_attachment_survives_its_daemon():
    with pair() as (a, b):
        attachment = b.attach(f"a/{PORT}", persistent=True)
        check(attachment["state"] == "open" and attachment["persistent"], f"{attachment}")
        for seed, end in ((53, b.kill), (54, b.stop)):
            end()
            a.wait_free(PORT)
            b.start()
            again = b.wait_state(attachment, "open")
            check(again["path"] == attachment["path"], f"{again}")
            check_serial(again, seed)
        refused(409, lambda: b.attach(f"a/{PORT}", persistent=True), attachment["id"], "farport detach")
        b.detach(again)
        b.stop()
        b.start()
        check(b.attachments() == [], "what was detached came back")


@test
def a_persistent_attachment_waits_for_its_host():
    with contextlib.ExitStack() as hosts:
        a = hosts.enter_context(host("a", DEVICES + EXPORT_TO_B))
        b = hosts.enter_context(host("b", f'[[peer]]\nname = "a"\naddress = "127.0.0.1:{a.port}"\n'))
        b.start()
        refused(404, lambda: b.attach("nowhere/usb:1:2", persistent=True), "nowhere")
        refused(400, lambda: b.attach(f"a/{PORT}", wait=5), "persistent")
        waiting = b.attach(f"a/{PORT}", persistent=True)
        check(waiting["state"] == "waiting" and waiting["waiting"]["code"] == "unreachable", f"{waiting}")
        unwanted = b.attach("a/usb:dead:beef", persistent=True)
        stats = b.get(f"/v1/attachments/{unwanted['id']}/stats")
        check(stats["at"] is None and stats["attachment"]["state"] == "waiting", f"{stats}")
        b.detach(unwanted)
        check([one["id"] for one in b.attachments()] == [waiting["id"]], "it still waits")
        a.start()
        check_serial(b.wait_state(waiting, "open"), 55)
        absent = b.attach("a/usb:dead:beef", persistent=True, wait=1)
        check(absent["state"] == "waiting" and absent["waiting"]["code"] == "not_found", f"{absent}")
        check(absent["waiting"]["next_try"] is not None, f"{absent}")


@test
def a_corrupt_file_of_attachments_is_moved_aside():
    with pair() as (a, b):
        b.attach(f"a/{PORT}", persistent=True)
        b.stop()
        file = b.folder / "attachments.json"
        check(json.loads(file.read_text())["attachments"][0]["device"] == PORT, file.read_text())
        file.write_text('{"version": 1, "attachments": [{"id"')
        b.start()
        check(b.attachments() == [], "something was restored")
        check("attachments.json.bad-" in b.log.read_text(), b.log.read_text())
        check(len(list(b.folder.glob("attachments.json.bad-*"))) == 1, "it was not kept")


@test
def the_consumer_host_is_killed():
    with pair() as (a, b):
        b.attach(f"a/{PORT}")
        b.kill()
        a.wait_free(PORT)
        b.start()
        b.wait_connected("a")
        check_serial(b.attach(f"a/{PORT}"), 6)


@test
def stopped_in_order():
    with pair() as (a, b):
        attachment = b.attach(f"a/{PORT}")
        b.stop()
        check(not os.path.lexists(attachment["path"]), "the pty's link is still there")
        check(not b.socket.exists(), "the socket is still there")
        a.wait_free(PORT)
        b.start()
        b.wait_connected("a")
        attachment = b.attach(f"a/{PORT}")
        a.stop()
        b.wait_state(attachment, "waiting")


@test
def attached_and_detached_in_a_hurry():
    with pair() as (a, b):
        for turn in range(20):
            b.detach(b.attach(f"a/{PORT}"))
        check_serial(b.attach(f"a/{PORT}"), 7)


# --- reloading ---

@test
def reload_leaves_channels_alone():
    with pair() as (a, b):
        attachment = b.attach(f"a/{PORT}")
        a.write_config(DEVICES)
        a.process.send_signal(signal.SIGHUP)
        wait_until("the rule is gone", lambda: f"a/{DISK}" not in b.devices("a"))
        refused(403, lambda: b.attach(f"a/{DISK}"))
        check_serial(attachment, 8)
        a.write_config(DEVICES + EXPORT_TO_B + "[nonsense]\n")
        a.process.send_signal(signal.SIGHUP)
        wait_until("the error is told", lambda: "nonsense" in a.log.read_text())
        refused(403, lambda: b.attach(f"a/{DISK}"))
        a.write_config(DEVICES + EXPORT_TO_B)
        a.process.send_signal(signal.SIGHUP)
        wait_until("the rule is back", lambda: f"a/{DISK}" in b.devices("a"))
        check_serial(attachment, 9)


# --- strangers ---

MAGIC = 0x50524146


def frame(kind, body=b"", data=b"", number=0, size=None, channel=0):
    """A frame of dataplane/wire.h."""
    total = len(body) + len(data) if size is None else size
    return struct.pack("<IBBHQQII", total, kind, len(body), 0, number, 0, channel, 0) + body + data


def hello(major=1, magic=MAGIC, name=b"stranger"):
    body = struct.pack("<IHH16s16sIIII", magic, major, 0, b"b" * 16, b"s" * 16, 65536, 2048, 0, 0)
    return frame(1, body, name)


def said_to(port, data):
    """What the daemon says before it closes."""
    with socket.create_connection(("127.0.0.1", port), 15) as stranger:
        stranger.settimeout(15)
        said = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            stranger.sendall(data)
            while more := stranger.recv(4096):
                said += more
        return said


@test
def garbage_on_the_port_disturbs_nobody():
    random_bytes = random.Random(10).randbytes
    bad = [
        random_bytes(4096),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random_bytes(500),  # a TLS client hello
        frame(1, b"short"),
        hello(magic=0x12345678),
        frame(1, b"x" * 56, size=0xFFFFFFFF),  # a 4 GiB length
        hello() + frame(99, number=1),
        hello() + frame(17, b"s" * 32, number=1, channel=5),  # a submit to no channel
        hello() + frame(16, struct.pack("<IBBH", 1, 1, 0, 0), b"{not json", number=1) + frame(3),
        hello() + frame(16, struct.pack("<IBBH", 1, 1, 0, 0), b"[" * 60000, number=1) + frame(3),
        hello()[:40],
        hello(name=b""),
        hello(name=b"a"),
    ]
    with pair() as (a, b):
        attachment = b.attach(f"a/{PORT}")
        silent = [socket.create_connection(("127.0.0.1", a.port), 10) for _ in range(20)]
        for data in bad:
            with contextlib.suppress(TimeoutError, socket.timeout):
                with socket.create_connection(("127.0.0.1", a.port), 10) as stranger:
                    with contextlib.suppress(ConnectionError):
                        stranger.sendall(data)
        check_serial(attachment, 10)
        for one in silent:
            one.close()
        check([one["id"] for one in b.attachments()] == [attachment["id"]], "the attachment is gone")
        check(a.process.poll() is None, "the daemon is gone")


@test
def another_version_is_told_why():
    with host("a") as a:
        a.start()
        said = said_to(a.port, hello(major=9))
        check(b"version" in said and re.search(rb"9\.0", said), f"said {said!r}")
        check(b"name of its own" in said_to(a.port, hello(name=b"a")), "a namesake was not told why")
        a.get("/v1/version")


@test
def trust_by_the_api_and_files_for_nobody_else():
    key = "SHA256:" + "a" * 42 + "A"
    with host("a") as a:
        a.start()
        mine = a.get("/v1/trust")["fingerprint"]
        check(mine.startswith("SHA256:") and len(mine) == 50, mine)
        for name in ("host_key", "known_hosts"):
            if name == "known_hosts":
                a.call("POST", "/v1/trust/keys", {"host": "lab", "fingerprint": key})
            mode = os.stat(a.folder / "trust" / name).st_mode & 0o777
            check(mode == 0o600, f"{name} has mode {mode:o}")
        check(key in (a.folder / "trust/known_hosts").read_text(), "the key is not in the file")
        explained = json.dumps(a.get("/v1/explain"))
        check(mine in explained and "1 key is pinned" in explained, explained)
        a.call("DELETE", "/v1/trust/keys/lab")
        check(a.get("/v1/trust")["keys"] == [], "the key stays")
        (a.folder / "trust/known_hosts").write_text(f"lab {key}\n")
        os.kill(a.process.pid, signal.SIGHUP)
        wait_until("a file edited by hand counts", lambda: a.get("/v1/trust")["keys"])
        (a.folder / "trust/known_hosts").write_text("lab half-a-key\n")
        os.kill(a.process.pid, signal.SIGHUP)
        wait_until("a malformed line is told", lambda: "known_hosts:1" in a.log.read_text())
        check(len(a.get("/v1/trust")["keys"]) == 1, "a malformed file changed whom it trusts")
        a.call("POST", "/v1/trust/renew", {"prepare": True})
        check(a.get("/v1/trust")["fingerprint"] == mine, "prepared, not renewed")
        private = (a.folder / "trust/host_key").read_text().splitlines()[1]
        check(private not in a.log.read_text(), "the key is in the log")
        a.stop()
        (a.folder / "trust/known_hosts").unlink()
        os.chmod(a.folder / "trust/host_key", 0o644)
        status, said = a.run_to_end()
        check(status == 5 and "chmod 600" in said, f"exit status {status}: {said}")


@test
def privileges_are_given_up():
    with host("a") as a:
        a.start()
        for task in pathlib.Path(f"/proc/{a.process.pid}/task").iterdir():
            status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines())
            check(status["NoNewPrivs"] == "1", "new privileges are possible")
            # CAP_CHOWN and CAP_FOWNER.
            check(int(status["CapEff"], 16) & ~0b1001 == 0, f"{status['Name']}: {status['CapEff']}")
        check("privileges: user" in a.log.read_text(), "the log does not say what was kept")


@test
def idle_and_small():
    with pair() as (a, b):
        for one in (a, b):
            _, rss = one.threads_and_rss()
            check(rss < 50e6, f"{one.name} has {rss} bytes resident with nothing attached")


if __name__ == "__main__":
    main()
