"""The list of scenarios: a function becomes one by the decorator, in the order of its module."""

SCENARIOS = []


class Skip(Exception):
    """Raised by a scenario that this machine or build cannot run; the message says what is missing."""


class Scenario:
    def __init__(self, function, short, needs_farport, native):
        self.name, self.run, self.short, self.needs_farport = function.__name__, function, short, needs_farport
        self.native = native
        self.summary = (function.__doc__ or "").strip().splitlines()[0]


def scenario(short=False, needs_farport=True, native=False):
    """Registers a function of one argument, the Lab (see `lab`). It passes by returning;
    text that it returns is printed as a note.

    short: part of `--short`, which must stay under five minutes as a whole.
    native: on guests that run at this processor's speed (native_guest.py), because it measures.
    """

    def register(function):
        SCENARIOS.append(Scenario(function, short, needs_farport, native))
        return function

    return register
