"""Manifests: the clips and shards of an artifact, and how it was made.

`manifest.json` is written last: an artifact with a manifest is complete. While a stage runs, `manifest.partial.json`
holds the same without the results; a resumed run is checked against it.
"""

import hashlib
import json
from collections.abc import Iterable
from fractions import Fraction
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetPydanticSchema,
    ValidationError,
    field_validator,
    model_validator,
)

from v2vkit.artifacts.clip_source import ClipSource
from v2vkit.artifacts.folder import Folder
from v2vkit.config import DEFAULT_RATE, parse_rate
from v2vkit.errors import V2VError

MANIFEST = "manifest.json"
PARTIAL = "manifest.partial.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClipInfo(_Record):
    """Consecutive frames of one shot.

    Attributes:
        name: unique in the workspace; the folder part of every sample key (`name/000012`).
        num_frames: number of frames.
        width, height: of the frames, in pixels.
        fps: average frame rate as an exact fraction (`30000/1001`).
        source: where the clip comes from (file, frame range, crop); other keys are kept.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")
    num_frames: int = Field(ge=0)
    width: int = Field(ge=0)
    height: int = Field(ge=0)
    fps: str = str(DEFAULT_RATE)
    source: Annotated[ClipSource, GetPydanticSchema(lambda _, handler: handler(dict[str, Any]))] = {}

    @field_validator("fps")
    @classmethod
    def _rate(cls, text: str) -> str:
        parse_rate(text)
        return text


def one_rate(clips: Iterable[ClipInfo], hint: str) -> Fraction:
    """The common frame rate of one or more clips that are joined into one video.

    Raises:
        V2VError: the clips differ in size or frame rate; `hint` is its hint.
    """
    kinds = {(clip.width, clip.height, clip.fps) for clip in clips}
    if len(kinds) > 1:
        raise V2VError(
            "clips-mismatch",
            "The clips of the artifact differ in size or frame rate, so they do not fit into one video.",
            hint,
        )
    return Fraction(kinds.pop()[2])


class ShardEntry(_Record):
    """One finished shard: file name, size in bytes, checksum and number of frames."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    num_samples: int = Field(ge=0)


def entry_of(name: str, data: bytes) -> ShardEntry:
    """The entry of an artifact's single file (a model, styles), from the file's bytes."""
    return ShardEntry(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), num_samples=0)


class Manifest(_Record):
    """How an artifact was made and what is in it.

    Attributes:
        stage, stage_version, config: the stage and every setting.
        inputs: artifact kind (or source file) -> fingerprint (or checksum).
        fingerprint: of stage, version, config and inputs; what later stages compare.
        estimator: name and version of the third-party estimator, where there is one.
        units: the clips of each shard, in order: the assignment that every later stage keeps.
        shards: the finished shards (none in a partial manifest).
        missing: reason -> number of frames without a result.
        counts: name -> number over all frames, where the stage counts something.
        skipped: source -> why it could not be used.
    """

    v2vkit: str
    stage: str
    stage_version: int
    config: dict[str, Any]
    inputs: dict[str, str]
    fingerprint: str
    estimator: dict[str, str] = {}
    units: tuple[tuple[ClipInfo, ...], ...] = ()
    shards: tuple[ShardEntry, ...] = ()
    missing: dict[str, int] = {}
    counts: dict[str, int] = {}
    skipped: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_shard_per_unit(self) -> Self:
        # Training's artifacts have files and no units; a partial manifest has units and no shards yet.
        if self.units and len(self.shards) not in (0, len(self.units)):
            raise ValueError(f"{len(self.shards)} shards where there are {len(self.units)} units of clips")
        return self

    @property
    def clips(self) -> tuple[ClipInfo, ...]:
        return tuple(clip for unit in self.units for clip in unit)

    @property
    def num_frames(self) -> int:
        return sum(clip.num_frames for clip in self.clips)


def fingerprint(stage: str, version: int, config: dict[str, Any], inputs: dict[str, str]) -> str:
    """Checksum of everything that decides a result: stage, version, settings and inputs."""
    text = json.dumps([stage, version, config, inputs], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(folder: Folder, manifest: Manifest, name: str = MANIFEST) -> None:
    folder.write(name, (manifest.model_dump_json(indent=1) + "\n").encode())


def read_manifest(folder: Folder, name: str = MANIFEST) -> Manifest | None:
    """The manifest of an artifact; None when there is none.

    Raises:
        V2VError: the file is not a valid manifest.
    """
    try:
        text = folder.read(name)
    except FileNotFoundError:
        return None
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = f"{place}: {first['msg']}" if place else first["msg"]
        raise V2VError(
            "manifest-damaged",
            f"{folder.url}/{name} is damaged ({reason}).",
            "Make this artifact again with --overwrite.",
        ) from None


def read_verified(folder: Folder, name: str) -> bytes:
    """Read an artifact's single file (a model, styles), verified against the manifest.

    Without a finished manifest nothing is verified: a model file alone is a valid checkpoint, and running training
    rewrites it.

    Raises:
        FileNotFoundError: there is no such file.
        V2VError: the content differs from the manifest, or the manifest is damaged.
    """
    # Read the manifest first: a writer removes it before it replaces the file.
    manifest = None if folder.exists(PARTIAL) else read_manifest(folder)
    data = folder.read(name)
    for entry in manifest.shards if manifest is not None else ():
        if entry.name == name and (len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256):
            assert manifest is not None
            raise V2VError(
                "artifact-damaged",
                f"{folder.url}/{name} is damaged: its checksum does not match the manifest.",
                f"Restore it from a copy, or delete it and rerun the `v2v {manifest.stage}` command that made it.",
            )
    return data
