"""Counts answers: the share of each method in each pair with a binomial interval, also by rater and by clip.

Raters who fail attention checks are left out, and their number is reported. The interval treats all answers as
independent, as the papers' tables do; those of one rater are not quite, so compare with the shares by rater.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from v2vkit.errors import counted
from v2vkit.evaluation.study.answers import Answer, Answers
from v2vkit.evaluation.study.key import REAL, Key, Trial

Interval = Literal["exact", "wilson"]


@dataclass(frozen=True)
class Share:
    """How often one method was preferred.

    Attributes:
        wins, num: number of answers for it, and of all answers.
        share: wins / num; None without answers.
        low, high: confidence interval of the share; [0, 1] without answers.
    """

    wins: int
    num: int
    share: float | None
    low: float
    high: float


@dataclass(frozen=True)
class PairTally:
    """The comparison of two methods.

    Attributes:
        methods: the two names.
        shares: share of each, in the same order.
        p_value: of the exact two-sided binomial test of "both are preferred equally"; None without answers.
        left: share of the left side; far from 0.5 it indicates careless raters.
        by_clip, by_rater: name -> share of the first method.
    """

    methods: tuple[str, str]
    shares: tuple[Share, Share]
    p_value: float | None
    left: Share
    by_clip: dict[str, Share]
    by_rater: dict[str, Share]


@dataclass(frozen=True)
class Rater:
    """One rater: number of answers, of attention checks answered and failed, and whether the answers count."""

    comparisons: int
    checks: int
    failed: int
    counts: bool


@dataclass(frozen=True)
class Tally:
    """The result of `v2v study --tally`.

    Attributes:
        interval, confidence, max_failed: the settings.
        pairs: the comparisons.
        raters: all raters, including those left out.
        num_left_out: number of answers that do not count, because their rater failed attention checks.
        num_unusable: number of entries that are not answers to this study.
        num_doubled: number of later, different answers of a rater to the same trial; the first counts.
    """

    study: str
    question: str
    interval: Interval
    confidence: float
    max_failed: float
    pairs: tuple[PairTally, ...]
    raters: dict[str, Rater]
    num_left_out: int
    num_unusable: int
    num_doubled: int
    notes: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def share_of(wins: int, num: int, *, interval: Interval = "exact", confidence: float = 0.95) -> Share:
    """The share with its interval: Clopper-Pearson (`exact`, conservative) or Wilson score."""
    from scipy.stats import binomtest

    if num == 0:
        return Share(0, 0, None, 0.0, 1.0)
    found = binomtest(wins, num).proportion_ci(confidence_level=confidence, method=interval)
    return Share(wins, num, wins / num, float(found.low), float(found.high))


def tally(
    key: Key,
    given: Answers,
    *,
    max_failed: float = 0.25,
    interval: Interval = "exact",
    confidence: float = 0.95,
) -> Tally:
    """Count the answers to a study.

    Args:
        key: the key of the study.
        given: all answers.
        max_failed: raters who fail a larger share of their attention checks are left out, as are those without any.
        interval: kind of the shares' confidence interval.
        confidence: its confidence level.
    """
    trials = {trial.id: trial for trial in key.trials}
    by_rater: dict[str, list[Answer]] = defaultdict(list)
    for answer in given.answers:
        by_rater[answer.rater].append(answer)
    raters = {name: _rater(answers, trials, max_failed) for name, answers in sorted(by_rater.items())}
    compared = [answer for answer in given.answers if trials[answer.trial].kind == "compare"]
    counting = [answer for answer in compared if raters[answer.rater].counts]

    def share(wins: int, num: int) -> Share:
        return share_of(wins, num, interval=interval, confidence=confidence)

    def pair_tally(pair: tuple[str, str]) -> PairTally:
        mine = [answer for answer in counting if _methods(trials[answer.trial]) == set(pair)]
        chosen = [trials[answer.trial].method_of(answer.chosen) for answer in mine]
        wins = chosen.count(pair[0])

        def grouped(names: Iterable[str]) -> dict[str, Share]:
            groups: dict[str, list[str]] = defaultdict(list)
            for name, method in zip(names, chosen, strict=True):
                groups[name].append(method)
            return {name: share(groups[name].count(pair[0]), len(groups[name])) for name in sorted(groups)}

        return PairTally(
            methods=pair,
            shares=(share(wins, len(mine)), share(len(mine) - wins, len(mine))),
            p_value=_p_value(wins, len(mine)),
            left=share(sum(answer.choice == "left" for answer in mine), len(mine)),
            by_clip=grouped(trials[answer.trial].clip for answer in mine),
            by_rater=grouped(answer.rater for answer in mine),
        )

    return Tally(
        study=key.study,
        question=key.question,
        interval=interval,
        confidence=confidence,
        max_failed=max_failed,
        pairs=tuple(pair_tally(pair) for pair in _pairs(key)),
        raters=raters,
        num_left_out=len(compared) - len(counting),
        num_unusable=given.num_unusable,
        num_doubled=given.num_doubled,
        notes=_notes(key),
    )


def _notes(key: Key) -> tuple[str, ...]:
    if any(trial.kind == "repeat" for trial in key.trials):
        return (
            "Attention checks are repeated pairs, which careful raters also fail if the methods are nearly equal; "
            "--real gives checks with one right answer.",
        )
    return ()


def _pairs(key: Key) -> list[tuple[str, str]]:
    names = list(key.methods)
    return [(first, second) for index, first in enumerate(names) for second in names[index + 1 :]]


def _methods(trial: Trial) -> set[str]:
    return {trial.left.method, trial.right.method}


def _p_value(wins: int, num: int) -> float | None:
    from scipy.stats import binomtest

    return float(binomtest(wins, num, 0.5).pvalue) if num else None


def _rater(answers: Sequence[Answer], trials: dict[str, Trial], max_failed: float) -> Rater:
    """Counts a rater's answers; a repeated pair is a check only if both showings are answered."""
    chosen = {answer.trial: trials[answer.trial].method_of(answer.chosen) for answer in answers}
    passed = []
    for trial_id, method in chosen.items():
        trial = trials[trial_id]
        if trial.kind == "real":
            passed.append(method == REAL)
        elif trial.kind == "repeat" and trial.repeats in chosen:
            passed.append(method == chosen[trial.repeats])
    failed = passed.count(False)
    return Rater(
        comparisons=sum(trials[trial_id].kind == "compare" for trial_id in chosen),
        checks=len(passed),
        failed=failed,
        counts=bool(passed) and failed <= max_failed * len(passed),
    )


