import pickle
from pathlib import Path

import polars as pl
import pytest

from medai.cohort.key import Keys, site_key, site_key_path
from medai.core.error import MedaiError

KEYS = Keys(b"k" * 32)


def test_public_names_stay_as_they_are() -> None:
    assert Keys(None).name("patient", "TCGA-17-Z013") == "TCGA-17-Z013"
    assert Keys(None).days_back("TCGA-17-Z013") == 0


def test_keyed_names_are_32_hexadecimal_digits_and_differ_by_kind() -> None:
    name = KEYS.name("patient", "MRN-1")
    assert name is not None and len(name) == 32 and int(name, 16) >= 0
    assert name != KEYS.name("study", "MRN-1")
    assert name != Keys(b"j" * 32).name("patient", "MRN-1")


def test_many_names_are_keyed_like_one() -> None:
    names = KEYS.names("patient", pl.Series(["a", None, "b", "a"]))
    assert names.to_list() == [KEYS.name("patient", "a"), None, KEYS.name("patient", "b"), KEYS.name("patient", "a")]


def test_an_empty_series_is_keyed() -> None:
    assert KEYS.names("patient", pl.Series([], dtype=pl.String)).to_list() == []


def test_dates_of_one_person_move_together_and_always_into_the_past() -> None:
    days = [KEYS.days_back(f"MRN-{number}") for number in range(500)]
    assert min(days) >= 1 and max(days) <= 3650 and len(set(days)) > 400
    assert KEYS.days_back("MRN-1") == days[1]


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDAI_SITE_KEY", str(tmp_path / "own" / "site.key"))
    first = site_key()
    assert site_key() == first and len(first) == 32
    assert site_key_path().stat().st_mode & 0o777 == 0o600
    assert [path.name for path in site_key_path().parent.iterdir()] == ["site.key"]


def test_a_key_that_others_can_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDAI_SITE_KEY", str(tmp_path / "site.key"))
    site_key()
    site_key_path().chmod(0o644)
    with pytest.raises(MedaiError, match="can be read by others; run: chmod 600"):
        site_key()


def test_a_file_that_is_no_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDAI_SITE_KEY", str(tmp_path / "site.key"))
    (tmp_path / "site.key").write_text("secret")
    (tmp_path / "site.key").chmod(0o600)
    with pytest.raises(MedaiError, match="is not a site's key"):
        site_key()


def test_a_missing_key_is_not_made_where_it_is_only_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDAI_SITE_KEY", str(tmp_path / "site.key"))
    with pytest.raises(MedaiError, match="does not exist"):
        site_key(create=False)


def test_the_key_is_not_shown_and_travels_to_workers() -> None:
    assert "kkk" not in repr(KEYS)
    assert pickle.loads(pickle.dumps(KEYS)) == KEYS
