"""A publisher and a player in one temporary home: a key, a trust store, a cache and a runtime directory of its own, and
the real `encore` run in it. Shared by the tests that work on bundles from outside."""

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import optimised_build  # noqa: E402


def build_encore():
    return optimised_build.program("player", "encore", "ENCORE_BINARY")


class Desk:
    """Use as a context; the folder goes away with it. `home` holds everything sessions may keep, `work` the rest."""

    def __init__(self, encore):
        self.encore = Path(encore)
        self.folder = Path(tempfile.mkdtemp(prefix="encore-desk-"))
        self.home, self.work = self.folder / "home", self.folder / "work"
        self.work.mkdir()
        self.started = []  # processes that may be running still
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LC_ALL": "C.UTF-8"}
        for variable, name in {
            "XDG_DATA_HOME": "data", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache", "XDG_STATE_HOME": "state",
            "XDG_RUNTIME_DIR": "run", "TMPDIR": "tmp",
        }.items():  # fmt: skip
            (self.home / name).mkdir(parents=True, mode=0o700)
            self.environment[variable] = str(self.home / name)
        self.must("keygen", "--name", "Encore test publisher", "--out", "key")
        self.must("trust", "add", "key.crt")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in self.started:  # a test that failed has not ended them
            if child.poll() is None:
                child.kill()
                child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *arguments, timeout=430):
        """Runs `encore ARGUMENTS` in `work` to its end; returns (exit status or minus the signal, all it said)."""
        command = [str(word) for word in (self.encore, *arguments)]
        try:
            done = subprocess.run(
                command, cwd=self.work, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=timeout, check=False,
            )  # fmt: skip
            return done.returncode, done.stdout.decode("utf-8", "replace")
        except subprocess.TimeoutExpired as expired:
            return None, (expired.stdout or b"").decode("utf-8", "replace") + "\nencore did not end"

    def must(self, *arguments):
        status, said = self.run(*arguments)
        if status != 0:
            raise RuntimeError(f"encore {' '.join(map(str, arguments))}: status {status}\n{said}")

    def start(self, *arguments, output):
        """Starts `encore ARGUMENTS` in `work`, in a process group of its own, and comes back at once."""
        child = subprocess.Popen(
            [str(word) for word in (self.encore, *arguments)], cwd=self.work, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.started = [one for one in self.started if one.poll() is None] + [child]
        return child

    def pack(self, recipe):
        """Packs and signs a recipe's text; returns the bundle."""
        (self.work / "recipe.toml").write_text(recipe)
        bundle = self.work / "test.encore"
        self.must("pack", "recipe.toml", "-o", bundle, "--key", "key.key", "--cert", "key.crt")
        return bundle

    def kept(self):
        """What is in the home: path -> (kind, size). Directories have no size: theirs is the file system's affair."""
        found = {}
        for path in sorted(self.home.rglob("*")):
            status = path.lstat()
            kind = stat.S_IFMT(status.st_mode)
            found[str(path.relative_to(self.home))] = (kind, 0 if stat.S_ISDIR(kind) else status.st_size)
        return found

    def processes(self):
        """Ids of all processes that run in this home. Dead ones not yet waited for have no environment."""
        mark = f"HOME={self.home}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:  # it ended meanwhile, or is another user's
                continue
        return found


def digest(path):
    summary = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            summary.update(block)
    return summary.hexdigest()
