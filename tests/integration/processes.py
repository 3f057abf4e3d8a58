"""farportd as a process of its own, for tests: a folder, a configuration, the API on its socket."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PATIENCE_S = 30


def wait_until(what, condition, limit_s=PATIENCE_S):
    """The first true value of `condition`, or an AssertionError that names `what`."""
    until = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not within {limit_s} s: {what}")
        time.sleep(0.01)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


class ApiError(Exception):
    def __init__(self, status, message):
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Farportd:
    """One host. `start` may be called again after a kill: the configuration stays."""

    def __init__(self, program, name, config="", port=None):
        self.program, self.name = program, name
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"farport-{name}-"))
        self.port = port or free_port()
        self.socket = self.folder / "farport.sock"
        self.config = self.folder / "farport.toml"
        self.log = self.folder / "log"
        self.write_config(config)
        self.process = None

    def write_config(self, text):
        self.config.write_text(
            f'[host]\nname = "{self.name}"\nlisten = ["127.0.0.1:{self.port}"]\n'
            f'run_dir = "{self.folder}"\nstate_dir = "{self.folder}"\nsocket = "{self.socket}"\n\n{text}\n')

    def spawn(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([self.program, "--config", self.config], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)

    def start(self):
        self.spawn()
        wait_until(f"{self.name} answers", self.answers)
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}: {self.log.read_text()}")
        with contextlib.suppress(OSError):
            return self.get("/v1/version")

    def run_to_end(self):
        """Exit status and what it said, of a daemon that is expected not to stay."""
        self.spawn()
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} was to end and stays: {self.log.read_text()}") from None
        return status, self.log.read_text()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE_S)
        if status != 0:
            raise AssertionError(f"{self.name} ended with {status}: {self.log.read_text()}")

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- the API ---

    def call(self, method, path, body=None):
        connection = _UnixConnection(str(self.socket))
        try:
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        answer = json.loads(text) if text else None
        if response.status >= 300:
            raise ApiError(response.status, answer["message"])
        return answer

    def get(self, path):
        return self.call("GET", path)

    def attach(self, device, **fields):
        return self.call("POST", "/v1/attachments", {"device": device, **fields})

    def detach(self, attachment):
        self.call("DELETE", f"/v1/attachments/{attachment['id']}")

    def attachments(self):
        return self.get("/v1/attachments")

    def devices(self, host=None):
        listed = self.get("/v1/devices" + (f"?host={host}" if host else ""))["devices"]
        return {f"{one['host']}/{one['name']}": one for one in listed}

    def events(self):
        connection = _UnixConnection(str(self.socket))
        try:
            connection.request("GET", "/v1/events?after=0&follow=false")
            return [json.loads(line) for line in connection.getresponse().read().splitlines()]
        finally:
            connection.close()

    def wait_connected(self, host):
        wait_until(f"{self.name} is connected to {host}", lambda: any(
            one["name"] == host and one["state"] == "connected" for one in self.get("/v1/hosts")))

    def wait_state(self, attachment, state):
        """The attachment, once it is in this state."""
        def look():
            found = [one for one in self.attachments() if one["id"] == attachment["id"]]
            return found[0] if found and found[0]["state"] == state else None
        return wait_until(f"{attachment['id']} on {self.name} is {state}", look)

    def wait_no_attachments(self):
        wait_until(f"{self.name} has no attachment left", lambda: not self.attachments())

    def wait_free(self, device):
        """Of a device of this host."""
        wait_until(f"{device} is free", lambda: self.devices(self.name)[f"{self.name}/{device}"]["holder"] is None)

    def threads_and_rss(self):
        status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
                      .splitlines())
        return int(status["Threads"]), int(status["VmRSS"].split()[0]) * 1024


def exchange(path, data, limit_s=PATIENCE_S):
    """Writes to a pty whose other side sends everything back, and reads as much."""
    import select
    import termios
    import tty
    terminal = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        tty.setraw(terminal, termios.TCSANOW)
        waiting = select.poll()  # select() takes no descriptor above 1023
        waiting.register(terminal, select.POLLIN)
        sent = 0
        back = b""
        until = time.monotonic() + limit_s
        while len(back) < len(data):
            if time.monotonic() > until:
                raise AssertionError(f"{len(back)} of {len(data)} bytes came back through {path}")
            # Little at a time: the port's line is slower than the pty.
            writable = sent < len(data) and sent - len(back) < 1024
            waiting.modify(terminal, select.POLLIN | (select.POLLOUT if writable else 0))
            for _, events in waiting.poll(100):
                if events & select.POLLOUT:
                    sent += os.write(terminal, data[sent:sent + 256])
                if events & (select.POLLIN | select.POLLHUP):
                    back += os.read(terminal, 4096)
        return back
    finally:
        os.close(terminal)
