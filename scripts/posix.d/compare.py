#!/usr/bin/env python3
"""Compares a suite's cases through the mount with those on the bare store: compare.py NATIVE MOUNTED EXPECTED SUITE MODE STORE.

Exits 1 when a case that is ok natively is not ok here and EXPECTED does not say why (skipped only here is told, and is no error), and
when no case is ok natively.
"""

import os
import sys
from fnmatch import fnmatchcase
from pathlib import Path

RANK = {"ok": 0, "skip": 1, "fail": 2}
SHOWN = 1_000_000 if os.environ.get("ATLAS_POSIX_DIFF") else 20


def cases(file: str) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for line in Path(file).read_text(errors="replace").splitlines():
        name, _, rest = line.partition(" ")
        word, _, detail = rest.partition(" ")
        if word not in RANK:
            word, detail = "fail", f"not a result: {rest}"
        # A case that is told twice is as good as its worst.
        if name not in found or RANK[word] > RANK[found[name][0]]:
            found[name] = (word, detail)
    return found


def reasons(file: str, key: list[str]) -> list[tuple[str, str]]:
    """(case, reason) of the lines that hold for this suite, mode and store. A line: SUITE CASE MODE STORE: REASON, each may have * and ?."""
    lines = []
    for line in Path(file).read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        about, _, reason = line.partition(": ")
        suite, case, mode, store = about.split()
        if all(fnmatchcase(k, p) for k, p in zip(key, (suite, mode, store))):
            lines.append((case, reason))
    return lines


def show(title: str, lines: list[str]) -> None:
    for line in lines[:SHOWN]:
        print(f"     {title}: {line}")
    if len(lines) > SHOWN:
        print(f"     {title}: and {len(lines) - SHOWN} more (ATLAS_POSIX_DIFF=1 shows them)")


def main() -> int:
    native, here = cases(sys.argv[1]), cases(sys.argv[2])
    known = reasons(sys.argv[3], sys.argv[4:])
    mounted, detail = here.get("mount", ("ok", ""))
    if mounted == "fail" and (why := next((r for case, r in known if case == "mount"), None)):
        print(f"   {sys.argv[5]}: not mounted, as expected ({why}): {detail[:300]}")
        return 0
    differs, expected, skipped, both = [], [], [], []
    for name in dict.fromkeys([*native, *here]):
        was, _ = native.get(name, ("ok" if name in here else "skip", ""))
        now, detail = here.get(name, ("fail", "did not run"))
        if name not in here and was != "ok":
            continue
        if now == "ok" or (now == was == "skip"):
            continue
        line = f"{name}: {was} natively, {now} here{': ' if detail else ''}{detail[:300]}"
        if was == "fail":
            both.append(name)
        elif why := next((reason for case, reason in known if fnmatchcase(name, case)), None):
            expected.append(f"{name} ({now}): {why}")
        elif now == "skip":
            skipped.append(f"{name} {detail[:120]}".rstrip())
        else:
            differs.append(line)
    count = lambda of, word: sum(1 for n, (w, _) in of.items() if w == word and not n.startswith(("atlas.", "mount")))
    states = here.get("atlas.states", ("", ""))[1]
    print(
        f"   {sys.argv[5]}: {count(here, 'ok')} ok, {count(here, 'fail')} failed, {count(here, 'skip')} skipped"
        f" (natively {count(native, 'ok')}, {count(native, 'fail')}, {count(native, 'skip')}); {states}"
    )
    if count(native, "ok") == 0:
        # Nothing to compare with: a suite that cannot run at all must not pass for one that ran.
        differs.append("no case is ok natively")
    show("expected", expected)
    show("skipped only here", skipped)
    show("fails natively too", both)
    show("DIFFERS", differs)
    return 1 if differs else 0


sys.exit(main())
