"""A place to run a framework's job: a plain directory or a mount at the same path, an ordinary user, a process tree of its own."""

import atexit
import ctypes
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from _expect import Framework, Phase

# The inner shell becomes an orphan when the outer one ends: what belongs to one job is found by ancestry and by shared pipes.
OUTER = 'setsid bash -c "$0" sh "$@" </dev/null >/dev/null 2>&1 &'
INNER = """base=$1; shift; echo $$ >"$base.pid"; until [ -e "$base.go" ]; do sleep 0.02; done
for fd in /proc/$$/fd/*; do fd=${fd##*/}; case $fd in 0 | 1 | 2 | 255) ;; *) eval "exec $fd>&-" ;; esac; done
"$@" </dev/null >"$base.out" 2>&1; echo $? >"$base.code.tmp"; mv "$base.code.tmp" "$base.code" """
AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=-all", "--"]
LIMIT = 600


class Failure(Exception):
    """An assertion that did not hold, and why."""


def isolate() -> None:
    """A mount namespace of our own, in which nothing of the machine's Atlas is seen and which leaves nothing behind."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x20000) != 0:  # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for place in ("/etc/atlas", "/run"):
        # The directory of the machine's configuration may not be there: an empty one is all that is left.
        if not Path(place).exists():
            Path(place).mkdir()
            atexit.register(leave, place)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=64m", "atlas-frameworks", place], check=True)


def leave(place: str) -> None:
    subprocess.run(["umount", "--lazy", place])
    subprocess.run(["rmdir", place])


def call(command: list, **how: object) -> subprocess.CompletedProcess[str]:
    """A command that must end in bounded time, whatever it says."""
    try:
        return subprocess.run(command, text=True, timeout=LIMIT, **how)
    except subprocess.TimeoutExpired as e:
        raise Failure(f"{' '.join(map(str, command))} has not ended after {LIMIT} s") from e


class Lab:
    def __init__(self, framework: Framework, tmp: Path, venv: Path | None, bin_dir: Path) -> None:
        self.framework, self.tmp, self.bin = framework, tmp, bin_dir
        self.work = tmp / "work"
        self.source = tmp / "source"
        self.jobs = 0
        self.mounted = self.bound = False
        self.env = {"PATH": "/usr/bin:/bin"}
        tmp.chmod(0o755)
        for name in ("home", "scratch"):
            (tmp / name).mkdir()
            shutil.chown(tmp / name, "nobody", "nogroup")
        if venv:
            # A clone often lies in somebody's private home, which the job's user cannot reach.
            (tmp / "venv").mkdir()
            # Read-only: who removes the place of a job must not reach through into the environment.
            subprocess.run(["mount", "--bind", "-o", "ro", str(venv.resolve()), str(tmp / "venv")], check=True)
            self.bound = True
            self.env["PATH"] = f"{tmp}/venv/bin:/usr/bin:/bin"

    def close(self) -> None:
        try:
            self.unmount()
        finally:
            if self.bound:
                subprocess.run(["umount", "--lazy", str(self.tmp / "venv")], check=True)
                self.bound = False

    def fresh(self, where: Path) -> None:
        """An empty directory with the job's scripts, of the job's user."""
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir()
        for script in self.framework.scripts():
            if script.is_dir():
                shutil.copytree(script, where / script.name)
            else:
                shutil.copy(script, where / script.name)
        subprocess.run(["chown", "-R", "nobody:nogroup", str(where)], check=True)
        for name in ("home", "scratch"):
            subprocess.run(["find", str(self.tmp / name), "-mindepth", "1", "-delete"], check=True)

    def mount(self, mode: str) -> None:
        self.fresh(self.source)
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        self.ctl_env = {**os.environ, "PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(self.tmp / "root")}
        command = [self.bin / "atlas-fs", "mount", self.source, self.work, "--io", mode, "--allow-other"]
        command += ["--authority", self.tmp / "authority", "--log-file", self.tmp / f"daemon-{mode}.log"]
        done = call(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.ctl_env)
        if done.returncode:
            raise Failure(f"atlas-fs mount ended with {done.returncode}\n{done.stdout}")
        self.mounted = True
        # As a careful user would: what lies there before the first run has a manifest from then on.
        if scripts := [script.name for script in self.framework.scripts()]:
            self.ask("register", *scripts)

    def unmount(self) -> None:
        if not self.mounted:
            return
        self.mounted = False
        try:
            done = call([self.bin / "atlas-fs", "umount", self.work], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.ctl_env)
            if done.returncode:
                raise Failure(f"atlas-fs umount ended with {done.returncode}\n{done.stdout}")
        except Failure:
            subprocess.run(["umount", "--lazy", str(self.work)])
            raise

    def run(self, phase: Phase) -> None:
        """One phase as a job of somebody who knows nothing of Atlas."""
        self.jobs += 1
        base = self.tmp / f"job-{self.jobs}"
        env = {
            "HOME": f"{self.tmp}/home", "TMPDIR": f"{self.tmp}/scratch", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **self.env, **self.framework.env, **phase.env,
        }
        job = [*AS_NOBODY, "env", "-i", *(f"{k}={v}" for k, v in env.items()), *phase.run]
        subprocess.run(["bash", "-c", OUTER, INNER, str(base), *job], cwd=self.work, check=True, stdin=subprocess.DEVNULL)
        base.with_suffix(".go").touch()
        code, waited = base.with_suffix(".code"), 0.0
        try:
            while not code.exists():
                time.sleep(0.05)
                waited += 0.05
                if waited > LIMIT:
                    raise Failure(f"{phase.name} has not ended after {LIMIT} s\n{self.tail(base)}")
        except (Failure, KeyboardInterrupt):
            # The session is the job's own; what it started in sessions of theirs ends with its pipes, or holds up the unmounting.
            os.killpg(int(base.with_suffix(".pid").read_text()), signal.SIGKILL)
            raise
        if (status := code.read_text().strip()) != "0":
            raise Failure(f"{phase.name} ended with {status}\n{self.tail(base)}")

    @staticmethod
    def tail(base: Path) -> str:
        out = base.with_suffix(".out")
        return "\n".join(out.read_text(errors="replace").splitlines()[-25:]) if out.exists() else ""

    def ctl(self, *words: str | Path, cwd: Path | None = None) -> tuple[int, str]:
        done = call([self.bin / "atlasctl", *words], cwd=cwd or self.work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.ctl_env)
        return done.returncode, done.stdout if done.stdout.strip() else done.stderr

    def ask(self, *words: str | Path) -> dict:
        code, text = self.ctl(*words, "--json")
        if code:
            raise Failure(f"atlasctl {' '.join(map(str, words))} ended with {code}\n{text}")
        return json.loads(text)
