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
    wanted = HERE / framework.venv / "requirements.txt"
    stamp = venv / "requirements.txt"
    if stamp.exists() and stamp.read_bytes() == wanted.read_bytes():
        return venv
    shutil.rmtree(venv, ignore_errors=True)
    venv.parent.mkdir(parents=True, exist_ok=True)
    pip = [str(venv / "bin/pip"), "install", "--disable-pip-version-check", "--quiet", "--no-deps", "-r", str(wanted)]
    for command in ([PYTHON, "-m", "venv", str(venv)], pip):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            shutil.rmtree(venv, ignore_errors=True)
            lines = [line for line in done.stdout.splitlines() if line.strip()]
            raise NotRun(f"could not install {wanted.relative_to(ROOT)}: {lines[-1] if lines else 'no reason given'}")
    subprocess.run(["chmod", "-R", "a+rX", str(venv)], check=True)
    shutil.copyfile(wanted, stamp)
    return venv


def versions(framework: Framework, venv: Path | None) -> str:
    """The packages by which it is known, and what they are here."""
    if not venv:
        return " ".join(framework.packages)
    ask = "import sys\nfrom importlib.metadata import version\nprint(*(f'{p} {version(p)}' for p in sys.argv[1:]), sep=', ')"
    done = subprocess.run([venv / "bin/python", "-c", ask, *framework.packages], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "?"
