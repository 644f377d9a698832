"""`v2v show`: makes a contact sheet or a video of an artifact."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from v2vkit.artifacts.folder import Folder, explain_os_errors
from v2vkit.artifacts.manifest import MANIFEST, PARTIAL, ClipInfo, Manifest, one_rate, read_manifest
from v2vkit.artifacts.shard import Shard, load_shard, sample_key
from v2vkit.classes.remap import final_table
from v2vkit.config import StageConfig, setting
from v2vkit.errors import V2VError
from v2vkit.pipeline.stage import Command, RunOptions
from v2vkit.progress import tracked

if TYPE_CHECKING:
    from v2vkit.arrays import Image


VIDEO_ENDINGS = (".mp4", ".mov", ".mkv")
_EXAMPLES = 24  # frames of a video that decide the layer and its scale for all


class ShowConfig(StageConfig):
    """Make a contact sheet or video of an artifact.

    ARTIFACT is a kind in the workspace (frames, labels, sparse-labels, tracks, sketches, poses, densepose, depth,
    pictures, edges, flow, features, styles, checkpoints/spatial-1) or its folder. A sheet shows frames spread evenly
    over all clips, a video shows every frame; frames without a file are grey. For checkpoints the newest sample grid is
    shown, for styles their preview.
    """

    artifact: str = setting(..., "Kind or folder of the artifact.", argument=True, metavar="ARTIFACT")
    out: str = setting("sheet.png", "Picture (.png) or video (.mp4, .mov, .mkv) to write.", metavar="FILE")
    clip: str | None = setting(None, "Show only this clip; default: all clips.", metavar="NAME")
    layer: str | None = setting(
        None,
        "Files to show where frames have several, such as flow3.png; default: the most informative.",
        metavar="EXTENSION",
    )
    frames: int = setting(24, "Number of frames on a sheet.", ge=1, le=1000)
    columns: int = setting(6, "Pictures per row of a sheet.", ge=1, le=100)


@dataclass(frozen=True)
class _Pick:
    """One frame: its shard's number, its clip, its number in the clip."""

    shard: int
    clip: ClipInfo
    t: int

    @property
    def key(self) -> str:
        return sample_key(self.clip.name, self.t)


class _Reader:
    """The shards of an artifact, one in memory at a time."""

    def __init__(self, folder: Folder, manifest: Manifest):
        self._folder, self._manifest = folder, manifest
        self._loaded: tuple[int, Shard] | None = None

    def __getitem__(self, number: int) -> Shard:
        if self._loaded is None or self._loaded[0] != number:
            self._loaded = number, load_shard(self._folder, self._manifest.shards[number])
        return self._loaded[1]

    def read(self, pick: _Pick, extension: str) -> bytes | None:
        """The bytes of one file of a frame; None when the frame has none."""
        shard = self[pick.shard]
        return shard.read(pick.key, extension) if shard.has(pick.key, extension) else None


def show(config: ShowConfig, options: RunOptions) -> list[str]:
    """Write the sheet or video; no problems.

    Raises:
        V2VError: no such artifact, clip or layer, nothing that can be shown, a damaged shard, or the target cannot be
            written.
    """
    from v2vkit.video.targets import missing_folder, refuse_url

    refuse_url(config.out)
    out = Path(config.out)
    is_video = out.suffix.lower() in VIDEO_ENDINGS
    if not is_video and out.suffix.lower() != ".png":
        raise V2VError(
            "format-unsupported",
            f"{out} is neither a PNG nor a video.",
            "Give --out a name that ends in .png or .mp4.",
        )
    with explain_os_errors(str(out)):
        there = out.parent.is_dir()
    if not there:
        raise missing_folder(out.parent, out.name)
    folder, manifest = _find(Folder(options.work), config.artifact)
    if manifest.stage in _ONE_PICTURE:
        what, picture = _ONE_PICTURE[manifest.stage]
        image = picture(folder)
        if is_video:
            raise V2VError("format-unsupported", f"{folder.url} is {what}, which has no video.", "Give --out a .png.")
        _write_png(out, image)
    elif is_video:
        _write_video(config, folder, manifest)
    else:
        _write_png(out, _sheet(config, folder, manifest))
    print(f"{out} shows {config.artifact}.")
    return []


