"""A client of RFC 2217 (Telnet Com Port Control), speaking through `nc` inside a guest."""

import struct
import time

from guest import LabError

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
BINARY, SUPPRESS_GO_AHEAD, COM_PORT = 0, 3, 44
SET_BAUDRATE, SET_DATASIZE, SET_PARITY, SET_STOPSIZE, SET_CONTROL, SET_MODEMSTATE_MASK = 1, 2, 3, 4, 5, 11
NOTIFY_MODEMSTATE, SERVER = 107, 100
PARITY = {"N": 1, "O": 2, "E": 3, "M": 4, "S": 5}
CONTROL = {"break on": 5, "break off": 6, "dtr on": 8, "dtr off": 9, "rts on": 11, "rts off": 12}
MODEM_STATE = {0x80: "dcd", 0x40: "ri", 0x20: "dsr", 0x10: "cts"}


class Client:
    """Has the send() and receive() of devices.Tty, and the server's last notice of the modem lines."""

    def __init__(self, guest, address):
        host, _, port = address.rpartition(":")
        self.command = guest.start(f"exec nc {host} {port}", limit_s=600)
        self.answers = []  # (command, value) of the server, oldest first
        self.modem_lines = set()
        self._raw, self._data = b"", b""
        self.command.write(bytes([IAC, WILL, COM_PORT, IAC, WILL, BINARY, IAC, DO, BINARY,
                                  IAC, DO, SUPPRESS_GO_AHEAD]))
        self._request(SET_MODEMSTATE_MASK, b"\xff")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.command.kill()

    def set(self, baud_and_frame):
        baud, frame = baud_and_frame.split()
        for code, value in ((SET_BAUDRATE, struct.pack(">I", int(baud))), (SET_DATASIZE, bytes([int(frame[0])])),
                            (SET_PARITY, bytes([PARITY[frame[1]]])), (SET_STOPSIZE, bytes([int(frame[2])]))):
            answer = self._request(code, value)
            if answer != value:
                raise LabError(f"RFC 2217 command {code}: asked for {value.hex()}, the server set {answer.hex()}")

    def control(self, *names):
        """Several changes in one segment, as a program that sets DTR and RTS together sends them."""
        self.command.write(b"".join(self._frame(SET_CONTROL, bytes([CONTROL[name]])) for name in names))

    def send(self, data):
        data = data.replace(b"\xff", b"\xff\xff")
        for start in range(0, len(data), 2048):
            self.command.write(data[start:start + 2048])

    def receive(self, count, limit_s=15):
        end = time.monotonic() + limit_s
        while len(self._data) < count and time.monotonic() < end:
            self.poll(end - time.monotonic())
        data, self._data = self._data[:count], self._data[count:]
        return data

    def poll(self, limit_s):
        """Takes in what the server has sent; waits for something if nothing has come."""
        data = self.command.read_some(max(0, limit_s))
        if not data and self.command.ended.is_set():
            raise LabError("the RFC 2217 server closed the connection")
        self._raw += data
        while self._raw and self._take():
            pass

    def _frame(self, code, value):
        return bytes([IAC, SB, COM_PORT, code]) + value.replace(b"\xff", b"\xff\xff") + bytes([IAC, SE])

    def _request(self, code, value, limit_s=15):
        self.answers.clear()
        self.command.write(self._frame(code, value))
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            self.poll(end - time.monotonic())
            for answered, result in self.answers:
                if answered == code + SERVER:
                    return result
        raise LabError(f"RFC 2217 command {code} was not answered within {limit_s} s")

    def _take(self):
        """Takes one thing off the front: a run of data, an option, a subnegotiation. False: it is not all there."""
        raw = self._raw
        if raw[0] != IAC:
            at = raw.find(IAC)
            size = len(raw) if at < 0 else at
            self._data, self._raw = self._data + raw[:size], raw[size:]
            return True
        if len(raw) < 2:
            return False
        if raw[1] == IAC:
            self._data, self._raw = self._data + b"\xff", raw[2:]
        elif raw[1] in (DO, DONT, WILL, WONT):
            if len(raw) < 3:
                return False
            if raw[2] not in (BINARY, SUPPRESS_GO_AHEAD, COM_PORT) and raw[1] in (DO, WILL):
                self.command.write(bytes([IAC, WONT if raw[1] == DO else DONT, raw[2]]))
            self._raw = raw[3:]
        elif raw[1] == SB:
            end = raw.find(bytes([IAC, SE]), 2)
            while end > 0 and (end - len(raw[:end].rstrip(b"\xff"))) % 2:  # IAC IAC SE: an escaped 255, then 240
                end = raw.find(bytes([IAC, SE]), end + 1)
            if end < 0:
                return False
            body, self._raw = raw[2:end].replace(b"\xff\xff", b"\xff"), raw[end + 2:]
            if len(body) >= 2 and body[0] == COM_PORT:
                self._notice(body[1], body[2:])
        else:
            self._raw = raw[2:]
        return True

    def _notice(self, code, value):
        self.answers.append((code, value))
        if code == NOTIFY_MODEMSTATE and value:
            self.modem_lines = {name for bit, name in MODEM_STATE.items() if value[0] & bit}
