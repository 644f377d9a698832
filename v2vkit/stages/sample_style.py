"""`v2v sample-style`: fits a Gaussian mixture to the features of each class, and stores the seeds of styles."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, Manifest, ShardEntry, entry_of, read_manifest
from v2vkit.config import StageConfig, setting
from v2vkit.pipeline.stage import Build, Stage, Whole, load_inputs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from v2vkit.conditions.region_features import RegionFeatures
    from v2vkit.inference.styles import Styles


class StyleConfig(StageConfig):
    """Fit a Gaussian mixture to the features of every class, to sample styles from.

    Reads the features of `v2v encode-features` and writes styles.json: a mixture per class (label, or part of a face),
    one over all classes for classes without features, and a seed per style. A style gives every object of a video one
    vector, the same in all its frames: `v2v render --style K`. preview.png shows the first frame in every style.
    """

    num_styles: int = setting(4, "Number of styles, numbered from 0.", ge=1, le=64)
    max_components: int = setting(5, "Maximum components of a class's mixture; BIC selects the number.", ge=1, le=32)
    seed: int = setting(0, "Seed of the fit and of the styles.", ge=0, lt=1 << 32)


def _frames(folder: Folder, manifest: Manifest) -> "Iterator[tuple[RegionFeatures, ...]]":
    """The features of every frame, one shard in memory at a time."""
    from v2vkit.artifacts.shard import load_shard, sample_key
    from v2vkit.conditions.region_features import EXTENSION, features_from_json

    for entry, clips in zip(manifest.shards, manifest.units, strict=True):
        shard = load_shard(folder, entry)
        for key in (sample_key(clip.name, t) for clip in clips for t in range(clip.num_frames)):
            yield features_from_json(shard.read(key, EXTENSION), f"{shard.where}: {key}")


def _build(build: Build) -> tuple[ShardEntry, ...]:
    """Fit the mixtures, and write the styles and their preview."""
    from v2vkit.artifacts.images import encode_png
    from v2vkit.inference.mixtures import fit_styles
    from v2vkit.inference.styles import PREVIEW, STYLES

    config: StyleConfig = build.config
    features = build.inputs["features"]
    styles = fit_styles(
        _frames(build.folders["features"], features),
        model=features.inputs["model"],
        max_components=config.max_components,
        num_styles=config.num_styles,
        seed=config.seed,
    )
    components = ", ".join(f"{label}: {len(mixture.weights)}" for label, mixture in styles.classes.items())
    print(f"{len(styles.seeds)} styles of {len(styles.classes)} classes (components by label: {components}).")
    files = {STYLES: (styles.model_dump_json(indent=1) + "\n").encode()}
    picture = _preview(Folder(build.options.work), features, styles)
    if picture is not None:
        files[PREVIEW] = encode_png(picture)
    build.begin()
    for name, data in files.items():
        build.folder.write(name, data)
    return tuple(entry_of(name, data) for name, data in files.items())


def _preview(work: Folder, features: Manifest, styles: "Styles") -> "NDArray[np.uint8] | None":
    """The first frame of the workspace in every style, by the model that made the features; None without that model."""
    from v2vkit.checkpoint.model_file import load_model, read_info
    from v2vkit.conditions.clips import ClipReader
    from v2vkit.conditions.conditioning import to_unit
    from v2vkit.inference.styles import PREVIEW
    from v2vkit.inference.views import style_sheet

    places = _model_places(work, str(features.config["checkpoint"]))
    place = next((place for place in places if read_info(place).identity == styles.model), None)
    if place is None:
        where = places[0].url if places else features.config["checkpoint"]
        print(f"No {PREVIEW}: the model {where} " + ("has changed." if places else "is missing."))
        return None
    info = read_info(place)
    maps = {kind: read_manifest(work / kind) for kind in info.conditioning.artifacts}
    there = {kind: manifest for kind, manifest in maps.items() if manifest is not None}
    if info.first_frame != "self" or len(there) < len(maps):
        lacking = len(there) < len(maps)
        print(f"No {PREVIEW}: " + ("there are no maps." if lacking else "this model starts from real frames."))
        return None
    generator, _ = load_model(place)
    first = {
        kind: manifest.model_copy(update={"units": manifest.units[:1], "shards": manifest.shards[:1]})
        for kind, manifest in there.items()
    }
    reader = ClipReader(work, first)
    name = reader.clips[0].name
    s = to_unit(reader.channels(info.conditioning, name, 0))
    return style_sheet(generator, info, styles, s, reader.regions(info.conditioning, name, 0))


def _model_places(work: Folder, name: str) -> list[Folder]:
    """The folders that may be the checkpoint of this name and hold a model.

    Names are relative to the workspace if the checkpoint is inside it. Older features have a path relative to the
    working directory of that time; its last part is the checkpoint's name.
    """
    from v2vkit.checkpoint.model_file import MODEL

    places = (work / name, Folder(name), work / f"checkpoints/{name.rpartition('/')[2]}")
    return [place for place in places if place.exists(MODEL)]


def _check(config: StyleConfig, manifests: dict[str, Manifest], work: Folder) -> None:
    """Check that the features were made from the current frames and maps."""
    load_inputs(work, ("features", *(kind for kind in manifests["features"].inputs if (work / kind).exists(MANIFEST))))


STAGE = Stage(
    name="sample-style",
    config=StyleConfig,
    version=1,
    output=lambda config: "styles",
    make=Whole(_build),
    inputs=lambda config: ("features",),
    check=_check,
)
