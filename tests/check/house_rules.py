#!/usr/bin/env python3
"""The rules of this house that a program can hold (CONTRIBUTING.md).

usage: house_rules.py [ROOT]

Prints file:line and what is wrong for each breach, then PASS or FAIL for each rule. A rule is a function
below: it takes one file and gives (line, complaint) pairs; its docstring is what the report calls it.
"""

import dataclasses
import pathlib
import re
import subprocess
import sys

TOP_LEVEL = {"meson.build", "meson_options.txt", "README.md", "CONTRIBUTING.md", "LICENSE", "dev"} | {
    "dataplane", "devices", "drivers", "control", "bench", "tests"}
FILE_LINES_MAX = 600
SEAM_LINES_MAX = 99
SEAMS = {"dataplane/link.h", "devices/device.h", "drivers/driver.h", "control/vm/hypervisor.h",
         "control/directory/directory.h"}
# Each folder may include from itself and from those before it; tests from everything.
LAYERS = ["dataplane", "devices", "drivers", "control", "bench", "tests"]
# The seams that the data plane stands between, and carries.
DATAPLANE_MAY_SEE = {"devices/device.h", "devices/device_info.h", "drivers/driver.h"}


@dataclasses.dataclass
class File:
    path: str  # relative to the root, with slashes
    data: bytes
    executable: bool
    includes: frozenset  # what any file includes
    root: pathlib.Path

    def __post_init__(self):
        self.text = self.data.decode("utf-8", errors="replace")
        self.lines = self.text.splitlines()
        self.folder, _, self.name = self.path.rpartition("/")
        self.top = self.path.split("/")[0]
        self.cpp = self.name.endswith((".h", ".cc"))
        self.script = self.text.startswith("#!")
        self.shell = self.script and self.lines[0].endswith("sh")
        self.source = self.cpp or self.script or self.name.endswith(".py") or self.name == "meson.build"

    def matches(self, pattern, complaint):
        for number, line in enumerate(self.lines, 1):
            if re.search(pattern, line):
                yield number, complaint


def length(file):
    """files hold one idea"""
    if file.source and len(file.lines) > FILE_LINES_MAX:
        yield len(file.lines), f"over {FILE_LINES_MAX} lines: split it by idea"


def width(file):
    """lines fit"""
    columns = 100 if file.cpp else 120
    for number, line in enumerate(file.lines, 1):
        if file.source and len(line) > columns:
            yield number, f"{len(line)} columns, over {columns}"


def seams(file):
    """seams are short"""
    if file.path in SEAMS and len(file.lines) > SEAM_LINES_MAX:
        yield len(file.lines), f"a seam of over {SEAM_LINES_MAX} lines"


def sleeps(file):
    """tests wait for conditions"""
    if file.top != "tests" or file.path.startswith("tests/check/"):
        return
    if file.cpp and not file.path.startswith("tests/lab/guest/"):
        yield from file.matches(r"\b(sleep_for|sleep_until|usleep|nanosleep|sleep)\s*\(",
                                "sleeps: wait for a condition with a time limit")
    if not file.cpp:  # between two looks at a condition
        for number, line in enumerate(file.lines, 1):
            slept = re.search(r"\bsleep[( ]+([\d.]+)", line)
            if slept and float(slept.group(1)) > 1 and not re.search(r"\bsleep \d+ &|exec sleep", line):
                yield number, "sleeps: look at the condition every second or more often"


def skips(file):
    """skips give a reason"""
    if file.cpp:
        yield from file.matches(r"GTEST_SKIP\(\)\s*;", "a skip without a reason")


def notes(file):
    """nothing is left for later"""
    if file.path != "tests/check/house_rules.py":
        yield from file.matches(r"\b(TODO|FIXME|XXX|HACK)\b", "do it, or open an issue")


def places(file):
    """no paths of one machine"""
    yield from file.matches(r"(?<![\w.)}$*-])/(work|root|home|Users)/\w", "a path of one machine")


