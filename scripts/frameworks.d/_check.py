"""The assertions: one job on a plain directory and on a mount, and what must be true of it. See README.md beside it."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from _expect import Framework, Output, matches
from _lab import Failure, Lab

Result = tuple[str, str, str]


def check(framework: Framework, lab: Lab, modes: list[str]) -> Iterator[Result]:
    """Yields I/O mode, assertion, and why it does not hold (empty when it does)."""
    try:
        plain = None
        yield "plain", "the job runs without Atlas", attempt(lambda: run_plain(framework, lab))
        if (lab.tmp / "plain").exists():
            plain = listing(lab.tmp / "plain", framework)
        for mode in modes if plain else []:
            yield from check_mode(framework, lab, mode, plain)
    finally:
        lab.close()


def attempt(do: Callable[[], None]) -> str:
    try:
        do()
    except Failure as failure:
        return str(failure) or "failed"
    return ""


def run_plain(framework: Framework, lab: Lab) -> None:
    lab.fresh(lab.work)
    for phase in framework.phases:
        lab.run(phase)
    os.rename(lab.work, lab.tmp / "plain")


def check_mode(framework: Framework, lab: Lab, mode: str, plain: dict[str, tuple]) -> Iterator[Result]:
    wrong: list[str] = []
    covered: set[str] = set()

    def run() -> None:
        lab.mount(mode)
        for phase in framework.phases:
            lab.run(phase)
            if code := lab.ctl("sync")[0]:
                raise Failure(f"atlasctl sync ended with {code} after {phase.name}")
            for output in framework.outputs:
                if output.phase == phase.name:
                    covered.update(lineage(framework, lab, output, wrong))

    reason = attempt(run)
    yield mode, "the job succeeds", reason
    if not reason:
        yield mode, "its files are those it writes without Atlas", attempt(lambda: same(plain, listing(lab.work, framework)))
        yield mode, "each output has exactly the inputs it used", "\n".join(wrong)
        yield mode, "each file is said to come from somewhere", attempt(lambda: complete(framework, lab, covered))
        yield mode, "names are final names, and no temporary file is shown", attempt(lambda: final(framework, lab))
        if framework.sets:
            yield mode, "each checkpoint is closed by its index and holds as a set", attempt(lambda: sets(framework, lab))
        yield mode, "verify passes", attempt(lambda: verify(lab, lab.work))
    # The shards are flipped when nobody can be asked but the state directory.
    reason = attempt(lab.unmount)
    yield mode, "the mount ends", reason
    if not reason:
        yield mode, f"verify refuses each of {len(shards(lab.source))} files after one flipped byte", attempt(lambda: flips(lab))
    yield mode, "the daemon complains of nothing", attempt(lambda: quiet(lab.tmp / f"daemon-{mode}.log"))
    os.rename(lab.source, lab.tmp / f"source-{mode}")


def listing(root: Path, framework: Framework) -> dict[str, tuple]:
    """Each file, directory and link below: its name as it is compared, then what of it must be the same."""
    found: dict[str, tuple] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name.split("/")[0] == ".atlas":
            continue
        info = path.lstat()
        said: tuple = (oct(info.st_mode), info.st_uid)
        if path.is_symlink():
            said += (os.readlink(path),)
        elif path.is_file() and not matches(name, framework.vary_size):
            said += (info.st_size,)
            if not matches(name, framework.vary):
                said += (hashlib.sha256(path.read_bytes()).hexdigest(),)
        for old, new in framework.same_name:
            name = re.sub(old, new, name)
        found[name] = said
    return found


def same(plain: dict[str, tuple], mounted: dict[str, tuple]) -> None:
    wrong = [f"missing: {name}" for name in plain.keys() - mounted.keys()]
    wrong += [f"only on the mount: {name}" for name in mounted.keys() - plain.keys()]
    wrong += [f"differs: {n}: {plain[n]} without, {mounted[n]} with Atlas" for n in plain.keys() & mounted.keys() if plain[n] != mounted[n]]
    if wrong:
        raise Failure("\n".join(sorted(wrong)))


def shards(root: Path) -> list[str]:
    """What has bytes."""
    names = (p.relative_to(root).as_posix() for p in sorted(root.rglob("*")) if p.is_file() and not p.is_symlink() and p.stat().st_size)
    return [name for name in names if name.split("/")[0] != ".atlas"]


def state(path: Path) -> str:
    try:
        return os.getxattr(path, "user.atlas.state").decode()
    except OSError as e:
        return f"errno {e.errno}"


def said_of(lab: Lab, name: str) -> tuple[set[str], dict]:
    """Its direct inputs, `PATH`, `code:PATH` or, where it was replaced and not opened, `parent:PATH`, and the whole answer."""
    graph = lab.ask("lineage", "--all", name)
    nodes = {node["id"]: node for node in graph["nodes"]}
    inputs = set()
    edges = [edge for edge in graph["edges"] if edge["from"] == graph["root"]]
    opened = {edge["to"] for edge in edges if edge["kind"] != "parent"}
    for edge in edges:
        if edge["kind"] != "parent" or edge["to"] not in opened:
            path = nodes[edge["to"]].get("path") or edge["to"]
            inputs.add(f"{edge['kind']}:{path}" if edge["kind"] in ("code", "parent", "set") else path)
    return inputs, graph


def lineage(framework: Framework, lab: Lab, output: Output, wrong: list[str]) -> set[str]:
    names = [name for name in shards(lab.work) if matches(name, output.files)]
    for glob in output.files:
        if not output.optional and not any(matches(name, [glob]) for name in names):
            wrong.append(f"{output.phase} left no {glob}")
    code = output.code if output.code is not None else [s.name for s in framework.scripts()]
    wanted = [*output.inputs, *(f"code:{name}" for name in code)]
    for name in names:
        if (now := state(lab.work / name)) != "logged":
            wrong.append(f"{name} is {now}, not logged")
            continue
        have, graph = said_of(lab, name)
        root = next(node for node in graph["nodes"] if node["id"] == graph["root"])
        if root.get("path") != name:
            wrong.append(f"{name} is called {root.get('path')}")
        if root.get("closed") not in ("explicit", "exit"):
            wrong.append(f"{name} is said to be closed {root.get('closed')}")
        wrong += [f"{name} lacks the input {glob}" for glob in wanted if not any(fits(one, glob) for one in have)]
        allowed = wanted + output.may
        wrong += [f"{name} has the invented input {one}" for one in sorted(have) if not any(fits(one, glob) for glob in allowed)]
    return set(names)


def fits(one: str, glob: str) -> bool:
    """The kind must be the same, and the path match."""
    kind, _, path = glob.rpartition(":")
    have, _, name = one.rpartition(":")
    return kind == have and matches(name, [path])


def complete(framework: Framework, lab: Lab, covered: set[str]) -> None:
    scripts = [s.name for s in framework.scripts()]
    wrong = []
    for name in shards(lab.work):
        if name in covered or name.split("/")[0] in scripts:
            continue
        now = state(lab.work / name)
        if now != "excluded":
            wrong.append(f"expect.toml does not say what {name} ({now}) is made from")
        elif not matches(name, framework.excluded):
            wrong.append(f"{name} is excluded")
    if wrong:
        raise Failure("\n".join(wrong))


def final(framework: Framework, lab: Lab) -> None:
    wrong = set()
    for name in shards(lab.work):
        if state(lab.work / name) == "excluded":
            continue
        _, graph = said_of(lab, name)
        for node in graph["nodes"]:
            path = node.get("path")
            if path and not (lab.work / path).exists() and not matches(path, framework.gone):
                wrong.add(f"{path} is named in the lineage of {name}; it is not there, and was no result")
    if wrong:
        raise Failure("\n".join(sorted(wrong)))


def sets(framework: Framework, lab: Lab) -> None:
    """What closes a set ended last of all its members; registered, the directory is believed whole and not otherwise."""
    for wanted in framework.sets:
        found = [p for p in sorted(lab.work.rglob("*")) if p.is_dir() and matches(p.relative_to(lab.work).as_posix(), [wanted.dir])]
        if not found:
            raise Failure(f"no directory {wanted.dir}")
        for path in found:
            one_set(lab, path, wanted.closes)


def one_set(lab: Lab, path: Path, closes: str) -> None:
    name = path.relative_to(lab.work).as_posix()
    members = [f"{name}/{member}" for member in shards(path)]
    ended = {member: ended_at(lab, member) for member in members}
    last = [member for member in members if matches(member.removeprefix(f"{name}/"), [closes])]
    if len(last) != 1:
        raise Failure(f"{name} has {len(last)} files {closes}")
    if late := [m for m in members if ended[m] > ended[last[0]]]:
        raise Failure(f"{', '.join(late)} ended after {last[0]}, which should close {name}")
    lab.ask("register", name)
    expect(lab, 0, name)
    expect(lab, 0, "--recursive", name)
    spare = lab.source.parent / "spare"
    real = lab.source / members[0]
    os.rename(real, spare)
    try:
        # By the path of SOURCE: the kernel may go on showing a name that was taken away behind the mount for a second.
        expect(lab, 7, name, cwd=lab.source)
    finally:
        os.rename(spare, real)
    expect(lab, 0, name)
    for member in members:
        with Flipped(lab.source / member):
            expect(lab, 4, name)
    expect(lab, 0, name)


def ended_at(lab: Lab, name: str) -> datetime:
    """Of its newest version; as text the times would not sort, for they have as many digits as they need."""
    ends = [v["ended_at"] for v in lab.ask("show", name)["versions"] if v.get("ended_at")]
    if not ends:
        raise Failure(f"atlasctl show does not say when {name} ended")
    return max(map(datetime.fromisoformat, ends))


def expect(lab: Lab, code: int, *words: str, cwd: Path | None = None) -> None:
    have, text = lab.ctl("verify", *words, cwd=cwd)
    if have != code:
        raise Failure(f"atlasctl verify {' '.join(words)} ended with {have}, not {code}\n{text}")


def verify(lab: Lab, root: Path) -> None:
    expect(lab, 0, "--recursive", ".", cwd=root)


class Flipped:
    """One byte in the middle of a file changed, and back again with the times that it had."""

    def __init__(self, path: Path) -> None:
        self.path, self.info = path, path.stat()

    def flip(self) -> None:
        with self.path.open("r+b") as f:
            f.seek(self.info.st_size // 2)
            byte = f.read(1)[0]
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte ^ 1]))

    def __enter__(self) -> None:
        self.flip()

    def __exit__(self, *_: object) -> None:
        self.flip()
        os.utime(self.path, ns=(self.info.st_atime_ns, self.info.st_mtime_ns))


def flips(lab: Lab) -> None:
    verify(lab, lab.source)
    for name in shards(lab.source):
        if lab.ctl("verify", name, cwd=lab.source)[0] == 0 and skipped(lab, name):
            continue
        with Flipped(lab.source / name):
            expect(lab, 4, name, cwd=lab.source)
            expect(lab, 4, "--recursive", name.split("/")[0], cwd=lab.source)
    verify(lab, lab.source)


def skipped(lab: Lab, name: str) -> bool:
    """Excluded files have no manifest: there is nothing to break."""
    return matches(name, lab.framework.excluded)


def quiet(log: Path) -> None:
    lines = [line for line in log.read_text(errors="replace").splitlines() if re.search(r"\b(WARN|ERROR|panicked)\b", line)]
    if lines:
        raise Failure("\n".join(lines[:20]))
