"""What de-identification has to do to each element, by PS3.15 Table E.1-1; it shares no code and no data with medai.

`table_e1_1.csv` was put together from two other editions than the product's own table: the codes of the Basic Profile as the
package dicom-anonymizer 2.1.0 lists them (edition 2026c), the columns of the options from the standard's text of 2017 (the
attributes that came later have "?" there, and only what the Basic Profile and their value representation say is asked of them;
nothing is asked of AE titles of devices, which the text of 2017 keeps and later ones clean).
The names of the actions are those of the MIDI-B challenge's answer key.
"""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataset import FileMetaDataset

ACTIONS = (
    "date_shifted", "patid_consistent", "pixels_hidden", "pixels_retained", "tag_retained",
    "text_notnull", "text_removed", "text_retained", "uid_changed", "uid_consistent",
)  # fmt: skip
CT = "1.2.840.10008.5.1.4.1.1.2"
LONG_TEXTS = ("LO", "ST", "LT", "UT", "UC")
SHORT_TEXTS = ("SH", "AE", "CS")
# Elements that the file itself needs, that are asked about elsewhere, or that no data set can hold (command, meta, directory).
LEFT_OUT = {0x00080018, 0x00100020, 0x0020000D, 0x0020000E, 0x00080005, 0x00080016, 0x00081140, 0x00400275}


@dataclass(frozen=True)
class Check:
    """One required action.

    Attributes:
        action: One of `ACTIONS`.
        path: Tags and item numbers from the top level down.
        original: The value that was planted.
    """

    action: str
    path: tuple[Any, ...]
    original: Any = None


@dataclass
class KeyedFile:
    """A data set with planted values, and what has to become of them."""

    dataset: Dataset
    checks: list[Check] = field(default_factory=list)

    def plant(self, dataset: Dataset, path: tuple[int, ...], tag: int, representation: str, value: Any, *actions: str) -> None:
        dataset[tag] = DataElement(tag, representation, value)
        self.checks += [Check(action, (*path, tag), value) for action in actions]


def table() -> list[dict[str, str]]:
    """The rows of the tests' own copy of Table E.1-1, with `tag` as a number."""
    with open(Path(__file__).with_name("table_e1_1.csv"), encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter=";"))
    for row in rows:
        row["tag"] = int(row["element"].strip("()").replace(",", ""), 16)  # type: ignore[assignment]
    return rows


def identifier(number: int) -> str:
    """A word that is in no vocabulary and that nothing else in the file holds."""
    return f"Zq{number:04d}Kov"


def keyed_file(patient: str, instance: int, referenced_uid: str) -> KeyedFile:
    """A CT image with every attribute of the table, private and nested ones, and ordinary ones that have to stay."""
    file = KeyedFile(Dataset())
    root = f"1.2.826.0.1.3680043.8.498.{instance}"
    dataset = file.dataset
    dataset.SOPClassUID = CT
    file.plant(dataset, (), 0x00100020, "LO", patient, "patid_consistent", "text_removed")
    for tag, last in ((0x00080018, "18"), (0x0020000D, "13"), (0x0020000E, "14")):
        file.plant(dataset, (), tag, "UI", f"{root}.{last}", "uid_changed", "uid_consistent")
    for number, row in enumerate(table()):
        _plant_row(file, dataset, row, 1000 * instance + number, root)
    _plant_ordinary(file, dataset)
    _plant_private(file, dataset, instance)
    _plant_nested(file, dataset, instance, referenced_uid)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.file_meta = meta
    return file


