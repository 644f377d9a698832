"""Raters' answers: their format, the server's append-only log, and reading all answers of a study.

Answers come from other people's browsers: every field is checked against the key. Invalid answers are refused by the
server and counted by the tally.
"""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from v2vkit.artifacts.folder import explain_os_errors
from v2vkit.errors import V2VError
from v2vkit.evaluation.study.key import ID, Key

LOG_NAME = "answers.jsonl"
DOWNLOADS = "answers"
RATER = r"^[A-Za-z0-9_-]{1,64}$"
MAX_DOWNLOAD = 16 * 1024 * 1024
"""Largest file of downloaded answers, in bytes."""
MAX_ANSWERS = 1_000_000
"""Default limit of a log."""


class Answer(BaseModel):
    """One choice of one rater.

    Attributes:
        study, trial: ids, as in the key.
        rater: random id, or from `?rater=` in the address.
        left, right: ids of the clips as this rater saw them.
        choice: the chosen side.
        seconds: time from the first frame to the choice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    study: str = Field(pattern=ID)
    rater: str = Field(pattern=RATER)
    trial: str = Field(pattern=ID)
    left: str = Field(pattern=ID)
    right: str = Field(pattern=ID)
    choice: Literal["left", "right"]
    seconds: float = Field(ge=0, le=86400)

    @property
    def chosen(self) -> str:
        """Id of the chosen clip."""
        return self.left if self.choice == "left" else self.right


@dataclass(frozen=True)
class Answers:
    """All answers of a study: each rater's first to each trial, and the numbers of unusable and of repeated ones."""

    answers: tuple[Answer, ...]
    num_unusable: int = 0
    num_doubled: int = 0


def parse_answer(data: Any, key: Key) -> Answer:
    """Parses an answer from JSON text (bytes) or decoded JSON, and checks it against the key.

    Raises:
        ValueError: it is not an answer, or not of this study.
    """
    if isinstance(data, bytes):
        answer = Answer.model_validate_json(data)
    else:
        answer = Answer.model_validate(data)
    trial = next((trial for trial in key.trials if trial.id == answer.trial), None)
    if answer.study != key.study or trial is None or {answer.left, answer.right} != {trial.left.id, trial.right.id}:
        raise ValueError("not an answer to this study")
    return answer


class AnswerLog:
    """Append-only log of answers, one JSON object per line; thread-safe.

    `add` returns after the line is on the disk, so that acknowledged answers survive a kill. A line that a kill cut off
    is kept and skipped when reading; the next one starts on a new line.

    Args:
        folder: of the study.
        key: of the study.
        max_answers: limit of the log, so that nobody fills the disk through the page.

    Raises:
        V2VError: the log cannot be read or written.
    """

    def __init__(self, folder: str | Path, key: Key, *, max_answers: int = MAX_ANSWERS):
        self._max_answers = max_answers
        self._lock = threading.Lock()
        self._answered: dict[str, dict[str, None]] = {}
        self.num_answers = 0
        path = Path(folder) / LOG_NAME
        with explain_os_errors(str(path)):
            for answer in _log_lines(path, key):
                if answer is not None:
                    self._note(answer)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            size = os.fstat(self._file).st_size
            self._cut_off = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    @property
    def num_raters(self) -> int:
        return len(self._answered)

    def answered(self, rater: str) -> list[str]:
        """Ids of the trials that this rater has answered."""
        with self._lock:
            return list(self._answered.get(rater, ()))

    def add(self, answer: Answer) -> bool:
        """Appends the answer; False where this rater has answered this trial before, and the first answer stays.

        Raises:
            OSError: the disk is full, or the log is full; the answer was not kept.
        """
        with self._lock:
            if answer.trial in self._answered.get(answer.rater, ()):
                return False
            if self.num_answers >= self._max_answers:
                raise OSError("the log is full")
            line = ("\n" if self._cut_off else "") + answer.model_dump_json() + "\n"
            self._cut_off = True  # until all of it is there
            data = line.encode()
            if os.write(self._file, data) != len(data):
                raise OSError("the line was not written whole")
            self._cut_off = False
            os.fsync(self._file)
            self._note(answer)
            return True

    def close(self) -> None:
        os.close(self._file)

    def _note(self, answer: Answer) -> None:
        trials = self._answered.setdefault(answer.rater, {})
        self.num_answers += answer.trial not in trials
        trials[answer.trial] = None


def read_answers(folder: str | Path, key: Key) -> Answers:
    """Reads the answers of the log and of every `answers/*.json`; keeps each rater's first to each trial.

    Raises:
        V2VError: a downloaded file cannot be read, is too large, or is not a file of answers.
    """
    kept: dict[tuple[str, str], Answer] = {}
    unusable = doubled = 0
    found = [_log_lines(Path(folder) / LOG_NAME, key)]
    with explain_os_errors(str(folder), reading=True):
        downloads = sorted((Path(folder) / DOWNLOADS).glob("*.json"))
    found += [_downloaded(path, key) for path in downloads]
    for answers in found:
        for answer in answers:
            if answer is None:
                unusable += 1
            elif (answer.rater, answer.trial) in kept:
                doubled += kept[answer.rater, answer.trial] != answer
            else:
                kept[answer.rater, answer.trial] = answer
    return Answers(tuple(kept.values()), unusable, doubled)


def _log_lines(path: Path, key: Key) -> Iterator[Answer | None]:
    """The answers of a log; None for an unusable line (cut off by a kill)."""
    with explain_os_errors(str(path), reading=True):
        if not path.exists():
            return
        with path.open("rb") as file:
            for line in file:
                if line.strip():
                    yield _or_none(line, key)


def _downloaded(path: Path, key: Key) -> Iterator[Answer | None]:
    with explain_os_errors(str(path), reading=True):
        if path.stat().st_size > MAX_DOWNLOAD:
            raise V2VError(
                "answers-damaged",
                f"{path} has more than {MAX_DOWNLOAD} bytes, too many for a file of answers.",
                "Remove it from that folder.",
            )
        text = path.read_bytes()
    try:
        content = json.loads(text)
        entries = content["answers"]
        assert isinstance(entries, list)
    except (ValueError, RecursionError, TypeError, KeyError, AssertionError):
        raise V2VError(
            "answers-damaged",
            f"{path} is not a file of answers, or is cut off.",
            "Ask the rater for it again, or remove it.",
        ) from None
    for entry in entries:
        yield _or_none(entry, key)


def _or_none(data: Any, key: Key) -> Answer | None:
    try:
        return parse_answer(data, key)
    except (ValidationError, ValueError):
        return None
