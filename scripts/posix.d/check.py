#!/usr/bin/env python3
"""Atlas's own check of a mount on which a suite has just run: check.py MOUNT SOURCE LOG. Prints one case a line, as suites do.

All that ended is sealed; no file is left in a state that only a living writer explains; the digest of every sealed file is that of its
bytes, through the mount and behind it; the daemon did not panic, logged no error, and never asked its own mount.
"""

import os
import re
import stat
import sys
import time
from collections import Counter

from blake3 import blake3

SETTLED = {"sealed", "logged", "superseded", "unattested", "excluded", "incomplete", "empty"}
SYNC_SECONDS = 1800


def say(case: str, wrong: list[str], fine: str = "") -> None:
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        print(f"{case} fail {'; '.join(wrong[:3])}{more}")
        for line in wrong:
            print(f"{case}: {line}", file=sys.stderr)
    else:
        print(f"{case} ok {fine}".rstrip())


def digest(path: bytes) -> str:
    own = blake3()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(1 << 20):
            own.update(piece)
    return f"blake3:{own.hexdigest()}"


def synced(mount: str) -> str:
    """Empty when everything that ended is sealed; else what `sync` said last."""
    said = "nothing"
    until = time.monotonic() + SYNC_SECONDS
    while time.monotonic() < until:
        try:
            with open(f"{mount}/.atlas/sync") as file:
                said = file.read().strip()
        except BlockingIOError:
            said = "EAGAIN"
        if said == "ok":
            return ""
        time.sleep(0.2)
    return said


def main() -> None:
    mount, source, log = sys.argv[1:]
    late = synced(mount)
    say("atlas.sync", [f"sync says {late} after {SYNC_SECONDS} s"] if late else [])
    states: Counter[str] = Counter()
    unsettled: list[str] = []
    differ: list[str] = []
    top = os.fsencode(mount)
    for where, _, names, fd in os.fwalk(top, follow_symlinks=False):
        for name in names:
            path = b"/proc/self/fd/%d/%s" % (fd, name)
            full = os.path.join(where, name)
            shown = os.fsdecode(full[len(top) + 1 :]).encode("ascii", "backslashreplace").decode()
            if not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            state = os.getxattr(path, "user.atlas.state").decode()
            states[state] += 1
            if state not in SETTLED:
                unsettled.append(f"{shown} is {state}")
            if state not in ("sealed", "logged"):
                continue
            says = os.getxattr(path, "user.atlas.digest").decode()
            behind = os.path.join(os.fsencode(source), full[len(top) + 1 :])
            for place, way in (("the mount", path), ("SOURCE", behind)):
                if (real := digest(way)) != says:
                    differ.append(f"{shown} is sealed as {says[:15]} and is {real[:15]} in {place}")
    counts = ", ".join(f"{state} {n}" for state, n in sorted(states.items())) or "no file left"
    say("atlas.states", unsettled, counts)
    say("atlas.digests", differ)
    with open(log, errors="replace") as file:
        said = file.read()
    say("atlas.log", [line for line in said.splitlines() if re.search(r"panicked|\bERROR\b", line)])
    with open(f"{mount}/.atlas/metrics") as file:
        own = re.search(r"^atlas_self_requests_total (\d+)$", file.read(), re.M)
    say("atlas.self", [] if own and own[1] == "0" else [f"requests of the daemon to its own mount: {own and own[1]}"])


main()
