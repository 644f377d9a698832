"""`v2v encode-features`: feature vectors of every region of every frame, by a trained model's encoder E."""

from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import Field

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest
from v2vkit.config import StageConfig, setting
from v2vkit.engine.devices import DEVICES, pick_device
from v2vkit.errors import V2VError
from v2vkit.pipeline.stage import Clip, Opened, PerClip, Sample, Stage

if TYPE_CHECKING:
    from v2vkit.conditions.base import Condition
    from v2vkit.models.encoder import FeatureEncoder


class EncodeConfig(StageConfig):
    """Encode the appearance of every region of the frames with the encoder of a model trained with --feature-dims.

    For every frame: features.json, a list of its regions (objects, areas of one label, parts of a face), each with id,
    label, area (share of the frame) and vector. `v2v sample-style` samples styles from them.
    """

    checkpoint: str | None = setting(None, "Checkpoint, such as spatial-1; default: the finest.", affects_output=False)
    tracks: bool | None = setting(
        None,
        "Take object ids from the artifact tracks of `v2v track` (labels); default: if the workspace has it.",
        since="0.1",
    )
    device: str = setting("cpu", f"Device of the encoder: {DEVICES}.", affects_output=False)


class Resolved(EncodeConfig):
    """The settings with the checkpoint found.

    Attributes:
        folder: folder of the checkpoint, for stages and workers; not a setting and not in the manifest.
    """

    folder: str = Field(exclude=True)


def encode_clip(
    clip: Clip, *, encoder: "FeatureEncoder", condition: "Condition[Any]", downsamplings: int, tracks: bool = False
) -> Iterator[Sample]:
    """The features of every frame of a clip, in order.

    Args:
        clip: with the frames and the condition's artifact.
        encoder: E, on its device.
        condition: the condition whose regions are encoded.
        downsamplings: `ModelInfo.encoder_downsamplings`.
        tracks: read object ids from the artifact tracks.

    Raises:
        V2VError: a frame is missing, damaged, or of another size than its clip or its map.
    """
    from v2vkit.artifacts.shard import sample_key
    from v2vkit.conditions.region_features import EXTENSION, features_to_json
    from v2vkit.estimators.torch_weights import one_thread
    from v2vkit.inference.features import describe_frame

    size = clip.info.width, clip.info.height
    for t in range(clip.info.num_frames):
        image = clip.frame(t)
        kinds = {
            name: condition.replaced.get(name, condition.artifact) if tracks else condition.artifact
            for name in condition.reads["regions"]
        }
        files = {
            name: clip.read(kind, name, t)
            for name, kind in kinds.items()
            if name not in condition.optional or clip.has(kind, name, t)
        }
        annotation = condition.decode(files, size=size)
        regions = condition.regions(annotation)
        if regions.shape != image.shape[:2]:
            raise V2VError(
                "size-mismatch",
                f"Frame {sample_key(clip.info.name, t)} is {image.shape[1]}x{image.shape[0]}, but its map is "
                f"{regions.shape[1]}x{regions.shape[0]}.",
                "Remake the maps from these frames.",
            )
        with one_thread():
            found = describe_frame(encoder, image, regions, downsamplings=downsamplings)
        yield Sample(t, {EXTENSION: features_to_json(found)})


def open_encoder(config: Resolved) -> Opened:
    """Open the encoder of the checkpoint; raises V2VError if the device is not available."""
    from v2vkit.checkpoint.model_file import load_encoder

    device = pick_device(config.device)
    encoder, info = load_encoder(Folder(config.folder))
    condition = info.conditioning.with_regions
    assert condition is not None, "a model with an encoder has regions"
    function = partial(
        encode_clip,
        encoder=encoder.to(device),
        condition=condition,
        downsamplings=info.encoder_downsamplings,
        tracks=bool(config.tracks),
    )
    return Opened(function, {"name": f"encoder of {info.stage}", "version": info.identity})


def _resolve(config: EncodeConfig, work: Folder) -> Resolved:
    """Find the checkpoint, as `render` does; a model without an encoder is refused by its description, before loading.

    A checkpoint inside the workspace is named relative to it (`checkpoints/spatial-1`), so that the name stays valid
    when the workspace is moved.
    """
    from v2vkit.checkpoint.find_model import find_model
    from v2vkit.checkpoint.model_file import read_info, refuse_without_features
    from v2vkit.conditions.clips import tracks_beside

    folder = find_model(work, config.checkpoint)
    info = read_info(folder)
    refuse_without_features(info, folder)
    with_regions = info.conditioning.with_regions
    kinds = () if with_regions is None else (with_regions.artifact,)
    tracks = config.tracks if config.tracks is not None or not tracks_beside(work, kinds) else True
    if tracks and "labels" not in kinds:
        raise V2VError("setting-unused", "--tracks is for models conditioned on labels.", "Leave it out.")
    name = folder.url.removeprefix(f"{work.url}/")
    inside = ".." not in PurePosixPath(name).parts
    found = {"checkpoint": name if inside else folder.url, "folder": folder.url, "tracks": tracks}
    return Resolved(**(dict(config) | found))


def _inputs(config: Resolved) -> tuple[str, ...]:
    from v2vkit.checkpoint.model_file import read_info

    condition = read_info(Folder(config.folder)).conditioning.with_regions
    assert condition is not None, "a model with an encoder has regions"
    return ("frames", condition.artifact, *(("tracks",) if config.tracks else ()))


def _sources(config: Resolved) -> dict[str, str]:
    """The model as an input, by its content and not by its path."""
    from v2vkit.checkpoint.model_file import read_info

    return {"model": read_info(Folder(config.folder)).identity}


def _check(config: Resolved, manifests: dict[str, Manifest], work: Folder) -> None:
    """Check that the frames have the size that E was trained on."""
    from v2vkit.checkpoint.model_file import read_info, refuse_other_sizes

    refuse_other_sizes(read_info(Folder(config.folder)), manifests["frames"].clips, work.url)


STAGE = Stage(
    name="encode-features",
    config=EncodeConfig,
    version=2,
    output=lambda config: "features",
    make=PerClip(open_encoder),
    inputs=_inputs,
    sources=_sources,
    resolve=_resolve,
    check=_check,
)
