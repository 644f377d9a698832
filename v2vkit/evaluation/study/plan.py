"""Plans the trials of a study: pairs, order, sides and attention checks, all from a seed.

Every rater sees the same cycle of trials from another starting point, in one of both directions, and every second rater
with all sides swapped (the page derives this from the rater's id). Over the raters, each trial is shown early and late
and each method left and right equally often. A repeated pair is always swapped and far from its first showing.
"""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from v2vkit.evaluation.study.key import DEGRADED, REAL, Side, Trial


@dataclass(frozen=True)
class TrialPlan:
    """The trials of a study.

    Attributes:
        study: random id of the study.
        trials: the cycle of trials.
    """

    study: str
    trials: tuple[Trial, ...]


def num_checks(num_comparisons: int, check_every: int) -> int:
    """Number c of attention checks such that one in `check_every` trials is a check: c / (n + c) >= 1 / check_every."""
    return max(1, math.ceil(num_comparisons / (check_every - 1)))


def plan_trials(
    clips: Sequence[str],
    methods: Sequence[str],
    *,
    real_clips: Sequence[str] = (),
    check_every: int = 8,
    seed: str = "0",
) -> TrialPlan:
    """Plans every pair of methods on every clip, with attention checks spread evenly among them.

    Args:
        clips: names of the clips that all methods have.
        methods: two or more names.
        real_clips: names of real clips; a check is then a real clip with its degraded copy, else a repeated pair with
            its sides swapped.
        check_every: at least one in this many trials is an attention check; 2 or more.
        seed: seed of order, sides and ids.
    """
    rng = random.Random(seed)

    def new_id() -> str:
        return f"{rng.getrandbits(64):016x}"

    def trial(kind: str, clip: str, left: str, right: str, repeats: str | None = None) -> Trial:
        sides = {side: Side(id=new_id(), method=method) for side, method in (("left", left), ("right", right))}
        return Trial.model_validate({"id": new_id(), "kind": kind, "clip": clip, "repeats": repeats, **sides})

    study = new_id()
    comparisons: list[Trial] = []
    for pair in itertools.combinations(methods, 2):
        swaps = zip(clips, _balanced(len(clips), rng), strict=True)
        comparisons += [trial("compare", clip, *(reversed(pair) if swap else pair)) for clip, swap in swaps]
    rng.shuffle(comparisons)
    number = num_checks(len(comparisons), check_every)
    places = _places(len(comparisons), number, rng)
    if real_clips:
        chosen = _cycled(real_clips, number, rng)
        sides = [(DEGRADED, REAL) if swap else (REAL, DEGRADED) for swap in _balanced(number, rng)]
        checks = [trial("real", clip, *pair) for clip, pair in zip(chosen, sides, strict=True)]
    else:
        checks = []
        for place in places:
            # From half a cycle away, so that raters do not recognise it.
            first = comparisons[(place + len(comparisons) // 2) % len(comparisons)]
            checks.append(trial("repeat", first.clip, first.right.method, first.left.method, first.id))
    trials: list[Trial] = []
    for index, comparison in enumerate(comparisons):
        trials += [check for check, place in zip(checks, places, strict=True) if place == index]
        trials.append(comparison)
    return TrialPlan(study, tuple(trials))


def _balanced(number: int, rng: random.Random) -> list[bool]:
    """As many True as False (one more of either where the number is odd), in random order."""
    half = [index < number // 2 for index in range(number)]
    if number % 2:
        half[-1] = rng.random() < 0.5
    rng.shuffle(half)
    return half


def _places(num_comparisons: int, number: int, rng: random.Random) -> list[int]:
    """The comparison before which each check is placed: a random one in each of `number` equal parts of the cycle."""
    bounds = [index * num_comparisons // number for index in range(number + 1)]
    return [rng.randrange(low, max(high, low + 1)) for low, high in itertools.pairwise(bounds)]


def _cycled(names: Sequence[str], number: int, rng: random.Random) -> list[str]:
    """`number` names in random order; none is repeated before all others have been used."""
    chosen: list[str] = []
    while len(chosen) < number:
        chosen += rng.sample(list(names), len(names))
    return chosen[:number]
