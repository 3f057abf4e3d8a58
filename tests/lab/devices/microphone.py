"""A USB microphone: isochronous IN for a real kernel. QEMU gives the guest the device (usb-redir) that a thread here
plays, by the usbredir protocol (usbredir-protocol.txt of spice-space.org, version 0.7): a class 1.0 audio device of
full speed with one channel of 16 bits at 48 kHz, whose samples are a count.

Nothing else here has such an endpoint: dummy_hcd has no isochronous transfers, the kernel's usbip_vudc fails each
with -EXDEV (drivers/usb/usbip/vudc_transfer.c, v_timer()), and QEMU's own sound card only plays.
"""

import contextlib
import select
import socket
import struct
import threading
import time

from devices.usb import ENUMERATE_S, usb_port
from guest import LabError, wait_until

RATE = 48000
PACKET_FRAMES = RATE // 1000  # of a millisecond
PERIOD = 30000  # the count begins again after this
ENDPOINT = 0x81

# Packets of the protocol (usbredirproto.h).
HELLO, DEVICE_CONNECT, INTERFACE_INFO, EP_INFO = 0, 1, 4, 5
SET_CONFIGURATION, GET_CONFIGURATION, CONFIGURATION_STATUS = 6, 7, 8
SET_ALT, GET_ALT, ALT_STATUS = 9, 10, 11
START_ISO, STOP_ISO, ISO_STATUS = 12, 13, 14
CANCEL, CONTROL, ISO = 21, 100, 102
SUCCESS, STALL = 0, 4
# connect_device_version, ep_info_max_packet_size, 64bits_ids, 32bits_bulk_length: QEMU's xHCI wants the last three.
CAPABILITIES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6
HELLO_HEADER = struct.Struct("<III")  # type, length, id
HEADER = struct.Struct("<IIQ")  # of what follows
CONTROL_HEAD = struct.Struct("<BBBBHHH")  # endpoint, request, request type, status, value, index, length
INVALID, CONTROL_EP, ISO_EP = 255, 0, 1


def _descriptor(*fields):
    return bytes([len(fields) + 1, *fields])


def _device(serial_index):
    # Full speed, class in the interfaces, pid.codes' test id.
    return _descriptor(1, 0x00, 0x02, 0, 0, 0, 64, 0x09, 0x12, 0x01, 0x00, 0x00, 0x01, 0, 0, serial_index, 1)


def _configuration():
    """USB Audio 1.0, 4.3 and 4.5: a microphone (0x0201), its stream, alternate settings without and with bandwidth."""
    terminals = (_descriptor(0x24, 2, 1, 0x01, 0x02, 0, 1, 0, 0, 0, 0)
                 + _descriptor(0x24, 3, 2, 0x01, 0x01, 0, 1, 0))
    header = _descriptor(0x24, 1, 0x00, 0x01, 9 + len(terminals), 0, 1, 1)
    packet = 2 * PACKET_FRAMES
    body = (_descriptor(4, 0, 0, 0, 1, 1, 0, 0) + header + terminals
            + _descriptor(4, 1, 0, 0, 1, 2, 0, 0)
            + _descriptor(4, 1, 1, 1, 1, 2, 0, 0)
            + _descriptor(0x24, 1, 2, 1, 1, 0)
            + _descriptor(0x24, 2, 1, 1, 2, 16, 1, *RATE.to_bytes(3, "little"))
            + _descriptor(5, ENDPOINT, 0x05, packet, 0, 1, 0, 0)
            + _descriptor(0x25, 1, 0, 0, 0, 0))
    return _descriptor(2, *(9 + len(body)).to_bytes(2, "little"), 2, 1, 0, 0x80, 50) + body


