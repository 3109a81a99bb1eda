"""The languages of the report: one table of strings each, and what puts the program's own sentences into them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from medai.core.error import MedaiError
from medai.evaluation.report.chinese import CHINESE
from medai.evaluation.report.english import ENGLISH
from medai.evaluation.report.phrase import chinese

IF_ASSUMED = "_if_assumed"


@dataclass(frozen=True)
class Words:
    """The strings of one language.

    Attributes:
        code: ``"en"`` or ``"zh"``.
        table: The strings by key; all languages have the same keys.
        phrase: Puts a sentence that another part of the program made in English into the language; one that it does not know
            stays as it is.
        comma: Between the parts of a list.
        space: Between two sentences.
    """

    code: str
    table: Mapping[str, str]
    phrase: Callable[[str], str]
    comma: str
    space: str

    def __getitem__(self, key: str) -> str:
        return self.table[key]

    def get(self, key: str, otherwise: str) -> str:
        """The string, or `otherwise` where there is none (a column or a value that a user named)."""
        return self.table.get(key, otherwise)

    def join(self, parts: list[str]) -> str:
        """A list in words."""
        return self.comma.join(parts)

    def column(self, name: str) -> str:
        """A column of the table in words; an intersection ``site*sex`` part by part."""
        return " × ".join(self.get(f"column_{part.strip()}", part.strip().replace("_", " ")) for part in name.split("*"))

    def group(self, column: str, value: str) -> str:
        """A group's value in words: the codes of sex, and the unknown."""
        parts = zip(column.split("*"), value.split(" × "), strict=False) if " × " in value else [(column, value)]
        return " × ".join(self._value(of, part) for of, part in parts)

    def split(self, name: str) -> str:
        """A split in words."""
        return self.get(f"split_{name}", name.replace("_", " "))

    def if_assumed(self, assumed: bool) -> "Words":
        """The same words, but those that call a threshold frozen call it assumed where it is."""
        others = {key.removesuffix(IF_ASSUMED): text for key, text in self.table.items() if key.endswith(IF_ASSUMED)}
        return replace(self, table={**self.table, **others}) if assumed else self

    def _value(self, column: str, value: str) -> str:
        if column.strip() == "age_band":
            value = value.replace("-", "\u2013")
        known = value == "unknown" or (column.strip() == "sex" and f"value_{value}" in self.table)
        return self.table[f"value_{value}"] if known else value


def _unchanged(text: str) -> str:
    return text


WORDS = {
    "en": Words("en", ENGLISH, _unchanged, ", ", " "),
    "zh": Words("zh", CHINESE, chinese, "、", ""),
}
EN = WORDS["en"]


def words_of(language: str) -> Words:
    """The strings of a language.

    Raises:
        MedaiError: there is no such language.
    """
    if language not in WORDS:
        raise MedaiError(f"there is no report in the language {language!r}; allowed: {', '.join(WORDS)}")
    return WORDS[language]


__all__ = ["CHINESE", "EN", "ENGLISH", "WORDS", "Words", "words_of"]