def binaries(file):
    """text only"""
    if b"\0" in file.data or b"\xef\xbf\xbd" in file.text.encode() and b"\xef\xbf\xbd" not in file.data:
        yield 1, "not UTF-8 text"


def tidy(file):
    """clean ends"""
    yield from file.matches(r"[ \t]+$", "white space at the end")
    if file.data and not file.data.endswith(b"\n"):
        yield len(file.lines), "no newline at the end"
    if file.cpp:
        yield from file.matches("\t", "a tab")


def top_level(file):
    """the top level is DESIGN's"""
    if file.top not in TOP_LEVEL and not file.top.startswith("."):
        yield 1, f"'{file.top}' does not belong at the top level"


def directions(file):
    """includes point one way"""
    if not file.cpp or file.top not in LAYERS:
        return
    allowed = LAYERS[: LAYERS.index(file.top) + 1]
    for number, line in enumerate(file.lines, 1):
        include = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not include:
            continue
        target = include.group(1)
        if file.top == "dataplane" and target in DATAPLANE_MAY_SEE:
            continue
        if target.split("/")[0] not in allowed:
            yield number, f'{file.top} must not include "{target}" (paths begin at the root)'


def guards(file):
    """headers say what they are, once"""
    if file.name.endswith(".h"):
        if "#pragma once" not in file.lines:
            yield 1, "no #pragma once"
        if not file.text.startswith("//"):
            yield 1, "begin with a comment: what this is, how long it lives, which thread"


def dead(file):
    """no dead sources"""
    if not file.name.endswith(".cc") or file.path.startswith("tests/lab/"):
        return
    folder = pathlib.PurePosixPath(file.folder)
    for parent in (folder, folder.parent):
        build = file.root / parent / "meson.build"
        if build.exists() and re.search(rf"\b{re.escape(file.name)}\b", build.read_text()):
            return
    stem = re.escape(file.name.removesuffix(".cc").removesuffix("_fuzz"))  # foreach over stems
    build = file.root / folder / "meson.build"
    if build.exists() and re.search(rf"'{stem}'", build.read_text()):
        return
    if file.path not in file.includes:
        yield 1, "no meson.build names it"


def runnable(file):
    """scripts can be run"""
    if file.script and not file.executable:
        yield 1, "begins with #! but is not executable"
    if file.shell and not file.path.startswith("tests/lab/guest/") and not re.search(r"^set -\w*e", file.text, re.M):
        yield 1, "no `set -e`: it would go on after an error"


RULES = [length, width, seams, sleeps, skips, notes, places, binaries, tidy, top_level, directions, guards,
         dead, runnable]


def files_of(root):
    """All files that are, or would be, in the repository."""
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            capture_output=True)
    if listed.returncode == 0:
        paths = {path for path in listed.stdout.decode().split("\0") if path}
    else:  # an unpacked archive
        paths = {path.relative_to(root).as_posix() for path in root.rglob("*")}
        paths = {path for path in paths if not path.startswith((".", "build")) and "__pycache__" not in path}
    paths = frozenset(path for path in paths if (root / path).is_file() and not (root / path).is_symlink())
    data = {path: (root / path).read_bytes() for path in paths}
    includes = frozenset(match.decode() for path in paths if path.endswith((".h", ".cc"))
                         for match in re.findall(rb'#\s*include\s+"([^"]+)"', data[path]))
    return [File(path, data[path], bool((root / path).stat().st_mode & 0o100), includes, root)
            for path in sorted(paths)]


def breaches(root):
    """{rule's name: ["path:line: complaint", ...]}"""
    found = {rule.__doc__: [] for rule in RULES}
    for file in files_of(root):
        for rule in RULES:
            found[rule.__doc__] += [f"{file.path}:{line}: {complaint}" for line, complaint in rule(file)]
    return found


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2]).resolve()
    found = breaches(root)
    for complaint in (one for several in found.values() for one in several):
        print(complaint)
    for name, several in found.items():
        print(f"FAIL house rule: {name}: {len(several)} ({several[0]})" if several else f"PASS house rule: {name}")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
