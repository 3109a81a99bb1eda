"""Fetching from a DICOMweb server that fails in every way that is known."""

import json
import os
import pickle
import signal
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from medai.core.error import MedaiError
from medai.source import dicomweb_client
from medai.source.base import CaseRecord
from medai.source.build import build_source
from medai.source.dicom import DicomSource
from medai.source.dicomweb import DicomWebSource
from tests.source.pacs import Answer, Pacs, Store, files, filled, instance, multipart, serve

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb_client, "FIRST_PAUSE_S", 0.001)
    for name in ("TOKEN", "USER", "PASSWORD"):
        monkeypatch.delenv(f"MEDAI_DICOMWEB_{name}", raising=False)


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Pacs]:
    with serve(Pacs(filled(tmp_path))) as server:
        yield server


def source(pacs: Pacs, folder: Path, **settings: Any) -> DicomWebSource:
    chosen = {"query": {"StudyDate": "20200101-20201231"}, "retries": 2, "timeout_s": 5.0, **settings}
    return DicomWebSource("x", pacs.url, str(folder / "spool"), **chosen)


def spooled(folder: Path) -> dict[str, bytes]:
    root = folder / "spool" / "instances"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def asked_again(pacs: Pacs, before: dict[str, bytes]) -> set[str]:
    """Of the files that were there, those that were asked for nevertheless, alone or with their whole series."""
    names = {path.replace("/studies", "").replace("/series", "").replace("/instances", "").strip("/") for path in pacs.retrieved()}
    return {name for name in before if name.removesuffix(".dcm") in names or name.rpartition("/")[0] in names}


def refused(found: Any) -> dict[str, tuple[str, str]]:
    return {item: (code, message) for item, code, message in found.refused.iter_rows()}


