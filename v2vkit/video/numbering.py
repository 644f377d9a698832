"""What the numbers in the names of images tell: decimal fractions, missing numbers, and which files belong together."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

_MOST_NAMED = 3
_CITYSCAPES = re.compile(r"_(leftImg8bit|rightImg8bit|gt(Fine|Coarse)_[A-Za-z]+)$")


def are_decimals(names: Iterable[str]) -> bool:
    """Whether the names are ordered by decimal fractions (0.25 before 0.5), as time stamps are.

    Otherwise 1.9 comes before 1.10, as chapters are counted. Where all fractions have as many digits, both orders are
    the same. Else it is a fraction where a digit 0 stands in front (0.04), or where none stands at the end, because
    programs that print fractions leave it out, and those that count reach 10.
    """
    found = [re.findall(r"(?<![\d.])\d+\.(\d+)(?![\d.])", Path(name).stem) for name in names]
    if not all(len(each) == 1 for each in found):
        return False
    digits = [each[0] for each in found]
    if len({len(text) for text in digits}) < 2:
        return False
    longer = [text for text in digits if len(text) > 1]
    return any(text.startswith("0") for text in longer) or not any(text.endswith("0") for text in longer)


def decimal_key(name: str) -> list[tuple[int, Fraction, str]]:
    """Sort key that reads decimal fractions in a file's name, less its ending, as numbers."""
    parts = re.findall(r"(\d+(?:\.\d+)?)|(\D+)", Path(name).stem)
    numbers = ((0, Fraction(digits), "") if digits else (1, Fraction(), text.casefold()) for digits, text in parts)
    return [*numbers, (-1, Fraction(), name)]


def missing_numbers(names: Sequence[str]) -> str | None:
    """A sentence on numbers that are missing between images in their order; None where none is.

    Images may be numbered in steps (every second frame). Where less than half of the steps are alike, as between time
    stamps, no number is missing.
    """
    if are_decimals(names):
        return None
    steps = [(_step(before, after), before, after) for before, after in pairwise(names)]
    known = [step for step, _, _ in steps if step is not None]
    if not known:
        return None
    usual, count = max(Counter(known).items(), key=lambda item: (item[1], -item[0]))
    if 2 * count < len(known):
        return None
    gaps = [f"{before} and {after}" for step, before, after in steps if step is not None and step > usual]
    if not gaps:
        return None
    named = "; ".join(gaps[:_MOST_NAMED]) + (f"; and {len(gaps) - _MOST_NAMED} more" * (len(gaps) > _MOST_NAMED))
    return (
        f"numbers are missing between {named}; the images are used as if they followed each other. If they do not, "
        "put each part into a folder of its own"
    )


def _step(before: str, after: str) -> int | None:
    """From one number to the next; None where the names differ in more than their last number."""
    first, second = (re.fullmatch(r"(.*?)(\d+)(\D*)", Path(name).stem, re.DOTALL) for name in (before, after))
    if first is None or second is None or (first[1], first[3]) != (second[1], second[3]):
        return None
    return int(second[2]) - int(first[2])


def own_name(name: str) -> str:
    """A file's name less its ending and what Cityscapes' names say of its kind."""
    return _CITYSCAPES.sub("", Path(name).stem)


def numbers_of(stem: str) -> str:
    """All numbers of a name, less leading zeros: `run2_0007` is 2-7."""
    return "-".join(str(int(digits)) for digits in re.findall(r"\d+", stem))


def numbers_tell(frames: Iterable[str], maps: Iterable[str]) -> bool:
    """Whether the numbers in two lists of names say which belong together, where the names themselves do not.

    Where all numbers of one list are larger by one, one is counted from 0 and the other from 1: then their order does.
    """
    first, second = ([numbers_of(stem) for stem in stems] for stems in (frames, maps))
    if len(set(first)) < len(first) or len(set(second)) < len(second) or not set(first) & set(second):
        return False
    if all(found.isdigit() for found in (*first, *second)):
        low, high = sorted([sorted(map(int, first)), sorted(map(int, second))])
        return [number + 1 for number in low] != high
    return True
