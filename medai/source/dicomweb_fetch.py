"""Fetch what a query selects from a DICOMweb server into a spool, and go on where an earlier fetch stopped."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TypeVar

import polars as pl

from medai.core.error import MedaiError
from medai.core.progress import progress, say
from medai.source.dicomweb_client import DicomWebClient, FetchFault, first_value
from medai.source.dicomweb_query import INSTANCE, INSTANCE_COUNT, SERIES, SERIES_COUNT, STUDY, Queries, Query, is_uid
from medai.source.dicomweb_spool import SERIES_SCHEMA, Spool

T = TypeVar("T")
R = TypeVar("R")

LEVELS = ("series", "instance")
BATCH = 8192  # series that are held as Python objects at a time
AHEAD = 2  # tasks in flight a thread
HOPELESS = 3  # instances in a row that a series does not deliver: the rest of it is not asked for
FAILED, MISSING = "fetch-failed", "missing-study"
Failed = tuple[str, str, str]
"""What was not delivered: name, reason code, message."""


@dataclass(frozen=True)
class Fetched:
    """What a fetch did.

    Attributes:
        series: What is selected, SERIES_SCHEMA: `instances` as the server announces them.
        failed: What was not delivered.
    """

    series: pl.DataFrame
    failed: list[Failed]


@dataclass
class _Outcome:
    instances: int = 0
    failed: list[Failed] = field(default_factory=list)


def fetch(client: DicomWebClient, spool: Spool, queries: Queries, level: str, threads: int) -> Fetched:
    """List what the queries select and fetch what of it is not in the spool.

    Args:
        client: The server.
        spool: Where the instances go.
        queries: See `medai.source.dicomweb_query.queries`.
        level: What is asked for at a time where nothing of a series is there: a whole ``series``, or each ``instance``.
        threads: Series that are fetched at a time.

    Raises:
        MedaiError: the server refuses or does not answer, nothing matches, or nothing was delivered.
    """
    series, failed = _list_series(client, queries, threads)
    if series.is_empty() and not failed:
        raise MedaiError("the server has nothing that matches dataset.query; widen it, or check the values' spelling")
    delivered = 0
    known = series["instances"].null_count() == 0
    with progress("Fetch", int(series["instances"].sum()) if known else None, "instances") as bar:
        for outcome in _in_threads(client, lambda row: _fetch_series(client, spool, level, *row), series.iter_rows(), threads):
            bar.advance(outcome.instances + (len(outcome.failed) if known else 0))
            delivered += outcome.instances
            failed += outcome.failed
    failed.sort()
    spool.write_failed(failed)
    if not delivered:
        message = failed[0][2] if failed else "its series are empty"
        raise MedaiError(f"the server delivered nothing ({message}); see failed.json in dataset.path")
    if failed:
        say(f"{len(failed):,} of the server's instances were not delivered; failed.json in dataset.path names them. A rerun asks again.")
    return Fetched(series, failed)


def _list_series(client: DicomWebClient, queries: Queries, threads: int) -> tuple[pl.DataFrame, list[Failed]]:
    frames, failed = [SERIES_SCHEMA.to_frame()], []
    batch: list[tuple[str, str, int | None]] = []
    with progress("Search", len(queries) if len(queries) > 1 else None, "studies") as bar:
        for rows, faults in _in_threads(client, lambda one: _series_of(client, *one), _studies(client, queries), threads):
            batch += rows
            failed += faults
            if len(batch) >= BATCH:
                frames.append(pl.DataFrame(batch, schema=SERIES_SCHEMA, orient="row"))
                batch = []
            bar.advance()
    frames.append(pl.DataFrame(batch, schema=SERIES_SCHEMA, orient="row"))
    return pl.concat(frames).unique(["study", "series"], keep="first").sort("study", "series"), failed


def _studies(client: DicomWebClient, queries: Queries) -> Iterator[tuple[Query, str, int | None]]:
    """Each query's studies, with the number of their series where the server tells it."""
    for query in queries:
        if query.study:
            yield query, query.study, None
            continue
        try:
            for result in client.search("/studies", {**query.studies, "includefield": SERIES_COUNT}, STUDY):
                query.check(result, "studies")
                # The number is of all series; those that match can be fewer.
                yield query, first_value(result, STUDY), None if query.series else _count(result, SERIES_COUNT)
        except FetchFault as fault:
            raise MedaiError(f"the studies cannot be listed: {fault}") from None


