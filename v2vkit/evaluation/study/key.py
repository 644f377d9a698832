"""The key of a study: its trials, and which clip id shows which method. Raters never see it."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from v2vkit.artifacts.folder import Folder
from v2vkit.errors import V2VError

KEY_NAME = "key.json"
PUBLIC = "public"
ID = r"^[0-9a-f]{16}$"
REAL = "real"
DEGRADED = "degraded"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Side(_Strict):
    """One clip of a trial.

    Attributes:
        id: random name of its file, `clips/<id>.mp4`.
        method: name of the method; `real` or `degraded` in an attention check with real footage.
    """

    id: str = Field(pattern=ID)
    method: str


class Trial(_Strict):
    """One question: two clips side by side.

    Attributes:
        id: random name; the page knows only this and the clip ids.
        kind: `compare` counts as a preference; `real` (real clip against its degraded copy) and `repeat` (an earlier
            pair, swapped) are attention checks and never count.
        clip: name of the clip in the folders of the methods.
        left, right: the two sides; every second rater sees them swapped.
        repeats: id of the trial that a `repeat` shows again.
    """

    id: str = Field(pattern=ID)
    kind: Literal["compare", "real", "repeat"]
    clip: str
    left: Side
    right: Side
    repeats: str | None = Field(None, pattern=ID)

    def method_of(self, clip_id: str) -> str:
        """The method that the clip with this id shows."""
        return {self.left.id: self.left.method, self.right.id: self.right.method}[clip_id]


class Key(_Strict):
    """The secret part of a study, which the tally needs.

    Attributes:
        study: random id; answers with another id are refused.
        question: the question to raters.
        seed: seed of order, positions and ids.
        methods: name -> folder or video, in the order of the command line.
        trials: in their order; every rater starts at another point of this cycle.
    """

    version: Literal[1] = 1
    study: str = Field(pattern=ID)
    question: str
    seed: int
    methods: dict[str, str]
    trials: tuple[Trial, ...] = Field(min_length=1)


def read_key(folder: str | Path) -> Key:
    """The key of the study in `folder`.

    Raises:
        V2VError: there is no study, or its key is damaged.
    """
    path = Path(folder) / KEY_NAME
    try:
        return Key.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise V2VError(
            "study-missing",
            f"There is no study in {folder}: {KEY_NAME} is missing.",
            f"Make one: `v2v study A B --out {folder}`.",
        ) from None
    except OSError as error:
        raise V2VError(
            "file-unreadable", f"{path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise V2VError(
            "study-damaged",
            f"{path} is damaged: {where}: {first['msg']}.",
            "Restore it from a copy, or make the study again.",
        ) from None


def write_key(folder: str | Path, key: Key) -> None:
    """Write `key.json` into `folder`; whole or absent."""
    Folder(str(folder)).write(KEY_NAME, key.model_dump_json(indent=1).encode())
