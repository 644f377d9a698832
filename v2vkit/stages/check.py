"""`v2v check`: checks sources or a workspace before long work."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.integrity import refuse_incomplete
from v2vkit.artifacts.manifest import MANIFEST, PARTIAL, Manifest, read_manifest, read_verified
from v2vkit.config import StageConfig, setting
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.mapping import FRAME_EXTENSIONS
from v2vkit.pipeline.stage import Command, RunOptions, make_again, stale_inputs
from v2vkit.progress import progress
from v2vkit.stages.check_against import compare_labels
from v2vkit.stages.check_sources import check_sources
from v2vkit.video.label_settings import LabelMapSettings

if TYPE_CHECKING:
    from v2vkit.artifacts.shard import Shard


class CheckConfig(StageConfig):
    """Check sources before they are ingested, or the artifacts of a workspace.

    With SOURCEs (and --labels, --depth, --densepose, --picture): decodes every video to its end and every image, and
    checks that maps and pictures match the frames in number and size and hold valid values. Without: checks that
    shards, models and styles are complete and unchanged, every clip has all its frames, artifacts belong together,
    label ids are in range (printed with the share of each) and clips are long enough for training. Writes nothing.
    Exits with 3 if something is wrong.
    """

    sources: tuple[str, ...] = setting(
        (), "Videos, folders, or patterns in quotes; none = check the workspace.", argument=True, metavar="[SOURCE...]"
    )
    depth: str | None = setting(None, "Folder of depth maps of the sources.", metavar="FOLDER")
    densepose: str | None = setting(None, "Folder of DensePose maps of the sources.", metavar="FOLDER")
    picture: str | None = setting(
        None, "Video or folder with the same frames in another look, as for ingest.", metavar="VIDEO|FOLDER"
    )
    min_frames: int = setting(3, "Report clips with fewer frames than this.", ge=1)
    against: str | None = setting(
        None,
        "Also compare the labels with those of this workspace: share of each class, size of its segments, length of "
        "boundaries, classes only in one. For models trained on the labels of one and rendered from those of the "
        "other.",
        metavar="WORKSPACE",
    )
    label_maps: LabelMapSettings = LabelMapSettings()

    if TYPE_CHECKING:  # settings are given by their own names, whatever their group

        def __init__(self, **settings: Any) -> None: ...


def _expected() -> dict[str, list[tuple[str, ...]]]:
    """Artifact -> files of a frame: one file for each tuple of alternative extensions."""
    from v2vkit.conditions.labels import SPARSE_LABELS, TRACKS
    from v2vkit.conditions.region_features import EXTENSION
    from v2vkit.conditions.registry import condition_classes

    maps: dict[str, list[tuple[str, ...]]] = {
        condition.artifact: [(extension,) for extension in condition.required] for condition in condition_classes()
    }
    # The first frames of a clip have no flow.
    others: dict[str, list[tuple[str, ...]]] = {TRACKS: [("inst.png",)], "flow": [], "features": [(EXTENSION,)]}
    return {"frames": [FRAME_EXTENSIONS], **maps, SPARSE_LABELS: [], **others}


def _check_artifact(folder: Folder, kind: str, manifest: Manifest, config: CheckConfig) -> list[str]:
    from v2vkit.artifacts.shard import load_shard
    from v2vkit.classes.remap import final_table
    from v2vkit.conditions.label_report import label_lines, label_problems
    from v2vkit.conditions.presence import nothing_found

    problems = []
    labels: Counter[int] = Counter()
    total = sum(entry.num_samples for entry in manifest.shards)
    with progress(total, desc=f"checking {kind}") as shown:
        for number, entry in enumerate(manifest.shards):
            try:
                shard = load_shard(folder, entry)
            except V2VError as error:
                problems.append(str(error))
            else:
                problems += _check_frames(kind, manifest, number, shard)
                if kind in ("labels", "sparse-labels"):
                    labels.update(_count_labels(manifest, number, shard))
            shown.update(entry.num_samples)
    lengths = [clip.num_frames for clip in manifest.clips]
    sizes = Counter(f"{clip.width}x{clip.height}" for clip in manifest.clips)
    ends = " to ".join(map(str, sorted({min(lengths), max(lengths)}))) if len(lengths) > 1 else ""
    span = f" of {ends}" if ends else ""
    print(
        f"{kind}: {counted(sum(lengths), 'frame')} in {counted(len(lengths), 'clip')}{span}, "
        f"{counted(len(manifest.shards), 'shard')}, {', '.join(sizes)}"
    )
    for reason, count in manifest.missing.items():
        print(f"  {counted(count, 'frame')}: {reason}")
    if kind == "frames":
        short = [clip.name for clip in manifest.clips if clip.num_frames < config.min_frames]
        if short:
            verb = "have" if len(short) > 1 else "has"
            problems.append(
                f"{counted(len(short), 'clip')} {verb} fewer than {counted(config.min_frames, 'frame')}, such as "
                f"{short[0]}."
            )
        if len(sizes) > 1:
            problems.append(f"Frames have {len(sizes)} sizes; ingest again with one --size.")
    if labels:
        table = final_table(manifest.config)
        num_labels = config.label_maps.num_labels or manifest.config.get("num_labels")
        num_labels = num_labels or (None if table is None else table.num_labels)
        for line in label_lines(labels, num_labels, table):
            print(line)
        problems += label_problems(labels, num_labels, given=manifest.stage == "ingest")
    elif text := nothing_found(kind, manifest):
        problems.append(text)
    return problems


def _check_frames(kind: str, manifest: Manifest, number: int, shard: "Shard") -> list[str]:
    from v2vkit.artifacts.shard import sample_key

    problems = []
    for clip in manifest.units[number]:
        keys = [sample_key(clip.name, t) for t in range(clip.num_frames)]
        for extensions in _expected()[kind]:
            lacking = [key for key in keys if not any(shard.has(key, extension) for extension in extensions)]
            if lacking:
                problems.append(
                    f"{shard.where} lacks {' or '.join(extensions)} for {len(lacking)} of {len(keys)} frames of "
                    f"{clip.name}: {lacking[0]} …"
                )
    return problems


def _count_labels(manifest: Manifest, number: int, shard: "Shard") -> Counter[int]:
    import numpy as np

    from v2vkit.artifacts.images import decode_gray
    from v2vkit.artifacts.shard import sample_key

    counts: Counter[int] = Counter()
    for clip in manifest.units[number]:
        for t in range(clip.num_frames):
            key = sample_key(clip.name, t)
            if shard.has(key, "label.png"):
                ids = decode_gray(shard.read(key, "label.png"), key)
                number_of = np.bincount(ids.ravel())  # faster than np.unique, which sorts
                counts.update({label: int(number_of[label]) for label in np.flatnonzero(number_of).tolist()})
    return counts


def _check_files(folder: Folder, kind: str, manifest: Manifest) -> list[str]:
    """Problems with an artifact's single files (a model, styles): missing or altered."""
    try:
        refuse_incomplete(folder, manifest)
        for entry in manifest.shards:
            read_verified(folder, entry.name)
    except V2VError as error:
        return [str(error)]
    print(f"{kind}: {', '.join(entry.name for entry in manifest.shards)}")
    return []