def test_everything_that_matches_is_fetched_once_and_read_like_a_folder(pacs: Pacs, tmp_path: Path) -> None:
    one = source(pacs, tmp_path)
    scan = one.scan()
    assert spooled(tmp_path) == files(pacs.store)
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
    records = list(one.read(scan.items))
    assert all(isinstance(record, CaseRecord) and record.pixels.shape == (1, 16, 12) for record in records)
    assert len(records) == 12 and {record.study for record in records} == {"1.1", "1.2"}  # type: ignore[union-attr]
    assert len(pacs.retrieved()) == 4 and not list((tmp_path / "spool" / "incoming").iterdir())
    assert set(pacs.accepted) == {"application/dicom+json", 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    pacs.asked.clear()
    assert one.scan().digest == scan.digest
    assert pacs.retrieved() == [] and len(pacs.asked) == 4  # two pages of studies, and the series of each


def test_equal_instances_make_an_equal_scan_wherever_and_however_they_were_fetched(pacs: Pacs, tmp_path: Path) -> None:
    first = source(pacs, tmp_path / "a").scan()
    again = source(pacs, tmp_path / "b", level="instance", concurrency=1, page=1).scan()
    assert first.digest == again.digest and first.items.equals(again.items)


def test_each_instance_can_be_asked_for_alone(pacs: Pacs, tmp_path: Path) -> None:
    source(pacs, tmp_path, level="instance").scan()
    assert spooled(tmp_path) == files(pacs.store) and all(path.count("/") == 6 for path in pacs.retrieved())


def test_a_busy_server_is_asked_again_when_it_says(pacs: Pacs, tmp_path: Path) -> None:
    path, later = "/studies/1.1/series/1.1.1", format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)

    def busy(asked: str, count: int) -> Answer | None:
        if asked == path and count <= 2:
            return 503, {"Retry-After": "1" if count == 1 else later}, b""
        return (500, {}, b"") if asked == "/studies" and count == 1 else None

    pacs.fault = busy
    start = time.monotonic()
    assert source(pacs, tmp_path).scan().refused.is_empty()
    assert time.monotonic() - start >= 1.0
    assert pacs.asked.count(path) == 3 and spooled(tmp_path) == files(pacs.store)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_connection_that_breaks_in_the_middle_leaves_no_torn_file(
    pacs: Pacs, tmp_path: Path, framing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicomweb_client, "CHUNK_BYTES", 128)  # smaller than the instances, as the real one is
    path = "/studies/1.2/series/1.2.1"
    size = len(multipart(pacs.instances(path)))
    pacs.framing, pacs.cut = framing, {path: size * 2 // 3 - 50, f"{path}/instances/1.2.1.3": 300}
    assert source(pacs, tmp_path).scan().refused.is_empty()
    assert spooled(tmp_path) == files(pacs.store)
    alone = [asked for asked in pacs.asked if asked.startswith(f"{path}/instances/")]
    assert alone == [f"{path}/instances/1.2.1.2", f"{path}/instances/1.2.1.3", f"{path}/instances/1.2.1.3"]
    assert not list((tmp_path / "spool" / "incoming").iterdir())


@pytest.mark.parametrize(
    "settings", [{"largest_page": 1}, {"pages": False}, {"counts": False}, {"twice": True}, {"twice": True, "largest_page": 3}]
)
def test_pages_of_any_kind_and_duplicates_give_each_instance_once(tmp_path: Path, settings: dict[str, Any]) -> None:
    with serve(Pacs(filled(tmp_path, studies=3), **settings)) as pacs:
        scan = source(pacs, tmp_path, page=2).scan()
        assert spooled(tmp_path) == files(pacs.store) and scan.refused.is_empty() and len(scan.items) == 18


def test_what_the_server_does_not_deliver_is_refused_by_name(pacs: Pacs, tmp_path: Path) -> None:
    bad = "/studies/1.1/series/1.1.2"

    def broken(path: str, count: int) -> Answer | None:
        return (500, {}, b"") if path in (bad, f"{bad}/instances/1.1.2.2") else None

    pacs.fault = broken
    scan = source(pacs, tmp_path).scan()
    message = "the server failed (HTTP 500), after 3 attempts"
    assert refused(scan) == {"1.1/1.1.2/1.1.2.2.dcm": ("fetch-failed", message)} and len(scan.items) == 11
    (told,) = json.loads((tmp_path / "spool" / "failed.json").read_text())
    assert told == {"item": "1.1/1.1.2/1.1.2.2.dcm", "code": "fetch-failed", "message": message}
    pacs.fault = lambda path, count: None
    pacs.asked.clear()
    scan = source(pacs, tmp_path).scan()
    assert scan.refused.is_empty() and len(scan.items) == 12 and pacs.retrieved() == [f"{bad}/instances/1.1.2.2"]


def test_a_series_that_fails_again_and_again_is_given_up(tmp_path: Path) -> None:
    with serve(Pacs(filled(tmp_path, 1, 2, 6))) as pacs:
        pacs.fault = lambda path, count: (500, {}, b"") if path.startswith("/studies/1.1/series/1.1.1") and path.count("/") != 5 else None
        scan = source(pacs, tmp_path, retries=0).scan()
        assert len(scan.refused) == 6 and len(scan.items) == 6 and len(pacs.retrieved()) == 1 + 3 + 1
        assert scan.refused["message"][-1] == "not asked for, since 3 of its series in a row were not delivered"


def test_a_series_that_is_forbidden_costs_only_itself(pacs: Pacs, tmp_path: Path) -> None:
    pacs.fault = lambda path, count: (403, {}, b"") if path.startswith("/studies/1.2/series/1.2.1") else None
    scan = source(pacs, tmp_path).scan()
    told = "the instances of the series cannot be listed: the server forbids it (HTTP 403)"
    assert refused(scan) == {"1.2/1.2.1": ("fetch-failed", told)} and len(scan.items) == 9


def test_two_fetches_at_once_share_the_work(pacs: Pacs, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: source(pacs, tmp_path).scan(), range(2))
    assert one.digest == other.digest and len(pacs.retrieved()) == 4


def test_an_answer_of_another_kind_is_refused(pacs: Pacs, tmp_path: Path) -> None:
    page = 200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>Log in</html>"
    pacs.fault = lambda path, count: page if path.startswith("/studies/1.1/series/") and path.count("/") in (4, 6) else None
    scan = source(pacs, tmp_path).scan()
    assert (
        set(refused(scan).values()) == {("fetch-failed", "the server sent text/html; expected multipart/related")}
        and len(scan.refused) == 6
    )
    pacs.fault = lambda path, count: page
    with pytest.raises(MedaiError, match="answer to a search is not JSON; is dataset.server the address of its DICOMweb service"):
        source(pacs, tmp_path).scan()


def test_parts_that_are_not_what_was_asked_for_are_not_kept(pacs: Pacs, tmp_path: Path) -> None:
    wanted = pacs.store["1.1"]["1.1.1"]
    wanted["1.1.1.1"], wanted["1.1.1.2"] = b"<html>no DICOM</html>", pacs.store["1.2"]["1.2.1"]["1.2.1.2"]
    scan = source(pacs, tmp_path).scan()
    assert refused(scan) == {
        "1.1/1.1.1/1.1.1.1.dcm": ("fetch-failed", "the server sent what is no DICOM file"),
        "1.1/1.1.1/1.1.1.2.dcm": ("fetch-failed", "the server sent another instance than the one that was asked for"),
    }
    assert set(spooled(tmp_path)) == set(files(pacs.store)) - set(refused(scan))


@pytest.mark.parametrize(
    "name", ["../../../../evil", "1.2/../../../evil", "..", "", "1.2\x00", "a" * 200, "1." * 40, "１.２", "1.1?limit=1"]
)
def test_names_of_a_hostile_server_reach_no_path(tmp_path: Path, name: str) -> None:
    data = instance(tmp_path, "1.1", "1.1.1", "1.1.1.1")
    hostile = data.replace(b"UI\x08\x001.1.1.1\x00", b"UI\x08\x00../../x\x00")
    assert hostile != data
    store: Store = filled(tmp_path, 1, 1, 2)
    store["1.1"]["1.1.1"] |= {name: hostile, "1.1.1.7": hostile}
    store["1.1"][name] = {"1.1.9.1": data}
    store[name] = {"1.3.1": {"1.3.1.1": data}}
    with serve(Pacs(store)) as pacs:
        scan = source(pacs, tmp_path, retries=0).scan()
    assert set(spooled(tmp_path)) == {"1.1/1.1.1/1.1.1.1.dcm", "1.1/1.1.1/1.1.1.2.dcm"} and len(scan.items) == 2
    assert not (name and name in "".join(scan.refused["item"]).replace("/", "")) or name == ".."
    assert len(scan.refused) == 4 and set(scan.refused["code"]) == {"fetch-failed"}
    assert [entry.name for entry in tmp_path.rglob("*evil*")] == []
    assert all(len(path.split("/")) <= 7 and "evil" not in path for path in pacs.asked)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, {}, b""), "wants credentials, or refuses those given .HTTP 401.; set MEDAI_DICOMWEB_TOKEN, or MEDAI_DICOMWEB_USER and"),
        ((403, {}, b""), "the server forbids the search .HTTP 403.; ask its administrator"),
        ((404, {}, b""), "is dataset.server the address of its DICOMweb service?"),
        ((400, {}, b""), "it does not accept dataset.query"),
        ((302, {"Location": "https://elsewhere.example/"}, b""), "sends to another address .HTTP 302.; give that one as dataset.server"),
        ((503, {"Retry-After": "100000"}, b""), "the studies cannot be listed: the server failed .HTTP 503., after one attempt"),
        ((200, {"Content-Type": "application/dicom+json"}, b"[1]"), "not DICOM JSON"),
        ((200, {"Content-Type": "application/dicom+json"}, b"[]"), "nothing that matches dataset.query"),
    ],
)
def test_a_server_that_refuses_everything_is_told_in_one_line(pacs: Pacs, tmp_path: Path, answer: Answer, message: str) -> None:
    pacs.fault = lambda path, count: answer
    with pytest.raises(MedaiError, match=message) as told:
        source(pacs, tmp_path).scan()
    assert "\n" not in str(told.value) and len(pacs.asked) == 1


