"""Which concept of the protocol is this coding?

The value sets are TOML files beside this module: one concept a file, one code a line. Files under
`extensions/` hold codes that need a licence of the deployer's own; they add to the set of the same
name, and the service runs without them.

A coding whose system is not known matches nothing: the meaning of a code is never guessed from
its shape. That nothing matches is never evidence that the patient does not have it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

FOLDER = Path(__file__).parent / "value_sets"


class ValueSetError(ValueError):
    """A value set file cannot be used: which file, and what is wrong with it."""


class Role(StrEnum):
    """What a code of a set may be used for."""

    ESTABLISHES = "establishes"  # the fact is so
    ASK = "ask"  # possible: ask, or look for corroboration
    EXCLUDES = "excludes"  # a look-alike; wins over the two above
    NEVER_INFER = "never-infer"  # recognised, and nothing follows from it
    EMIT = "emit"  # what we write into an order
    SUPPORT = "support"  # supporting results, the project's own codes
    QUALIFIES = "qualifies"  # says something beside another code only: routes, answers, body sites


# Short name in the files -> canonical URI.
SYSTEMS: Mapping[str, str] = {
    "snomed": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
    "rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "icd-10-cm": "http://hl7.org/fhir/sid/icd-10-cm",
    "icd-10": "http://hl7.org/fhir/sid/icd-10",
    "icd-10-gm": "http://fhir.de/CodeSystem/bfarm/icd-10-gm",
    "icd-9-cm": "http://hl7.org/fhir/sid/icd-9-cm",
    "icd-9-cm-procedures": "http://terminology.hl7.org/CodeSystem/icd9cm",
    "icd-10-pcs": "http://www.cms.gov/Medicare/Coding/ICD10",
    "cpt": "http://www.ama-assn.org/go/cpt",
    "hcpcs": "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets",
    "ndc": "http://hl7.org/fhir/sid/ndc",
    "atc": "http://www.whocc.no/atc",
    "dmd": "https://dmd.nhs.uk",
    "opcs-4": "https://fhir.hl7.org.uk/Id/opcs-4",
    "ucum": "http://unitsofmeasure.org",
    "unii": "http://fdasis.nlm.nih.gov",
    "v3-route": "http://terminology.hl7.org/CodeSystem/v3-RouteOfAdministration",
    "v2-yes-no": "http://terminology.hl7.org/CodeSystem/v2-0136",
    "record": "urn:oid:2.25.147698014147394229799976552687274634453",
}

# Other spellings that real systems send. `https` and a trailing slash are accepted for all.
# ICD-10-CM is not an alias of ICD-10: K50.8 means different things in the two.
_OTHER_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "snomed": ("urn:oid:2.16.840.1.113883.6.96",),
    "loinc": ("urn:oid:2.16.840.1.113883.6.1",),
    "rxnorm": ("urn:oid:2.16.840.1.113883.6.88",),
    "icd-10-cm": (
        "http://terminology.hl7.org/CodeSystem/icd10CM",
        "urn:oid:2.16.840.1.113883.6.90",
    ),
    "icd-10": ("http://hl7.org/fhir/sid/icd-10-uk", "urn:oid:2.16.840.1.113883.6.3"),
    "icd-10-gm": ("http://fhir.de/CodeSystem/dimdi/icd-10-gm",),
    "icd-9-cm": ("urn:oid:2.16.840.1.113883.6.103",),
    "icd-9-cm-procedures": ("urn:oid:2.16.840.1.113883.6.2",),
    "icd-10-pcs": ("urn:oid:2.16.840.1.113883.6.4",),
    "cpt": ("urn:oid:2.16.840.1.113883.6.12",),
    "hcpcs": ("urn:oid:2.16.840.1.113883.6.285",),
    "atc": ("http://fhir.de/CodeSystem/bfarm/atc",),
    "opcs-4": (
        "https://fhir.nhs.uk/Id/opcs-4",
        "http://fhir.hl7.org.uk/CodeSystem/OPCS-4",
        "http://fhir.hl7.org.uk/R4/CodeSystem/OPCS-4",
    ),
    "v3-route": (
        "http://hl7.org/fhir/v3/RouteOfAdministration",
        "urn:oid:2.16.840.1.113883.5.112",
    ),
    "v2-yes-no": ("http://hl7.org/fhir/v2/0136", "urn:oid:2.16.840.1.113883.12.136"),
}

# A dm+d id is a SNOMED CT id and often comes as one; the combined ICD-9-CM system holds diagnoses.
_ALSO_READ: Mapping[str, tuple[str, ...]] = {
    "snomed": ("dmd",),
    "dmd": ("snomed",),
    "icd-9-cm-procedures": ("icd-9-cm",),
}


def _spellings(uri: str) -> Iterator[str]:
    scheme, separator, rest = uri.partition("://")
    if not separator:
        yield uri
        return
    for each in (scheme, "http", "https"):
        yield f"{each}://{rest}"
        yield f"{each}://{rest}/"


def _short_names() -> dict[str, str]:
    return {
        spelling: short
        for short, canonical in SYSTEMS.items()
        for uri in (canonical, *_OTHER_SPELLINGS.get(short, ()))
        for spelling in _spellings(uri)
    }


_SHORT_NAME = _short_names()


def _short_name(uri: object) -> str | None:
    if not isinstance(uri, str):
        return None
    return _SHORT_NAME.get(uri) or _SHORT_NAME.get(uri.strip())


def canonical_system(uri: object) -> str | None:
    """The canonical URI of a code system, whichever known spelling it came in; else None."""
    short = _short_name(uri)
    return None if short is None else SYSTEMS[short]


def _plain(code: str) -> str:
    return code.strip()


def _dotless(code: str) -> str:
    """D51.0, d510, D51.0† and D51.0* are one code."""
    return code.strip().upper().rstrip("†‡*+!# ").replace(".", "")


def _icd9_diagnosis(code: str) -> str:
    # A dot after two digits makes it a procedure: 55.51 is a nephrectomy, 555.1 Crohn's disease.
    code = code.strip().upper()
    return code if code[2:3] == "." else code.replace(".", "")


def _icd9_either(code: str) -> str:
    # Without its dot a code of the combined system can be a diagnosis or a procedure: 436 is a
    # stroke, 43.6 a gastrectomy. It is not guessed.
    return _icd9_diagnosis(code) if "." in code else ""


_NORMALISERS: Mapping[str, Callable[[str], str]] = {
    "icd-10-cm": _dotless,
    "icd-10": _dotless,
    "icd-10-gm": _dotless,
    "opcs-4": _dotless,
    "icd-9-cm": _icd9_diagnosis,
    "icd-9-cm-procedures": _icd9_either,
}


def normalise_code(system: object, code: object) -> str:
    """The code as it is compared. Empty: there is nothing that could be compared.

    A number is not read as a code: long SNOMED CT ids do not survive being numbers.
    """
    if not isinstance(code, str):
        return ""
    return _NORMALISERS.get(_short_name(system) or "", _plain)(code)


_SEMANTIC_TAGS = frozenset(
    {
        "disorder",
        "finding",
        "medicinal product",
        "observable entity",
        "procedure",
        "product",
        "qualifier value",
        "regime/therapy",
        "situation",
        "substance",
    }
)


@dataclass(frozen=True, slots=True)
class Code:
    """One line of a value set, and what its set says it may be used for.

    `system` is the canonical URI. `attributes` are the further keys of the line: `domains`,
    `cause`, `strength_ug` and so on; docs/value-sets.md lists them.
    """

    value_set: str
    role: Role
    fact: str
    system: str
    code: str
    display: str
    title: str
    attributes: Mapping[str, object] = field(hash=False)

    @property
    def label(self) -> str:
        """Words that may be printed: the display without its semantic tag, else the set's title."""
        return _without_tag(self.display) or self.title


