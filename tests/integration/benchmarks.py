#!/usr/bin/env python3
"""The benchmark that starts farportd itself. Prints PASS or FAIL for each test.
usage: benchmarks.py FARPORT_BENCH [NAME]..."""

import json
import subprocess
import sys

from suite import check, main, test


@test
def idle_waits_for_its_daemons():
    # Four times: that a daemon needs a moment to listen and to connect shows in most runs, not in all.
    for _ in range(4):
        done = subprocess.run([sys.argv[1], "idle", "--devices", "2", "--seconds", "0.1", "--json"], timeout=100,
                              capture_output=True, text=True, check=False)
        check(done.returncode == 0, f"exit code {done.returncode}: {done.stderr}")
        rows = json.loads(done.stdout)["idle"]
        check([one["attached"] for one in rows] == [0, 2, 2], f"it says {rows}")


if __name__ == "__main__":
    main()