def _series_of(
    client: DicomWebClient, query: Query, study: str, count: int | None
) -> tuple[list[tuple[str, str, int | None]], list[Failed]]:
    if not is_uid(study):
        return [], [_unnamed(study)]
    rows, failed = [], []
    try:
        for result in client.search(f"/studies/{study}/series", {**query.series, "includefield": INSTANCE_COUNT}, SERIES, count):
            query.check(result, "series")
            name = first_value(result, SERIES)
            if is_uid(name):
                rows.append((study, name, _count(result, INSTANCE_COUNT)))
            else:
                failed.append(_unnamed(study, name))
    except FetchFault as fault:
        if fault.code != 404:
            return [], [(study, FAILED, f"the series of the study cannot be listed: {fault}")]
    if not rows and not failed and query.study:
        failed.append(
            (study, MISSING, "the server does not have the study" + (", or no series of it that matches" if query.series else ""))
        )
    return rows, failed


def _fetch_series(client: DicomWebClient, spool: Spool, level: str, study: str, series: str, announced: int | None) -> _Outcome:
    """Fetch what of a series is missing. A series whose number of instances changed is listed again."""
    count = spool.is_complete(study, series, announced)
    if count is not None:
        return _Outcome(count)
    path = f"/studies/{study}/series/{series}"
    try:
        names = {first_value(result, INSTANCE) for result in client.search(f"{path}/instances", {}, INSTANCE, announced)}
    except FetchFault as fault:
        return _Outcome(0, [(f"{study}/{series}", FAILED, f"the instances of the series cannot be listed: {fault}")])
    listed = {name for name in names if is_uid(name)}
    outcome = _Outcome(0, [_unnamed(study, series, name) for name in names - listed])
    spool.drop(study, series, spool.instances(study, series) - listed)
    if level == "series" and not spool.instances(study, series):
        _whole_series(client, spool, path, study, series)
    _each_instance(client, spool, path, study, series, sorted(listed - spool.instances(study, series)), outcome)
    outcome.instances = len(spool.instances(study, series))
    if outcome.instances and not outcome.failed:
        spool.complete(study, series, announced)
    return outcome


def _whole_series(client: DicomWebClient, spool: Spool, path: str, study: str, series: str) -> None:
    """Ask for all of it at once. What does not come is asked for one by one afterwards, so that one bad instance costs only itself."""

    def take(pieces: Iterator[bytes]) -> bool:
        try:
            spool.receive(pieces, study, series)
        except FetchFault:
            return False
        return True

    try:
        client.retrieve(path, take)
    except FetchFault:
        return


def _each_instance(
    client: DicomWebClient, spool: Spool, path: str, study: str, series: str, instances: list[str], outcome: _Outcome
) -> None:
    hopeless = 0
    for name in instances:
        item = f"{study}/{series}/{name}.dcm"
        if hopeless == HOPELESS:
            outcome.failed.append((item, FAILED, f"not asked for, since {HOPELESS} of its series in a row were not delivered"))
            continue

        def take(pieces: Iterator[bytes], name: str = name) -> bool:
            spool.receive(pieces, study, series, asked=name)
            return True

        try:
            client.retrieve(f"{path}/instances/{name}", take)
        except FetchFault as fault:
            outcome.failed.append((item, FAILED, str(fault)))
            hopeless += 1
        else:
            if name in spool.instances(study, series):
                hopeless = 0
            else:
                outcome.failed.append((item, FAILED, "the server answered without it"))
                hopeless += 1


def _unnamed(*names: object) -> Failed:
    """Something whose name is no UID: it must become neither a path nor a part of an address."""
    known = [str(name) for name in names[:-1]]
    return (
        "/".join([*known, f"unnamed-{blake2b(repr(names[-1]).encode(), digest_size=8).hexdigest()}"]),
        FAILED,
        ("the server gives it a name that is no UID (PS3.5 9.1)"),
    )


def _count(result: dict[str, object], tag: str) -> int | None:
    value = first_value(result, tag)
    try:
        return max(int(value), 0)
    except (TypeError, ValueError):
        return None


def _in_threads(client: DicomWebClient, work: Callable[[T], R], tasks: Iterable[T], threads: int) -> Iterator[R]:
    """Results as they come; no more tasks are taken than are soon worked on."""
    with ThreadPoolExecutor(threads, "medai-fetch") as pool:
        running: set[Future[R]] = set()
        ready: deque[R] = deque()
        try:
            for task in tasks:
                running.add(pool.submit(work, task))
                while len(running) >= AHEAD * threads:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    ready.extend(future.result() for future in done)
                while ready:
                    yield ready.popleft()
            for future in running:
                yield future.result()
        except BaseException:
            client.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
