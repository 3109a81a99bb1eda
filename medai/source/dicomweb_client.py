"""A thin DICOMweb client: QIDO-RS page by page and WADO-RS as a stream (PS3.18 10.4 and 10.6), with retries and a bound on connections.

What it tells of a fault names no study: its words go to a quarantine and to logs.
"""

import base64
import json
import os
import random
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

from medai.core.error import MedaiError
from medai.core.progress import say
from medai.source.multipart import BrokenBody, boundary_of, read_parts

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

T = TypeVar("T")

TOKEN, USER, PASSWORD = "MEDAI_DICOMWEB_TOKEN", "MEDAI_DICOMWEB_USER", "MEDAI_DICOMWEB_PASSWORD"
DICOM = 'multipart/related; type="application/dicom"'
CHUNK_BYTES = 2**18
ANSWER_BYTES = 2**28  # the most that one page of a search may take
FIRST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_WAIT_S = 0.5, 60.0, 600.0
PASSING = (408, 425, 429, 500, 502, 503, 504)  # another attempt may succeed
AWAY = (429, 502, 503, 504)  # it is the server that fails, not what was asked for
IN_A_ROW = 3  # requests in a row without an answer, each with all its attempts: the server is away
UNESCAPED = "*?,:/@!$'()"  # a query may hold them as they are (RFC 3986 3.4), and some servers do not decode what is escaped
END = object()


@dataclass(frozen=True)
class ClientSettings:
    """How a server is spoken to.

    Attributes:
        server: The address of its DICOMweb service, e.g. ``"https://pacs.example/dicom-web"``.
        concurrency: Connections at a time.
        retries: Further attempts after one that failed.
        timeout_s: Seconds without a byte after which an attempt has failed.
        page: Results that are asked for at a time.
        ca_bundle: File of the certificates that are trusted (PEM); None: those of the operating system.
    """

    server: str
    concurrency: int = 4
    retries: int = 5
    timeout_s: float = 60.0
    page: int = 500
    ca_bundle: str | None = None

    def __post_init__(self) -> None:
        for name, value, least in (("concurrency", self.concurrency, 1), ("retries", self.retries, 0), ("page", self.page, 1)):
            if value < least:
                raise MedaiError(f"dataset.{name} is {value}; it must be at least {least}")
        if not self.timeout_s > 0:
            raise MedaiError(f"dataset.timeout_s is {self.timeout_s}; it must be above 0")
        parts = urlsplit(self.server)
        if parts.username is not None or parts.password is not None:
            raise MedaiError(f"dataset.server holds a name or a password; take them out and set {USER} and {PASSWORD} in the environment")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise MedaiError("dataset.server is not the address of a DICOMweb service, e.g. https://pacs.example/dicom-web")