@lru_cache(maxsize=1024)
def _without_tag(display: str) -> str:
    text, _, tag = display.removesuffix(")").rpartition(" (")
    words = text if tag in _SEMANTIC_TAGS else display
    return words.replace("B>12<", "B12")


# --- reading the files ----------------------------------------------------------------------------

_SET_KEYS = ("title", "role", "fact", "source", "version", "licence", "review_state")
_NOT_ATTRIBUTES = frozenset({"system", "code", "display", "match", "to", "sources"})
_MATCHES = ("exact", "prefix", "range")


@dataclass(frozen=True, slots=True)
class _Line:
    """A code of a file with the stems it matches: none when it is exact."""

    system: str  # short name
    match: str
    keys: tuple[str, ...]  # normalised; for a range, one stem for each category in it
    code: Code


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    role: Role
    fact: str
    title: str
    version: str
    lines: tuple[_Line, ...]


def _categories(first: str, last: str) -> tuple[str, ...]:
    """C00 to C96: a letter and two digits; C4A and the like are not in it."""
    letter, low, high = first[:1], first[1:], last[1:]
    if letter != last[:1] or not (low.isdigit() and high.isdigit() and len(low) == len(high) == 2):
        raise ValueError(f"{first} to {last} is not a range of three-character categories")
    return tuple(f"{letter}{number:02d}" for number in range(int(low), int(high) + 1))


