"""`v2v import-checkpoint`: the published networks' weights as a checkpoint of ours."""

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import ShardEntry
from v2vkit.config import DomainName, SizeSetting, StageConfig, as_plain, setting
from v2vkit.errors import V2VError
from v2vkit.stages.base import Build, Command, RunOptions, Stage
from v2vkit.stages.runner import run
from v2vkit.weights import file_digest

if TYPE_CHECKING:
    from v2vkit.maps.source import SourceConfig
    from v2vkit.models.any_generator import AnyGenerator
    from v2vkit.models.published_layers import Imported

REPORT = "import.json"
_SHOWN = 20
_MAPS: dict[DomainName, tuple[str, dict[str, Any]]] = {
    "face": ("make-sketches", {"face": "mediapipe", "smooth": 0, "canny": True, "missing": "hold"}),
    "pose": ("estimate-pose", {"pose": "mediapipe", "smooth": 0, "missing": "hold"}),
    "street": ("ingest", {}),
}
"""Which stage makes the source maps, and its settings as the published models saw them (sketches not smoothed)."""


class ImportConfig(StageConfig):
    """Make a checkpoint from the published `.pth` weights of vid2vid's video generator or pix2pixHD's image generator.

    FILES are the state dicts of its scales, the coarsest first: latest_net_G0.pth, latest_net_G1.pth, latest_net_G2.pth
    as far as there are any; with --image one file, latest_net_G.pth. Nothing in them is run. The layers are read off
    the tensors; what tensors cannot tell is asked for. Writes checkpoints/spatial-N (N files) or checkpoints/image,
    ready for render and evaluate, and import.json with every key of the files and whether it was used. Exits with 3
    when the files hold keys that belong to no layer.
    """

    files: tuple[str, ...] = setting(
        ...,
        "State dicts, the coarsest first.",
        argument=True,
        metavar="FILES...",
        neutral=True,
        min_length=1,
        max_length=3,
    )
    image: bool = setting(False, "FILES is the one file of an image generator (pix2pixHD).")
    domain: DomainName = setting(..., "What the video shows (pose: networks that see OpenPose's skeletons alone).")
    size: SizeSetting = setting(..., "Size of the frames to make, as the weights were trained for.")
    num_labels: int | None = setting(
        None, "Label classes (street); as many as the weights have channels for when not given.", ge=1, le=255
    )
    edges: bool = setting(True, "The last source channel is instance edges (street).")
    foreground: tuple[int, ...] = setting((), "Label id with the foreground branch (street), as it was trained.")
    first_frame: Literal["real", "self"] = setting(
        "real", "How a video begins: real = from given frames, self = from nothing (trained without a first image)."
    )
    crop: Literal["none", "center", "face"] | None = setting(
        None, "How driving videos are cut, as for ingest; face for square faces, else none, when not given."
    )


def _source(config: ImportConfig, channels: int) -> "SourceConfig":
    """What conditions the model, where it agrees with the weights' source channels.

    Raises:
        V2VError: it does not, or a setting belongs to another domain.
    """
    from v2vkit.maps.source import SourceConfig, num_channels

    if config.domain != "street":
        if config.num_labels is not None or config.foreground or not config.edges:
            raise V2VError(
                f"--num-labels, --foreground and --no-edges are for streets, not for --domain {config.domain}.",
                "Leave them out, or give --domain street.",
            )
        source = SourceConfig(domain=config.domain)
    else:
        number = config.num_labels or channels - int(config.edges)
        if not 1 <= number <= 255:
            raise V2VError(
                f"The weights take {channels} source channels a frame, which leaves {number} labels.",
                "Give the weights of a street model, and --no-edges if it has no edge channel.",
            )
        source = SourceConfig(domain="street", num_labels=number, edges=config.edges)
    if num_channels(source) != channels:
        labels = f" with {source.num_labels} labels {'and' if source.edges else 'without'} edges" * bool(
            source.num_labels
        )
        raise V2VError(
            f"The weights take {channels} source channels a frame; {config.domain}{labels} has {num_channels(source)}.",
            "Give the --domain that the weights were trained on, and for streets its --num-labels and --no-edges.",
        )
    return source


def _check_foreground(config: ImportConfig, source: "SourceConfig", has_foreground: bool) -> None:
    if has_foreground and config.domain != "street":
        raise V2VError(
            f"The weights have a foreground branch, which --domain {config.domain} does not.", "Give --domain street."
        )
    if has_foreground and not config.foreground:
        raise V2VError(
            "The weights have a foreground branch; which labels it paints is not in them.",
            "Name every label with --foreground (Cityscapes as published: --foreground 26, cars).",
        )
    if config.foreground and not has_foreground:
        raise V2VError("The weights have no foreground branch.", "Leave out --foreground.")
    wrong = [label for label in config.foreground if not 0 <= label < source.num_labels]
    if wrong:
        raise V2VError(
            f"--foreground {wrong[0]} is no label: there are {source.num_labels} (0 to {source.num_labels - 1}).",
            "Give ids of the label maps.",
        )
    if len(set(config.foreground)) < len(config.foreground):
        raise V2VError("--foreground names a label twice.", "Name every label once.")


def _crop(config: ImportConfig) -> str:
    """How driving videos are cut (as published: a square around the face; streets whole)."""
    square = config.size.width == config.size.height
    if config.crop == "face" and not (config.domain == "face" and square):
        raise V2VError("--crop face is for square pictures of faces.", "Give --crop none or center.")
    return config.crop or ("face" if config.domain == "face" and square else "none")


