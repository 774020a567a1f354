"""A local server for the report, which updates the page while runs train."""

import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rich.console import Console

from steadygan.errors import UsageError
from steadygan.report.page import page
from steadygan.report.run_summary import Reader

__all__ = ["Watch", "serve", "server"]

HOST = "127.0.0.1"

CLIENTS = 32
"""Connections that are answered at once. Further ones are closed."""

SECONDS = 10.0
"""A connection that takes longer is closed: its client sends a byte at a time, or reads none."""

SEEN = ("events.jsonl", "scores.json", "spectrum.json", "config.yaml", "samples", "landscapes")


class Watch:
    """The page on runs as they are now, made again when their files change."""

    def __init__(self, readers: Sequence[Reader], every: int) -> None:
        """Start with no page."""
        self.readers, self.every = readers, every
        self.lock = threading.Lock()
        self.made = ("", "")

    def version(self) -> str:
        """A string that changes whenever the runs' files do."""
        return "-".join(_stamp(path) for reader in self.readers for path in _files(reader.path))

    def page(self) -> str:
        """The page. Raises UsageError if a run cannot be read any more."""
        with self.lock:  # readers take in each line once
            now = self.version()  # before reading: what comes in meanwhile is a newer version
            if self.made[0] != now:
                text = page([reader.read() for reader in self.readers], refresh=self.every, version=now)
                self.made = (now, text)
            return self.made[1]


def _files(path: Path) -> list[Path]:
    return [path / name for name in SEEN] if path.is_dir() else [path]


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "0"
    return f"{found.st_mtime_ns:x}.{found.st_size:x}"


class _Answers(BaseHTTPRequestHandler):
    """Answers each request of the server, with the page or with its version."""

    server: "_Server"

    def do_GET(self) -> None:
        if self.headers.get("Host") not in self.server.names:
            # another host name that resolves to this address
            self._answer(403, "this server answers its own machine only")
        elif self.path == "/version":
            self._answer(200, self.server.watch.version())
        elif self.path == "/":
            try:
                self._answer(200, self.server.watch.page(), "text/html")
            except UsageError as error:
                self._answer(503, str(error))
        else:
            self._answer(404, "this server has one page: /")

    def _answer(self, code: int, text: str, kind: str = "text/plain") -> None:
        body = text.encode()
        self.send_response(code)
        headers = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body))}
        headers |= {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the terminal shows the address."""


class _Server(ThreadingHTTPServer):
    """Serves one page on loopback, a thread for each connection, of which there are few and none is kept long."""

    daemon_threads = True

    def __init__(self, watch: Watch, port: int) -> None:
        """Listen. Raises OSError if the port is taken."""
        super().__init__((HOST, port), _Answers)
        self.watch = watch
        self.names = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self.free = threading.BoundedSemaphore(CLIENTS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, or close the connection where too many are open."""
        if self.free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and close the connection when its time has passed."""
        late = threading.Timer(SECONDS, _hang_up, [request])
        late.daemon = True
        late.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            late.cancel()
            self.free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a browser that disconnects during an answer; report other errors as usual."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def server(watch: Watch, port: int) -> ThreadingHTTPServer:
    """The HTTP server of a page and its version, on loopback only. Raises UsageError if the port is taken."""
    try:
        return _Server(watch, port)
    except OSError as error:
        raise UsageError(
            f"cannot listen on port {port} ({error.strerror}): choose another --port, or 0 for any free one"
        ) from None


def _hang_up(request: socket.socket) -> None:
    """End what a thread waits for: it then reads no more bytes, or fails to send."""
    with suppress(OSError):  # the client has left
        request.shutdown(socket.SHUT_RDWR)


def serve(readers: Sequence[Reader], port: int, every: int, console: Console) -> None:
    """Serve the page on runs until Ctrl-C."""
    watch = Watch(readers, every)
    watch.page()  # report what cannot be read before anybody opens the page
    with server(watch, port) as running:
        address = f"http://{HOST}:{running.server_address[1]}/"
        console.print(f"watching: {address} (Ctrl-C stops)", soft_wrap=True, markup=False)
        try:
            running.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            console.print("stopped watching", markup=False)
