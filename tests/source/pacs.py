"""A small DICOMweb server of the tests, which can be made to fail in many ways; and instances to fill it with."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from medai.dicom.write import Encoding, write_image

BOUNDARY = "b0undary"
Answer = tuple[int, dict[str, str], bytes]
Store = dict[str, dict[str, dict[str, bytes]]]
"""Study, series, instance to the bytes of a file."""


def instance(folder: Path, study: str, series: str, name: str, **attributes: Any) -> bytes:
    """The bytes of a radiograph."""
    path = folder / f"{name}.made"
    uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": name, "PatientID": f"P{study}"}
    pixels = np.random.default_rng(int(name.rpartition(".")[2])).integers(0, 4096, (1, 16, 12), dtype=np.uint16)
    write_image(
        path,
        pixels,
        encoding=Encoding(window=(40, 400), spacing_mm=(0.5, 0.25), attributes={**uids, "StudyDate": "20200131", **attributes}),
    )
    return path.read_bytes()


def filled(folder: Path, studies: int = 2, series: int = 2, instances: int = 3) -> Store:
    """Studies 1.1, 1.2, … with series 1.1.1, … and instances 1.1.1.1, …"""
    return {
        (a := f"1.{i}"): {
            (b := f"{a}.{j}"): {(c := f"{b}.{k}"): instance(folder, a, b, c) for k in range(1, instances + 1)} for j in range(1, series + 1)
        }
        for i in range(1, studies + 1)
    }


def files(store: Store) -> dict[str, bytes]:
    """What a spool of all of it holds."""
    return {f"{a}/{b}/{c}.dcm": data for a, rest in store.items() for b, more in rest.items() for c, data in more.items()}


def multipart(parts: list[bytes]) -> bytes:
    head = f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + part for part in parts) + f"\r\n--{BOUNDARY}--\r\n".encode()


@dataclass
class Pacs:
    """What the server holds, how it misbehaves, and what was asked of it.

    Attributes:
        store: What it holds.
        fault: Looks at a path and how often it was asked for; gives an answer in the place of the right one, or None.
        cut: Paths whose body breaks off after so many bytes.
        largest_page: Results of a search are never more.
        pages: Whether it knows limit and offset.
        counts: Whether it tells how many series a study has, and how many instances a series.
        twice: Whether it sends each result and each instance twice.
        framing: ``length``, ``chunked`` or ``close``: how the end of a body is told.
        slow_s: Seconds before each instance that it sends.
        token: What it wants as authorization.
        asked: The paths, in order.
        accepted: The Accept header of each.
        at_once: The most requests that it served at a time.
    """

    store: Store
    fault: Callable[[str, int], Answer | None] = lambda path, count: None
    cut: dict[str, int] = field(default_factory=dict)
    largest_page: int = 10_000
    pages: bool = True
    counts: bool = True
    twice: bool = False
    framing: str = "length"
    slow_s: float = 0.0
    token: str | None = None
    asked: list[str] = field(default_factory=list)
    queries: list[dict[str, list[str]]] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    at_once: int = 0
    url: str = ""
    _now: int = 0
    _lock: Any = field(default_factory=threading.Lock)

    def retrieved(self) -> list[str]:
        """What was asked for of WADO-RS: paths of series or instances."""
        return [path for path in self.asked if path.count("/") in (4, 6)]

    @contextmanager
    def served(self) -> Iterator[None]:
        with self._lock:
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1

    def search(self, path: str, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        names = path.strip("/").split("/")
        if len(names) == 1:
            wanted = query.get("StudyInstanceUID", [None])[0]
            shown = [(a, rest) for a, rest in self.store.items() if wanted in (None, a)]
            found = [self.result({"0020000D": a, "00080020": "20200131", "00201206": len(rest)}) for a, rest in shown]
        elif len(names) == 3:
            rest = self.store.get(names[1], {})
            found = [self.result({"0020000E": b, "00201209": len(more)}) for b, more in rest.items()]
        else:
            found = [self.result({"00080018": c}) for c in self.store[names[1]][names[3]]]
        found = [one for one in found for _ in range(2 if self.twice else 1)]
        if not self.pages:
            return found
        start = int(query["offset"][0])
        return found[start : start + min(int(query["limit"][0]), self.largest_page)]

    def result(self, values: dict[str, Any]) -> dict[str, Any]:
        return {tag: {"vr": "UI", "Value": [value]} for tag, value in values.items() if self.counts or tag not in ("00201206", "00201209")}

    def instances(self, path: str) -> list[bytes]:
        names = path.strip("/").split("/")
        series = self.store[names[1]][names[3]]
        found = list(series.values()) if len(names) == 4 else [series[names[5]]]
        return found * (2 if self.twice else 1)


@contextmanager
def serve(pacs: Pacs, context: Any = None) -> Iterator[Pacs]:
    """Serve on loopback, on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            with pacs.served():
                try:
                    self.answer()
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        def answer(self) -> None:
            parts = urlsplit(self.path)
            path = parts.path.removeprefix("/dicom-web")
            with pacs._lock:
                pacs.asked.append(path)
                pacs.queries.append(parse_qs(parts.query))
                pacs.accepted.append(self.headers["Accept"])
                count = pacs.asked.count(path)
            if pacs.token is not None and self.headers["Authorization"] != pacs.token:
                self.send((401, {}, b""))
                return
            fault = pacs.fault(path, count)
            if fault is not None:
                self.send(fault)
            elif path.rpartition("/")[2] in ("studies", "series", "instances"):
                found = pacs.search(path, parse_qs(parts.query))
                self.send((200, {"Content-Type": "application/dicom+json"}, json.dumps(found).encode()) if found else (204, {}, b""))
            else:
                try:
                    found_parts = pacs.instances(path)
                except KeyError:
                    self.send((404, {}, b"no such thing"))
                    return
                self.stream(path, multipart(found_parts), len(found_parts))

        def send(self, answer: Answer) -> None:
            self.send_response(answer[0])
            for name, value in answer[1].items():
                self.send_header(name, value)
            if answer[0] != 204:
                self.send_header("Content-Length", str(len(answer[2])))
            self.end_headers()
            self.wfile.write(answer[2])

        def stream(self, path: str, body: bytes, parts: int) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f'multipart/related; type="application/dicom"; boundary={BOUNDARY}')
            chunked = pacs.framing == "chunked"
            named = {"length": ("Content-Length", str(len(body))), "chunked": ("Transfer-Encoding", "chunked")}
            self.send_header(*named.get(pacs.framing, ("Connection", "close")))
            self.end_headers()
            cut = pacs.cut.pop(path, None)
            sent = body if cut is None else body[:cut]
            step = max(len(sent) // parts + 1, 1)
            for start in range(0, len(sent), step):
                time.sleep(pacs.slow_s)
                piece = sent[start : start + step]
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if chunked else piece)
                self.wfile.flush()
            if cut is None and chunked:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = cut is not None or pacs.framing == "close"

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    pacs.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}/dicom-web"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield pacs
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