def _plant_row(file: KeyedFile, dataset: Dataset, row: dict[str, Any], number: int, root: str) -> None:
    tag, basic = row["tag"], row["basic_2026c"]
    group = tag >> 16
    if group in (0x0000, 0x0002, 0x0004, 0xFFFA) or tag in LEFT_OUT or not dictionary_has_tag(tag):
        return
    representation = dictionary_VR(tag)
    if representation == "SQ":
        _plant_sequence(file, dataset, row, number)
    elif representation in ("DA", "DT"):
        shifted = row["modified_dates"] in ("C", "?")
        day = f"{2015 if shifted else 1951}{1 + number % 12:02}{1 + number % 28:02}"
        value = day if representation == "DA" else f"{day}101530.25+0800"
        file.plant(dataset, (), tag, representation, value, "date_shifted" if shifted else "text_removed")
    elif representation == "TM":
        if row["modified_dates"] in ("C", "?"):
            file.plant(dataset, (), tag, representation, "101530", "tag_retained")
    elif representation == "UI":
        file.plant(
            dataset,
            (),
            tag,
            representation,
            f"{root}.{number}",
            *(("uid_changed", "uid_consistent") if "U" in basic else ("text_removed",)),
        )
    elif "K" in row["retain_device"] and representation == "AE":
        return
    elif "K" in (row["retain_device"], row["retain_patient"]):
        file.plant(dataset, (), tag, representation, _harmless(tag, representation), "tag_retained", "text_notnull", "text_retained")
    elif "C" in (row["clean_descriptors"], row["retain_patient"]) and representation in LONG_TEXTS:
        file.plant(dataset, (), tag, representation, f"CHEST AP {identifier(number)}", "text_removed")
        file.checks.append(Check("text_retained", (tag,), "CHEST AP"))
    else:
        value = _identifying(representation, number)
        if value is not None:
            file.plant(dataset, (), tag, representation, value, "text_removed", *_by_code(basic, row))


def _by_code(basic: str, row: dict[str, Any]) -> tuple[str, ...]:
    if any(row[column] not in ("",) for column in ("retain_device", "retain_patient", "modified_dates", "clean_descriptors")):
        return ()  # an option comes before the profile's code
    return {"D": ("tag_retained", "text_notnull"), "Z": ("tag_retained",)}.get(basic, ())


def _plant_sequence(file: KeyedFile, dataset: Dataset, row: dict[str, Any], number: int) -> None:
    item = Dataset()
    path = (row["tag"], 0)
    file.plant(item, path, 0x00080100, "SH", f"Z{number}", "text_removed")
    item.CodingSchemeDesignator = "99LOCAL"
    file.plant(item, path, 0x00080104, "LO", identifier(number), "text_removed")
    file.plant(item, path, 0x0040A123, "PN", f"{identifier(number)}^Nested", "text_removed")
    dataset[row["tag"]] = DataElement(row["tag"], "SQ", [item])
    file.checks += [Check(action, (row["tag"],), None) for action in _by_code(row["basic_2026c"], row) if action == "tag_retained"]


def _harmless(tag: int, representation: str) -> Any:
    known = {"PatientSex": "F", "PatientAge": "045Y", "PatientSexNeutered": "ALTERED", "EthnicGroup": "HAN", "SmokingStatus": "NO"}
    return known.get(keyword_for_tag(tag)) or {"DS": "61.5", "US": 4, "AS": "045Y", "CS": "NO", "SQ": None}.get(representation, "Unit 7")


def _identifying(representation: str, number: int) -> Any:
    word = identifier(number)
    if representation in (*LONG_TEXTS, "UR"):
        return f"seen by {word}" if representation != "UR" else f"http://{word}"
    if representation in SHORT_TEXTS:
        return word.upper() if representation != "SH" else word
    if representation == "PN":
        return f"{word}^Anna"
    return word.encode() + b" " if representation in ("OB", "UN") else None


