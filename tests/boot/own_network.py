"""A network namespace of a test's own, with the servers that its guests talk to: nothing leaves this computer. The
loopback device has a second address there that is not in 127/8, which is where the servers are."""

import fcntl
import hashlib
import http.server
import os
import socket
import struct
import subprocess
import sys
import threading
import time

SKIPPED = 77
SERVER, NAME, PORT = "192.0.2.1", "demo.test", 8080
FILE = hashlib.shake_256(b"encore").digest(3_000_000)
BIG = bytes(100_000_000)


def enter():
    """Starts this program again as root of namespaces of its own; comes back inside."""
    if os.environ.get("ENCORE_OWN_NETWORK") != "inside":
        command = ["unshare", "--map-root-user", "--net", "--mount"]
        if subprocess.run([*command, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            print("SKIPPED: this computer's users may not have network namespaces")
            sys.exit(SKIPPED)
        os.environ["ENCORE_OWN_NETWORK"] = "inside"
        os.execvp("unshare", [*command, sys.executable, "-B", *sys.argv])
    interface = struct.Struct("16sH14s")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        up = interface.pack(b"lo", 1, bytes(14))  # IFF_UP
        fcntl.ioctl(control, 0x8914, up)  # SIOCSIFFLAGS
        address = struct.pack("!H4s8x", 0, socket.inet_aton(SERVER))
        fcntl.ioctl(control, 0x8916, interface.pack(b"lo:1", socket.AF_INET, address))  # SIOCSIFADDR


class Web(http.server.BaseHTTPRequestHandler):
    """/file; /slow, which never ends; /big, there and back, timed; all other paths are noted and not there."""

    paths, slow_open, lock = [], set(), threading.Lock()
    rates = []  # (GET or POST, bytes a second)

    def do_GET(self):  # noqa: N802 (the name is http.server's)
        with self.lock:
            self.paths.append(self.path)
        if self.path == "/file":
            self.give(FILE)
        elif self.path == "/big":
            start = time.monotonic()
            self.give(BIG)
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.recv(1)  # until the other end has all of it and closes
            self.note(start, len(BIG))
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            with self.lock:
                self.slow_open.add(self.client_address)
            try:
                while True:
                    self.wfile.write(b".")
                    time.sleep(0.1)
            except OSError:
                with self.lock:
                    self.slow_open.discard(self.client_address)
        else:
            self.send_error(404)

    def do_POST(self):  # noqa: N802
        start = time.monotonic()
        length = left = int(self.headers["Content-Length"])
        while left > 0 and (got := self.rfile.read(min(left, 1 << 16))):
            left -= len(got)
        self.note(start, length)
        self.give(b"")

    def give(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def note(self, start, length):
        with self.lock:
            self.rates.append((self.command, length / (time.monotonic() - start)))

    def log_message(self, *_):
        pass


def serve_web():
    server = http.server.ThreadingHTTPServer(("0.0.0.0", PORT), Web)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()


def serve_names(folder):
    """A name server that knows one name (RFC 1035), and this namespace's resolv.conf that leads to it."""
    (folder / "resolv.conf").write_text(f"nameserver {SERVER}\n")
    subprocess.run(["mount", "--bind", folder / "resolv.conf", "/etc/resolv.conf"], check=True)
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind((SERVER, 53))

    def answer():
        while True:
            query, sender = listener.recvfrom(512)
            end = query.index(b"\0", 12) + 5
            asks_address = query[end - 4 : end - 2] == b"\0\1"
            count = 1 if asks_address else 0
            reply = query[:2] + struct.pack("!HHHHH", 0x8180, 1, count, 0, 0) + query[12:end]
            if asks_address:
                reply += struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(SERVER)
            listener.sendto(reply, sender)

    threading.Thread(target=answer, daemon=True).start()