def test_nothing_at_all_is_an_error(pacs: Pacs, tmp_path: Path) -> None:
    pacs.fault = lambda path, count: (404, {}, b"") if path.count("/") in (4, 6) else None
    with pytest.raises(MedaiError, match=r"the server delivered nothing \(the server does not have it \(HTTP 404\)\)"):
        source(pacs, tmp_path).scan()


def test_a_server_that_goes_away_ends_the_fetch_soon_and_a_rerun_goes_on(pacs: Pacs, tmp_path: Path) -> None:
    pacs.fault = lambda path, count: (503, {}, b"") if len(pacs.asked) > 6 else None
    with pytest.raises(MedaiError, match="does not answer; when it is back, run the same command again: it goes on where it stopped"):
        source(pacs, tmp_path, concurrency=1).scan()
    assert len(pacs.asked) < 30
    before = spooled(tmp_path)
    assert before
    pacs.fault = lambda path, count: None
    pacs.asked.clear()
    source(pacs, tmp_path).scan()
    assert spooled(tmp_path) == files(pacs.store)
    assert not asked_again(pacs, before)


def test_nobody_at_the_address_is_told(tmp_path: Path) -> None:
    with serve(Pacs({})) as pacs:
        pass
    with pytest.raises(MedaiError, match="the studies cannot be listed: the server cannot be reached, after 3 attempts"):
        source(pacs, tmp_path).scan()


