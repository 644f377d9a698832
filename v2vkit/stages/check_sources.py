"""Checks of sources for `v2v check`: frames, maps beside them, damage."""

from typing import TYPE_CHECKING

from v2vkit.config import DEFAULT_RATE
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import refuse_workspaces
from v2vkit.progress import tracked

if TYPE_CHECKING:
    from v2vkit.video.label_files import MapKind
    from v2vkit.video.label_settings import LabelMapSettings
    from v2vkit.video.sources import SourceFiles


MOST_NAMED = 5
"""Names of files in a message, at most."""


def check_sources(
    sources: tuple[str, ...],
    labels: "LabelMapSettings",
    maps: "dict[MapKind, str | None]",
    *,
    picture: str | None,
    min_frames: int,
) -> list[str]:
    """The checks that `ingest` makes first, without ingesting.

    Args:
        sources: videos and folders.
        labels: the label maps, and how they are read.
        maps: kind of other maps -> their folder.
        picture: video or folder with the same frames in another look.
        min_frames: fewer frames of a source are a problem.

    Returns:
        A sentence for each problem.
    """
    from v2vkit.conditions.label_report import mask_problem, table_problem
    from v2vkit.video.collect import collect
    from v2vkit.video.label_files import match_maps
    from v2vkit.video.paired import match_pictures
    from v2vkit.video.sources import find_sources, left_out

    roots = labels.folders | {what: root for what, root in maps.items() if root is not None}
    rules = labels.rules
    refuse_workspaces(sources)
    files = find_sources(sources)
    opened_sources, skipped = collect(files, roots, rules, fps=DEFAULT_RATE, pictures=picture)
    skipped |= left_out(sources)
    damaged: list[str] = []
    for opened in opened_sources:
        footage, count = opened.footage, opened.footage.num_frames
        if opened.source.images:
            damaged += _check_images(opened.source)
        else:
            try:
                count, problems = _count_frames(opened.source, count)
            except V2VError as error:
                damaged.append(f"{opened.source.path}: {error.message}")
                continue
            damaged += [f"{opened.source.path}: {problem}" for problem in problems]
        assert count is not None, "image sequences have a length"
        try:
            for item in opened.maps:
                match_maps(opened.source, count, item, sparse=labels.may_lack(item.what))
            if opened.pictures is not None:
                match_pictures(opened.source, count, opened.pictures)
        except V2VError as error:
            damaged.append(f"{opened.source.path}: {error}")
            continue
        if count < min_frames:
            enough = counted(min_frames, "frame")
            damaged.append(f"{opened.source.path}: {counted(count, 'frame')}, fewer than {enough} (--min-frames)")
        beside = "".join(f", {len(item.names)} {item.what}" for item in opened.maps)
        if opened.pictures is not None:
            beside += f", pictures {opened.pictures.width}x{opened.pictures.height}"
        size = f"{footage.width}x{footage.height}"
        print(
            f"{opened.source.path}: {counted(count, 'frame')}, {size}, {float(footage.fps):g} frames per second{beside}"
        )
        for remark in footage.remarks:
            print(f"  {remark}")
    ids = frozenset[int]().union(*(opened.label_ids for opened in opened_sources))
    if problem := mask_problem(ids, labels.num_labels):
        damaged.append(problem)
    if (table := labels.table) is not None and (problem := table_problem(ids, table)):
        damaged.append(problem)
    return [*(f"{path}: {reason}" for path, reason in skipped.items()), *damaged]


def _count_frames(source: "SourceFiles", expected: int | None) -> tuple[int, list[str]]:
    """Decode a video to its end: number of frames, and problems of single frames.

    Args:
        expected: number of frames for the progress bar; None = unknown.

    Raises:
        V2VError: the video is mostly damaged, cut off, or changes its frame size.
    """
    from v2vkit.video.cuts import DETECTION_SIDE
    from v2vkit.video.damage import Damage
    from v2vkit.video.decode import decode

    frames = decode(source.path, long_side=DETECTION_SIDE, options=source.options, damage=(damage := Damage()))
    return sum(1 for _ in tracked(frames, total=expected, desc="checking video")), damage.problems()


def _check_images(source: "SourceFiles") -> list[str]:
    """Decode every image of a sequence; at most one problem, which counts the images that `ingest` would refuse."""
    from v2vkit.video.images import read_image

    reasons: list[str] = []
    size: tuple[int, ...] | None = None
    count = len(source.images)
    for number in tracked(range(count), total=count, desc="checking images", unit="file"):
        try:
            shape = read_image(source.image_path(number)).shape
        except V2VError as error:
            reasons.append(error.message)
            continue
        size = size or shape
        if shape != size:
            path = source.image_path(number)
            reasons.append(f"Image {path} is {shape[1]}x{shape[0]}, not {size[1]}x{size[0]} as the first one.")
    if not reasons:
        return []
    named = " ".join(reasons[:MOST_NAMED]) + (" ..." if len(reasons) > MOST_NAMED else "")
    return [f"{source.path}: {len(reasons)} of {len(source.images)} images cannot be used. {named}"]
