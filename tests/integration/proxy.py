"""A wire between two processes of this machine that a test can cut, freeze and listen to."""

import contextlib
import socket
import threading


class Proxy:
    """Forwards one port of loopback to another. `cut()` drops the connections there are, `close_port()` also
    refuses new ones until `open_port()`; what the connecting side said first is in `first_words`."""

    def __init__(self, target):
        self.target = target
        self.lock = threading.Lock()
        self.pairs, self.first_words = set(), []
        self.server = None
        self.port = 0
        self.open_port()

    def open_port(self):
        server = socket.create_server(("127.0.0.1", self.port))
        self.port = server.getsockname()[1]
        self.server = server
        threading.Thread(target=self._accept, args=[server], daemon=True).start()

    def close_port(self):
        server, self.server = self.server, None
        if server:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # wakes accept()
            server.close()
        self.cut()

    def cut(self):
        with self.lock:
            pairs, self.pairs = self.pairs, set()
        for pair in pairs:
            for one in pair:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def connections(self):
        with self.lock:
            return len(self.pairs)

    def _accept(self, server):
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            pair = (near, far)
            with self.lock:
                self.pairs.add(pair)
                self.first_words.append(b"")
                index = len(self.first_words) - 1
            threading.Thread(target=self._pump, args=[near, far, pair, index], daemon=True).start()
            threading.Thread(target=self._pump, args=[far, near, pair, None], daemon=True).start()

    def _pump(self, source, sink, pair, index):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if index is not None and len(self.first_words[index]) < 256:
                    self.first_words[index] += data
                sink.sendall(data)
        for one in pair:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self.lock:
            self.pairs.discard(pair)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close_port()
