"""Finds the clips of every method, pairs them by name, and checks that each pair can be shown side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from v2vkit.errors import V2VError, counted
from v2vkit.evaluation.study.key import DEGRADED, REAL
from v2vkit.video.footage import describe
from v2vkit.video.probe import probe
from v2vkit.video.sources import SourceFiles, find_sources

_RATE_TOLERANCE = 0.005
"""Largest relative difference of frame rates that count as equal: 29.97 and 30 do, 24 and 25 do not."""


@dataclass(frozen=True)
class Clip:
    """A clip that all methods have.

    Attributes:
        name: the file's stem, the same in every folder; for single videos, that of the first.
        sources: method -> its video or image sequence.
        width, height: in pixels, equal for all.
        fps: frames per second, equal for all.
        num_frames: number of frames of the shortest; longer ones are cut.
    """

    name: str
    sources: dict[str, SourceFiles]
    width: int
    height: int
    fps: Fraction
    num_frames: int


@dataclass(frozen=True)
class Found:
    """The clips that all methods have, and messages on those that were cut or left out."""

    clips: tuple[Clip, ...]
    cut: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Facts:
    width: int
    height: int
    fps: Fraction
    num_frames: int


def method_names(paths: Sequence[str], names: Sequence[str] = ()) -> list[str]:
    """The names of the methods: those of --name, else the stem of each path.

    Raises:
        V2VError: two are equal, one is reserved or empty, or their number is not that of the paths.
    """
    if names and len(names) != len(paths):
        raise V2VError(
            "count-mismatch",
            f"{counted(len(names), 'name')} for {counted(len(paths), 'method')}: each needs one.",
            "Give --name once for every method, in the same order.",
        )
    found = list(names) or [_stem(path) for path in paths]
    for name in found:
        if not name.strip() or name in (REAL, DEGRADED):
            raise V2VError(
                "name-invalid",
                f"{name!r} is not allowed as the name of a method.",
                "Name the methods with --name, once for each.",
            )
        if found.count(name) > 1:
            raise V2VError(
                "name-conflict", f"Two methods have the name {name!r}.", "Name the methods with --name, once for each."
            )
    return found


def _stem(path: str) -> str:
    whole = Path(path).resolve()
    return whole.name if whole.is_dir() else whole.stem


def find_clips(methods: dict[str, str], *, fps: Fraction, trim: bool = False) -> Found:
    """Finds the clips that all methods have.

    Args:
        methods: name -> folder of clips, or a single video.
        fps: frame rate of image sequences.
        trim: cut longer clips to the shortest of their pair; else a difference of more than one frame is an error.

    Raises:
        V2VError: a path cannot be read, no clip is in all of them, or the clips of a pair differ in size, frame rate or
            length.
    """
    by_method = {method: _by_stem(path) for method, path in methods.items()}
    if all(_is_one_clip(path, by_method[method]) for method, path in methods.items()):
        name = next(iter(next(iter(by_method.values()))))
        by_method = {method: {name: next(iter(found.values()))} for method, found in by_method.items()}
    shared = [name for name in next(iter(by_method.values())) if all(name in found for found in by_method.values())]
    if not shared:
        firsts = ", ".join(f"{methods[method]} has {next(iter(found))}" for method, found in by_method.items())
        raise V2VError(
            "clips-mismatch",
            f"No clip has the same name in all folders: {firsts}.",
            "Give the files of a pair the same name.",
        )
    left_out = [
        f"{methods[method]}: {name} is left out, because not every method has it"
        for method, found in by_method.items()
        for name in found
        if name not in shared
    ]
    clips, cut = list[Clip](), list[str]()
    for name in shared:
        clip, note = _clip(name, {method: found[name] for method, found in by_method.items()}, fps=fps, trim=trim)
        clips.append(clip)
        cut += [note] if note else []
    return Found(tuple(clips), tuple(cut), tuple(left_out))


def _is_one_clip(path: str, found: dict[str, SourceFiles]) -> bool:
    """Whether a path is itself a clip (a video or a folder of images); such clips pair whatever their names."""
    return len(found) == 1 and Path(next(iter(found.values())).path).resolve() == Path(path).resolve()


def find_real(path: str, names: Sequence[str], *, fps: Fraction, most_seconds: Fraction) -> list[Clip]:
    """Finds the real clips for attention checks: those with names of the study's clips; if there are none, all.

    Args:
        path: folder of clips, or a single video.
        names: names of the study's clips.
        fps: frame rate of image sequences.
        most_seconds: longer clips are cut to this duration.

    Raises:
        V2VError: a clip cannot be read.
    """
    found = _by_stem(path)
    chosen = {name: found[name] for name in names if name in found} or found
    clips = []
    for name, source in chosen.items():
        facts = _facts(source, fps)
        num_frames = max(1, min(facts.num_frames, round(most_seconds * facts.fps)))
        clips.append(Clip(name, {REAL: source}, facts.width, facts.height, facts.fps, num_frames))
    return clips


def _by_stem(path: str) -> dict[str, SourceFiles]:
    found: dict[str, SourceFiles] = {}
    for source in find_sources([path]):
        if source.stem in found:
            raise V2VError(
                "name-conflict",
                f"{path} has two clips named {source.stem}: {found[source.stem].path} and {source.path}.",
                "Rename or remove one of them.",
            )
        found[source.stem] = source
    return found


def _facts(source: SourceFiles, fps: Fraction) -> _Facts:
    if source.images:
        footage = describe(source, fps=fps)
        return _Facts(footage.width, footage.height, fps, len(source.images))
    info = probe(source.path, scan=True)
    if info.variable_rate:
        raise V2VError(
            "frame-rate-variable",
            f"Video {source.path} has a variable frame rate, so a pair would not stay synchronous.",
            "Convert it to a constant rate, or give a folder of its frames.",
        )
    assert info.num_frames is not None, "scan counts the frames"
    return _Facts(info.width, info.height, info.fps, info.num_frames)


def _clip(name: str, sources: dict[str, SourceFiles], *, fps: Fraction, trim: bool) -> tuple[Clip, str]:
    facts = {method: _facts(source, fps) for method, source in sources.items()}
    first_method, first = next(iter(facts.items()))
    for method, other in facts.items():
        if (other.width, other.height) != (first.width, first.height):
            raise V2VError(
                "size-mismatch",
                f"{name} is {first.width}x{first.height} from {first_method} and {other.width}x{other.height} from "
                f"{method}; raters could tell the methods apart by size.",
                "Render both at the same size.",
            )
        if abs(other.fps / first.fps - 1) > _RATE_TOLERANCE:
            raise V2VError(
                "frame-rate-mismatch",
                f"{name} has {float(first.fps):g} frames per second from {first_method} and {float(other.fps):g} from "
                f"{method}.",
                "Render both at the same frame rate; --fps sets that of image sequences.",
            )
    counts = {method: fact.num_frames for method, fact in facts.items()}
    least, most = min(counts.values()), max(counts.values())
    lengths = ", ".join(f"{counted(count, 'frame')} of {method}" for method, count in counts.items())
    if most - least > 1 and not trim:
        raise V2VError(
            "frame-count-mismatch",
            f"{name} has {lengths}; their lengths must be equal.",
            "Give --trim to cut the longer one at its end, or render the same frames.",
        )
    note = f"{name}: {lengths}; all are cut to {counted(least, 'frame')}" if most > least else ""
    return Clip(name, sources, first.width, first.height, first.fps, least), note