def _plant_ordinary(file: KeyedFile, dataset: Dataset) -> None:
    """Attributes that the table leaves alone: the image, its technique, its device."""
    ordinary: dict[int, tuple[str, Any]] = {
        0x00080008: ("CS", ["ORIGINAL", "PRIMARY", "AXIAL"]), 0x00080060: ("CS", "CT"), 0x00080070: ("LO", "GE MEDICAL SYSTEMS"),
        0x00081090: ("LO", "LightSpeed VCT"), 0x00180015: ("CS", "CHEST"), 0x00180022: ("CS", "HELICAL MODE"), 0x00180050: ("DS", "1.25"),
        0x00180060: ("DS", "120"), 0x00180088: ("DS", "1.25"), 0x00180090: ("DS", "500"), 0x00181020: ("LO", "07MW18.4"),
        0x00181100: ("DS", "360"), 0x00181110: ("DS", "949.1"), 0x00181111: ("DS", "541"), 0x00181120: ("DS", "0"),
        0x00181130: ("DS", "150.5"), 0x00181140: ("CS", "CW"), 0x00181150: ("IS", "500"), 0x00181151: ("IS", "300"),
        0x00181152: ("IS", "150"), 0x00181160: ("SH", "BODY FILTER"), 0x00181170: ("IS", "36000"), 0x00181190: ("DS", "1.2"),
        0x00181210: ("SH", "STANDARD"), 0x00185100: ("CS", "FFS"), 0x00189345: ("FD", 12.5), 0x00200011: ("IS", "3"),
        0x00200012: ("IS", "1"), 0x00200013: ("IS", "44"), 0x00200020: ("CS", ["L", "P"]), 0x00200032: ("DS", ["-180", "-180", "12.5"]),
        0x00200037: ("DS", ["1", "0", "0", "0", "1", "0"]), 0x00200060: ("CS", "L"), 0x00201041: ("DS", "12.5"), 0x00280002: ("US", 1),
        0x00280004: ("CS", "MONOCHROME2"), 0x00280010: ("US", 8), 0x00280011: ("US", 8), 0x00280030: ("DS", ["0.7", "0.7"]),
        0x00280100: ("US", 16), 0x00280101: ("US", 12), 0x00280102: ("US", 11), 0x00280103: ("US", 0), 0x00280120: ("US", 0),
        0x00280301: ("CS", "NO"), 0x00281050: ("DS", "40"), 0x00281051: ("DS", "400"), 0x00281052: ("DS", "-1024"),
        0x00281053: ("DS", "1"), 0x00281054: ("LO", "HU"), 0x00282110: ("CS", "00"), 0x00185101: ("CS", "AP"), 0x00181405: ("IS", "12"),
        0x00181164: ("DS", ["0.1", "0.1"]), 0x00280034: ("IS", ["1", "1"]),
    }  # fmt: skip
    for tag, (representation, value) in ordinary.items():
        file.plant(dataset, (), tag, representation, value, "tag_retained", "text_notnull", "text_retained")
    pixels = bytes(range(128))
    dataset[0x7FE00010] = DataElement(0x7FE00010, "OW", pixels)
    file.checks.append(Check("pixels_retained", (0x7FE00010,), pixels))


def _plant_private(file: KeyedFile, dataset: Dataset, instance: int) -> None:
    for position, group in enumerate((0x0009, 0x0019, 0x0029, 0x0051, 0x2001, 0x7053)):
        block = dataset.private_block(group, f"ACME {group:04X}", create=True)
        for element in range(8):
            word = identifier(1000 * instance + 800 + 10 * position + element)
            block.add_new(element, "LO", f"private {word}")
            file.checks.append(Check("text_removed", (group << 16 | 0x1000 | element,), f"private {word}"))
    siemens = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    siemens.add_new(0x0C, "IS", "1000")
    file.checks.append(Check("text_retained", (siemens.get_tag(0x0C),), "1000"))


def _plant_nested(file: KeyedFile, dataset: Dataset, instance: int, referenced_uid: str) -> None:
    """References to another file of the patient, a public code, and names three levels down."""
    reference = Dataset()
    path = (0x00081140, 0)
    file.plant(reference, path, 0x00081150, "UI", CT, "text_retained")
    file.plant(reference, path, 0x00081155, "UI", referenced_uid, "uid_changed", "uid_consistent")
    purpose = Dataset()
    for tag, representation, value in ((0x00080100, "SH", "121311"), (0x00080102, "SH", "DCM"), (0x00080104, "LO", "Localizer")):
        file.plant(purpose, (*path, 0x0040A170, 0), tag, representation, value, "text_retained")
    reference.PurposeOfReferenceCodeSequence = [purpose]
    dataset[0x00081140] = DataElement(0x00081140, "SQ", [reference])
    step = Dataset()
    file.plant(step, (0x00400275, 0), 0x00400007, "LO", f"CHEST {identifier(1000 * instance + 901)}", "text_removed")
    deeper = Dataset()
    file.plant(deeper, (0x00400275, 0, 0x00321064, 0), 0x00080104, "LO", identifier(1000 * instance + 902), "text_removed")
    step.RequestedProcedureCodeSequence = [deeper]
    dataset[0x00400275] = DataElement(0x00400275, "SQ", [step])
