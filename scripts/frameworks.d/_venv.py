"""The virtual environments of the frameworks, below target/frameworks. Made with Debian's own Python, once for each list of packages."""

import os
import shutil
import subprocess
from pathlib import Path

from _expect import HERE, Framework

ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PYTHON = "/usr/bin/python3"


class NotRun(Exception):
    """Why a framework could not be run here."""


def install(framework: Framework) -> Path | None:
    """Returns the virtual environment, or None when the framework needs none."""
    for program in framework.needs:
        if not shutil.which(program):
            raise NotRun(f"{program} is not installed")
    if framework.venv == "none":
        return None
    if framework.venv == "base":
        if not (TARGET / "venv/requirements.txt").exists():
            raise NotRun("scripts/setup has not made target/venv")
        return TARGET / "venv"
    venv = TARGET / "frameworks" / framework.venv
    wanted, own = HERE / framework.venv / "requirements.txt", framework.home / "requirements.txt"
    if not installed(venv, wanted):
        shutil.rmtree(venv, ignore_errors=True)
        venv.parent.mkdir(parents=True, exist_ok=True)
        must([PYTHON, "-m", "venv", str(venv)], wanted)
        add(venv, wanted)
    # What it needs beyond those it shares with: packages that are built against what is there already.
    if own != wanted and own.exists() and not installed(venv, own):
        add(venv, own, "--no-build-isolation")
    return venv


def installed(venv: Path, wanted: Path) -> bool:
    stamp = venv / f"{wanted.parent.name}.txt"
    return stamp.exists() and stamp.read_bytes() == wanted.read_bytes()


def add(venv: Path, wanted: Path, *options: str) -> None:
    """Exactly the packages of the list, which names their dependencies too: a test must not change because a package did."""
    must([str(venv / "bin/pip"), "install", "--disable-pip-version-check", "--quiet", "--no-deps", *options, "-r", str(wanted)], wanted)
    subprocess.run(["chmod", "-R", "a+rX", str(venv)], check=True)
    shutil.copyfile(wanted, venv / f"{wanted.parent.name}.txt")


def must(command: list[str], wanted: Path) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise NotRun(f"could not install {wanted.relative_to(ROOT)}: {lines[-1] if lines else 'no reason given'}")


def versions(framework: Framework, venv: Path | None) -> str:
    """The packages by which it is known, and what they are here."""
    if not venv:
        return " ".join(framework.packages)
    ask = "import sys\nfrom importlib.metadata import version\nprint(*(f'{p} {version(p)}' for p in sys.argv[1:]), sep=', ')"
    done = subprocess.run([venv / "bin/python", "-c", ask, *framework.packages], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "?"
