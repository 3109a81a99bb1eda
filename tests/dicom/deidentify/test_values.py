from datetime import date

import pytest

from medai.cohort.key import Keys
from medai.core.error import MedaiError
from medai.dicom.deidentify.date import age_between, cap_age, is_time, shift_date, shift_datetime
from medai.dicom.deidentify.profile import Profile, rules
from medai.dicom.deidentify.pseudonym import is_registered, new_uid
from medai.dicom.deidentify.text import Identifiers, clean_code_string, clean_text, identifying_words

PROFILE = Profile()
NOBODY = Identifiers()


@pytest.mark.parametrize(
    ("text", "days", "expected"), [("20240301", 1, "20240229"), ("2024.03.01", 366, "20230301"), ("00050101", 3000, None)]
)
def test_a_date_is_moved_or_dropped(text: str, days: int, expected: str | None) -> None:
    assert shift_date(text, days) == expected


@pytest.mark.parametrize("text", ["2024030", "20241301", "March 2024", "20240301 Smith", ""])
def test_what_is_no_date_does_not_stay(text: str) -> None:
    assert shift_date(text, 10) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20240301120000.123456+0800", "20240229120000.123456+0800"), ("202403", "202403"), ("2024", "2024"), ("2024Smith", None)],
)
def test_a_date_and_time_keeps_its_time_and_precision(text: str, expected: str | None) -> None:
    assert shift_datetime(text, 1) == expected


def test_shifted_dates_keep_their_distance() -> None:
    first, second = (shift_date(text, 977) for text in ("20240229", "20250301"))
    assert first and second
    days = date.fromisoformat(second) - date.fromisoformat(first)
    assert days == date(2025, 3, 1) - date(2024, 2, 29)


@pytest.mark.parametrize(
    ("text", "expected"), [("089Y", "089Y"), ("090Y", "090Y"), ("102Y", "090Y"), ("999M", "999M"), ("12D", "012D"), ("old", None)]
)
def test_ages_over_89_are_told_as_90(text: str, expected: str | None) -> None:
    assert cap_age(text) == expected


@pytest.mark.parametrize(
    ("birth", "study", "expected"), [("19200101", "20240101", "090Y"), ("20230101", "20240101", "011M"), ("20240102", "20240101", None)]
)
def test_an_age_comes_from_two_dates(birth: str, study: str, expected: str | None) -> None:
    assert age_between(birth, study) == expected


def test_a_time_is_one_or_goes() -> None:
    assert is_time("101530.25") and is_time("10:15") and not is_time("10 Smith") and not is_time("")


def test_uids_are_keyed_and_valid() -> None:
    uid = new_uid(Keys(b"a" * 32), "1.2.3")
    assert uid == new_uid(Keys(b"a" * 32), "1.2.3") != new_uid(Keys(b"b" * 32), "1.2.3")
    assert uid.startswith("2.25.") and len(uid) <= 64
    assert is_registered("1.2.840.10008.5.1.4.1.1.2") and not is_registered("1.2.840.10008.99.1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t1_tse_sag", "t1_tse_sag"),
        ("CHEST PA Smith 12/03/1985", "CHEST PA"),
        ("Abdomen 5.0 mm B30s", "Abdomen 5.0 mm B30s"),
        ("b1000 DWI 3mm", "b1000 DWI 3mm"),
        ("call 555 1234", ""),
        ("胸部正位 王小明", "胸部 正位"),
        ("颅脑平扫加增强", "颅脑平扫加增强"),
        ("王小明", ""),
        ("MRN4711 knee", "knee"),
        ("Room 12", ""),
        ("B1234 1985M 12.03.85 3T", "3T"),
    ],
)
def test_free_text_keeps_known_words_only(text: str, expected: str) -> None:
    assert clean_text(text, PROFILE.vocabulary, NOBODY) == expected


def test_a_patient_named_like_a_body_part_is_not_told() -> None:
    patient = Identifiers(frozenset(identifying_words("Chest^Tan")), frozenset())
    assert clean_text("CHEST PA", PROFILE.vocabulary, patient) == "PA"


def test_a_chinese_name_is_known_as_it_is_written() -> None:
    assert "张伟强" in identifying_words("Zhang^WeiQiang=张^伟强")
    assert Identifiers(all=frozenset(identifying_words("张^伟强"))).mentioned("检查者张伟强A")


@pytest.mark.parametrize(
    ("text", "stays"), [("AXIAL", True), ("FOR PRESENTATION", True), ("YBR_FULL_422", True), ("SMITH", False), ("MRN 0815", False)]
)
def test_a_code_string_of_unknown_words_goes(text: str, stays: bool) -> None:
    assert (clean_code_string(text, PROFILE.terms) is not None) is stays


def test_words_of_the_site_are_kept() -> None:
    profile = Profile.of({"words": ["Kaiserblick"]})
    assert clean_text("Kaiserblick MR", profile.vocabulary, NOBODY) == "Kaiserblick MR"


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"descriptors": "all"}, "allowed: words, remove"), ({"word": []}, "unknown key"), ({"words": "a"}, "list of words")],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], match: str) -> None:
    with pytest.raises(MedaiError, match=match):
        Profile.of(settings)


def test_descriptions_go_where_the_option_is_off() -> None:
    profile = Profile(descriptors="remove")
    assert profile.rule(0x0008103E).action == "remove" and "113105" not in dict(profile.options())


def test_no_vocabulary_word_is_a_single_chinese_character() -> None:
    assert not [word for word in PROFILE.vocabulary if len(word) == 1 and word not in "CLRT"]


def test_every_rule_has_a_known_action() -> None:
    assert {rule.action for rule in rules().values()} <= {"remove", "empty", "dummy", "keep", "clean", "date", "uid", "pseudonym"}
    assert {rule.otherwise for rule in rules().values()} <= {"remove", "empty", "dummy"}
