"""The guest of tests/bench/scene: Debian's graphical installer with 512 MB at its language list, in Encore and in QEMU.

With less than 534 MB of MemTotal the i386 installer's own check (rootskel-gtk, /lib/debian-installer.d/S60frontend)
chooses the text front end, though the graphical one runs. DEBIAN_FRONTEND on the kernel's command line is asked before that
check, so a publisher may say which one it shall be. Both sides boot the same kernel and initrd with the same line.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

INSTALLER = Path("/usr/lib/debian-installer/images/12/i386/gtk/debian-installer/i386")
COMMAND_LINE = "quiet DEBIAN_FRONTEND=gtk"
MEMORY = "512M"
SCENE = "language"
SCREEN = (1024, 768)
STILL_SECONDS = 15  # QEMU's picture must not change for so long
RECIPE = f"""[appliance]
name = "debian-installer"
title = "Debian 12 installer"
version = "12"
[machine]
memory = "{MEMORY}"
[boot]
kernel = "{INSTALLER}/linux"
initrd = "{INSTALLER}/initrd.gz"
cmdline = "{COMMAND_LINE}"
"""


class Monitor:
    """QEMU's machine protocol."""

    def __init__(self, path, child, seconds=120):
        end = time.monotonic() + seconds
        while True:
            if time.monotonic() > end or child.poll() is not None:
                sys.exit("scene: QEMU did not answer")
            self.link = socket.socket(socket.AF_UNIX)
            try:
                self.link.connect(str(path))
                break
            except OSError:
                self.link.close()
                time.sleep(0.002)
        self.lines = self.link.makefile("rw")
        self.lines.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        self.lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.lines.flush()
        while True:
            answer = json.loads(self.lines.readline())
            if "error" in answer:
                sys.exit(f"scene: QEMU says of {command}: {answer['error'].get('desc')}")
            if "return" in answer:
                return answer["return"]


def qemu(disk, memory, socket_path, *more):
    width, height = SCREEN
    return subprocess.Popen(
        ["qemu-system-i386", "-accel", "tcg", "-m", memory, "-hda", disk, "-vga", "std", "-display", "none", "-nic", "none",
         "-global", f"VGA.xres={width}", "-global", f"VGA.yres={height}",
         "-qmp", f"unix:{socket_path},server=on,wait=off", *more]
    )  # fmt: skip


def stands(picture, last):
    """A binary PPM of the screen's size with more colours than a console has, and as it was."""
    header = picture[:20].split()
    if picture != last or tuple(map(int, header[1:3])) != SCREEN:
        return False
    return len({picture[i : i + 3] for i in range(15, len(picture) - 3, 3 * 97)}) > 64


def snapshot(disk):
    with tempfile.TemporaryDirectory() as folder:
        part = Path(f"{disk}.part")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", part, "1G"], check=True)
        child = qemu(part, MEMORY, f"{folder}/qmp", "-kernel", INSTALLER / "linux", "-initrd", INSTALLER / "initrd.gz",
                     "-append", COMMAND_LINE)  # fmt: skip
        try:
            monitor = Monitor(f"{folder}/qmp", child)
            started = since = time.monotonic()
            last = None
            while time.monotonic() - since < STILL_SECONDS:
                if time.monotonic() - started > 600:
                    sys.exit("scene: the installer's language list did not come in QEMU within 600 s")
                time.sleep(1)
                monitor.ask("screendump", filename=f"{folder}/screen.ppm")
                picture = Path(f"{folder}/screen.ppm").read_bytes()
                if not stands(picture, last):
                    since = time.monotonic()
                last = picture
            said = monitor.ask("human-monitor-command", **{"command-line": f"savevm {SCENE}"})
            if said.strip():
                sys.exit(f"scene: QEMU could not save: {said.strip()}")
            monitor.ask("quit")
            child.wait(60)
        finally:
            child.kill()
            child.wait()
        part.rename(disk)


def prepare(folder, encore):
    """Makes what is not there yet; (bundle, key, certificate, QEMU's disk)."""
    if not (INSTALLER / "initrd.gz").exists():
        sys.exit(f"scene: {INSTALLER} is missing; install it with: tests/install-packages demo")
    if not shutil.which("qemu-system-i386") or not shutil.which("qemu-img"):
        sys.exit("scene: QEMU is missing; install it with: tests/install-packages bench")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("CONFIG", "DATA", "CACHE", "STATE"):
        os.environ[f"XDG_{name}_HOME"] = str(folder / name.lower())
    bundle, key, cert, disk = (folder / name for name in ("installer.encore", "bench.key", "bench.crt", "installer.qcow2"))

    def call(*arguments):
        subprocess.run([encore, *arguments], check=True, stdout=sys.stderr)

    if not key.exists():
        call("keygen", "--name", "Bench", "--out", folder / "bench")
        call("trust", "add", cert)
    if not bundle.exists():
        part, recipe = folder / "part.encore", folder / "installer.toml"
        part.unlink(missing_ok=True)
        recipe.write_text(RECIPE)
        signed = ("--key", key, "--cert", cert)
        call("pack", recipe, "-o", part, *signed)
        call("scene", "add", part, "--name", SCENE, "--start", "--expect-picture", "x".join(map(str, SCREEN)),
             "--after", "5", "--timeout", "300", *signed)  # fmt: skip
        part.rename(bundle)
    if not disk.exists():
        snapshot(disk)
    return bundle, key, cert, disk
