"""DICOMweb against a real server: Orthanc on loopback, with a temporary storage. Skips where Orthanc or its plugin is not installed."""

import base64
import json
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from medai.cli import main
from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.dicom.scan import scan_header
from medai.source import dicomweb_client
from medai.source.dicom import DicomSource
from medai.source.dicomweb import DicomWebSource
from tests.source.pacs import filled

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900), pytest.mark.usefixtures("no_network")]
PLUGINS = ("/usr/share/orthanc/plugins/libOrthancDicomWeb.so", "/usr/local/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "reader", "p:ss wörd"
REAL = ("siim-ct-dicom", "dicom2nifti-data", "dcm_qa_ts")


@dataclass
class Orthanc:
    """A server and the folder of its storage; it can be killed and started again."""

    folder: Path
    port: int
    plugin: str
    process: subprocess.Popen[bytes] | None = None
    held: dict[str, bytes] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web"

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        settings = {
            "Name": "test", "StorageDirectory": str(self.folder / "db"), "IndexDirectory": str(self.folder / "db"),
            "Plugins": [self.plugin], "HttpPort": self.port, "RemoteAccessAllowed": False, "DicomServerEnabled": False,
            "AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD}, "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }  # fmt: skip
        (self.folder / "orthanc.json").write_text(json.dumps(settings))
        with open(self.folder / "log.txt", "ab") as log:
            self.process = subprocess.Popen(["Orthanc", str(self.folder / "orthanc.json")], stdout=log, stderr=log)
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            with suppress(OSError, HTTPException):
                if self.ask("GET", "/system")[0] == 200:
                    return
            time.sleep(0.1)
        raise AssertionError((self.folder / "log.txt").read_text()[-3000:])

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        authorization = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        try:
            connection.request(method, path, body, {"Authorization": authorization})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def load(self, data: bytes, name: str) -> None:
        """Store a file; what the server refuses, or has already, is not `held`."""
        status, told = self.ask("POST", "/instances", data)
        if status == 200 and json.loads(told)["Status"] == "Success":
            self.held[name] = data


@pytest.fixture
def orthanc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Orthanc]:
    """An empty server, and its credentials in the environment."""
    plugin = next((path for path in PLUGINS if Path(path).exists()), None)
    if shutil.which("Orthanc") is None or plugin is None:
        pytest.skip("no Orthanc with its DICOMweb plugin; install the packages orthanc and orthanc-dicomweb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("MEDAI_DICOMWEB_USER", USER)
    monkeypatch.setenv("MEDAI_DICOMWEB_PASSWORD", PASSWORD)
    monkeypatch.chdir(tmp_path)
    server = Orthanc(tmp_path / "orthanc", port, plugin)
    server.start()
    yield server
    server.kill()


def source(orthanc: Orthanc, folder: Path, **settings: Any) -> DicomWebSource:
    return DicomWebSource("x", orthanc.url, str(folder / "spool"), **{"query": {"PatientID": "*"}, **settings})


def spooled(folder: Path) -> dict[str, bytes]:
    root = folder / "spool" / "instances"
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.dcm"))}


def place(path: Path) -> str | None:
    """Where an instance belongs in a spool; None where the file is no instance that an archive takes."""
    row = scan_header(path)
    uids = [row["study_uid"], row["series_uid"], row["sop_instance_uid"]]
    return "/".join(uids) + ".dcm" if all(uids) else None


def load_real(orthanc: Orthanc, data: Path) -> set[str]:
    """Store each instance once; of those that lie there in several transfer syntaxes, one in the syntax that is rarest so far."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(path for folder in REAL for path in (data / folder).rglob("*") if path.is_file()):
        name = place(path)
        if name is not None:
            found.setdefault(name, {}).setdefault(scan_header(path)["transfer_syntax"], path)
    chosen: Counter[str] = Counter()
    for name, paths in sorted(found.items()):
        syntax = min(paths, key=lambda one: (chosen[one], one))
        orthanc.load(paths[syntax].read_bytes(), name)
        chosen[syntax] += name in orthanc.held
    return set(+chosen)


def load_made(orthanc: Orthanc, folder: Path, **counts: int) -> None:
    for study, series in filled(folder, **counts).items():
        for one, instances in series.items():
            for name, data in instances.items():
                orthanc.load(data, f"{study}/{one}/{name}.dcm")


def test_made_instances_come_back_bit_for_bit(orthanc: Orthanc, tmp_path: Path) -> None:
    load_made(orthanc, tmp_path, studies=3, series=2, instances=4)
    scan = source(orthanc, tmp_path, page=1).scan()
    assert spooled(tmp_path) == orthanc.held and len(orthanc.held) == 24
    assert len(scan.items) == 24 and scan.refused.is_empty()
    again = source(orthanc, tmp_path / "alone", level="instance").scan()
    assert again.digest == scan.digest
    assert len(source(orthanc, tmp_path, query={"StudyInstanceUID": ["1.1", "1.3"]}).scan().items) == 16
    assert len(source(orthanc, tmp_path, query={"PatientID": "P1.2", "SeriesInstanceUID": "1.2.1"}).scan().items) == 4
    assert len(source(orthanc, tmp_path, query={"StudyDate": "20200101-20200131", "ModalitiesInStudy": "DX"}).scan().items) == 24
    for query in ({"StudyDate": "20210101-"}, {"ModalitiesInStudy": "CT"}, {"AccessionNumber": "none"}):
        with pytest.raises(MedaiError, match="nothing that matches dataset.query"):
            source(orthanc, tmp_path, query=query).scan()


def test_wrong_credentials_and_a_wrong_address_are_told(orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_made(orthanc, tmp_path, studies=1, series=1, instances=1)
    wrong = DicomWebSource("x", orthanc.url.replace("dicom-web", "pacs"), str(tmp_path / "spool"), query={"PatientID": "*"})
    with pytest.raises(MedaiError, match="HTTP 404.: is dataset.server the address of its DICOMweb service?"):
        wrong.scan()
    monkeypatch.setenv("MEDAI_DICOMWEB_PASSWORD", "wrong")
    with pytest.raises(MedaiError, match="wants credentials, or refuses those given .HTTP 401."):
        source(orthanc, tmp_path / "b").scan()


def test_a_server_that_is_killed_in_the_middle_is_no_loss(orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medai.source.dicomweb_spool import Spool

    load_made(orthanc, tmp_path, studies=4, series=2, instances=6)
    monkeypatch.setattr(dicomweb_client, "FIRST_PAUSE_S", 0.01)
    receive, received = Spool.receive, 0

    def counted(*arguments: Any, **keywords: Any) -> str:
        nonlocal received
        received += 1
        if received == 20:
            orthanc.kill()
        return receive(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "receive", counted)
        with pytest.raises(MedaiError, match="does not answer; when it is back, run the same command again"):
            source(orthanc, tmp_path, retries=1).scan()
    before = spooled(tmp_path)
    assert 0 < len(before) < 48 and before.items() <= orthanc.held.items()
    orthanc.start()
    scan = source(orthanc, tmp_path).scan()
    assert spooled(tmp_path) == orthanc.held and scan.refused.is_empty()
    assert source(orthanc, tmp_path / "undisturbed").scan().digest == scan.digest


def test_real_instances_of_all_transfer_syntaxes_come_back_bit_for_bit(orthanc: Orthanc, shared_data: Path, tmp_path: Path) -> None:
    syntaxes = load_real(orthanc, shared_data)
    assert len(orthanc.held) >= 100 and len(syntaxes) >= 7
    scan = source(orthanc, tmp_path).scan()
    assert spooled(tmp_path) == orthanc.held
    folder = tmp_path / "folder"
    for name, data in orthanc.held.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    direct = DicomSource("x", str(folder)).scan()
    assert scan.items.equals(direct.items) and scan.refused.equals(direct.refused)


def test_ct_slices_go_from_the_server_to_the_cohort_that_a_folder_gives(orthanc: Orthanc, shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in sorted((shared_data / "siim-ct-dicom").rglob("*.dcm")):
        name = place(path)
        if name is not None and name not in orthanc.held:
            orthanc.load(path.read_bytes(), name)
            (folder / path.name).write_bytes(path.read_bytes())
    rows = {name.partition("/")[0]: number % 2 for number, name in enumerate(sorted(orthanc.held))}
    (tmp_path / "t.csv").write_text("study,sick\n" + "".join(f"{study},{value}\n" for study, value in rows.items()))
    labelled = [f"dataset.labels={tmp_path / 't.csv'}", "dataset.targets=[sick]", "dataset.key=study"]
    assert main(["ingest", "dataset=dicom", "dataset.name=folder", "dataset.path=folder", *labelled]) == 0
    fetched = [f"dataset.server={orthanc.url}", "dataset.path=spool", "dataset.query.Modality=CT"]
    assert main(["ingest", "dataset=dicomweb", "dataset.name=server", *fetched, *labelled]) == 0
    one, other = (Cohort.open(next(Path("cohorts").glob(f"{name}*"))) for name in ("folder", "server"))
    assert one.counts == other.counts and one.counts["cases"] > 0
    columns = ["case_id", "patient_id", "study_id", "series_id", "pixel_hash", "shape", "age_years", "sex"]
    assert one.cases().select(columns).sort("case_id").equals(other.cases().select(columns).sort("case_id"))
    told = (other.path / "cohort.json").read_text()
    assert "127.0.0.1" not in told and "spool" not in told
