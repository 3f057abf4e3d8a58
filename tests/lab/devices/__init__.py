"""Devices of the guests as scenarios handle them."""

from devices.blocks import CheckedLoad, Blocks, check_found, measure_rate, transfer_count  # noqa: F401
from devices.disk import Reader, block_device, check_whole_disk, gadget_disk, qemu_disk  # noqa: F401
from devices.keyboard import ReportReader, gadget_keyboard, qemu_keyboard  # noqa: F401
from devices.microphone import microphone, record  # noqa: F401
from devices.serial import HostSerial, Tty, check_bytes, gadget_serial, qemu_serial, tty_device  # noqa: F401
from devices.sound import check_playing, play, sound_card  # noqa: F401
from devices.source_sink import check_usbtest, gadget_source_sink  # noqa: F401
from devices.usb import UsbMonitor, driver_of, usb_port, wait_usb_device_gone  # noqa: F401
