"""A screen of Xvfb's (-fbdir: a file in xwd's format), as a picture; waits until enough of it is of one colour.

    screen.py XWD PICTURE.png THOUSANDTHS RRGGBB
"""

import struct
import sys
import time
import zlib
from pathlib import Path

SECONDS = 30


def read(path):
    """Width, height, rows of RGB. XWDFile.h: a header of 4-byte numbers, big-endian, colours of 12 bytes, the pixels."""
    data = Path(path).read_bytes()
    header = struct.unpack(">25I", data[:100])
    size, width, height, bits, line, colours = header[0], header[4], header[5], header[11], header[12], header[19]
    if bits != 32:
        raise ValueError(f"{bits} bits a pixel")
    begin = size + 12 * colours
    rows = []
    for y in range(height):
        row = data[begin + y * line : begin + y * line + 4 * width]
        pixels = bytearray(3 * width)
        pixels[0::3], pixels[1::3], pixels[2::3] = row[2::4], row[1::4], row[0::4]
        rows.append(bytes(pixels))
    return width, height, rows


def thousandths(rows, colour):
    found = total = 0
    for row in rows:
        total += len(row) // 3
        # Colours that straddle two pixels would be a coincidence of a few.
        found += row.count(colour)
    return 1000 * found // total


def write(path, width, height, rows):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b""))


def main():
    file, picture, wanted, colour = sys.argv[1], sys.argv[2], int(sys.argv[3]), bytes.fromhex(sys.argv[4])
    end = time.monotonic() + SECONDS
    while True:
        width, height, rows = read(file)
        if thousandths(rows, colour) >= wanted or time.monotonic() > end:
            break
        time.sleep(0.3)
    write(picture, width, height, rows)
    got = thousandths(rows, colour)
    print(f"{Path(picture).name}: {got} thousandths are {sys.argv[4]}")
    sys.exit(got < wanted)


main()