def _check(config: CheckConfig, options: RunOptions) -> list[str]:
    if config.sources and config.against is not None:
        raise V2VError("setting-conflict", "--against compares workspaces, not sources.", "Leave out either.")
    if config.sources:
        return check_sources(
            config.sources,
            config.label_maps,
            {"depth": config.depth, "densepose": config.densepose},
            picture=config.picture,
            min_frames=config.min_frames,
        )
    names = ("labels", "instances", "depth", "densepose", "picture", "allow_palette", "ids", "classes", "remap")
    beside = {f"--{name.replace('_', '-')}": config.value(name) for name in names}
    if given := [flag for flag, value in beside.items() if value]:
        raise V2VError(
            "setting-unused",
            f"{given[0]} belongs to SOURCEs, and none is given.",
            "Name the footage, or leave it out to check the workspace.",
        )
    work = Folder(options.work)
    problems: list[str] = []
    found: dict[str, Manifest] = {}
    for kind in _expected():
        try:
            manifest = read_manifest(work / kind)
        except V2VError as error:
            problems.append(str(error))
            continue
        if manifest is None:
            if (work / kind).exists(PARTIAL):
                problems.append(f"The artifact {kind} is unfinished; rerun its command.")
            continue
        found[kind] = manifest
        problems += _check_artifact(work / kind, kind, manifest, config)
    if not found and not problems:
        raise V2VError(
            "artifact-missing",
            f"There are no artifacts in {work.url}.",
            "Run `v2v ingest` first, or name another --work.",
        )
    for kind in ("styles", *(f"checkpoints/{name}" for name in (work / "checkpoints").names())):
        try:
            manifest = read_manifest(work / kind)
        except V2VError as error:
            problems.append(str(error))
            continue
        if manifest is not None:
            problems += _check_files(work / kind, kind, manifest)
            if kind == "styles":  # models stay valid when the frames change
                found[kind] = manifest
    for kind, parent in sorted((kind, name) for kind, of in found.items() for name in of.inputs):
        if parent in _expected() and not (work / parent).exists(MANIFEST) and not (work / parent).exists(PARTIAL):
            problems.append(f"{kind} was made from {parent}, which is missing; run {make_again(parent, found[kind])}.")
    for kind, parent in stale_inputs(found):
        problems.append(f"{kind} was made from another version of {parent}; run {make_again(kind, found[kind])}.")
    if config.against is not None:
        problems += compare_labels(work, Folder(config.against))
    if not problems:
        print("everything is in order")
    return problems


COMMAND = Command(
    name="check",
    config=CheckConfig,
    call=_check,
)
