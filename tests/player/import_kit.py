"""Virtual machines as they are met in the field and as an attacker would make them, made here from nothing: OVF
packages, boxes, and one hostile image or more in every format that qemu reads."""

import gzip
import hashlib
import io
import subprocess
import tarfile
from struct import pack, pack_into

SECTOR = 512
MIB = 1 << 20
NAMESPACES = (
    'xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" '
    'xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"'
)


def item(number, kind, more="", attributes=""):
    return (
        f"<Item{attributes}><rasd:ElementName>{number}</rasd:ElementName><rasd:InstanceID>{number}</rasd:InstanceID>"
        f"{more}<rasd:ResourceType>{kind}</rasd:ResourceType></Item>"
    )


def memory(quantity=64, units="byte * 2^20", attributes=""):
    units = f"<rasd:AllocationUnits>{units}</rasd:AllocationUnits>" if units else ""
    return item(2, 4, f"{units}<rasd:VirtualQuantity>{quantity}</rasd:VirtualQuantity>", attributes)


def processors(count):
    return item(1, 3, f"<rasd:VirtualQuantity>{count}</rasd:VirtualQuantity>")


def controller(number, address, kind=5):
    return item(number, kind, f"<rasd:Address>{address}</rasd:Address>")


def drive(number, parent, address, host, kind=17):
    return item(
        number, kind,
        f"<rasd:Parent>{parent}</rasd:Parent><rasd:AddressOnParent>{address}</rasd:AddressOnParent>"
        f"<rasd:HostResource>{host}</rasd:HostResource>",
    )  # fmt: skip


def ovf(files, disks, items, attributes=None, more=""):
    """files: {id: name}; disks: {id: (file's id or None, capacity)}."""
    attributes = attributes or {}
    references = "".join(f'<File ovf:id="{i}" ovf:href="{n}" {attributes.get(i, "")}/>' for i, n in files.items())
    section = "".join(
        f'<Disk ovf:diskId="{i}" ovf:capacity="{size}"' + (f' ovf:fileRef="{file}"' if file else "") + "/>"
        for i, (file, size) in disks.items()
    )
    return (
        f'<?xml version="1.0"?><Envelope {NAMESPACES}><References>{references}</References><DiskSection><Info>d</Info>'
        f'{section}</DiskSection><VirtualSystem ovf:id="vm"><Info>v</Info><Name>Sample machine</Name>{more}'
        f'<VirtualHardwareSection><Info>h</Info>{"".join(items)}</VirtualHardwareSection></VirtualSystem></Envelope>'
    ).encode()


def one_disk(name="s.vmdk", items=(), host="ovf:/disk/d1", **more):
    return ovf({"f1": name}, {"d1": ("f1", 8 * MIB)}, [memory(), *items, controller(3, 0), drive(5, 3, 0, host)], **more)


