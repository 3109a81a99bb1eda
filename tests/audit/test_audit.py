import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medai.cohort.cohort
from medai.audit.audit import Audit, audit_cohort
from medai.audit.finding import Finding
from medai.audit.gate import check_audited, gate
from medai.audit.page import told, write_audit
from medai.cli import main
from medai.cohort.cohort import Cohort
from medai.cohort.schema import TEST_LABELS
from medai.core.error import MedaiError

MakeCohort = Callable[..., Cohort]
Scene = Callable[..., np.ndarray]
SPLITS = ("train", "train", "train", "validation", "test")


@pytest.fixture
def rows(scene: Scene) -> list[dict[str, Any]]:
    """Forty cases without a fault."""
    random = np.random.default_rng(3)
    return [
        {
            "pixels": scene(index, side=48), "split": SPLITS[index % 5], "sick": int(random.integers(2)), "site": "AB"[index // 5 % 2],
            "modality": "CR", "age_years": float(random.integers(20, 90)), "sex": "MF"[int(random.integers(2))],
            "study_id": f"s{index}", "series_id": f"e{index}",
        }
        for index in range(40)
    ]  # fmt: skip


def _of(audit: Audit, code: str) -> Finding:
    (found,) = [finding for finding in audit.findings if finding.code == code]
    return found


def test_a_clean_cohort_passes(make_cohort: MakeCohort, rows: list[dict[str, Any]]) -> None:
    audit = audit_cohort(make_cohort(rows))
    assert audit.errors == () and audit.of("review") == () and audit.record["result"] == "passed"
    near = audit.record["near_duplicates"]
    assert near["pairs_compared"] == 40 * 39 // 2 and near["images"] == 40
    said = gate(audit)
    assert said["result"] == "passed" and said["pairs_compared"] == 780
    check_audited({"name": "made", "audit": said})


@pytest.mark.parametrize(
    ("column", "code"), [("patient_id", "patient-overlap"), ("study_id", "study-overlap"), ("series_id", "series-overlap")]
)
def test_a_name_in_two_splits_is_an_error(make_cohort: MakeCohort, rows: list[dict[str, Any]], column: str, code: str) -> None:
    rows[4][column] = rows[0][column] = "twice"
    audit = audit_cohort(make_cohort(rows), near=False)
    assert [finding.code for finding in audit.errors] == [code]
    assert _of(audit, code).examples == ["twice"] and _of(audit, code).count == 1
    with pytest.raises(MedaiError, match=rf"1 {column.split('_')[0]} in two splits \(train and test 1\).*allow=\[{code}\]"):
        gate(audit)
    said = gate(audit, [code])
    assert said["result"] == "overridden" and said["errors"] == {code: 1}
    with pytest.raises(MedaiError, match=rf"found {code}"):
        check_audited({"name": "made", "audit": said})
    check_audited({"name": "made", "audit": said}, [code])


def test_a_cohort_without_an_audit_is_not_trained_on() -> None:
    with pytest.raises(MedaiError, match=r"made was not audited; .*allow=\[no-audit\]"):
        check_audited({"name": "made"})
    check_audited({"name": "made"}, ["no-audit"])


def test_every_equal_image_across_splits_is_found(make_cohort: MakeCohort, rows: list[dict[str, Any]]) -> None:
    for index in range(4):
        rows[5 * index + 4]["pixels"] = rows[5 * index]["pixels"]
    rows[8]["pixels"] = rows[1]["pixels"]
    audit = audit_cohort(make_cohort(rows), near=False)
    assert {(finding.code, finding.count) for finding in audit.errors} == {
        ("test-pixels-in-development", 4),
        ("equal-pixels-in-validation", 1),
    }
    assert audit.record["pixels"]["across"] == {"train/validation": 1, "train/test": 4, "validation/test": 0}


def test_excluded_cases_are_left_out_and_counted(make_cohort: MakeCohort, rows: list[dict[str, Any]]) -> None:
    rows[4]["pixels"] = rows[0]["pixels"]
    rows[0]["exclusion"] = "test-pixels-in-development"
    audit = audit_cohort(make_cohort(rows), near=False)
    assert audit.errors == () and audit.record["excluded"] == 1
    assert _of(audit, "excluded").details == {"test-pixels-in-development": 1}


def test_equal_images_with_contradicting_labels_are_told(make_cohort: MakeCohort, rows: list[dict[str, Any]]) -> None:
    rows[1] |= {"pixels": rows[0]["pixels"], "sick": 1 - rows[0]["sick"]}
    found = _of(audit_cohort(make_cohort(rows), near=False), "contradicting-labels")
    assert found.severity == "warning" and found.count == 1 and found.examples == ["c00000", "c00001"]


def test_test_labels_stay_closed_unless_asked_for(
    make_cohort: MakeCohort, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows[4] |= {"pixels": rows[0]["pixels"], "sick": 1 - rows[0]["sick"]}
    cohort = make_cohort(rows)
    opened: list[str] = []
    read = medai.cohort.cohort.Cohort._read
    monkeypatch.setattr(medai.cohort.cohort.Cohort, "_read", lambda self, name: (opened.append(name), read(self, name))[1])
    closed = audit_cohort(cohort, near=False)
    assert TEST_LABELS not in opened and [row["split"] for row in closed.record["labels"]["sick"]] == ["train", "validation"]
    assert not any(finding.code == "contradicting-labels" for finding in closed.findings)
    seen = audit_cohort(cohort, near=False, test_labels=True)
    assert TEST_LABELS in opened and _of(seen, "contradicting-labels").count == 1
    assert [row["split"] for row in seen.record["labels"]["sick"]] == ["train", "validation", "test"]


def test_near_duplicates_are_review_items_and_those_of_one_patient_notes(make_cohort: MakeCohort, rows: list[dict[str, Any]]) -> None:
    def copy(index: int) -> np.ndarray:
        return (rows[index]["pixels"][:, 1:47, 2:48] * 0.8 + 20).astype(np.uint8)

    rows += [
        {"pixels": copy(0), "split": "test", "patient_id": "new"},
        {"pixels": copy(1), "split": "train", "patient_id": "p00001"},
        {"pixels": copy(2), "split": "validation", "patient_id": None},
    ]
    audit = audit_cohort(make_cohort(rows))
    found = {finding.code: finding.severity for finding in audit.findings if finding.code.startswith("near")}
    assert found == {"near-duplicate-across": "review", "near-duplicate-unknown": "review", "near-duplicate-patient": "note"}
    assert audit.errors == () and audit.record["near_duplicates"]["across"] == {
        "train/validation": 1,
        "train/test": 1,
        "validation/test": 0,
    }
    assert audit.near is not None and audit.near.pairs["relation"].to_list() == ["across", "unknown", "patient"]
    assert audit.near.pairs["first"].to_list() == ["c00000", "c00002", "c00001"]


def test_a_site_that_tells_the_label_is_a_warning(make_cohort: MakeCohort, scene: Scene) -> None:
    random, pixels = np.random.default_rng(0), scene(0, side=16)
    rows = []
    for index in range(200):
        sick = int(random.integers(2))
        site = "AB"[sick if random.random() < 0.9 else 1 - sick]
        rows.append(
            {"pixels": pixels + np.uint8(index % 3), "split": SPLITS[index % 5], "sick": sick, "site": site, "sex": "MF"[index % 2]}
        )
    audit = audit_cohort(make_cohort(rows), near=False)
    found = _of(audit, "label-site-shortcut")
    assert found.details["v"] > 0.6 and found.details["p_holm"] < 0.001 and found.n == 160
    assert _of(audit, "metadata-shortcut").details["low"] > 0.7
    assert not any(finding.code == "label-sex-shortcut" for finding in audit.findings)


def test_ages_sizes_and_constant_images_out_of_line_are_told(make_cohort: MakeCohort, rows: list[dict[str, Any]], scene: Scene) -> None:
    rows[0]["age_years"] = 140.0
    rows[1]["pixels"] = np.zeros((1, 48, 48), np.uint8)
    rows[2]["pixels"] = scene(50, side=8)
    audit = audit_cohort(make_cohort(rows))
    for code in ("impossible-age", "constant-image", "small-image"):
        assert _of(audit, code).count == 1
    assert audit.record["near_duplicates"]["featureless"] == 1


def test_a_class_that_a_split_lacks_is_told(make_cohort: MakeCohort, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["sick"] = 0 if row["split"] == "validation" else row["sick"]
    assert "sick positive in validation" in _of(audit_cohort(make_cohort(rows), near=False), "class-absent").title


def test_the_page_and_its_data_hold_the_findings(make_cohort: MakeCohort, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    rows.append({"pixels": (rows[0]["pixels"] * 0.9).astype(np.uint8), "split": "test", "patient_id": "other"})
    rows[1]["site"] = "<i>x</i>"
    rows[4]["patient_id"] = "p00000"
    audit = audit_cohort(make_cohort(rows))
    page = write_audit(audit, tmp_path / "out", created="2026-01-01").read_text(encoding="utf-8")
    data = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert data["result"] == "failed" and data["findings"][0]["code"] == "patient-overlap"
    assert all(set(each) >= {"n", "count", "method"} for each in data["findings"])
    assert page.count("data:image/png") == 2 and "<i>x</i>" not in page and "&lt;i&gt;x" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page) and "The test labels were not opened" in page
    assert any("patient-overlap" in line for line in told(audit.findings))


def test_the_page_of_a_keyed_cohort_shows_no_image_unless_asked(
    make_cohort: MakeCohort, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    rows.append({"pixels": (rows[0]["pixels"] * 0.9).astype(np.uint8), "split": "test", "patient_id": "other"})
    audit = audit_cohort(make_cohort(rows, public=False))
    page = write_audit(audit, tmp_path / "out").read_text(encoding="utf-8")
    assert "data:image" not in page and "not shown, since the cohort is not public" in page
    assert "data:image" in write_audit(audit, tmp_path / "shown", images=True).read_text(encoding="utf-8")


def test_the_same_cohort_has_the_same_audit(make_cohort: MakeCohort, rows: list[dict[str, Any]]) -> None:
    cohort = make_cohort(rows)
    assert audit_cohort(cohort).to_dict() == audit_cohort(cohort, workers=1).to_dict()


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    make_cohort: MakeCohort,
    rows: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cohort = make_cohort(rows)
    cohort.path.with_name(f"{cohort.path.name}.audit").write_text("in the way")
    monkeypatch.setattr("medai.audit.audit.audit_cohort", lambda *_, **__: pytest.fail("the audit has begun"))
    assert main(["audit", str(cohort.path)]) == 2
    assert "name another folder: --output FOLDER" in capsys.readouterr().err
    assert main(["audit", str(cohort.path), "--output", str(tmp_path / "made" / "cohort.json" / "x")]) == 2
    assert "name another folder: --output FOLDER" in capsys.readouterr().err
