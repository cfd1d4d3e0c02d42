"""Builds the benchmark guest and runs a Linux guest in either VMM; shared by the comparison and the boot tests."""

import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import optimised_build  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
INSTALLER = Path("/usr/lib/debian-installer/images/12/i386/text/debian-installer/i386")
SOURCES = Path(__file__).resolve().parent / "guest"

# No C library, nothing the compiler may turn into calls of one; i686 without SSE except where a row asks for it,
# and no CET markers, so that the instructions are those of an ordinary 32-bit program.
BASE_FLAGS = (
    "-m32 -march=i686 -O2 -static -nostdlib -ffreestanding -fno-pic -no-pie -fno-stack-protector "
    "-fno-tree-loop-distribute-patterns -fno-asynchronous-unwind-tables -fcf-protection=none -fno-math-errno "
    "-Wall -Wextra -Werror"
).split()
UNIT_FLAGS = {"floating.c": ["-mfpmath=387", "-mno-sse"], "vector.c": ["-msse2"]}


def fail(message):
    sys.exit(f"{Path(sys.argv[0]).name}: {message}")


def require(path, package):
    if not Path(path).exists():
        fail(f"{path} is missing; install it with: apt-get install {package}")
    return Path(path)


def cache_directory():
    directory = Path(os.environ.get("ENCORE_TEST_CACHE", ROOT / ".build" / "guests"))
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def build_boot_timer():
    """The driver of our VMM."""
    return optimised_build.program("tests/bench", "boot_timer", "ENCORE_BOOT_TIMER")


def build_benchmark(directory):
    """The static i386 benchmark program."""
    objects = []
    for source in sorted(SOURCES.glob("*.c")):
        target = directory / (source.stem + ".o")
        command = ["gcc", *BASE_FLAGS, *UNIT_FLAGS.get(source.name, []), "-c", source, "-o", target]
        if subprocess.run(command).returncode != 0:
            fail("cannot compile the benchmark; it needs: apt-get install gcc-multilib")
        objects.append(target)
    program = directory / "benchmark"
    subprocess.run(["gcc", *BASE_FLAGS, "-o", program, *objects, "-lgcc"], check=True)
    return program


class Initramfs:
    """Writes a cpio archive in the "newc" format of Linux' Documentation/driver-api/early-userspace/buffer-format.rst."""

    DIRECTORY, FILE, CHARACTER_DEVICE, SYMLINK = 0o040755, 0o100755, 0o020600, 0o120777

    def __init__(self):
        self._data = bytearray()
        self._inode = 0

    def add(self, name, mode, content=b"", device=(0, 0)):
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = [self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0]
        self._data += b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        self._pad()
        self._data += content
        self._pad()

    def _pad(self):
        self._data += b"\0" * (-len(self._data) % 4)

    def write(self, path):
        self.add("TRAILER!!!", 0)
        path.write_bytes(self._data)
        return path


def benchmark_initramfs(program, path):
    archive = Initramfs()
    archive.add("dev", Initramfs.DIRECTORY)
    archive.add("dev/console", Initramfs.CHARACTER_DEVICE, device=(5, 1))
    archive.add("init", Initramfs.FILE, program.read_bytes())
    return archive.write(path)


def qemu_command(kernel, initrd, append, memory):
    program = require("/usr/bin/qemu-system-i386", "qemu-system-x86")
    return [
        str(program), "-accel", "tcg", "-machine", "pc", "-m", str(memory), "-display", "none", "-no-reboot",
        "-nodefaults", "-vga", "std", "-serial", "stdio", "-monitor", "none",
        "-kernel", str(kernel), "-initrd", str(initrd), "-append", append,
    ]  # fmt: skip


def encore_command(boot_timer, kernel, initrd, append, memory, steps, timeout):
    return [
        str(boot_timer), "--memory", str(memory), "--kernel", str(kernel), "--initrd", str(initrd),
        "--append", append, "--timeout", str(timeout), *steps,
    ]  # fmt: skip


class Run:
    """What a child printed, when each line came, and when a pattern was first seen."""

    def __init__(self):
        self.output = ""
        self.errors = ""
        self.lines = []  # (seconds since start, text)
        self.matched_at = None
        self.status = None


def run_child(command, timeout, until=None):
    """Runs a child, reading standard output as it comes, until it ends, `until` matches, or the time is up."""
    run = Run()
    begin = time.monotonic()
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    streams = {child.stdout.fileno(): "output", child.stderr.fileno(): "errors"}
    partial = ""
    try:
        while streams:
            left = begin + timeout - time.monotonic()
            if left <= 0:
                break
            ready, _, _ = select.select(list(streams), [], [], left)
            now = time.monotonic() - begin
            for stream in ready:
                data = os.read(stream, 65536).decode("latin-1")
                if not data:
                    del streams[stream]
                elif streams[stream] == "errors":
                    run.errors += data
                else:
                    run.output += data
                    partial += data
                    *complete, partial = partial.split("\n")
                    run.lines += [(now, line.strip("\r")) for line in complete]
            if until and run.matched_at is None and re.search(until, run.output[-16384:]):
                run.matched_at = now
                break
        if not streams:
            child.wait(timeout=10)
    finally:
        if child.poll() is None:
            child.kill()
        run.status = child.wait()
        child.stdout.close()
        child.stderr.close()
    return run
