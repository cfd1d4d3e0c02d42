"""Guests for the boot tests, made from Debian packages without root: GRUB disks and ISOs holding the Debian
installer, and the archive's i386 -686-pae kernel with a busybox initramfs. Each is built once into a cache."""

import contextlib
import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))
import guest_kit as kit  # noqa: E402

GRUB_MODULES = Path("/usr/lib/grub/i386-pc")
SECTOR = 512
PARTITION_START = 2048  # sectors; the gap before it holds GRUB's core image
PARTITION_MIB = 64
FLOPPY_BYTES = 2880 * SECTOR
MIB = 1 << 20

# The test chooses an entry by its hotkey, so the menu waits for ever and the keyboard is part of the test. GRUB's own
# keys (c, e, v for down) are no hotkeys.
GRUB_MENU = """set timeout=-1
menuentry "Encore boot test on serial" --hotkey=s {{
    linux /boot/linux console=ttyS0 priority=low
    initrd /boot/initrd.gz
}}
menuentry "Encore boot test on VGA" --hotkey=g {{
    linux /boot/linux priority=low {vga}
    initrd /boot/initrd.gz
}}
"""
# Without nomodeset the kernel's bochs driver may take the screen to graphics before the dialog shows.
VGA_ARGUMENTS = "vga=normal nomodeset"


class Unavailable(Exception):
    """The Debian archive could not be reached; the only reason to skip a test."""


def run(*command, **options):
    result = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    if result.returncode != 0:
        kit.fail(f"{command[0]} failed:\n{result.stdout[-2000:]}")
    return result.stdout