class FetchFault(Exception):
    """Something that the server did not deliver, in words without names.

    Attributes:
        code: The HTTP status; None where there was no answer.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class _Passing(Exception):
    """An attempt that failed and may succeed later."""

    def __init__(self, message: str, code: int | None = None, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.code, self.wait_s = code, wait_s


class DicomWebClient:
    """A connection to one server; many threads may use it.

    Credentials are read from the environment and kept nowhere else: `MEDAI_DICOMWEB_TOKEN`, or `MEDAI_DICOMWEB_USER` and
    `MEDAI_DICOMWEB_PASSWORD`.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._base = settings.server.rstrip("/")
        self._headers = _credentials()
        self._pool = _pool(settings)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._unanswered = 0
        self._any_syntax = True
        if urlsplit(settings.server).scheme == "http" and not _is_loopback(urlsplit(settings.server).hostname or ""):
            say(
                "The server is spoken to without TLS: images and credentials travel in the clear. Give an https address where there is one."
            )

    def stop(self) -> None:
        """End what other threads are doing with this client."""
        self._stopped.set()

    def search(self, path: str, query: Mapping[str, str], uid: str, expected: int | None = None) -> Iterator[dict[str, Any]]:
        """The results of a search, each once, asked for page by page.

        Args:
            path: ``"/studies"``, ``"/studies/…/series"``, …
            query: Attributes to match, and ``includefield``.
            uid: The tag that names a result, e.g. ``"0020000D"``. Results without it are left out.
            expected: How many there should be, where that is known: it saves the request for the page after the last.

        Raises:
            FetchFault: the server did not answer, or with what is no DICOM JSON.
            MedaiError: it refuses all requests.
        """
        known: set[str] = set()
        offset = 0
        while True:
            page = self._page(path, {**query, "limit": str(self._settings.page), "offset": str(offset)})
            fresh = 0
            for result in page:
                name = first_value(result, uid)
                if isinstance(name, str) and name not in known:
                    known.add(name)
                    fresh += 1
                    yield result
            offset += len(page)
            # A page may be shorter than asked for, and a server may ignore limit and offset: only one that brings nothing new is the last.
            enough = expected is not None and len(known) >= expected and len(page) < self._settings.page
            if not fresh or enough:
                return

    def retrieve(self, path: str, take: Callable[[Iterator[bytes]], bool]) -> None:
        """Give each instance of a study, series or instance to `take`, in pieces as they arrive.

        It is asked for again after a fault as long as nothing was taken; after that the caller asks for what it misses.

        Args:
            path: ``"/studies/…/series/…"`` or the like.
            take: Takes the pieces of one instance and says whether it kept it.

        Raises:
            FetchFault: not everything was delivered.
            MedaiError: the server refuses all requests.
        """
        kept = 0

        def attempt() -> None:
            nonlocal kept
            try:
                with self._open(path, {}, DICOM + ("; transfer-syntax=*" if self._any_syntax else "")) as response:
                    boundary = boundary_of(response.headers.get("Content-Type", ""))
                    if boundary is None:
                        kind = response.headers.get("Content-Type", "").partition(";")[0].strip()[:40] or "something without a type"
                        raise FetchFault(f"the server sent {kind}; expected multipart/related")
                    chunks = self._chunks(response)
                    for part in read_parts(chunks, boundary):
                        kept += take(part)
                    with suppress(_Passing):  # every part was whole; the rest lets the connection be used again
                        next(chunks, None)
            except BrokenBody as fault:
                raise _Passing(f"the server's answer is broken off ({fault})") from None

        try:
            self._repeat(attempt, lambda: kept == 0)
        except FetchFault as fault:
            if fault.code != 406 or not self._any_syntax:
                raise
            self._any_syntax = False  # an older server: without the parameter it converts to uncompressed (PS3.18 8.7.3.5.2)
            self._repeat(attempt, lambda: kept == 0)

    def _page(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        def attempt() -> Any:
            with self._open(path, query, "application/dicom+json") as response:
                if response.status == 204:
                    return []
                data = bytearray()
                for chunk in self._chunks(response):
                    data += chunk
                    if len(data) > ANSWER_BYTES:
                        raise FetchFault("the server's answer to a search is too long; give a smaller dataset.page")
            try:
                return json.loads(data) if data.strip() else []
            except (ValueError, RecursionError):
                raise FetchFault(
                    "the server's answer to a search is not JSON; is dataset.server the address of its DICOMweb service?"
                ) from None

        results = self._repeat(attempt, lambda: True)
        if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
            raise FetchFault("the server's answer to a search is not DICOM JSON (PS3.18 F.2)")
        return results

    def _repeat(self, attempt: Callable[[], T], may_repeat: Callable[[], bool]) -> T:
        for number in range(self._settings.retries + 1):
            if self._stopped.is_set():
                raise FetchFault("stopped")
            try:
                done = attempt()
            except _Passing as fault:
                again = may_repeat()
                if number == self._settings.retries or fault.wait_s > LONGEST_WAIT_S or not again:
                    self._count(answered=not again or (fault.code is not None and fault.code not in AWAY))
                    attempts = "one attempt" if number == 0 else f"{number + 1} attempts"
                    raise FetchFault(f"{fault}, after {attempts}", fault.code) from None
                pause = min(FIRST_PAUSE_S * 2**number, LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)
                self._stopped.wait(max(pause, fault.wait_s))
            except FetchFault:
                self._count(answered=True)
                raise
            else:
                self._count(answered=True)
                return done
        raise AssertionError("unreachable")

    def _count(self, answered: bool) -> None:
        with self._lock:
            self._unanswered = 0 if answered else self._unanswered + 1
            away = self._unanswered >= max(IN_A_ROW, self._settings.concurrency)
        if away:
            raise MedaiError(
                "the server of dataset.server does not answer; when it is back, run the same command again: it goes on where it stopped"
            )

    @contextmanager
    def _open(self, path: str, query: Mapping[str, str], accept: str) -> Iterator["BaseHTTPResponse"]:
        from urllib3.exceptions import HTTPError, SSLError

        url = self._base + path + (f"?{urlencode(query, safe=UNESCAPED, quote_via=quote)}" if query else "")
        # Compressed DICOM does not shrink, and a length that counts is known only without another encoding.
        headers = self._headers | {"Accept": accept, "Accept-Encoding": "identity"}
        try:
            response = self._pool.request("GET", url, headers=headers, preload_content=False, redirect=False, retries=False)
        except SSLError as error:
            raise MedaiError(_told_tls(error)) from None
        except HTTPError as error:
            raise _Passing(_told(error)) from None
        try:
            _check_status(response, path)
            yield response
        finally:
            response.close()
            response.release_conn()

    def _chunks(self, response: "BaseHTTPResponse") -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        stream = response.stream(CHUNK_BYTES)
        while True:
            if self._stopped.is_set():
                raise FetchFault("stopped")
            try:
                chunk = next(stream, END)
            except HTTPError as error:
                raise _Passing(_told(error)) from None
            if not isinstance(chunk, bytes):
                return
            yield chunk


def first_value(result: Mapping[str, Any], tag: str) -> Any:
    """The first value of an attribute in DICOM JSON (PS3.18 F.2); None where it is absent or empty."""
    element = result.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _check_status(response: "BaseHTTPResponse", path: str) -> None:
    """Refuse what is no success: all of it, this one alone, or this attempt.

    Raises:
        MedaiError, FetchFault, _Passing: respectively.
    """
    status = response.status
    if status in (200, 204, 206):
        return
    if status in (401, 407):
        raise MedaiError(f"the server wants credentials, or refuses those given (HTTP {status}); set {TOKEN}, or {USER} and {PASSWORD}")
    if status == 403 and path == "/studies":
        raise MedaiError("the server forbids the search (HTTP 403); ask its administrator for the right to search and retrieve")
    if 300 <= status < 400:
        raise MedaiError(f"the server sends to another address (HTTP {status}); give that one as dataset.server")
    if status in PASSING:
        raise _Passing(f"the server failed (HTTP {status})", status, _retry_after(response.headers.get("Retry-After")))
    if path == "/studies":
        hints = {400: "it does not accept dataset.query", 404: "is dataset.server the address of its DICOMweb service?"}
        hints[413] = "too many results; narrow dataset.query"
        raise MedaiError(f"the server refuses the search for studies (HTTP {status}): {hints.get(status, 'see its documentation')}")
    told = {403: "forbids it", 404: "does not have it"}.get(status, "refuses it")
    raise FetchFault(f"the server {told} (HTTP {status})", status)


def _retry_after(value: str | None) -> float:
    """Seconds of a Retry-After header, a number or a date (RFC 9110 10.2.3); 0 where it is absent or neither."""
    try:
        return max(float(value or 0), 0.0)
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value or "")
    except ValueError:
        return 0.0
    return max((when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)


def _told(error: Exception) -> str:
    from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, ReadTimeoutError

    if isinstance(error, NameResolutionError):
        return "the server's name is not known"
    if isinstance(error, NewConnectionError):
        return "the server cannot be reached"
    if isinstance(error, ConnectTimeoutError | ReadTimeoutError):
        return "the server does not answer in time"
    return "the connection to the server broke"


def _told_tls(error: Exception) -> str:
    detail = "its certificate is not trusted" if "CERTIFICATE_VERIFY_FAILED" in str(error) else "TLS failed"
    return f"no safe connection to the server of dataset.server: {detail}; give your hospital's certificates as dataset.ca_bundle"


def _credentials() -> dict[str, str]:
    token, user, password = (os.environ.get(name, "").strip() for name in (TOKEN, USER, PASSWORD))
    if token and user:
        raise MedaiError(f"{TOKEN} and {USER} are both set; keep one of them")
    if bool(user) != bool(password) and not token:
        raise MedaiError(f"{USER} and {PASSWORD} belong together; set both or neither")
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise MedaiError(f"{TOKEN} is not a bearer token; it holds blanks or other characters that none has")
    if token:
        return {"Authorization": f"Bearer {token}"}
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()} if user else {}


def _pool(settings: ClientSettings) -> "PoolManager":
    try:
        from urllib3 import PoolManager, ProxyManager, Timeout, make_headers
        from urllib3.util import parse_url
    except ModuleNotFoundError:
        raise MedaiError("a DICOMweb server needs the package urllib3; run: pip install 'medai[ingest]'") from None
    try:
        context = ssl.create_default_context(cafile=settings.ca_bundle)
    except OSError:  # also SSLError
        raise MedaiError(f"dataset.ca_bundle {settings.ca_bundle} is not a readable file of certificates (PEM)") from None
    parts = urlsplit(settings.server)
    timeout = Timeout(connect=settings.timeout_s, read=settings.timeout_s)
    options: dict[str, Any] = {"maxsize": settings.concurrency, "block": True, "timeout": timeout, "ssl_context": context}
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    if not proxy or _is_loopback(parts.hostname or ""):
        return PoolManager(**options)
    name = parse_url(proxy).auth
    return ProxyManager(proxy, proxy_headers=make_headers(proxy_basic_auth=name) if name else None, **options)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
