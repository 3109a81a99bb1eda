"""Free text reduced to words that are known to identify nobody (PS3.15 E.3.6, Clean Descriptors Option).

Nothing is searched for names: what is not in the vocabulary goes. Numbers stay only where a unit or a technical term holds
them, since bare numbers can be dates, telephone and patient numbers.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_UNITS = frozenset(
    ["MM", "CM", "UM", "S", "SEC", "MS", "MIN", "KV", "KVP", "MA", "MAS", "HZ", "KHZ", "MHZ", "ML", "HU", "KEV", "MEV", "MBQ", "MCI"]
)
_NUMBER = r"\d{1,4}(?:\.\d{1,3})?"
_TERMS = re.compile(
    r"T[12](?:W|WI|RHO)?|B\d{0,3}[05]|[234]D|[SCTL]\d{1,2}|\d(?:\.\d)?T"  # weighting, b-value, dimensions, vertebra, field
    r"|[ABDHIJQSTUV]R?\d{2}[FSHUM]?|FC\d{2}|FL\d{2}"  # kernels: H30s, Br40, FC52
    r"|(?:TSE|TIR|TFL|FL|EP|EPFID|EPSE|SE|SPC|SPCIR|SPCR|ME|FI|TGSE|SWI|TOF|QTFL|BEAT|TSER|PCASL)[23]D\d{0,2}"  # pulse sequences
    r"|1H|2H|3HE|13C|19F|23NA|31P|129XE"  # nuclei
    r"|" + _NUMBER + r"(?:" + "|".join(sorted(_UNITS, key=len, reverse=True)) + r")"
)  # fmt: skip
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LONGEST_TERM = 8
_SHORTEST_NAME = 3
_SHORTEST_HAN_NAME = 2
_SHORTEST_WITHIN = 4


@dataclass(frozen=True)
class Identifiers:
    """The words of a data set that name its patient, and all those that name anybody; upper case.

    Attributes:
        patient: Words of the patient's names and numbers: they go even where the vocabulary has them.
        all: Also those of physicians and operators, accession numbers and the like.
    """

    patient: frozenset[str] = frozenset()
    all: frozenset[str] = frozenset()

    def mentioned(self, text: str) -> bool:
        """Whether `text` holds one of the identifiers: as a word, or from four letters on within a word."""
        upper = text.upper()
        words = set(_words(upper))
        return any(
            name in words or (len(name) >= (_SHORTEST_HAN_NAME if _HAN.search(name) else _SHORTEST_WITHIN) and name in upper)
            for name in self.all
        )


def identifying_words(text: str) -> set[str]:
    """The words of a name or a number that are long enough to identify, and the parts of a Chinese name as they are written: together."""
    upper = text.upper()
    found = {part for part in re.split(r"[\s^=,;/\\]+", upper) if part} | set(_words(upper))
    for group in re.split(r"[=\\]", upper):
        parts = [part for part in group.split("^") if part]
        if parts and all(_HAN.search(part) for part in parts):
            found.add("".join(parts))
    return {word for word in found if _HAN.search(word) or len(word) >= _SHORTEST_NAME}


def _words(upper: str) -> Iterator[str]:
    return (match[0] for match in re.finditer(r"[^\W_]+", upper))


def clean_text(text: str, vocabulary: frozenset[str], identifiers: Identifiers) -> str:
    """The words of the vocabulary and technical terms, in order; the text itself where nothing had to go.

    Example:
        >>> clean_text("T1 TSE SAG for Mr. Smith, 5 mm", vocabulary(), Identifiers())
        'T1 TSE SAG 5 mm'
    """
    tokens = [match[0] for match in re.finditer(r"\d+\.\d+[^\W\d_]*|[^\W_]+|[_\W]", text, re.UNICODE)]
    kept: list[str] = []
    dropped = False
    for position, token in enumerate(tokens):
        if not token[0].isalnum():
            dropped = dropped or not (token.isspace() or token in "_/\\,;:()+-*#=&<>^.[]%'\"")
        elif _HAN.search(token):
            terms = _han_terms(token, vocabulary, identifiers)
            kept += terms
            dropped = dropped or "".join(terms) != token
        elif _stays(token, tokens, position, vocabulary) and token.upper() not in identifiers.patient:
            kept.append(token)
        else:
            dropped = True
    return " ".join(kept) if dropped else text.strip()


def _stays(token: str, tokens: list[str], position: int, vocabulary: frozenset[str]) -> bool:
    upper = token.upper()
    if upper in vocabulary or _TERMS.fullmatch(upper):
        return True
    if re.fullmatch(_NUMBER, upper):
        return _unit_at(tokens, position + 1)
    return upper in _UNITS and position > 0 and _number_before(tokens, position - 1)


def _unit_at(tokens: list[str], position: int) -> bool:
    if position < len(tokens) and tokens[position] == " ":
        position += 1
    return position < len(tokens) and tokens[position].upper() in _UNITS - {"S"}


def _number_before(tokens: list[str], position: int) -> bool:
    if tokens[position] == " " and position > 0:
        position -= 1
    return re.fullmatch(_NUMBER, tokens[position]) is not None


def _han_terms(token: str, vocabulary: frozenset[str], identifiers: Identifiers) -> list[str]:
    """The longest terms from left to right; Chinese has no blanks between words."""
    terms: list[str] = []
    at = 0
    while at < len(token):
        for length in range(min(_LONGEST_TERM, len(token) - at), 0, -1):
            part = token[at : at + length]
            if part.upper() in vocabulary and part.upper() not in identifiers.patient and (length > 1 or not _HAN.search(part)):
                terms.append(part)
                at += length
                break
        else:
            at += 1
    return terms


def clean_code_string(text: str, vocabulary: frozenset[str]) -> str | None:
    """A CS (PS3.5 6.2) whose every word is known, else None: code strings are typed by people too."""
    value = text.strip()
    if not re.fullmatch(r"[A-Z0-9_ ]{0,16}", value.upper()):
        return None
    words = re.split(r"[ _]+", value.upper())
    return (
        value if all(not word or word in vocabulary or _TERMS.fullmatch(word) or re.fullmatch(r"\d{1,2}", word) for word in words) else None
    )