@contextlib.contextmanager
def locked(directory):
    """Tests run in parallel; each image is built by one of them."""
    with open(directory / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(name, inputs, build):
    """`build(target)` makes the file; it is made again when the packages' files or this recipe change."""
    directory = kit.cache_directory()
    stamp = hashlib.sha256(Path(__file__).read_bytes())
    for path in inputs:
        status = Path(path).stat()
        stamp.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
    target, stamp_file = directory / name, directory / (name + ".stamp")
    with locked(directory):
        if target.exists() and stamp_file.exists() and stamp_file.read_text() == stamp.hexdigest():
            return target
        print(f"building {name}", file=sys.stderr)
        part = directory / (name + ".part")
        build(part)
        part.rename(target)
        stamp_file.write_text(stamp.hexdigest())
    return target


def installer_files():
    package = "debian-installer-12-netboot-i386"
    return kit.require(kit.INSTALLER / "linux", package), kit.require(kit.INSTALLER / "initrd.gz", package)


@contextlib.contextmanager
def boot_tree(directory):
    """A directory holding what the disk and the ISO hold."""
    kernel, initrd = installer_files()
    tree = directory / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    (tree / "boot" / "grub").mkdir(parents=True)
    shutil.copy(kernel, tree / "boot" / "linux")
    shutil.copy(initrd, tree / "boot" / "initrd.gz")
    (tree / "boot" / "grub" / "grub.cfg").write_text(GRUB_MENU.format(vga=VGA_ARGUMENTS))
    try:
        yield tree
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def build_disk(target):
    """MBR with GRUB's boot.img, its core image in the gap, and one ext2 partition filled by mke2fs."""
    directory = target.parent
    core, partition = directory / "core.img", directory / "partition.img"
    kit.require(GRUB_MODULES / "boot.img", "grub-pc-bin")
    run(
        "grub-mkimage", "-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-o", core,
        "biosdisk", "part_msdos", "ext2", "normal", "linux", "configfile", "echo", "test", "minicmd",
    )  # fmt: skip
    core_bytes = core.read_bytes()
    if SECTOR + len(core_bytes) > PARTITION_START * SECTOR:
        kit.fail("GRUB's core image does not fit the gap before the first partition")
    with boot_tree(directory) as tree:
        partition.unlink(missing_ok=True)
        run("/sbin/mke2fs", "-q", "-t", "ext2", "-d", tree, partition, f"{PARTITION_MIB}M")
    # boot.img loads the core image from sector 1 unless told otherwise, and the core image its rest from sector 2.
    mbr = bytearray((GRUB_MODULES / "boot.img").read_bytes())
    sectors = PARTITION_MIB * MIB // SECTOR
    entry = b"\x80\xfe\xff\xff\x83\xfe\xff\xff" + PARTITION_START.to_bytes(4, "little") + sectors.to_bytes(4, "little")
    mbr[446:512] = entry + bytes(48) + b"\x55\xaa"
    with open(target, "wb") as disk:
        disk.write(mbr)
        disk.write(core_bytes)
        disk.seek(PARTITION_START * SECTOR)
        with open(partition, "rb") as contents:
            shutil.copyfileobj(contents, disk, MIB)
    core.unlink()
    partition.unlink()


def build_floppy(target):
    """GRUB alone: boot.img as it is (it probes the drive's geometry), then a core image that carries the menu."""
    directory = target.parent
    tree, archive, core = directory / "floppy-tree", directory / "floppy.tar", directory / "floppy-core.img"
    shutil.rmtree(tree, ignore_errors=True)
    (tree / "boot" / "grub").mkdir(parents=True)
    (tree / "boot" / "grub" / "grub.cfg").write_text(GRUB_MENU.format(vga=VGA_ARGUMENTS))
    run("tar", "-C", tree, "-cf", archive, "boot")
    run(
        "grub-mkimage", "-O", "i386-pc", "-m", archive, "-p", "(memdisk)/boot/grub", "-o", core,
        "biosdisk", "memdisk", "tar", "normal", "linux", "configfile", "echo", "test", "minicmd",
    )  # fmt: skip
    image = kit.require(GRUB_MODULES / "boot.img", "grub-pc-bin").read_bytes() + core.read_bytes()
    if len(image) > FLOPPY_BYTES:
        kit.fail("GRUB's core image does not fit a floppy disk")
    target.write_bytes(image.ljust(FLOPPY_BYTES, b"\0"))
    shutil.rmtree(tree)
    archive.unlink()
    core.unlink()


def build_iso(target):
    with boot_tree(target.parent) as tree:
        run("grub-mkrescue", "-d", GRUB_MODULES, "-o", target, tree)


def grub_disk():
    return cached("installer-disk.img", installer_files(), build_disk)


def grub_floppy():
    return cached("grub-floppy.img", [GRUB_MODULES / "boot.img"], build_floppy)


def grub_iso():
    kit.require("/usr/bin/grub-mkrescue", "grub-common")
    kit.require("/usr/bin/xorriso", "xorriso")
    kit.require("/usr/bin/mformat", "mtools")
    return cached("installer.iso", installer_files(), build_iso)


def rescue(name):
    return kit.require(Path("/usr/lib/grub-rescue") / name, "grub-rescue-pc")


def memtest_iso():
    return kit.require("/usr/lib/memtest86+/memtest86+ia32.iso", "memtest86+")


def benchmark_guest():
    """The installer's kernel and an initramfs of one static program that ends by powering off."""
    kernel, _ = installer_files()

    def build(target):
        objects = target.parent / "benchmark-objects"
        objects.mkdir(exist_ok=True)
        kit.benchmark_initramfs(kit.build_benchmark(objects), target)

    return kernel, cached("benchmark.cpio", sorted(kit.SOURCES.iterdir()), build)


def network_guest():
    """The installer's kernel, drivers and tools, with an /init of ours over its own."""
    kernel, initrd = installer_files()
    script = Path(__file__).resolve().parent / "network" / "init"

    def build(target):
        archive = kit.Initramfs()
        archive.add("init", kit.Initramfs.FILE, script.read_bytes())
        over = target.with_suffix(".over")
        archive.write(over)
        base = initrd.read_bytes()  # archives follow each other at multiples of four bytes
        target.write_bytes(base + bytes(-len(base) % 4) + over.read_bytes())
        over.unlink()

    return kernel, cached("network.cpio", [script, initrd], build)


# Drivers of that kernel for guests that need them, in the order of loading.
SOUND_MODULES = ["soundcore", "snd", "snd-timer", "snd-pcm", "ac97_bus", "snd-ac97-codec", "snd-intel8x0"]
DISPLAY_MODULES = ["drm", "drm_kms_helper", "ttm", "drm_ttm_helper", "drm_vram_helper", "bochs"]

SHELL_INIT = b"""#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec /bin/sh -i
"""


def download_pae(directory):
    """The newest linux-image-6.1.0-*-686-pae and busybox-static from the i386 archive, unpacked, not installed.
    apt is given lists and a cache of its own, so the system's architecture list stays as it is."""
    work = directory / "i386-archive"
    for part in ("lists/partial", "cache/archives/partial"):
        (work / part).mkdir(parents=True, exist_ok=True)
    apt = [
        "-q", "-o", "APT::Architecture=i386", "-o", "APT::Architectures=i386",
        "-o", f"Dir::State::Lists={work}/lists", "-o", f"Dir::Cache={work}/cache",
        "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20",
    ]  # fmt: skip
    # A failing security index is not an error as long as the main index is there.
    subprocess.run(["apt-get", *apt, "update"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    found = subprocess.run(
        ["apt-cache", *apt, "search", "--names-only", r"^linux-image-6\.1\.0-[0-9]+-686-pae$"],
        stdout=subprocess.PIPE, text=True, check=False,
    ).stdout  # fmt: skip
    names = sorted(set(re.findall(r"linux-image-6\.1\.0-(\d+)-686-pae", found)), key=int)
    if not names:
        raise Unavailable("Debian's i386 archive cannot be reached, so there is no -686-pae kernel to boot")
    packages = [f"linux-image-6.1.0-{names[-1]}-686-pae", "busybox-static"]
    fetched = subprocess.run(
        ["apt-get", *apt, "download", *packages], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    if fetched.returncode != 0:
        raise Unavailable("downloading from Debian's i386 archive failed:\n" + fetched.stdout[-1500:])
    tree = work / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    for package in work.glob("*.deb"):
        run("dpkg", "-x", package, tree)
        package.unlink()
    kernel = next((tree / "boot").glob("vmlinuz-*-686-pae"))
    shutil.copy(kernel, directory / "pae-kernel.part")
    archive = kit.Initramfs()
    for name in ("bin", "proc", "sys", "dev"):
        archive.add(name, kit.Initramfs.DIRECTORY)
    archive.add("dev/console", kit.Initramfs.CHARACTER_DEVICE, device=(5, 1))
    archive.add("bin/busybox", kit.Initramfs.FILE, (tree / "bin" / "busybox").read_bytes())
    archive.add("bin/sh", kit.Initramfs.SYMLINK, b"busybox")
    archive.add("init", kit.Initramfs.FILE, SHELL_INIT)
    archive.write(directory / "pae-initrd")
    modules = directory / "pae-modules"
    modules.mkdir(exist_ok=True)
    for name in SOUND_MODULES + DISPLAY_MODULES:
        shutil.copy(next((tree / "lib" / "modules").rglob(f"{name}.ko")), modules)
    (directory / "pae-kernel.part").rename(directory / "pae-kernel")
    shutil.rmtree(work)


def pae_guest():
    directory = kit.cache_directory()
    kernel, initrd = directory / "pae-kernel", directory / "pae-initrd"
    with locked(directory):
        modules = [directory / "pae-modules" / f"{name}.ko" for name in SOUND_MODULES + DISPLAY_MODULES]
        if not all(path.exists() for path in (kernel, initrd, *modules)):
            download_pae(directory)
    return kernel, initrd


def driver_guest(name, source, module_names, *libraries):
    """The -686-pae kernel and an initramfs whose /init is a C program that finds those drivers in /modules."""
    kernel, _ = pae_guest()
    modules = [kernel.parent / "pae-modules" / f"{module}.ko" for module in module_names]

    def build(target):
        program = target.parent / f"{name}-init"
        flags = ["-m32", "-march=i686", "-O2", "-static", "-Wall", "-Wextra", "-Werror"]
        run("gcc", *flags, "-o", program, source, *libraries)
        archive = kit.Initramfs()
        for folder in ("dev", "proc", "sys", "modules"):
            archive.add(folder, kit.Initramfs.DIRECTORY)
        archive.add("dev/console", kit.Initramfs.CHARACTER_DEVICE, device=(5, 1))
        for module in modules:
            archive.add(f"modules/{module.name}", kit.Initramfs.FILE, module.read_bytes())
        archive.add("init", kit.Initramfs.FILE, program.read_bytes())
        archive.write(target)
        program.unlink()

    return kernel, cached(f"{name}.cpio", [source, *modules], build)


def tone_guest():
    """Plays a sine through the kernel's own AC'97 driver."""
    return driver_guest("tone", Path(__file__).resolve().parent / "sound" / "tone.c", SOUND_MODULES, "-lm")


def modes_guest():
    """Says which mode the kernel's own bochs-drm driver prefers."""
    return driver_guest("modes", Path(__file__).resolve().parent / "display" / "modes.c", DISPLAY_MODULES)