def tar(members, mode="w"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o644
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def manifest(members, algorithm="SHA256", form="{}({})= {}\n"):
    digest = algorithm.replace("-", "").lower()
    return "".join(
        form.format(algorithm, name, hashlib.new(digest, content).hexdigest()) for name, content in members
    ).encode()


def iso(folder, boot_sector, tool="xorriso"):
    """A CD that boots as BOOT_SECTOR does."""
    (folder / "iso").mkdir(exist_ok=True)
    (folder / "iso" / "boot.bin").write_bytes(boot_sector)
    subprocess.run(
        [tool, "-as", "mkisofs", "-quiet", "-o", folder / "boot.iso", "-b", "boot.bin", "-no-emul-boot",
         "-boot-load-size", "4", folder / "iso"], check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return (folder / "boot.iso").read_bytes()


def convert(folder, raw, form, options=(), name=None):
    (folder / "convert.img").write_bytes(raw)
    out = folder / (name or f"convert.{form}")
    subprocess.run(["qemu-img", "convert", "-O", form, *options, folder / "convert.img", out], check=True)
    content = out.read_bytes()
    out.unlink()
    return content


# ---- Hostile images. `secret` is the path of a file that must never be read; all of them are a few sectors large.


def sparse_vmdk(own, where, other, other_at=0x200, capacity=8, footer=False):
    """A sparse extent whose header says that its description, `own`, is in sector `where`; `other` is elsewhere."""
    directory, overhead = 70, 128
    at = (1 << 64) - 1 if footer else directory  # 2^64 - 1: see the footer
    header = pack("<4sIIQQQQIQQQBccccH", b"KDMV", 1, 3, capacity, 128, where, 1, 512, 0, at, overhead, 0,
                  b"\n", b" ", b"\r", b"\n", 0)  # fmt: skip
    image = bytearray(overhead * SECTOR)
    image[: len(header)] = header
    image[other_at : other_at + len(other)] = other
    if own:
        image[where * SECTOR : where * SECTOR + len(own)] = own
    pack_into("<I", image, directory * SECTOR, directory + 1)
    if footer:
        last = bytearray(3 * SECTOR)
        last[: len(header)] = pack("<QII", 1, 0, 3)  # marker: a footer follows
        last[SECTOR : SECTOR + len(header)] = header.replace(pack("<Q", at), pack("<Q", directory))
        image += bytes(SECTOR) + last[:SECTOR] + last[SECTOR:]
    return bytes(image)


def description(kind, extent="", parent=None, cid="ffffffff", size=8):
    hint = f'parentFileNameHint="{parent}"\n' if parent else ""
    return (
        f'# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID={cid}\ncreateType="{kind}"\n{hint}'
        f'{extent or f"RW {size} SPARSE {chr(34)}x.vmdk{chr(34)}"}\n'
    ).encode()


def hostile_vmdks(secret):
    harmless = description("monolithicSparse")
    parent = description("monolithicSparse", parent=secret, cid="fffffffe")
    named = description("monolithicSparse", parent=f'json:{{\\"file.filename\\":\\"{secret}\\"}}', cid="fffffffe")
    flat = description("monolithicFlat", f'RW 8 FLAT "{secret}" 0')
    return {
        "description-elsewhere.vmdk": sparse_vmdk(harmless, 60, parent),
        "json-elsewhere.vmdk": sparse_vmdk(harmless, 60, named),
        "parent.vmdk": sparse_vmdk(parent, 1, parent),
        "footer.vmdk": sparse_vmdk(harmless, 60, parent, footer=True),
        "no-description.vmdk": sparse_vmdk(b"", 0, parent),
        "embedded-flat.vmdk": sparse_vmdk(flat, 1, flat, capacity=0),
        "flat.vmdk": flat,
        "two-gb.vmdk": description("twoGbMaxExtentFlat", f'RW 8 FLAT "{secret}" 0'),
        "two-gb-sparse.vmdk": description("twoGbMaxExtentSparse", f'RW 8 SPARSE "{secret}"'),
        "device.vmdk": description("fullDevice", f'RW 8 FLAT "{secret}" 0'),
        "comment.vmdk": b"# Comment\n" + flat.replace(b"# Disk DescriptorFile\n", b""),
        "cowd.vmdk": b"COWD" + pack("<IIIIIIIIII", 1, 3, 8, 128, 4, 1, 1, 0, 0, 0) + secret.encode().ljust(4096, b"\0"),
        "sesparse.vmdk": pack("<QQ", 0xCAFEBABE, 2 << 32) + bytes(4096),
    }


def qcow2(size=MIB, backing=b"", features=0, extension=b"", version=3):
    header = bytearray(65536 * 4)
    pack_into(">4sIQIIQIIQQIIQ", header, 0, b"QFI\xfb", version, 0, 0, 16, size, 0, 1, 3 * 65536, 65536, 1, 0, 0)
    if version == 3:
        pack_into(">QQQII", header, 72, features, 0, 0, 4, 104)
    header[104 : 104 + len(extension)] = extension
    if backing:
        pack_into(">QI", header, 8, 4096, len(backing))
        header[4096 : 4096 + len(backing)] = backing
    pack_into(">Q", header, 65536, 2 * 65536)  # refcount table
    for cluster in range(4):
        pack_into(">H", header, 2 * 65536 + 2 * cluster, 1)
    return bytes(header)


def hostile_qcows(secret):
    data_file = pack(">II", 0x44415441, len(secret)) + secret.encode() + bytes(-len(secret) % 8)
    old = bytearray(8192)
    pack_into(">4sIQIIQBBHIQ", old, 0, b"QFI\xfb", 1, 1024, len(secret), 0, MIB, 12, 9, 0, 0, 4096)
    old[1024 : 1024 + len(secret)] = secret.encode()
    return {
        "path.qcow2": qcow2(backing=secret.encode()),
        "file.qcow2": qcow2(backing=f"file:{secret}".encode()),
        "relative.qcow2": qcow2(backing=b"secret"),
        "json.qcow2": qcow2(backing=f'json:{{"driver":"raw","file":{{"driver":"file","filename":"{secret}"}}}}'.encode()),
        "nbd.qcow2": qcow2(backing=b"nbd+unix:///?socket=/tmp/x"),
        "http.qcow2": qcow2(backing=b"http://127.0.0.1/x"),
        "fat.qcow2": qcow2(backing=b"fat:/"),
        "version-2.qcow2": qcow2(backing=secret.encode(), version=2),
        "data-file.qcow2": qcow2(features=4, extension=data_file),
        "data-raw.qcow2": qcow2(features=4),
        "old.qcow": bytes(old),
        "version-9.qcow2": qcow2(version=9),
    }


def hostile_qed(secret):
    image = bytearray(65536 * 3)
    pack_into("<4sIIIQQQQQII", image, 0, b"QED\0", 65536, 1, 1, 1, 0, 0, 65536, MIB, 256, len(secret))
    image[256 : 256 + len(secret)] = secret.encode()
    return bytes(image)


def vhd(kind, in_front, secret=""):
    size = 68 * SECTOR * 8
    footer = bytearray(SECTOR)
    pack_into(">8sIIQI4sI4sQQHBBI", footer, 0, b"conectix", 2, 0x10000, 512 if in_front else (1 << 64) - 1, 0, b"win ",
              0x10000, b"Wi2k", size, size, 8, 4, 17, kind)  # fmt: skip
    pack_into(">I", footer, 64, ~sum(footer) & 0xFFFFFFFF)
    if not in_front:
        return bytes(size) + bytes(footer)
    header = bytearray(1024)
    pack_into(">8sQQIII", header, 0, b"cxsparse", (1 << 64) - 1, 1536, 0x10000, 1, 2 * MIB)
    name = secret.encode("utf-16-be")
    header[64 : 64 + len(name)] = name
    pack_into(">I", header, 36, ~sum(header) & 0xFFFFFFFF)
    return bytes(footer) + bytes(header) + b"\xff" * 512 + bytes(footer)


def hostile_vhdx(plain, secret):
    """A dynamic VHDX of qemu's with a parent locator put into its metadata table."""
    image = bytearray(plain)
    guid = bytes.fromhex("06a27c8b90479a4bb8fe575f050f886e")
    region = image.index(guid, 192 << 10)
    table = int.from_bytes(image[region + 16 : region + 24], "little")
    count = int.from_bytes(image[table + 10 : table + 12], "little")
    pack_into("<H", image, table + 10, count + 1)
    entry = table + 32 + 32 * count
    image[entry : entry + 16] = bytes.fromhex("2d5fd3a80bb34d45abf7d3d84834ab0c")
    pack_into("<III", image, entry + 16, 70000, 256, 4)
    name = secret.encode("utf-16-le")
    image[table + 70000 : table + 70000 + len(name)] = name
    return bytes(image)


def hostile_vdi(plain, kind):
    image = bytearray(plain)
    pack_into("<I", image, 76, kind)
    image[0x1A8:0x1C8] = b"\x11" * 32  # the UUIDs of what it is linked to, and of its parent
    return bytes(image)


def bochs(subtype):
    return b"Bochs Virtual HD Image".ljust(32, b"\0") + b"Redolog".ljust(16, b"\0") + subtype.ljust(16, b"\0") + pack(
        "<IIIIIIQ", 0x20000, 512, 2048, 512, 4096, 0, 8 * MIB
    ) + bytes(8192)  # fmt: skip


def hostile_images(folder, secret):
    """{name: (content, what the refusal says)}; nothing of it may ever be read through to `secret`."""
    another, parallels = "needs another file", b"WithoutFreeSpace" + pack("<IIIIIQ", 2, 16, 64, 128, 4, 512)
    blank = bytes(MIB)
    found = {name: (content, "") for name, content in hostile_vmdks(secret).items()}
    found |= {name: (content, "") for name, content in hostile_qcows(secret).items()}
    found |= {
        "backing.qed": (hostile_qed(secret), another),
        "difference.vhd": (vhd(4, True, secret), another),
        "difference-footer.vhd": (vhd(4, False), another),
        "odd-type.vhd": (vhd(7, False), "unknown type"),
        "parent.vhdx": (hostile_vhdx(convert(folder, blank, "vhdx"), secret), another),
        "difference.vdi": (hostile_vdi(convert(folder, blank, "vdi"), 4), another),
        "undo.vdi": (hostile_vdi(convert(folder, blank, "vdi"), 3), another),
        "linked.vdi": (hostile_vdi(convert(folder, blank, "vdi"), 1), another),
        "x.hds": (parallels + bytes(8192), "Parallels"),
        "extended.hds": (b"WithouFreSpacExt" + parallels[16:] + bytes(8192), "Parallels"),
        "undoable.bochs": (bochs(b"Undoable"), another),
        "volatile.bochs": (bochs(b"Volatile"), another),
        "x.cloop": (b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n" + bytes(8192), "cloop"),
        "x.dmg": (bytes(8192) + b"koly".ljust(512, b"\0"), "dmg"),
        "x.cow": (b"OOOM" + pack(">I", 2) + secret.encode().ljust(8192, b"\0"), "user-mode Linux"),
    }  # fmt: skip
    return {name: (content, said or None) for name, (content, said) in found.items()}


def gzipped(content):
    return gzip.compress(content, mtime=0)
