"""Answers counted: shares with intervals, attention checks, downloaded files."""

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner
from scipy.stats import beta

from tests.errors import raises
from tests.unit.study_data import answer, plain_key
from v2vkit.cli.main import cli
from v2vkit.errors import V2VError
from v2vkit.evaluation.study.answers import Answer, AnswerLog, Answers, read_answers
from v2vkit.evaluation.study.key import Key, write_key
from v2vkit.evaluation.study.tally import share_of, table, tally


def _session(key: Key, rater: str, *, prefers_ours: float, careful: bool = True) -> list[Answer]:
    """The rater prefers `ours` in the first part of the comparisons."""
    compared = [trial for trial in key.trials if trial.kind == "compare"]
    ours = {trial.id for trial in compared[: round(prefers_ours * len(compared))]}
    said = []
    for trial in key.trials:
        if trial.kind == "compare":
            method = "ours" if trial.id in ours else "theirs"
        elif trial.kind == "real":
            method = "real" if careful else "degraded"
        else:
            method = "ours" if (trial.repeats in ours) == careful else "theirs"
        said.append(answer(key, trial, rater, method))
    return said


@pytest.mark.parametrize(("wins", "num"), [(0, 10), (7, 10), (10, 10), (87, 100)])
def test_exact_intervals_are_clopper_and_pearsons(wins: int, num: int) -> None:
    """Quantiles of the beta distribution, written out."""
    found = share_of(wins, num)
    assert found.share == wins / num
    assert found.low == pytest.approx(beta.ppf(0.025, wins, num - wins + 1) if wins else 0)
    assert found.high == pytest.approx(beta.ppf(0.975, wins + 1, num - wins) if wins < num else 1)


