#!/usr/bin/env python3
"""A rule that notices nothing is worse than none: each one is shown a breach of it, and a clean tree."""

import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True
import house_rules  # noqa: E402

# Rule: file, content that breaks this rule and no other. Joined, so that this file is clean itself.
BREACHES = {
    "files hold one idea": ("bench/a.cc", "//\n" * 601),
    "lines fit": ("bench/a.cc", "// " + "x" * 98 + "\n"),
    "seams are short": ("devices/device.h", "// A seam.\n#pragma once\n" + "\n" * 98),
    "tests wait for conditions": ("tests/unit/a.cc", "std::this_thread::sleep_" + "for(1s);\n"),
    "skips give a reason": ("tests/unit/a.cc", "GTEST_" + "SKIP();\n"),
    "nothing is left for later": ("bench/a.cc", "// TO" + "DO: all of it\n"),
    "no paths of one machine": ("bench/a.cc", '"/ho' + 'me/someone"\n'),
    "text only": ("bench/data", b"\0\1\2\n"),
    "clean ends": ("bench/a.cc", "int a; \n"),
    "the top level is DESIGN's": ("notes.txt", "hello\n"),
    "includes point one way": ("dataplane/a.cc", '#include "control/b.h"\n'),
    "headers say what they are, once": ("bench/a.h", "#pragma once\n"),
    "no dead sources": ("bench/nobody.cc", "int a;\n"),
    "scripts can be run": ("bench/run", "#!/bin/bash\nset -e\n"),
}


def broken_rules(path, content):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for build in ("bench", "dataplane", "tests/unit"):
            (root / build).mkdir(parents=True)
            (root / build / "meson.build").write_text("executable('a', 'a.cc')\n")
        if path:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content if isinstance(content, bytes) else content.encode())
        return {name for name, found in house_rules.breaches(root).items() if found}


def main():
    failed = False
    cases = [(name, *breach, {name}) for name, breach in BREACHES.items()]
    cases.append(("a clean tree", None, "", set()))
    cases.append(("the data plane's own seams", "dataplane/a.cc", '#include "devices/device.h"\n', set()))
    for name, path, content, expected in cases:
        broken = broken_rules(path, content)
        print(f"{'PASS' if broken == expected else 'FAIL'} house rules notice: {name}"
              + ("" if broken == expected else f": broken are {broken}, not {expected}"))
        failed |= broken != expected
    untested = {rule.__doc__ for rule in house_rules.RULES} - set(BREACHES)
    if untested:
        print(f"FAIL house rules without a breach: {untested}")
    return 1 if failed or untested else 0


if __name__ == "__main__":
    sys.exit(main())
