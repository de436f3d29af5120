"""A small TLS listener that serves an identity and reads it anew when it is told to.

    tls_listener.py serve --directory var/quickstart/ssl --address localhost:9843 --pid-file var/listener.pid
    tls_listener.py reload --pid-file var/listener.pid

It stands for a Kafka broker: connections that are open keep the certificate that they began with,
new ones get the new one. `reload` ends with exit code 0 only when the listener has said that it
serves what is in the file now. Nothing but the standard library is needed.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import signal
import socket
import socketserver
import ssl
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK = 0.05
"""Seconds between two looks for something that is awaited."""

LONGEST_CALL = 5.0
"""Seconds for which a connection may be silent."""

SIGNALS = {signal.SIGHUP, signal.SIGTERM, signal.SIGINT}

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Greeter(socketserver.BaseRequestHandler):
    """Answers one request with the fingerprint of the leaf that was served."""

    server: Listener

    def handle(self) -> None:
        """Shake hands with the certificate of this moment, and greet whoever asks for anything."""
        context, fingerprint = self.server.serving
        self.request.settimeout(LONGEST_CALL)
        try:
            with context.wrap_socket(self.request, server_side=True) as connection:
                if connection.recv(4096):
                    text = f"The leaf of this listener is {fingerprint} (SHA-256).\n"
                    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n"
                    connection.sendall(f"{head}Connection: close\r\n\r\n{text}".encode())
        except OSError:
            return  # a caller that hangs up or speaks no TLS is its own affair


class Listener(socketserver.ThreadingTCPServer):
    """Takes an address at once, and listens from the moment when there is a certificate."""

    allow_reuse_address = True
    daemon_threads = True
    serving: tuple[ssl.SSLContext, str]

    def __init__(self, address: str, pem: Path) -> None:
        host, _, port = address.rpartition(":")
        trouble: OSError | None = None
        for family, *_, target in socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM):
            self.address_family = family
            super().__init__((str(target[0]), int(target[1])), Greeter, bind_and_activate=False)
            try:
                self.server_bind()
            except OSError as error:
                self.server_close()
                trouble = error
            else:
                break
        else:
            raise trouble or OSError(f"{host} has no address")
        self._address = address
        self._pem = pem
        self._listens = False

    def load(self) -> str:
        """Serve what the file holds now and return the leaf's fingerprint; raise `OSError` when it is bad."""
        # Resolved once: OpenSSL opens the file for the chain and again for the key, and a switch may fall between.
        pem = self._pem.resolve(strict=True)
        found = CERTIFICATE.search(pem.read_text())
        if found is None:
            raise OSError(f"{pem} holds no certificate")
        fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(found[0])).hexdigest()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(pem)
        is_new = not self._listens or self.serving[1] != fingerprint
        self.serving = (context, fingerprint)
        if not self._listens:
            self.server_activate()
            threading.Thread(target=self.serve_forever, daemon=True).start()
            self._listens = True
        if is_new:
            say(f"serves {fingerprint} on {self._address}")
        return fingerprint

    def stop(self) -> None:
        """Take no more connections."""
        if self._listens:
            self.shutdown()
        self.server_close()


def serve(pem: Path, address: str, pid_file: Path) -> int:
    """Serve until SIGTERM or SIGINT; SIGHUP has the file read anew."""
    # Blocked and waited for: a signal that comes at any moment is kept until it is its turn.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        listener = Listener(address, pem)
    except OSError as error:
        say(f"cannot listen on {address}: {error}")
        return 1
    told = 0
    with held(pid_file) as alone:
        if not alone:
            say(f"another listener holds {pid_file}")
            return 1
        acknowledge(pid_file, f"{told} waits for {pem}")
        say(f"waits for {pem}")
        started = False
        while True:
            # Until the agent has made the file, it is looked for; afterwards only signals matter.
            caught = signal.sigtimedwait(SIGNALS, LOOK) if not started else signal.sigwaitinfo(SIGNALS)
            if caught is not None and caught.si_signo != signal.SIGHUP:
                listener.stop()
                return 0
            told += caught is not None
            try:
                word = f"serves {listener.load()}"
                started = True
            except (OSError, ValueError) as error:
                word = f"cannot read {pem}: {error}"
                if caught is not None:
                    say(word)
            if started or caught is not None:
                acknowledge(pid_file, f"{told} {word}")


def reload(pid_file: Path, within: float) -> int:
    """Tell the listener to read its file anew; return 0 when it says, within the seconds given, that it serves it."""
    end = time.monotonic() + within
    directory = os.open(pid_file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # One at a time, so that the next word is the answer to this signal.
        fcntl.flock(directory, fcntl.LOCK_EX)
        while not is_held(pid_file):
            if time.monotonic() > end:
                say(f"no listener runs for {pid_file}")
                return 1
            time.sleep(LOOK)
        before = last_word(pid_file)
        os.kill(int(pid_file.read_text()), signal.SIGHUP)
        while (word := last_word(pid_file))[0] <= before[0]:
            if time.monotonic() > end or not is_held(pid_file):
                say("the listener does not answer")
                return 1
            time.sleep(LOOK)
    finally:
        os.close(directory)
    say(word[1])
    return 0 if word[1].startswith("serves ") else 1


@contextmanager
def held(pid_file: Path) -> Iterator[bool]:
    """Hold the pid-file with a lock for as long as this process lives; yield whether nobody else does."""
    descriptor = os.open(pid_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for _ in range(10):  # a `reload` that looks holds it for a moment
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(LOOK)
            else:
                break
        else:
            yield False
            return
        os.ftruncate(descriptor, 0)
        acknowledge(pid_file, "0 starts")
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield True
    finally:
        os.close(descriptor)


def is_held(pid_file: Path) -> bool:
    """Whether a listener lives: a number left behind in a file may be another process's by now."""
    try:
        descriptor = os.open(pid_file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return bool(pid_file.read_text().strip())
    finally:
        os.close(descriptor)
    return False


def acknowledge(pid_file: Path, word: str) -> None:
    """Write what was done, beside the pid-file, for `reload` to read: the count of signals and a sentence."""
    place = pid_file.with_suffix(".said")
    new = place.with_suffix(".new")
    new.write_text(f"{word}\n")
    new.replace(place)


def last_word(pid_file: Path) -> tuple[int, str]:
    """Return how many signals the listener has answered, and what it said last."""
    count, _, word = pid_file.with_suffix(".said").read_text().strip().partition(" ")
    return int(count), word


def say(sentence: str) -> None:
    """Tell a person, on standard error."""
    print(f"listener: {sentence}", file=sys.stderr, flush=True)


def main() -> int:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    server = verbs.add_parser("serve", help="serve until SIGTERM; SIGHUP reads the file anew")
    server.add_argument("--directory", type=Path, required=True, help="the identity's directory; it may come later")
    server.add_argument("--file", default="tls.pem", help="key and chain in one PEM file there (default: %(default)s)")
    server.add_argument("--address", default="localhost:9843", help="host:port (default: %(default)s)")
    teller = verbs.add_parser("reload", help="have it read the file anew, and wait until it has")
    teller.add_argument("--within", type=float, default=10, help="seconds to wait for its word (default: %(default)s)")
    for verb in (server, teller):
        verb.add_argument("--pid-file", type=Path, required=True)
    given = parser.parse_args()
    if given.verb == "serve":
        return serve(given.directory / given.file, given.address, given.pid_file)
    return reload(given.pid_file, given.within)


if __name__ == "__main__":
    sys.exit(main())
