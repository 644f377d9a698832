"""Checks of `v2v render`'s settings before anything is opened."""

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from v2vkit.config import StageConfig
from v2vkit.errors import V2VError

if TYPE_CHECKING:
    from v2vkit.checkpoint.model_file import ModelInfo
    from v2vkit.config import Size
    from v2vkit.video.sinks import PipeFormat


def refuse_idle_encoder(target: str, container: "PipeFormat | None", given: set[str]) -> None:
    """Refuse settings of a video encoder where none is used; `given`: names of the settings that the user gave."""
    from v2vkit.video.sinks import sink_kind

    kind = sink_kind(target, container)
    if kind in ("pictures", "y4m") and {"crf", "codec"} & given:
        what = "y4m" if kind == "y4m" else target
        raise V2VError("setting-unused", f"--crf and --codec encode a video, which {what} is not.", "Leave them out.")


def refuse_idle_names(target: str, container: "PipeFormat | None") -> None:
    """Refuse --keep-names where no pictures are written."""
    from v2vkit.video.sinks import sink_kind

    if sink_kind(target, container) != "pictures":
        text = f"--keep-names names pictures, and {target} is no folder."
        raise V2VError("setting-unused", text, "Leave it out, or end TARGET in a slash.")


def refuse_state_target(state: str, source: str, target: str) -> None:
    """Refuse a file for --save-state that cannot be written after the rendering.

    Raises:
        V2VError: a URL, a folder, the name of a picture or video, a file in a folder that does not exist or is not
            writable, SOURCE or TARGET.
    """
    from v2vkit.artifacts.folder import explain_os_errors
    from v2vkit.video.file_kinds import IMAGE_ENDINGS, VIDEO_ENDINGS
    from v2vkit.video.targets import check_parent, keep_source, refuse_url

    refuse_url(state)
    path = Path(state)
    with explain_os_errors(state):
        if path.is_dir():
            raise V2VError("file-required", f"--save-state {state} is a folder.", "Give the name of a file in it.")
        check_parent(path, later=True)
        if path.absolute() == Path(target).absolute():
            raise V2VError("setting-conflict", f"--save-state {state} is TARGET.", "Name another file.")
        if path.suffix.lower() in VIDEO_ENDINGS | IMAGE_ENDINGS:  # perhaps a frame of SOURCE
            raise V2VError(
                "format-unsupported",
                f"--save-state {state} ends like a picture or video.",
                "Give another name, such as state.safetensors.",
            )
    keep_source(source, state)


def keep_first_part(target: str) -> None:
    """Refuse to replace an existing TARGET with the rest of a rendering alone: it is probably the first part.

    Raises:
        V2VError: TARGET exists, other than as an empty folder.
    """
    from v2vkit.video.pipes import STANDARD

    path = Path(target)
    if target == STANDARD or not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    raise V2VError(
        "target-exists",
        f"{target} exists, and --resume-state writes only the rest of the frames, which would replace it.",
        "Name another TARGET, and join the parts afterwards.",
    )


def refuse_size_and_tile(size: "Size | None", tile: int | None, *, maps: bool, backend: str, variants: int = 1) -> None:
    """Refuse another size, tiles or variants where they cannot work.

    Raises:
        V2VError: finished maps have a size of their own, or the back end takes no tiles or variants.
    """
    if size is not None and maps:
        raise V2VError(
            "setting-conflict", "Finished maps (--maps) have a size, and --size is another.", "Leave one out."
        )
    if variants > 1 and backend != "torch":
        raise V2VError("setting-conflict", f"--edge-variants are for --backend torch, not {backend}.", "Leave one out.")
    if tile is not None and backend != "torch":
        raise V2VError("setting-conflict", f"--tile is for --backend torch, not {backend}.", "Leave one of them out.")


def refuse_idle_history(refresh: int, info: "ModelInfo") -> None:
    """Refuse --refresh for a model whose frames do not depend on each other.

    Raises:
        V2VError: it has no effect.
    """
    from v2vkit.models.any_generator import is_independent

    if refresh and is_independent(info.generator):
        raise V2VError(
            "setting-unused",
            f"--refresh is for models that see their past frames; {info.stage} makes every frame from nothing.",
            "Leave it out.",
        )


def refuse_several(given: set[str]) -> None:
    """Refuse settings that are for one rendering where several stand side by side.

    Args:
        given: names of the settings that the user gave.

    Raises:
        V2VError: there is one.
    """
    for name in ("save_state", "resume_state", "paste_back"):
        if name in given:
            raise V2VError(
                "setting-conflict",
                f"--{name.replace('_', '-')} is for one rendering, and --edge-variants makes several.",
                "Choose one variant with --edge-seed.",
            )


_OF_STATE = (
    *("start", "duration", "cuts", "align", "maps", "stream", "keep_interlaced", "fps"),
    *("retarget", "paste_back", "style", "edge_weights", "edge_seed", "edge_variants", "refresh", "settle"),
    *("anchor_colours", "tile", "track", "relabel", "in_region", "objects", "in_frames", "classes", "remap"),
)


def state_settings(config: StageConfig) -> dict[str, str | int | float | bool | None]:
    """The settings that must be the same when a rendering is resumed: they decide what a frame is."""
    return {name: _plain(config.value(name)) for name in _OF_STATE}


def _plain(value: Any) -> str | int | float | bool | None:
    """A setting as JSON; of a class table its name and a checksum of its classes."""
    from v2vkit.classes.table import ClassTable

    if isinstance(value, ClassTable):
        return f"{value.name} ({sha256(value.model_dump_json().encode()).hexdigest()[:8]})"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, int | float | None) else str(value)
