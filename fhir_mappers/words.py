"""Which words in a record's text make the service more careful?

The only phrases that are looked for in free text, English, in one place. A text never asserts a
disease or a length of bowel: it may only hold back an alarm, raise an allergy or a Leber optic
neuropathy that has no code, or say which vitamin a vague code means. `said` looks at one text at a
time, and a text that denies, doubts or speaks of someone else does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fhir_mappers import elements as el

# A concept has a text and a display or two; more than this is not read.
_MAX_TEXTS = 50

# A phrase is not said by a text that denies it, doubts it, or speaks of somebody else.
_DOUBT = (
    r"family history|\bfh of\b|\bfhx\b|\bmother\b|\bfather\b|\brule[ds]? out\b|\br/o\b"
    r"|\bscreen|\bsuspect|\bsuspicion|\bquery\b|\brisk of\b|\bunlikely\b|\bexcluded\b|\?"
    r"|\bno (?:known |past |prior )?(?:history|evidence|sign)|\bden(?:y|ies|ied)\b"
    r"|\bnegative for\b"
)
DOUBTED = re.compile(_DOUBT, re.IGNORECASE)
DENIED = re.compile(_DOUBT + r"|\bno\b|\bnot\b|\bwithout\b|\bcarrier\b|\btrait\b", re.IGNORECASE)

# A cancer that was, though its code says that it is.
PAST = re.compile(
    r"\bhistory of\b|\bh/o\b|\bhx of\b|\bprevious\b|\bin (?:complete )?remission\b", re.IGNORECASE
)

# Which vitamin a vague code means.
B12 = re.compile(r"\bb(?:[\s-]|>)?12\b|cobalamin", re.IGNORECASE)
OTHER_B_VITAMIN = re.compile(r"folate|folic|biotin|pantothen", re.IGNORECASE)
AUTOIMMUNE = re.compile(r"\bauto[\s-]?immune\b", re.IGNORECASE)

# What holds back an alarm.
FOLATE_EXCEPTION = re.compile(
    r"\b(?:sickle[\s-]cell|ha?emolytic ana?emia|dialysis)\b", re.IGNORECASE
)
END_OF_LIFE = re.compile(r"\b(?:end[\s-]of[\s-]life|palliative|terminal care)\b", re.IGNORECASE)
PREMATURE = re.compile(
    r"\b(?:premature (?:infant|baby|newborn|birth)|prematurity|preterm)\b", re.IGNORECASE
)
DRUGS = re.compile(
    r"\b(?:methotrexate|pemetrexed|trimethoprim|pyrimethamine|colchicine|chloramphenicol)\b",
    re.IGNORECASE,
)

# What raises one: allergies that have no code.
COBALAMIN = re.compile(r"\bb[\s-]?12\b|cobalamin|cobamamide", re.IGNORECASE)
COBALT = re.compile(r"\bcobalt", re.IGNORECASE)
PRESERVATIVE = re.compile(r"\bbenzyl alcohol\b|paraben", re.IGNORECASE)
NO_KNOWN = re.compile(r"\bno known\b|\bnkd?a\b|\bnil known\b|\bno allerg", re.IGNORECASE)
ANAPHYLAXIS = re.compile(r"\banaphyla", re.IGNORECASE)

# Not Leber congenital amaurosis, nor the stellate neuroretinitis: neither is called optic.
LEBER = re.compile(r"\blhon\b|\bleber(?:.?s)?\b[^.;]{0,40}\boptic\b", re.IGNORECASE)

# Where in the bowel.
ILEUM = re.compile(r"\bile(?:um|al|o)", re.IGNORECASE)
SMALL_BOWEL = re.compile(r"\bsmall[\s-](?:bowel|intestin)", re.IGNORECASE)
ELSEWHERE_IN_BOWEL = re.compile(
    r"\bjejun|\bduoden|\bcolon|\bcolic\b|\blarge[\s-](?:bowel|intestin)|\brect(?:um|al)",
    re.IGNORECASE,
)
BOWEL = re.compile(r"\b(?:ile(?:um|al|o)|jejun|colon|bowel\b|intestin)", re.IGNORECASE)

# A condition without a code of ours is read for these, and for nothing else.
CAUTIONS = (FOLATE_EXCEPTION, END_OF_LIFE, PREMATURE, LEBER)


# A text that holds none of the stems does not say the phrase, and that is told in a third of the
# time. Without case.
DRUG_STEMS = (
    *("methotrexate", "pemetrexed", "trimethoprim", "pyrimethamine", "colchicine"),
    "chloramphenicol",
)
CAUTION_STEMS = (
    *("sickle", "emolytic", "dialysis", "life", "palliative", "terminal care"),
    *("prematur", "preterm", "lhon", "leber"),
)
BOWEL_STEMS = ("ile", "jejun", "colon", "bowel", "intestin")


def may_say(stems: Iterable[str], texts: Iterable[str]) -> bool:
    """Can one of the texts contain the phrase that has these stems?"""
    without_case = "|".join(texts).casefold()
    for stem in stems:  # noqa: SIM110  asked of every medicine of a record, and half the time
        if stem in without_case:
            return True
    return False


def said(phrase: re.Pattern[str], texts: Iterable[str], unless: re.Pattern[str] = DENIED) -> bool:
    """Does one of the texts contain the phrase, and not in a way that takes it back?"""
    for text in texts:
        short = text[: el.MAX_TEXT]
        if phrase.search(short) and not unless.search(short):
            return True
    return False


def named(phrase: re.Pattern[str], texts: Iterable[str]) -> bool:
    """Does one of the texts contain the phrase, even to deny it? Where that is the safe side."""
    # In one go: no phrase that this is asked of reaches across the bar.
    return phrase.search("|".join([text[: el.MAX_TEXT] for text in texts])) is not None


def texts_of(concept: object) -> list[str]:
    """The text of a CodeableConcept and the displays of its codings, one by one."""
    concept = el.as_dict(concept)
    words = [el.text(concept.get("text"))]
    words += [el.text(c.get("display")) for c in el.dicts(concept.get("coding"))[:_MAX_TEXTS]]
    return [word[: el.MAX_TEXT] for word in words if word]
