"""Importing a module here registers its scenarios; this order is the order they run in."""

from scenarios import stock  # noqa: F401
from scenarios import disks  # noqa: F401
from scenarios import serial  # noqa: F401
from scenarios import usb  # noqa: F401
from scenarios import faults  # noqa: F401
from scenarios import trust  # noqa: F401
from scenarios import networks  # noqa: F401
from scenarios import restarts  # noqa: F401
from scenarios import latency  # noqa: F401
from scenarios import ahead  # noqa: F401
from scenarios import slow_link  # noqa: F401
