"""`v2v sample-style`: fits a Gaussian mixture to the features of each class, and stores the seeds of styles."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, Manifest, ShardEntry, entry_of, read_manifest
from v2vkit.classes.remap import final_table
from v2vkit.classes.table import ClassName, ids_of
from v2vkit.config import StageConfig, setting
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import Build, Stage, Whole, load_inputs
from v2vkit.weights import file_digest

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

    Only regions of more than 1/64 of the frame count, or all of a class where none is larger. A class without features
    is drawn from the mixture over all classes. A vector depends on the style, the class and the object's id alone, so
    an object that appears late changes no other one.
    """

    num_styles: int = setting(4, "Number of styles, numbered from 0.", ge=1, le=64)
    max_components: int = setting(5, "Maximum components of a class's mixture; BIC selects the number.", ge=1, le=32)
    seed: int = setting(0, "Seed of the fit and of the styles.", ge=0, lt=1 << 32)
    class_: tuple[str, ...] = setting(
        (),
        "Draw a class from one component of its mixture, numbered from 0, such as road=3; the class by id or name.",
        metavar="CLASS=N",
        since="0.1",
    )
    keep: tuple[ClassName, ...] = setting(
        (),
        "Class, by id or name, that keeps the look of style 0 in every style, so that only the others vary.",
        metavar="ID|NAME",
        since="0.1",
    )
    from_: str | None = setting(
        None,
        "Reference whose look the classes that it shows take: a video or picture for which the model can make the "
        "maps, or a workspace with frames and maps.",
        metavar="FILE",
        since="0.1",
    )

    @property
    def components(self) -> dict[int, int]:
        """Label -> component, once names have been looked up in the class table, which the stage does first."""
        return {int(label): int(number) for label, number in (of.split("=") for of in self.class_)}


def _resolve(config: StyleConfig, work: Folder) -> StyleConfig:
    """Names of classes as ids, by the class table of the labels.

    Raises:
        V2VError: a class or component cannot be read, or a name is unknown.
    """
    labels = read_manifest(work / "labels")
    table = None if labels is None else final_table(labels.config)
    chosen: dict[int, int] = {}
    for text in config.class_:
        name, _, number = (part.strip() for part in text.partition("="))
        if not name or not number.isdecimal() or len(number) > 3:
            raise V2VError("setting-invalid", f"--class {text} is not CLASS=N.", "Write --class road=3.")
        (label,) = ids_of([int(name) if name.isdecimal() else name], table, "--class")
        if chosen.setdefault(label, int(number)) != int(number):
            raise V2VError("label-duplicate", f"--class names the class {name} twice.", "Name every class once.")
    keep = tuple(sorted(set(ids_of(config.keep, table, "--keep"))))
    if wrong := [label for label in (*chosen, *keep) if not 0 <= label < 255]:
        raise V2VError("label-id-out-of-range", f"{wrong[0]} is no label id.", "Give ids from 0 to 254.")
    return config.model_copy(
        update={"class_": tuple(f"{label}={number}" for label, number in sorted(chosen.items())), "keep": keep}
    )


def _sources(config: StyleConfig) -> dict[str, str]:
    """The reference as an input, by its content: of a workspace, by the fingerprint of its frames."""
    if config.from_ is None:
        return {}
    frames = read_manifest(Folder(config.from_) / "frames")
    return {"--from": file_digest(config.from_) if frames is None else frames.fingerprint}


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
    from v2vkit.inference.reference import with_reference
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
    if config.from_ is not None:
        place = _model_place(Folder(build.options.work), features, styles)
        if place is None:
            raise V2VError(
                "model-missing",
                f"--from needs the model {features.config['checkpoint']} that made the features; it is missing or has "
                "changed.",
                "Run `v2v encode-features --overwrite`.",
            )
        styles = with_reference(styles, place, config.from_, max_components=config.max_components, seed=config.seed)
    styles = _with_choices(styles, config)
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


def _with_choices(styles: "Styles", config: StyleConfig) -> "Styles":
    """The styles with the components and classes that the user chose.

    Raises:
        V2VError: a class has no mixture, or no such component.
    """
    for label, number in config.components.items():
        if label not in styles.classes:
            raise V2VError(
                "class-unknown",
                f"--class: the features have no class {label}.",
                f"They have {', '.join(map(str, styles.classes))}.",
            )
        if number >= (count := len(styles.classes[label].weights)):
            raise V2VError(
                "component-unknown",
                f"--class: the mixture of class {label} has no component {number}.",
                f"It has {counted(count, 'component')}, numbered from 0.",
            )
    return styles.model_copy(update={"components": config.components, "keep": config.keep})


def _preview(work: Folder, features: Manifest, styles: "Styles") -> "NDArray[np.uint8] | None":
    """The first frame of the workspace in every style, by the model that made the features; None without that model."""
    from v2vkit.checkpoint.model_file import load_model, read_info
    from v2vkit.conditions.clips import ClipReader
    from v2vkit.conditions.conditioning import to_unit
    from v2vkit.inference.styles import PREVIEW
    from v2vkit.inference.views import style_sheet

    place = _model_place(work, features, styles)
    if place is None:
        places = _model_places(work, str(features.config["checkpoint"]))
        where = places[0].url if places else features.config["checkpoint"]
        print(f"No {PREVIEW}: the model {where} " + ("has changed." if places else "is missing."))
        return None
    info = read_info(place)
    tracks = ("tracks",) if features.config.get("tracks") else ()
    maps = {kind: read_manifest(work / kind) for kind in (*info.conditioning.artifacts, *tracks)}
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


def _model_place(work: Folder, features: Manifest, styles: "Styles") -> Folder | None:
    """The folder of the model that made the features; None if it is missing or has changed."""
    from v2vkit.checkpoint.model_file import read_info

    places = _model_places(work, str(features.config["checkpoint"]))
    return next((place for place in places if read_info(place).identity == styles.model), None)


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
    sources=_sources,
    resolve=_resolve,
    check=_check,
)