def test_a_server_that_falls_silent_is_asked_again(pacs: Pacs, tmp_path: Path) -> None:
    path = "/studies/1.1/series/1.1.1"

    def silent(asked: str, count: int) -> None:
        if asked == path and count == 1:
            time.sleep(0.6)

    pacs.fault = silent
    source(pacs, tmp_path, timeout_s=0.3).scan()
    assert pacs.asked.count(path) == 2 and spooled(tmp_path) == files(pacs.store)


def test_an_older_server_is_asked_without_a_transfer_syntax(pacs: Pacs, tmp_path: Path) -> None:
    pacs.fault = lambda path, count: (406, {}, b"") if "transfer-syntax" in pacs.accepted[-1] else None
    source(pacs, tmp_path, concurrency=1).scan()
    assert spooled(tmp_path) == files(pacs.store) and sum("transfer-syntax" in one for one in pacs.accepted) == 1


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_is_asked_for_at_a_time_than_was_said(tmp_path: Path, concurrency: int) -> None:
    with serve(Pacs(filled(tmp_path, 6, 1, 2), slow_s=0.02)) as pacs:
        source(pacs, tmp_path, concurrency=concurrency).scan()
        assert pacs.at_once == concurrency and spooled(tmp_path) == files(pacs.store)


def test_a_kill_in_the_middle_costs_only_what_is_missing(tmp_path: Path) -> None:
    script = (
        "import sys; from medai.source.dicomweb import DicomWebSource as S; S('x', sys.argv[1], sys.argv[2], {'PatientID': '*'}).scan()"
    )
    with serve(Pacs(filled(tmp_path, 3, 2, 8), slow_s=0.05)) as pacs:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([sys.executable, "-c", script, pacs.url, str(tmp_path / "spool")], env=environment)
        end = time.monotonic() + 60
        while len(spooled(tmp_path) if (tmp_path / "spool" / "instances").exists() else ()) < 14 and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        before = spooled(tmp_path)
        assert 14 <= len(before) < 48 and all(files(pacs.store)[name] == data for name, data in before.items())
        pacs.slow_s = 0.0
        pacs.asked.clear()
        scan = source(pacs, tmp_path, query={"PatientID": "*"}).scan()
        assert spooled(tmp_path) == files(pacs.store) and not list((tmp_path / "spool" / "incoming").iterdir())
        assert not asked_again(pacs, before)
        undisturbed = source(pacs, tmp_path / "other", query={"PatientID": "*"}).scan()
        assert undisturbed.digest == scan.digest


def test_a_series_that_changed_at_the_server_is_brought_up_to_date(pacs: Pacs, tmp_path: Path) -> None:
    first = source(pacs, tmp_path).scan()
    series = pacs.store["1.1"]["1.1.1"]
    series["1.1.1.8"], series["1.1.1.9"] = (instance(tmp_path, "1.1", "1.1.1", f"1.1.1.{k}") for k in (8, 9))
    del series["1.1.1.1"]
    pacs.asked.clear()
    scan = source(pacs, tmp_path).scan()
    assert spooled(tmp_path) == files(pacs.store) and scan.digest != first.digest
    assert pacs.retrieved() == [f"/studies/1.1/series/1.1.1/instances/1.1.1.{k}" for k in (8, 9)]