def _keys(system: str, match: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    if match == "range":
        return _categories(row["code"], row["to"])
    key = normalise_code(SYSTEMS[system], row["code"])
    # Two characters take in half a chapter: C would be every cancer, D5 iron and folate.
    if not key or (match == "prefix" and len(key) < 3):
        raise ValueError(f"{row['code']!r} cannot be matched")
    return (key,)


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _line(name: str, about: Mapping[str, Any], row: Mapping[str, Any]) -> _Line:
    system, match = row["system"], row["match"]
    if system not in SYSTEMS or match not in _MATCHES:
        raise ValueError(f"{row['code']!r} has an unknown system or match")
    extra = {key: _frozen(value) for key, value in row.items() if key not in _NOT_ATTRIBUTES}
    code = Code(
        value_set=name,
        role=Role(about["role"]),
        fact=about["fact"],
        system=SYSTEMS[system],
        code=f"{row['code']}-{row['to']}" if match == "range" else row["code"],
        display=row.get("display", ""),
        title=about["title"],
        attributes=MappingProxyType(extra),
    )
    return _Line(system, match, _keys(system, match, row), code)


def _check_head(about: Mapping[str, Any]) -> None:
    wrong = [key for key in _SET_KEYS if not isinstance(about.get(key), str)]
    if wrong:
        raise ValueError(f"without a text for {', '.join(wrong)}")


def _file(path: Path, content: bytes) -> _File:
    try:
        about = tomllib.loads(content.decode("utf-8"))
        _check_head(about)
        lines = tuple(_line(path.stem, about, row) for row in about["codes"])
        role = Role(about["role"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueSetError(f"{path}: {error}") from error
    return _File(path.stem, role, about["fact"], about["title"], about["version"], lines)


def _merged(files: Iterable[_File]) -> dict[str, tuple[_Line, ...]]:
    """The lines of each set, in file order. Core files come first; extensions only add."""
    heads: dict[str, _File] = {}
    lines: dict[str, tuple[_Line, ...]] = {}
    for file in files:
        head = heads.setdefault(file.name, file)
        if (file.role, file.fact, file.title) != (head.role, head.fact, head.title):
            raise ValueSetError(f"{file.name}: an extension must not change what the set means")
        lines[file.name] = lines.get(file.name, ()) + file.lines
    for name, of_set in lines.items():
        seen = [(line.system, line.match, key) for line in of_set for key in line.keys]
        if len(seen) != len(set(seen)):
            raise ValueSetError(f"{name}: a code is listed twice")
    return lines


# --- looking codes up -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Index:
    """One code system. `stems` are prefixes by their first three characters, longest first."""

    normalise: Callable[[str], str]
    exact: Mapping[str, tuple[Code, ...]]
    stems: Mapping[str, tuple[tuple[str, Code], ...]]

    def find(self, code: str) -> tuple[Code, ...]:
        key = self.normalise(code)
        found = self.exact.get(key, ())
        near = self.stems.get(key[:3])
        if near is None:
            return found
        return _with_stems(key, found, near)


def _with_stems(
    key: str, found: tuple[Code, ...], near: tuple[tuple[str, Code], ...]
) -> tuple[Code, ...]:
    """The longest match of each set, the most specific first."""
    by_set = {code.value_set: code for code in found}
    for stem, code in near:
        if key.startswith(stem):
            by_set.setdefault(code.value_set, code)
    return tuple(by_set.values())


def _index(short: str, lines: Iterable[_Line]) -> _Index:
    exact: dict[str, dict[str, Code]] = {}
    stems: dict[str, dict[tuple[str, str], Code]] = {}
    lines = tuple(lines)
    for system in (short, *_ALSO_READ.get(short, ())):
        for line in (line for line in lines if line.system == system):
            for key in line.keys:
                if line.match == "exact":
                    exact.setdefault(key, {}).setdefault(line.code.value_set, line.code)
                else:
                    near = stems.setdefault(key[:3], {})
                    near.setdefault((key, line.code.value_set), line.code)
    return _Index(
        _NORMALISERS.get(short, _plain),
        {key: tuple(of_key.values()) for key, of_key in exact.items()},
        {key: _longest_first(near) for key, near in stems.items()},
    )


def _longest_first(near: Mapping[tuple[str, str], Code]) -> tuple[tuple[str, Code], ...]:
    ordered = sorted(near.items(), key=lambda item: -len(item[0][0]))
    return tuple((stem, code) for (stem, _), code in ordered)


_LONGEST_KEPT: Final = 100  # of what was looked up before; a real code or system is no longer


class ValueSets:
    """All value sets, ready to be looked up. `read_value_sets` makes one."""

    def __init__(
        self, lines: Mapping[str, tuple[_Line, ...]], *, version: str, content_hash: str
    ) -> None:
        self.version = version  # the newest version of any file
        self.content_hash = content_hash  # SHA-256 over names and bytes of all files
        self._lines = lines
        # A chart says the same few codes thousands of times; a code alone is nobody's.
        self._matches = lru_cache(maxsize=4096)(self._look_up)
        self._tells = lru_cache(maxsize=4096)(self._look_for)
        self._written: dict[str, tuple[Code, ...]] = {}  # by set, once it was asked for
        every = tuple(line for of_set in lines.values() for line in of_set)
        by_short = {short: _index(short, every) for short in SYSTEMS}
        local = {line.system for line in every} - SYSTEMS.keys()
        self._by_uri = {uri: by_short[short] for uri, short in _SHORT_NAME.items()}
        self._by_uri |= {uri: _index(uri, every) for uri in local}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._lines)

    def matches(self, system: object, code: object) -> tuple[Code, ...]:
        """Every set this coding is in, most specific first; of one set the longest match only.

        Takes whatever a client sent. An unknown system, a number or nothing at all is in no set.
        """
        if not isinstance(system, str) or not isinstance(code, str):
            return ()
        if len(code) > _LONGEST_KEPT or len(system) > _LONGEST_KEPT:
            return self._look_up(system, code)
        return self._matches(system, code)

    def _look_up(self, system: str, code: str) -> tuple[Code, ...]:
        index = self._by_uri.get(system) or self._by_uri.get(system.strip())
        return () if index is None else index.find(code)

    def tells(self, system: str, code: str) -> bool:
        """Does this coding say something by itself? "Yes", to a question that is none, does not."""
        if len(code) > _LONGEST_KEPT or len(system) > _LONGEST_KEPT:
            return self._look_for(system, code)
        return self._tells(system, code)

    def _look_for(self, system: str, code: str) -> bool:
        return any(found.role is not Role.QUALIFIES for found in self._look_up(system, code))

    def matches_concept(self, codeable_concept: object) -> tuple[Code, ...]:
        """The sets of all codings of a CodeableConcept; each line once."""
        if not isinstance(codeable_concept, dict):
            return ()
        codings = codeable_concept.get("coding")
        if isinstance(codings, dict):  # an object where an array belongs
            codings = [codings]
        if not isinstance(codings, list):
            return ()
        if len(codings) == 1 and isinstance(codings[0], dict):  # as most concepts have
            return self.matches(codings[0].get("system"), codings[0].get("code"))
        found = [
            code
            for coding in codings
            if isinstance(coding, dict)
            for code in self.matches(coding.get("system"), coding.get("code"))
        ]
        return tuple(dict.fromkeys(found)) if len(found) > 1 else tuple(found)

    def sets_of(self, codeable_concept: object) -> frozenset[str]:
        """The names of the sets in which its codings are."""
        return frozenset(code.value_set for code in self.matches_concept(codeable_concept))

    def extended(self, rows: Iterable[tuple[str, str, str, str]], content: bytes) -> ValueSets:
        """These sets with codes of a site's own: (value set, system URI, code, display).

        `content`: where the rows come from, for the hash. Raises ValueSetError. They are matched
        exactly and are only for reading; what the sets mean does not change.
        """
        lines = dict(self._lines)
        for name, system, code, display in rows:
            line = _local_line(name, system, code, display, lines)
            known = lines[line.code.value_set]
            if any((k.system, k.match, k.keys) == (line.system, "exact", line.keys) for k in known):
                continue  # shipped already, or listed twice: once is enough
            if line.code.role is Role.EXCLUDES and self._establishes(line):
                raise ValueSetError(f"{name}: excludes a code that is shipped as what it means")
            lines[line.code.value_set] = (*known, line)
        digest = hashlib.sha256(self.content_hash.encode() + content).hexdigest()
        return ValueSets(lines, version=self.version, content_hash=digest)

    def _establishes(self, line: _Line) -> bool:
        """Is this very code one that establishes the fact the line would exclude?"""
        return any(
            (k.system, k.match, k.keys) == (line.system, "exact", line.keys)
            for lines in self._lines.values()
            for k in lines
            if k.code.fact == line.code.fact and k.code.role is Role.ESTABLISHES
        )

    def in_set(self, name: str) -> tuple[Code, ...]:
        """The lines of a set in file order. KeyError: there is no such set."""
        return tuple(line.code for line in self._lines[name])

    def emit(self, value_set: str) -> tuple[Code, ...]:
        """The codes of a set that may be written into an order, RxNorm and LOINC first.

        Brands, inactive and legacy codes (`read_only`), prefixes and ranges are only for reading.
        """
        known = self._written.get(value_set)
        if known is None:
            known = self._written[value_set] = self._to_write(value_set)
        return known

    def _to_write(self, value_set: str) -> tuple[Code, ...]:
        codes = [
            line.code
            for line in self._lines[value_set]
            if line.match == "exact" and not line.code.attributes.get("read_only")
        ]
        leading = (SYSTEMS["rxnorm"], SYSTEMS["loinc"])
        return tuple(sorted(codes, key=lambda code: code.system not in leading))


def read_value_sets(folder: Path = FOLDER) -> ValueSets:
    """Read every file of the folder and of its extensions. Raises ValueSetError for a bad one."""
    core = sorted(folder.glob("*.toml"))
    if not core:
        raise ValueSetError(f"{folder}: no value sets")
    paths = [*core, *sorted(folder.glob("extensions/*/*.toml"))]
    digest = hashlib.sha256()
    files = []
    for path in paths:
        content = path.read_bytes()
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + content + b"\0")
        files.append(_file(path, content))
    return ValueSets(
        _merged(files),
        version=max(file.version for file in files),
        content_hash=digest.hexdigest(),
    )


@lru_cache(maxsize=1)
def shipped_value_sets() -> ValueSets:
    """The value sets shipped with the service, read once."""
    return read_value_sets()


_IN_USE: ContextVar[ValueSets | None] = ContextVar("value sets in use", default=None)


def value_sets() -> ValueSets:
    """The value sets in use: those shipped with the service, or those of `using`."""
    return _IN_USE.get() or shipped_value_sets()


@contextmanager
def using(sets: ValueSets | None) -> Iterator[None]:
    """Read records with these value sets, in this thread and within the block."""
    token = _IN_USE.set(sets)
    try:
        yield
    finally:
        _IN_USE.reset(token)


# --- codes of a site's own ------------------------------------------------------------------------

_COLUMNS = ["valueset", "system_uri", "code", "display"]

#: A set whose codes differ in meaning: a site says which of them its own code stands for.
_BY_MEANING = "record"


def with_extra_codes(content: bytes) -> ValueSets:
    """The shipped sets with the codes of a CSV file: valueset,system_uri,code,display.

    The value set is one of the shipped ones; for lengths of ileum, the project's own code that
    the site's means (ileum-resected-length, ileum-disease-extent). Raises ValueSetError with the
    line and what is wrong with it.
    """
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        raise ValueSetError("not CSV in UTF-8") from None
    if not rows or rows[0] != _COLUMNS:
        raise ValueSetError(f"line 1: must be {','.join(_COLUMNS)}")
    given = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(_COLUMNS) or not all(cell.strip() for cell in row[:3]):
            raise ValueSetError(f"line {number}: needs a value set, a system and a code")
        name, system, code, display = (cell.strip() for cell in row)
        given.append((name, system, code, display))
    return shipped_value_sets().extended(given, content)


def _local_line(
    name: str, system: str, code: str, display: str, lines: Mapping[str, tuple[_Line, ...]]
) -> _Line:
    meant = next((line.code for line in lines[_BY_MEANING] if line.code.code == name), None)
    if meant is None:
        of_set = lines.get(name, ())
        if not of_set or name == _BY_MEANING:
            raise ValueSetError(f"{name[:60]!r} is not a value set")
        meant = replace(of_set[0].code, code=code, attributes=_common_attributes(of_set))
    short = _short_name(system) or system
    key = normalise_code(SYSTEMS.get(short, short), code)
    if not key:
        raise ValueSetError(f"{name}: a code that cannot be matched")
    own = replace(
        meant,
        system=SYSTEMS.get(short, short),
        display=display,
        attributes=MappingProxyType({**meant.attributes, "read_only": True}),
    )
    return _Line(short, "exact", (key,), own)


def _common_attributes(lines: tuple[_Line, ...]) -> Mapping[str, object]:
    """What is true of every line of a set, and so of a further one: the ingredient, the route."""
    first, *others = (line.code.attributes for line in lines)
    return {
        key: value
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others)
    }


def settle(codes: Iterable[Code]) -> tuple[Code, ...]:
    """What the codes of ONE concept say together: excludes > establishes > ask, within a fact.

    Only for the codings of one CodeableConcept. A biopsy in one record does not undo the
    resection in another.
    """
    codes = tuple(codes)
    if len(codes) < 2:
        return codes
    excluded = {code.fact for code in codes if code.role is Role.EXCLUDES}
    established = {code.fact for code in codes if code.role is Role.ESTABLISHES} - excluded
    beaten = {
        *((Role.ESTABLISHES, fact) for fact in excluded),
        *((Role.ASK, fact) for fact in excluded | established),
    }
    return tuple(code for code in codes if (code.role, code.fact) not in beaten)
