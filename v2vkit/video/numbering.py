"""Numbers in file names: decimal fractions, missing numbers, and pairing of files by number."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

_MOST_NAMED = 3
_CITYSCAPES = re.compile(r"_(leftImg8bit|rightImg8bit|gt(Fine|Coarse)_[A-Za-z]+)$")


def are_decimals(names: Iterable[str]) -> bool:
    """Whether numbers such as 1.10 in names are decimal fractions (1.10 before 1.9), not counters (1.9 before 1.10).

    If all have the same number of digits, the order is the same and the answer is False. Else they are fractions if one
    of the longer ones begins with 0 (0.04), or none of them ends with 0: fractions are printed without trailing zeros,
    and counters reach 10.
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
    """Sort key that compares decimal fractions in a file's name, without its ending, as numbers."""
    parts = re.findall(r"(\d+(?:\.\d+)?)|(\D+)", Path(name).stem)
    numbers = ((0, Fraction(digits), "") if digits else (1, Fraction(), text.casefold()) for digits, text in parts)
    return [*numbers, (-1, Fraction(), name)]


def missing_numbers(names: Sequence[str]) -> str | None:
    """A sentence on gaps in the numbering of images, given in order; None if there is none.

    Images may be numbered in steps (every second frame). If fewer than half of the steps are equal, as with time
    stamps, there are no gaps.
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
    """Difference of the last numbers of two names; None if the names differ in anything else."""
    first, second = (re.fullmatch(r"(.*?)(\d+)(\D*)", Path(name).stem, re.DOTALL) for name in (before, after))
    if first is None or second is None or (first[1], first[3]) != (second[1], second[3]):
        return None
    return int(second[2]) - int(first[2])


def pairing_name(name: str) -> str:
    """A file's name without its ending and Cityscapes' suffix, by which it is paired."""
    return _CITYSCAPES.sub("", Path(name).stem)


def numbers_in(stem: str) -> str:
    """All numbers in a name, without leading zeros: `run2_0007` gives `2-7`."""
    return "-".join(str(int(digits)) for digits in re.findall(r"\d+", stem))


def paired_by_numbers(frames: Iterable[str], maps: Iterable[str]) -> bool:
    """Whether two lists of names that do not agree can be paired by the numbers in them.

    Not if all numbers of one list are larger by one: then one list counts from 0 and the other from 1, and they are
    paired by order.
    """
    first, second = ([numbers_in(stem) for stem in stems] for stems in (frames, maps))
    if len(set(first)) < len(first) or len(set(second)) < len(second) or not set(first) & set(second):
        return False
    if all(found.isdigit() for found in (*first, *second)):
        low, high = sorted([sorted(map(int, first)), sorted(map(int, second))])
        return [number + 1 for number in low] != high
    return True
