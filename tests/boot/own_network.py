"""Network namespaces of a test's own: nothing leaves this computer. In one the guests are played; its only neighbour
on the wire is another, which is the world outside, where the servers are that guests talk to."""

import ctypes
import hashlib
import http.server
import os
import queue
import socket
import struct
import subprocess
import sys
import threading
import time

SKIPPED = 77
SERVER, NAME, PORT = "198.51.100.1", "demo.test", 8080
HOST, NEIGHBOUR = "192.0.2.9", "192.0.2.1"  # this computer, and its router, which is its name server as well
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
    world = outside(lambda: ip("link set lo up", f"address add {SERVER}/32 dev lo") or threading.get_native_id())
    ip("link set lo up", f"link add wire type veth peer name world netns {world}", f"address add {HOST}/24 dev wire",
       "link set wire up", f"route add default via {NEIGHBOUR}")  # fmt: skip
    outside(lambda: ip(f"address add {NEIGHBOUR}/24 dev world", "link set world up"))


def ip(*commands):
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


_work, _done = queue.Queue(), queue.Queue()


def _be_outside():
    """A thread with a network namespace of its own: unshare(2), CLONE_NEWNET."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) != 0:
        _done.put(OSError(ctypes.get_errno(), "unshare"))
        return
    while True:
        try:
            _done.put(_work.get()())
        except Exception as error:  # whoever asked has to hear of it
            _done.put(error)


def outside(work):
    """Carries it out in the other namespace; sockets made there stay there."""
    if not hasattr(outside, "thread"):
        outside.thread = threading.Thread(target=_be_outside, daemon=True)
        outside.thread.start()
    _work.put(work)
    done = _done.get()
    if isinstance(done, Exception):
        raise done
    return done


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
    """Outside, and on this computer, where guests must not come."""
    for make in (outside, lambda work: work()):
        server = make(lambda: http.server.ThreadingHTTPServer(("0.0.0.0", PORT), Web))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()


def serve_names(folder):
    """A name server that knows one name (RFC 1035), and this namespace's resolv.conf that leads to it."""
    (folder / "resolv.conf").write_text(f"nameserver {NEIGHBOUR}\n")
    subprocess.run(["mount", "--bind", folder / "resolv.conf", "/etc/resolv.conf"], check=True)
    listener = outside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    listener.bind((NEIGHBOUR, 53))

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
