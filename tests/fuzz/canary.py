#!/usr/bin/env python3
"""usage: canary.py FUZZER: passes when the fuzzer notices the canary's mistake and says how to repeat it."""

import re
import subprocess
import sys


def run(*arguments):
    done = subprocess.run([sys.argv[1], *arguments], capture_output=True, text=True, errors="replace", timeout=60)
    return done.returncode, done.stdout + done.stderr


status, output = run()
assert status != 0, "the canary's mistake was not noticed"
assert "heap-buffer-overflow" in output, f"it failed, but of something else:\n{output}"
seed, number = re.search(r"fuzz: seed (\d+) run (\d+), input of", output).groups()
status, output = run("--seed", seed, "--only", number)
assert status != 0 and f"seed {seed} run {number}," in output, "the run named does not repeat the failure"