def test_intervals_have_their_published_values() -> None:
    """Wilson: Newcombe 1998 (Statistics in Medicine 17), table I: 81 of 263 and 0 of 20."""
    exact = share_of(81, 263)
    assert (exact.low, exact.high) == pytest.approx((0.2527, 0.3676), abs=5e-5)
    wilson = share_of(81, 263, interval="wilson")
    assert (wilson.low, wilson.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    none = share_of(0, 20, interval="wilson")
    assert (none.low, none.high) == pytest.approx((0, 0.1611), abs=5e-5)


def test_no_answer_says_nothing() -> None:
    found = share_of(0, 0)
    assert (found.share, found.low, found.high) == (None, 0, 1)


@pytest.mark.parametrize("real", [True, False])
def test_preferences_by_pair_rater_and_clip(real: bool) -> None:
    key = plain_key(10, real=real)
    given = Answers((*_session(key, "anna", prefers_ours=1.0), *_session(key, "ben", prefers_ours=0.5)))
    found = tally(key, given)
    (pair,) = found.pairs
    assert pair.methods == ("ours", "theirs")
    assert [(share.wins, share.num) for share in pair.shares] == [(15, 20), (5, 20)]
    assert pair.p_value == pytest.approx(0.04139, abs=5e-6)  # 2 * P(X >= 15), X ~ Binomial(20, 1/2)
    by_rater = {name: (share.wins, share.num) for name, share in pair.by_rater.items()}
    assert by_rater == {"anna": (10, 10), "ben": (5, 10)}
    assert sorted(share.wins for share in pair.by_clip.values()) == [1] * 5 + [2] * 5
    assert all(share.num == 2 for share in pair.by_clip.values())
    compared = {trial.id for trial in key.trials if trial.kind == "compare"}
    assert pair.left.wins == sum(said.choice == "left" for said in given.answers if said.trial in compared)


@pytest.mark.parametrize("real", [True, False])
def test_raters_who_fail_the_checks_are_left_out_and_counted(real: bool) -> None:
    key = plain_key(14, real=real)
    good = _session(key, "anna", prefers_ours=1.0)
    bad = _session(key, "ben", prefers_ours=0.0, careful=False)
    found = tally(key, Answers((*good, *bad)))
    assert found.pairs[0].shares[0].num == 14
    assert found.pairs[0].shares[0].wins == 14
    assert found.num_left_out == 14
    assert (found.raters["ben"].checks, found.raters["ben"].failed, found.raters["ben"].counts) == (2, 2, False)
    assert "2 of 4 failed" in table(found)
    assert "1 rater who failed" in table(found)
    assert tally(key, Answers((*good, *bad)), max_failed=1.0).num_left_out == 0


def test_a_rater_without_a_check_is_left_out() -> None:
    key = plain_key(10)
    few = [a for a in _session(key, "anna", prefers_ours=1.0) if a.trial != _check(key)][:4]
    compared = {trial.id for trial in key.trials if trial.kind == "compare"}
    few = [a for a in few if a.trial in compared]
    found = tally(key, Answers(tuple(few)))
    assert not found.raters["anna"].counts
    assert found.num_left_out == len(few)
    assert found.pairs[0].shares[0].share is None
    assert "1 rater who answered none" in table(found)


def _check(key: Key) -> str:
    return next(trial.id for trial in key.trials if trial.kind != "compare")


def test_the_order_of_the_answers_does_not_matter() -> None:
    key = plain_key(12, real=False)
    answers = [*_session(key, "a", prefers_ours=0.3), *_session(key, "b", prefers_ours=0.8)]
    shuffled = random.Random(0).sample(answers, len(answers))
    assert tally(key, Answers(tuple(answers))).pairs == tally(key, Answers(tuple(shuffled))).pairs


def test_a_mirrored_rater_counts_the_same() -> None:
    """Left and right are as that rater saw them."""
    key = plain_key(5)
    (first, *_) = (trial for trial in key.trials if trial.kind == "compare")
    plain = answer(key, first, "anna", "ours")
    other = "right" if plain.choice == "left" else "left"
    mirrored = plain.model_copy(update={"left": plain.right, "right": plain.left, "choice": other})
    assert first.method_of(mirrored.chosen) == "ours"


def test_log_and_downloads_are_read_together_and_the_first_answer_stays(tmp_path: Path) -> None:
    key = plain_key(4)
    write_key(tmp_path, key)
    log = AnswerLog(tmp_path, key)
    session = _session(key, "anna", prefers_ours=1.0)
    for said in session[:2]:
        log.add(said)
    log.close()
    changed = session[0].model_copy(update={"choice": "left" if session[0].choice == "right" else "right"})
    entries = [said.model_dump() for said in [changed, *session[1:]]]
    strange = [{"rater": "x"}, None, {**entries[0], "study": "0" * 16}, {**entries[0], "seconds": float("nan")}]
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "anna.json").write_text(json.dumps({"study": key.study, "answers": [*entries, *strange]}))
    found = read_answers(tmp_path, key)
    assert sorted(found.answers, key=str) == sorted(session, key=str)
    assert (found.num_unusable, found.num_doubled) == (4, 1)


@pytest.mark.parametrize("text", ["", "[", "[]", '{"answers": 3}', "[" * 100000])
def test_a_damaged_download_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "ben.json").write_text(text)
    with raises("answers-damaged", "ben.json"):
        read_answers(tmp_path, plain_key(2))


def test_the_command_prints_the_table_and_writes_json(tmp_path: Path) -> None:
    key = plain_key(10)
    write_key(tmp_path, key)
    empty = CliRunner().invoke(cli, ["study", "--tally", str(tmp_path)])
    assert isinstance(empty.exception, V2VError)
    assert empty.exception.code == "answers-missing"
    (tmp_path / "answers").mkdir()
    entries = [said.model_dump() for said in _session(key, "anna", prefers_ours=0.8)]
    (tmp_path / "answers" / "a.json").write_text(json.dumps({"study": key.study, "answers": entries}))
    result = CliRunner().invoke(cli, ["study", str(tmp_path), "--tally", "--interval", "wilson"])
    assert result.exit_code == 0, result.output
    assert "ours    0.80 [0.49, 0.94]  8" in result.output
    assert "theirs  0.20 [0.06, 0.51]  2" in result.output
    written = json.loads((tmp_path / "tally.json").read_text())
    assert written["pairs"][0]["shares"][0]["wins"] == 8
    row = "| ours / theirs | 0.80 / 0.20 | [0.49, 0.94] | 10 | 1 | 10 |"
    assert (tmp_path / "tally.md").read_text().splitlines()[2:] == [row], "the layout of the paper's tables"
    assert written["raters"]["anna"] == {"comparisons": 10, "checks": 2, "failed": 0, "counts": True}