class Microphone:
    """`sent` counts the samples that the device has given since its stream began last."""

    vendor_product = "1209:0001"

    def __init__(self, guest, serial):
        self.guest, self.serial = guest, serial
        self.sent = self.streams = 0
        self._socket, far = socket.socketpair()
        self.alternate = self.configuration = 0
        self.stopped = threading.Event()
        self.fault = None
        with far:
            guest.qmp("getfd", descriptors=[far.fileno()], fdname=serial)
        guest.qmp("chardev-add", id=serial, backend={"type": "socket", "data": {
            "addr": {"type": "fd", "data": {"str": serial}}, "server": False}})
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._thread.start()
        self.identity = guest.plug("usb-redir", chardev=serial)

    def close(self):
        self.guest.unplug(self.identity)
        self.stopped.set()
        self._thread.join(10)
        self._socket.close()
        if self.fault:
            raise LabError(f"the microphone broke: {self.fault!r}")

    # The device, on its thread

    def _play(self):
        try:
            hello = struct.pack("<64sI", b"farport lab", CAPABILITIES)
            self._socket.sendall(HELLO_HEADER.pack(HELLO, len(hello), 0) + hello)
            length = HELLO_HEADER.unpack(self._receive(HELLO_HEADER.size))[1]
            self._receive(length)
            self._tell_endpoints()
            self._send(DEVICE_CONNECT, 0, struct.pack("<BBBBHHH", 1, 0, 0, 0, 0x1209, 0x0001, 0x0100))
            data, due = b"", None
            while not self.stopped.is_set():
                limit_s = 0.2 if due is None else max(0.0, due - time.monotonic())
                if select.select([self._socket], [], [], limit_s)[0]:
                    if not (new := self._socket.recv(1 << 16)):
                        return
                    data += new
                while len(data) >= HEADER.size and len(data) >= HEADER.size + HEADER.unpack_from(data)[1]:
                    kind, length, identity = HEADER.unpack_from(data)
                    body, data = data[HEADER.size:HEADER.size + length], data[HEADER.size + length:]
                    due = self._take(kind, identity, body, due)
                while due is not None and time.monotonic() >= due:  # a packet each millisecond
                    self._send_samples()
                    due += 0.001
        except (BrokenPipeError, ConnectionResetError):
            pass
        except Exception as fault:
            self.fault = fault

    def _receive(self, count):
        data = b""
        while len(data) < count:
            if not (new := self._socket.recv(count - len(data))):
                raise BrokenPipeError
            data += new
        return data

    def _send(self, kind, identity, body=b""):
        self._socket.sendall(HEADER.pack(kind, len(body), identity) + body)

    def _tell_endpoints(self):
        types, intervals, interfaces, sizes = [INVALID] * 32, [0] * 32, [0] * 32, [0] * 32
        types[0] = types[16] = CONTROL_EP
        sizes[0] = sizes[16] = 64
        if self.alternate:
            types[17], intervals[17], interfaces[17], sizes[17] = ISO_EP, 1, 1, 2 * PACKET_FRAMES
        padding = [0] * 30
        self._send(INTERFACE_INFO, 0, struct.pack("<I32B32B32B32B", 2, 0, 1, *padding, 1, 1, *padding,
                                                  1, 2, *padding, *[0] * 32))
        self._send(EP_INFO, 0, struct.pack("<32B32B32B32H", *types, *intervals, *interfaces, *sizes))

    def _take(self, kind, identity, body, due):
        """Answers a packet; when the next samples are due."""
        if kind == CONTROL:
            self._control(identity, *CONTROL_HEAD.unpack_from(body))
        elif kind in (SET_CONFIGURATION, GET_CONFIGURATION):
            if kind == SET_CONFIGURATION:
                self.configuration, self.alternate = body[0], 0
                self._tell_endpoints()
            self._send(CONFIGURATION_STATUS, identity, bytes([SUCCESS, self.configuration]))
        elif kind in (SET_ALT, GET_ALT):
            interface = body[0]
            if kind == SET_ALT and interface == 1:
                self.alternate = body[1]
                self._tell_endpoints()
            self._send(ALT_STATUS, identity, bytes([SUCCESS, interface, self.alternate if interface == 1 else 0]))
        elif kind == START_ISO:
            self.sent = 0
            self.streams += 1
            self._send(ISO_STATUS, identity, bytes([SUCCESS, ENDPOINT]))
            return time.monotonic()
        elif kind == STOP_ISO:
            self._send(ISO_STATUS, identity, bytes([SUCCESS, ENDPOINT]))
            return None
        return due

    def _control(self, identity, endpoint, request, kind, _, value, index, length):
        answer = None
        if (kind, request) == (0x80, 6):
            serial = self.serial.encode("utf-16-le")
            answer = {0x100: _device(1), 0x200: _configuration(), 0x300: _descriptor(3, 0x09, 0x04),
                      0x301: _descriptor(3, *serial)}.get(value)
        elif request == 0 and kind & 0x80:
            answer = bytes(2)
        elif not kind & 0x80 and not kind & 0x60:
            answer = b""
        status = STALL if answer is None else SUCCESS
        answer = (answer or b"")[:length]
        self._send(CONTROL, identity, CONTROL_HEAD.pack(endpoint, request, kind, status, value, index,
                                                        len(answer) if kind & 0x80 else 0) + answer)

    def _send_samples(self):
        samples = [(self.sent + at) % PERIOD + 1 for at in range(PACKET_FRAMES)]
        self.sent += PACKET_FRAMES
        body = struct.pack(f"<{PACKET_FRAMES}h", *samples)
        self._send(ISO, 0, struct.pack("<BBH", ENDPOINT, SUCCESS, len(body)) + body)


@contextlib.contextmanager
def microphone(guest, serial="LABMIC01"):
    device = Microphone(guest, serial)
    try:
        usb_port(guest, serial)
        yield device
    except BaseException:
        with contextlib.suppress(Exception):
            device.close()
        raise
    device.close()


def record(consumer, seconds):
    """What the consumer's kernel records; (fraction of the samples in order, count of gaps)."""
    consumer.run("modprobe -a snd_usb_audio snd_pcm_oss")
    wait_until(f"/dev/dsp in {consumer.name}", ENUMERATE_S, lambda: consumer.succeeds("test -c /dev/dsp"))
    size = 2 * RATE * seconds
    consumer.run(f"/lab/record /dev/dsp {size} > /run/lab/recorded", limit_s=120)
    data = bytes.fromhex(consumer.run("od -v -A n -t x1 /run/lab/recorded | tr -d ' \\n'"))
    samples = [one for one, in struct.iter_unpack("<h", data)]
    if wrong := [one for one in samples if not 0 <= one <= PERIOD]:
        raise LabError(f"{len(wrong)} samples that were never recorded, such as {wrong[0]}")
    pairs = list(zip(samples, samples[1:]))
    in_order = sum(1 for one, two in pairs if one and two == one % PERIOD + 1)
    gaps = sum(1 for one, two in pairs if one and two != one % PERIOD + 1)
    return in_order / len(samples), gaps