def _find(work: Folder, artifact: str) -> tuple[Folder, Manifest]:
    """Find an artifact by its kind in the workspace, else by its folder; an absolute path can only be a folder."""
    absolute = "://" in artifact or Path(artifact).is_absolute()
    for folder in (Folder(artifact),) if absolute else (work / artifact, Folder(artifact)):
        finished, started = _read(folder, MANIFEST), _read(folder, PARTIAL)
        if finished is not None:
            return folder, finished
        if started is not None:
            # Training writes its sample grids while it runs.
            if started.stage == "train":
                return folder, started
            raise V2VError(
                "artifact-unfinished",
                f"The artifact {folder.url} is unfinished.",
                f"Rerun the `v2v {started.stage}` command to finish it.",
            )
    if absolute:
        raise V2VError(
            "artifact-missing", f"There is no artifact in {artifact}.", "Name the folder that holds its manifest.json."
        )
    kinds = [kind for kind in work.names() if _read(work / kind, MANIFEST) is not None]
    kinds += [f"checkpoints/{name}" for name in (work / "checkpoints").names()]
    raise V2VError(
        "artifact-missing",
        f"There is no artifact {artifact} in {work.url}.",
        f"Artifacts there: {', '.join(kinds) or 'none'}. Or name another --work.",
    )


def _read(folder: Folder, manifest: str) -> Manifest | None:
    return read_manifest(folder, manifest) if manifest in folder.names() else None


def _newest_grid(folder: Folder) -> "Image":
    from v2vkit.artifacts.images import decode_image

    grids = [name for name in folder.names() if name.startswith("sample-") and name.endswith(".png")]
    if not grids:
        raise V2VError(
            "sample-grid-missing",
            f"{folder.url} holds no sample grid yet.",
            "Train with --sample-every N: a grid is written every N steps.",
        )
    return decode_image(folder.read(grids[-1]), f"{folder.url}/{grids[-1]}")


def _preview_of_styles(folder: Folder) -> "Image":
    from v2vkit.artifacts.images import decode_image
    from v2vkit.inference.styles import PREVIEW

    if not folder.exists(PREVIEW):
        raise V2VError(
            "artifact-damaged",
            f"{folder.url} holds no {PREVIEW}.",
            "Remove that folder and rerun `v2v sample-style`, which prints why if it makes none.",
        )
    return decode_image(folder.read(PREVIEW), f"{folder.url}/{PREVIEW}")


def _nothing_of_imported(folder: Folder) -> "Image":
    raise V2VError(
        "sample-grid-missing",
        f"{folder.url} is an imported checkpoint, which has no sample grid: it was not trained here.",
        "See its output with `v2v render` or `v2v evaluate`.",
    )


# Stage -> name of its artifact, and the function that reads the picture to show.
_ONE_PICTURE: dict[str, tuple[str, Callable[[Folder], "Image"]]] = {
    "train": ("a checkpoint", _newest_grid),
    "import-checkpoint": ("a checkpoint", _nothing_of_imported),
    "sample-style": ("an artifact of styles", _preview_of_styles),
}


def _all_frames(manifest: Manifest, clip: str | None) -> list[_Pick]:
    """Every frame of the clip, or of all clips, in order."""
    names = [info.name for info in manifest.clips]
    if clip is not None and clip not in names:
        listed = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
        raise V2VError("clip-unknown", f"There is no clip {clip!r}.", f"Clips: {listed}.")
    picks = [
        _Pick(number, info, t)
        for number, unit in enumerate(manifest.units)
        for info in unit
        if clip in (None, info.name)
        for t in range(info.num_frames)
    ]
    if not picks:
        raise V2VError(
            "frames-missing", "The artifact has no frames.", "Name another one, or remake it from longer footage."
        )
    return picks


