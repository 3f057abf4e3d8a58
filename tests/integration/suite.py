"""A program of tests: each function that is marked runs, and one line says how it ended.

    program FARPORTD [NAME]...     PASS, FAIL or SKIP, a line each; with names, only these
"""

import contextlib
import pathlib
import sys
import traceback

from processes import Farportd
from proxy import Proxy

_TESTS = []


class Skip(Exception):
    """Raised by a test that cannot run here, with the reason."""


def test(function):
    _TESTS.append(function)
    return function


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def host(stack, name, config, **settings):
    """A farportd that ends with the stack; when that ends in an error, its log is printed."""
    one = Farportd(farportd(), name, config, **settings)
    stack.callback(one.close)
    stack.push(lambda kind, *_: print_log(one) if kind else None)
    return one


# What a lends to b, in two_hosts().
DEVICES = """
[[emulated]]
name = "PORT0"
kind = "serial"
[[export]]
device = "*"
hosts = ["b"]
"""
PORT = "a/serial:PORT0"


@contextlib.contextmanager
def two_hosts(settings="", paths=1):
    """a has a device; b reaches it through so many proxies, in order of preference. `settings` go to both.
    Nothing is waited for: they may not even trust each other."""
    with contextlib.ExitStack() as stack:
        a = host(stack, "a", settings + DEVICES).start()
        proxies = [stack.enter_context(Proxy(a.port)) for _ in range(paths)]
        addresses = ", ".join(f'"127.0.0.1:{one.port}"' for one in proxies)
        b = host(stack, "b", f'{settings}[[peer]]\nname = "a"\naddresses = [{addresses}]\n').start()
        yield a, b, proxies


def peer_of(host, name):
    """What a host says of another; of one that it does not know, that its state is "none"."""
    return next((one for one in host.get("/v1/hosts") if one["name"] == name), {"state": "none", "error": ""})


def print_log(one):
    if one.log.exists():
        print(f"--- log of {one.name}:\n{one.log.read_text()}---")


def farportd():
    return pathlib.Path(sys.argv[1])


def main():
    names = sys.argv[2:]
    failed = False
    for function in _TESTS:
        if names and function.__name__ not in names:
            continue
        try:
            function()
            print(f"PASS {function.__name__}", flush=True)
        except Skip as reason:
            print(f"SKIP {function.__name__}: {reason}", flush=True)
        except Exception as error:  # every failure of a test is told, and the next test runs
            failed = True
            traceback.print_exc(file=sys.stdout)
            print(f"FAIL {function.__name__}: {error}", flush=True)
    sys.exit(1 if failed else 0)
