"""A web server of a few files on loopback, which notes what it was asked for."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WebServer(ThreadingHTTPServer):
    """Serves ``contents`` by path; whether it sends ranges and sizes, and its ETag, may be changed at any time."""

    daemon_threads = True

    def __init__(self, contents: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.contents = contents
        self.sends_ranges = True
        self.sends_sizes = True
        self.etag = '"1"'
        self.bytes_sent = 0
        self.requests: list[str] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class _Handler(BaseHTTPRequestHandler):
    server: WebServer

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        content = self.server.contents.get(self.path.lstrip("/").partition("?")[0])
        self.server.requests.append(f"{self.command} {self.headers.get('Range', '')}".strip())
        if content is None:
            self.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if self.server.sends_ranges else None
        if asked:
            start, stop = int(asked[1]), int(asked[2]) + 1
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{min(stop, len(content)) - 1}/{len(content)}")
            content = content[start:stop]
        else:
            self.send_response(200)
        if self.server.sends_sizes:
            self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", self.server.etag)
        self.end_headers()
        if with_body:
            self.wfile.write(content)
            self.server.bytes_sent += len(content)


@contextlib.contextmanager
def serving_files(contents: dict[str, bytes]) -> Iterator[WebServer]:
    with WebServer(contents) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