def _spread(picks: list[_Pick], count: int) -> list[_Pick]:
    """`count` evenly spaced frames, each from the middle of its interval: the first frames often have no files."""
    count = min(count, len(picks))
    return [picks[(2 * i + 1) * len(picks) // (2 * count)] for i in range(count)]


def _choose_layer(
    wanted: str | None, reader: _Reader, picks: list[_Pick], *, more: str = ""
) -> tuple[str, list[bytes | None]]:
    """The extension to show (`wanted`, or the most informative of these frames) and each frame's file of it or None.

    Reads each shard once.
    """
    from v2vkit.conditions.preview import sort_layers

    found: set[str] = set()
    kept: list[tuple[str | None, bytes | None]] = []
    for pick in picks:
        extensions = reader[pick.shard].extensions(pick.key)
        found.update(extensions)
        # The best layer of all frames is also the best of each frame that has it, so one file per frame is enough.
        best = next((name for name in sort_layers(set(extensions)) if wanted in (None, name)), None)
        kept.append((best, None if best is None else reader.read(pick, best)))
    layers = sort_layers(found)
    if not layers:
        raise V2VError(
            "layer-missing",
            "The artifact has no pictures for these frames.",
            f"It has {', '.join(sorted(found)) or 'no files'}; try another --clip{more}.",
        )
    if wanted is not None and wanted not in layers:
        raise V2VError(
            "layer-unknown", f"There is no layer {wanted!r} for these frames.", f"Layers: {', '.join(layers)}."
        )
    chosen = wanted or layers[0]
    return chosen, [data if name == chosen else None for name, data in kept]


def _sheet(config: ShowConfig, folder: Folder, manifest: Manifest) -> "Image":
    from v2vkit.conditions.preview import contact_sheet, open_layer

    reader = _Reader(folder, manifest)
    picks = _spread(_all_frames(manifest, config.clip), config.frames)
    name, files = _choose_layer(config.layer, reader, picks, more=" or more --frames")
    layer = open_layer(name, [data for data in files if data is not None], final_table(manifest.config))
    pictures = [
        None if data is None else layer.render(data, f"{pick.key}.{name}")
        for pick, data in zip(picks, files, strict=True)
    ]
    captions = [f"{pick.clip.name} {pick.t}" for pick in picks]
    title = f"{config.artifact}: {name}" + (f"; {layer.note}" if layer.note else "")
    return contact_sheet(pictures, captions, columns=config.columns, title=title, legend=layer.legend)


def _write_video(config: ShowConfig, folder: Folder, manifest: Manifest) -> None:
    from v2vkit.video.encode import write_video

    picks = _all_frames(manifest, config.clip)
    fps = one_rate((pick.clip for pick in picks), f"Choose one with --clip, such as {picks[0].clip.name}.")
    write_video(config.out, _video_frames(config, folder, manifest, picks), fps=fps)


def _video_frames(config: ShowConfig, folder: Folder, manifest: Manifest, picks: list[_Pick]) -> Iterator["Image"]:
    import numpy as np

    from v2vkit.conditions.preview import BLANK, open_layer

    reader = _Reader(folder, manifest)
    name, examples = _choose_layer(config.layer, reader, _spread(picks, _EXAMPLES))
    layer = open_layer(name, [data for data in examples if data is not None], final_table(manifest.config))
    for pick in tracked(picks, total=len(picks), desc=config.artifact):
        data = reader.read(pick, name)
        if data is None:
            yield np.full((pick.clip.height, pick.clip.width, 3), BLANK, np.uint8)
        else:
            yield layer.render(data, f"{pick.key}.{name}")


def _write_png(out: Path, image: "Image") -> None:
    from v2vkit.artifacts.images import encode_png
    from v2vkit.video.targets import remove_abandoned, temporary_name

    part = temporary_name(out)
    with explain_os_errors(str(out)):
        remove_abandoned(out)
        try:
            part.write_bytes(encode_png(image))
            part.replace(out)
        finally:
            part.unlink(missing_ok=True)


COMMAND = Command(name="show", config=ShowConfig, call=show)