def _read(config: ImportConfig) -> "tuple[Imported[AnyGenerator], SourceConfig]":
    """The network and what conditions it; everything that can be wrong with files and settings is raised here."""
    from v2vkit.models.published import import_generator, infer_generator, read_published, take_unit_sources

    _crop(config)
    if config.image:
        return _read_image(config)
    states = [read_published(path) for path in config.files]
    inferred, has_foreground = infer_generator(states)
    source = _source(config, inferred.source_channels)
    _check_foreground(config, source, has_foreground)
    imported = import_generator(states, foreground=config.foreground)
    if config.domain == "pose":  # the one domain whose published maps are in [-1, 1]
        take_unit_sources(imported.network)
    return imported, source


def _read_image(config: ImportConfig) -> "tuple[Imported[AnyGenerator], SourceConfig]":
    from v2vkit.models.image_generator import FrameGenerator
    from v2vkit.models.published import import_image_generator, read_published
    from v2vkit.models.published_layers import Imported

    if len(config.files) > 1:
        raise V2VError("An image generator is one file.", "Leave out --image for the scales of a video generator.")
    if config.domain == "pose":
        raise V2VError("There is no published image generator for poses.", "Give --domain street or face.")
    imported = import_image_generator(read_published(config.files[0]))
    source = _source(config, imported.network.config.in_channels)
    _check_foreground(config, source, has_foreground=False)
    generator = FrameGenerator(imported.network.config)
    generator.network = imported.network
    return Imported(generator, imported.used, imported.statistics, imported.unknown), source


def _digests(config: ImportConfig) -> dict[str, str]:
    return {"G" if config.image else f"G{scale}": file_digest(path) for scale, path in enumerate(config.files)}


def _report(config: ImportConfig, imported: "Imported[AnyGenerator]", digests: dict[str, str]) -> dict[str, Any]:
    """What was made of which files, and what became of every key."""
    keys = {"used": imported.used, "unused statistics": imported.statistics, "unknown": imported.unknown}
    return {
        "files": [
            {"scale": scale, "file": path, "sha256": digest}
            for (scale, digest), path in zip(digests.items(), config.files, strict=True)
        ],
        "generator": as_plain(imported.network.config),
        "parameters": sum(parameter.numel() for parameter in imported.network.parameters()),
        "counts": {name: len(found) for name, found in keys.items()},
        "keys": keys,
    }


def _write(build: Build, imported: "Imported[AnyGenerator]", source: "SourceConfig") -> tuple[ShardEntry, ...]:
    from v2vkit.synthesis.model import MODEL, ModelInfo, save_model

    config: ImportConfig = build.config
    maps_stage, maps = _MAPS[config.domain]
    info = ModelInfo(
        stage=_stage_name(config),
        fingerprint=build.fingerprint,
        generator=imported.network.config,
        source=source,
        width=config.size.width,
        height=config.size.height,
        first_frame="self" if config.image else config.first_frame,
        frames={"crop": _crop(config), "size": str(config.size)},
        maps=maps,
        maps_stage=maps_stage,
    )
    report = _report(config, imported, _digests(config))
    build.begin()
    build.folder.write(REPORT, (json.dumps(report, indent=1) + "\n").encode())
    save_model(build.folder, imported.network.state_dict(), info)
    return tuple(_entry(build.folder, name) for name in (MODEL, REPORT))


def _entry(folder: Folder, name: str) -> ShardEntry:
    data = folder.read(name)
    return ShardEntry(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), num_samples=0)


def _stage_name(config: ImportConfig) -> str:
    return "image" if config.image else f"spatial-{len(config.files)}"


def _import(config: ImportConfig, options: RunOptions) -> list[str]:
    """Read and check everything, then write the checkpoint as `run` writes artifacts: whole or not at all."""
    found: list[tuple[Imported[AnyGenerator], SourceConfig]] = []
    kind = f"checkpoints/{_stage_name(config)}"
    stage = Stage(
        name=COMMAND.name,
        summary=COMMAND.summary,
        config=ImportConfig,
        version=1,
        output=lambda config: kind,
        sources=_digests,
        check=lambda config, inputs, work: found.append(_read(config)),
        build=lambda build: _write(build, *found[0]),
    )
    outcome = run(stage, config, options)
    folder = Folder(options.work) / kind
    try:
        return _tell(json.loads(folder.read(REPORT)), f"{outcome.message} Keys by name: {folder.url}/{REPORT}")
    except (ValueError, KeyError, TypeError):
        raise V2VError(f"{folder.url}/{REPORT} is damaged.", "Remove that folder and import again.") from None


def _tell(report: dict[str, Any], message: str) -> list[str]:
    """Print what was made and how many keys were used; the keys of no layer are problems."""
    counts, layers, unknown = report["counts"], report["generator"], report["keys"]["unknown"]
    size = f"width {layers['width']}, {layers['num_down']} halvings, {layers['num_blocks']} blocks"
    if "num_scales" in layers:
        kind = f"{layers['num_scales']} scales, {size}, {layers['source_channels']} source channels, "
        kind += f"history {layers['history']}, {'with' if layers['flow'] else 'without'} flow"
    else:
        kind = f"image generator with {layers['num_enhancers']} enhancers, {size}, {layers['in_channels']} channels"
    print(f"{kind}, {report['parameters']:,} parameters.")
    print(
        f"{counts['used']} keys used; {counts['unused statistics']} not used: running statistics, which the published "
        f"networks carry and never read; {counts['unknown']} not used: of no layer."
    )
    print(message)
    problems = [f"{key} belongs to no layer and was not used" for key in unknown[:_SHOWN]]
    return problems + [f"and {len(unknown) - _SHOWN} more such keys"] * (len(unknown) > _SHOWN)


COMMAND = Command(
    name="import-checkpoint",
    summary="Make a checkpoint from the published weights of vid2vid.",
    config=ImportConfig,
    call=_import,
)