def table(found: Tally) -> str:
    """The tally as text, as in the papers: method, share [low, high], number of answers."""
    lines: list[str] = [f'"{found.question}"']
    width = max((len(name) for pair in found.pairs for name in pair.methods), default=0)
    for pair in found.pairs:
        first, second = pair.methods
        lines += ["", f"{first} against {second}: {counted(pair.shares[0].num, 'answer')}, "]
        lines[-1] += f"{counted(len(pair.by_rater), 'rater')}, {counted(len(pair.by_clip), 'clip')}"
        for method, share in zip(pair.methods, pair.shares, strict=True):
            lines.append(f"  {method.ljust(width)}  {_cell(share)}  {share.wins}")
        if pair.p_value is not None:
            lines.append(f"  equal preference: p = {pair.p_value:.2g}; left side chosen: {_cell(pair.left)}")
        for heading, shares in (("clip", pair.by_clip), ("rater", pair.by_rater)):
            if shares:
                lines.append(f"  {first} by {heading}:")
                names = max(map(len, shares))
                lines += [f"    {name.ljust(names)}  {_cell(share)}  n {share.num}" for name, share in shares.items()]
    return "\n".join([*lines, "", *_summary(found)])


def markdown(found: Tally) -> str:
    """The tally as a Markdown table laid out as tables 1 and 2 of the vid2vid paper, with interval and counts."""
    lines = ["| | Human preference score | interval | answers | raters | clips |", "|---|---|---|---|---|---|"]
    for pair in found.pairs:
        first, second = pair.shares
        score = "-" if first.share is None or second.share is None else f"{first.share:.2f} / {second.share:.2f}"
        counts = f"{first.num} | {len(pair.by_rater)} | {len(pair.by_clip)}"
        names = " / ".join(name.replace("|", "\\|") for name in pair.methods)
        lines.append(f"| {names} | {score} | [{first.low:.2f}, {first.high:.2f}] | {counts} |")
    return "\n".join(lines) + "\n"


def _cell(share: Share) -> str:
    return "-" if share.share is None else f"{share.share:.2f} [{share.low:.2f}, {share.high:.2f}]"


def _summary(found: Tally) -> list[str]:
    kind = "Clopper-Pearson" if found.interval == "exact" else "Wilson"
    raters = found.raters.values()
    failed = sum(not rater.counts and rater.checks > 0 for rater in raters)
    unchecked = sum(not rater.checks for rater in raters)
    lines = [
        f"Intervals: {found.confidence:.0%}, {kind}, assuming independent answers.",
        f"Attention checks: {sum(rater.failed for rater in raters)} of {sum(rater.checks for rater in raters)} failed. "
        f"Left out: {counted(failed, 'rater')} who failed more than {found.max_failed:.0%} of theirs, "
        f"{counted(unchecked, 'rater')} who answered none; {counted(found.num_left_out, 'answer')} in total.",
    ]
    if found.num_doubled:
        lines.append(f"Not used: {counted(found.num_doubled, 'answer')} to a trial that the rater had answered before.")
    if found.num_unusable:
        lines.append(f"Not used: {counted(found.num_unusable, 'record')} that were cut off or not of this study.")
    return [*lines, *found.notes]
