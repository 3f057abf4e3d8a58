"""Importing a module here registers its scenarios; this order is the order they run in."""

from scenarios import stock  # noqa: F401