def test_a_file_that_is_lost_is_fetched_again(pacs: Pacs, tmp_path: Path) -> None:
    source(pacs, tmp_path).scan()
    (tmp_path / "spool/instances/1.2/1.2.2/1.2.2.3.dcm").unlink()
    source(pacs, tmp_path).scan()
    assert spooled(tmp_path) == files(pacs.store)


def test_two_queries_share_what_was_fetched_and_see_only_their_own(pacs: Pacs, tmp_path: Path) -> None:
    one, both = source(pacs, tmp_path, query={"StudyInstanceUID": "1.1"}), source(pacs, tmp_path)
    assert len(one.scan().items) == 6 and len(both.scan().items) == 12
    pacs.asked.clear()
    assert len(one.scan().items) == 6 and pacs.retrieved() == []
    del pacs.store["1.2"]
    assert len(both.scan().items) == 6


def test_studies_can_be_listed_in_a_file(pacs: Pacs, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("1.2\n\n1.7\n1.2\n")
    scan = source(pacs, tmp_path, query={}, studies=str(tmp_path / "list.txt")).scan()
    assert refused(scan) == {"1.7": ("missing-study", "the server does not have the study")} and len(scan.items) == 6
    assert "/studies" not in pacs.asked


def test_credentials_come_from_the_environment_and_stay_there(pacs: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pacs.token = "Bearer s3cret-t0ken"
    monkeypatch.setenv("MEDAI_DICOMWEB_TOKEN", "s3cret-t0ken")
    one = source(pacs, tmp_path)
    one.scan()
    told = repr(one) + repr(pickle.dumps(one)) + "".join(p.read_text("latin-1") for p in (tmp_path / "spool").glob("*.json"))
    assert "s3cret" not in told
    monkeypatch.setenv("MEDAI_DICOMWEB_USER", "me")
    with pytest.raises(MedaiError, match="MEDAI_DICOMWEB_TOKEN and MEDAI_DICOMWEB_USER are both set; keep one"):
        one.scan()
    monkeypatch.delenv("MEDAI_DICOMWEB_TOKEN")
    with pytest.raises(MedaiError, match="belong together"):
        one.scan()
    monkeypatch.setenv("MEDAI_DICOMWEB_PASSWORD", "pä:ss")
    pacs.token = "Basic bWU6cMOkOnNz"
    one.scan()
    monkeypatch.setenv("MEDAI_DICOMWEB_PASSWORD", "wrong")
    with pytest.raises(MedaiError, match="HTTP 401") as told_error:
        one.scan()
    assert "wrong" not in str(told_error.value)


def test_certificates_are_verified(tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serve(Pacs(filled(tmp_path, 1, 1, 1)), context) as pacs:
        with pytest.raises(MedaiError, match="its certificate is not trusted; give your hospital's certificates as dataset.ca_bundle"):
            source(pacs, tmp_path).scan()
        assert pacs.asked == []
        assert len(source(pacs, tmp_path, ca_bundle=str(certificate)).scan().items) == 1
        with pytest.raises(MedaiError, match=r"dataset.ca_bundle .* is not a readable file of certificates"):
            source(pacs, tmp_path, ca_bundle=str(tmp_path / "none.pem")).scan()


def test_a_full_disk_is_told_and_leaves_no_file(pacs: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medai.source import dicomweb_spool

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(dicomweb_spool, "_fsync", full)
        with pytest.raises(MedaiError, match=r"the disk of dataset.path is full; make room and run the same command again"):
            source(pacs, tmp_path).scan()
    assert spooled(tmp_path) == {} and not list((tmp_path / "spool" / "incoming").iterdir())
    source(pacs, tmp_path).scan()
    assert spooled(tmp_path) == files(pacs.store)


def test_a_folder_of_other_things_or_of_another_server_is_left_alone(pacs: Pacs, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "thesis.tex").write_text("mine")
    with pytest.raises(MedaiError, match="holds other things; give a new folder"):
        source(pacs, tmp_path).scan()
    source(pacs, tmp_path / "b").scan()
    with serve(Pacs(pacs.store)) as other, pytest.raises(MedaiError, match="was filled from another server"):
        source(other, tmp_path / "b").scan()


def test_a_server_that_ignores_the_query_is_refused(pacs: Pacs, tmp_path: Path) -> None:
    for query in ({"StudyDate": "20190101-20191231"}, {"StudyDate": "-20200130"}, {"StudyDate": "20200201-"}, {"StudyDate": "20200130"}):
        with pytest.raises(MedaiError, match="the server ignores StudyDate of dataset.query"):
            source(pacs, tmp_path, query=query).scan()
    with pytest.raises(MedaiError, match="the server ignores SeriesInstanceUID"):
        source(pacs, tmp_path, query={"StudyDate": "20200131", "SeriesInstanceUID": "1.1.1"}).scan()
    assert pacs.retrieved() == [] and pacs.queries[0]["StudyDate"] == ["20190101-20191231"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"query": {}}, "dataset.query is empty and would fetch the whole archive; give e.g. dataset.query.StudyDate=20200101-20201231"),
        ({"query": {"StudyDat": "2020"}}, "dataset.query.StudyDat cannot be matched; allowed: StudyDate, "),
        ({"query": {"StudyDate": "2020-01-01"}}, "dataset.query.StudyDate is '2020-01-01'; it must be a date or a range: 20200131, "),
        ({"query": {"StudyDate": None}}, "dataset.query is empty"),
        ({"query": {"StudyDate": "-"}}, "it must be a date or a range"),
        ({"query": {"PatientID": True}}, "dataset.query.PatientID is True; it must be a text"),
        ({"query": {"PatientID": []}}, "dataset.query.PatientID is an empty list"),
        ({"query": {"PatientID": ["a"], "StudyDate": ["20200101"]}}, "has lists for PatientID and StudyDate; only one attribute"),
        ({"query": {}, "studies": "nowhere.txt"}, "dataset.studies nowhere.txt is not a readable text file"),
        ({"level": "study"}, "dataset.level is 'study'; allowed: series, instance"),
        ({"concurrency": 0}, "dataset.concurrency is 0; it must be at least 1"),
        ({"timeout_s": 0}, "dataset.timeout_s is 0; it must be above 0"),
        ({"server": None}, "dataset.server is not set; give the address of the DICOMweb service, e.g. https://"),
        ({"server": "pacs.example"}, "dataset.server is not the address of a DICOMweb service, e.g. https://"),
        (
            {"server": "https://me:secret@pacs.example"},
            "dataset.server holds a name or a password; take them out and set MEDAI_DICOMWEB_USER",
        ),
        ({"path": None}, "dataset.path is not set; give dataset.path=… .the folder into which the images are fetched, in the clear"),
    ],
)
def test_a_wrong_definition_is_told_before_anything_is_asked(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    chosen = {"name": "x", "server": "http://127.0.0.1:9", "path": str(tmp_path / "spool"), "query": {"PatientID": "1"}, **settings}
    with pytest.raises(MedaiError, match=message) as told:
        DicomWebSource(**chosen).scan()
    assert "secret" not in str(told.value) and not (tmp_path / "spool").exists()


def test_it_takes_all_settings_of_a_dicom_folder_with_the_same_defaults() -> None:
    own = {entry.name: entry for entry in fields(DicomWebSource)}
    for entry in fields(DicomSource):
        assert (own[entry.name].type, own[entry.name].default) == (entry.type, entry.default)


def test_labels_are_joined_like_those_of_a_folder(pacs: Pacs, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("study,sick\n1.1,1\n1.2,0\n")
    node = {"_target_": "medai.source.dicomweb.DicomWebSource", "name": "x", "server": pacs.url, "path": str(tmp_path / "spool")}
    more = {"query": {"PatientID": "*"}, "labels": str(tmp_path / "t.csv"), "targets": ["sick"], "key": "study"}
    scan = build_source({**node, **more}).scan()
    assert [label.name for label in scan.labels] == ["sick"] and len(scan.items) == 12 and scan.refused.is_empty()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself."""
    from ipaddress import ip_address

    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pacs")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    built = built.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    (folder / "pacs.pem").write_bytes(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "pacs.key").write_bytes(private)
    return folder / "pacs.pem", folder / "pacs.key"
