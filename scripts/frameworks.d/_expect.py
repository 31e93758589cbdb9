"""What a framework's directory says: its job, and what must come of it. Reads files; runs nothing."""

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Trouble(Exception):
    """The directory says something that cannot be."""


@dataclass
class Phase:
    name: str
    run: list[str]
    env: dict[str, str] = field(default_factory=dict)


@dataclass
class Output:
    files: list[str]
    inputs: list[str] = field(default_factory=list)
    # What was open at a moment that a scheduler decides: an input or not, as it happens.
    may: list[str] = field(default_factory=list)
    code: list[str] | None = None
    phase: str = ""
    optional: bool = False


@dataclass
class Set:
    dir: str
    closes: str


@dataclass
class Framework:
    name: str
    about: str
    packages: list[str]
    phases: list[Phase]
    outputs: list[Output]
    sets: list[Set] = field(default_factory=list)
    smoke: bool = False
    needs: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    excluded: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    vary: list[str] = field(default_factory=list)
    vary_size: list[str] = field(default_factory=list)
    same_name: list[list[str]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return HERE / self.name

    @property
    def venv(self) -> str:
        """The name of its virtual environment: its own, another's, `base` (that of scripts/setup), or `none`."""
        file = self.home / "venv"
        return file.read_text().strip() if file.exists() else self.name

    def scripts(self) -> list[Path]:
        """What is copied beside the data, as a user would have it there."""
        return sorted(p for p in self.home.iterdir() if p.name not in ("expect.toml", "requirements.txt", "venv"))


def pattern(glob: str) -> re.Pattern[str]:
    """`*` and `?` stay within a name, `**/` is any directories, `[...]` and `{a,b}` as in a shell."""
    out, i = "", 0
    while i < len(glob):
        if glob.startswith("**/", i):
            out, i = out + "(?:.*/)?", i + 3
            continue
        if glob.startswith("**", i):
            out, i = out + ".*", i + 2
            continue
        c = glob[i]
        end = glob.find("]", i) if c == "[" else -1
        if end > 0:
            out, i = out + glob[i : end + 1], end + 1
            continue
        out += {"*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}.get(c, re.escape(c))
        i += 1
    return re.compile(out)


def matches(name: str, globs: list[str]) -> bool:
    return any(pattern(glob).fullmatch(name) for glob in globs)


def read(name: str) -> Framework:
    try:
        said = tomllib.loads((HERE / name / "expect.toml").read_text())
        made = Framework(
            name,
            said.pop("about"),
            said.pop("packages", []),
            [Phase(**p) for p in said.pop("phase")],
            [Output(**o) for o in said.pop("output")],
            [Set(**s) for s in said.pop("set", [])],
            **said,
        )
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as e:
        raise Trouble(f"{name}/expect.toml: {e}") from e
    known = [p.name for p in made.phases]
    for output in made.outputs:
        output.phase = output.phase or known[-1]
        if output.phase not in known:
            raise Trouble(f"{name}/expect.toml: no phase {output.phase!r}")
    return made


def frameworks(names: list[str]) -> list[Framework]:
    """Those of the names, or all."""
    there = sorted(p.parent.name for p in HERE.glob("*/expect.toml"))
    for name in names:
        if name not in there:
            raise Trouble(f"no framework {name!r}; there are {', '.join(there)}")
    return [read(name) for name in (names or there)]
