"""`v2v import-checkpoint`: converts the weights of published networks into a checkpoint."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import ShardEntry, entry_of
from v2vkit.conditions.domains import DOMAINS, domain_names
from v2vkit.config import SPATIAL_STAGES, SizeSetting, StageConfig, as_plain, setting
from v2vkit.errors import V2VError
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import Build, Command, RunOptions, Stage, Whole
from v2vkit.weights import file_digest

if TYPE_CHECKING:
    from v2vkit.conditions.conditioning import Conditioning
    from v2vkit.conditions.settings import Origin
    from v2vkit.models.any_generator import AnyGenerator
    from v2vkit.models.discriminator import Discriminator
    from v2vkit.models.published_layers import Imported

REPORT = "import.json"
_SHOWN = 20
_PUBLISHED_STEP = 32


class ImportConfig(StageConfig):
    """Make a checkpoint from published `.pth` weights: vid2vid's video generator or pix2pixHD's image generator.

    FILES are the state dicts of the generator's scales, coarsest first: latest_net_G0.pth, then latest_net_G1.pth and
    latest_net_G2.pth if there are any; with --image one file, latest_net_G.pth. No code in the files is executed. The
    architecture is inferred from the tensors; the settings give the rest. Writes checkpoints/spatial-N (N files) or
    checkpoints/pix2pixhd, ready for render and evaluate, and import.json, which lists every key of the files and
    whether it was used. With the discriminators, `train --start-from` can fine-tune the checkpoint (with --norm batch
    where they have batch norm). Exits with 3 if keys of the files belong to no layer.
    """

    files: tuple[str, ...] = setting(
        ...,
        "State dicts, coarsest first.",
        argument=True,
        metavar="FILES...",
        affects_output=False,
        min_length=1,
        max_length=3,
    )
    image: bool = setting(False, "FILES is the one file of an image generator (pix2pixHD).")
    domain: str = setting(
        ...,
        "Domain of the weights (pose: networks conditioned on OpenPose's skeletons, with or without DensePose).",
        choices=domain_names,
    )
    size: SizeSetting = setting(..., "Size of the frames that the weights were trained for.")
    num_labels: int | None = setting(
        None, "Number of labels (street); default: inferred from the weights' channels.", ge=1, le=255
    )
    edges: bool = setting(True, "The last source channel is instance edges (street).")
    foreground: tuple[int, ...] = setting((), "Label id of the foreground branch (street), as in its training.")
    first_frame: Literal["real", "self"] = setting(
        "real", "First frames: real = given by the user, self = generated (trained without a first image)."
    )
    crop: Literal["none", "center", "face"] | None = setting(
        None, "How source videos are cropped, as for ingest; default: face for square faces, else none."
    )
    discriminator: str | None = setting(
        None, "State dict of the image discriminator, latest_net_D.pth.", metavar="FILE", affects_output=False
    )
    video_discriminator: tuple[str, ...] = setting(
        (),
        "State dict of a video discriminator, latest_net_D_T0.pth and so on, in order.",
        metavar="FILE",
        affects_output=False,
        max_length=3,
    )


def _crop(config: ImportConfig) -> str:
    """How source videos are cropped (as published: a square around the face; streets not at all)."""
    square = config.size.width == config.size.height
    published = DOMAINS[config.domain].classes[0].crop if square else "none"
    if config.crop == "face" and published != "face":
        raise V2VError(
            "setting-conflict", "--crop face is for square pictures of faces.", "Give --crop none or center."
        )
    return config.crop or published


@dataclass(frozen=True)
class _Found:
    """The networks in the files and the generator's conditions; discriminators by their names in training."""

    generator: "Imported[AnyGenerator]"
    conditioning: "Conditioning"
    discriminators: "dict[str, Imported[Discriminator]]"


def _read(config: ImportConfig) -> _Found:
    """Read the files; all errors of files and settings are raised here."""
    from v2vkit.checkpoint.published import read_discriminators, read_generator, read_image_generator

    _crop(config)
    if config.image and config.video_discriminator:
        raise V2VError(
            "setting-unused", "An image generator has no video discriminators.", "Leave out --video-discriminator."
        )
    generator, conditioning = (read_image_generator if config.image else read_generator)(config.files, config)
    return _Found(generator, conditioning, read_discriminators(_discriminators(config), conditioning))


def _discriminators(config: ImportConfig) -> dict[str, str]:
    """File of each discriminator, by its name in training."""
    image = {"image": config.discriminator} if config.discriminator else {}
    return image | {f"video{scale}": path for scale, path in enumerate(config.video_discriminator)}


def _files(config: ImportConfig) -> dict[str, str]:
    """Every file by the published name of its network."""
    scales = {"G" if config.image else f"G{scale}": path for scale, path in enumerate(config.files)}
    return scales | {_published(name): path for name, path in _discriminators(config).items()}


def _published(discriminator: str) -> str:
    return discriminator.replace("video", "D_T") if discriminator != "image" else "D"


def _digests(config: ImportConfig) -> dict[str, str]:
    return {name: file_digest(path) for name, path in _files(config).items()}


def _report(config: ImportConfig, found: _Found) -> dict[str, Any]:
    """The report: files, architecture, and whether each key was used."""
    labelled = [("", found.generator), *((f"{_published(name)}:", of) for name, of in found.discriminators.items())]
    keys = {
        "used": [label + key for label, imported in labelled for key in imported.used],
        "unused statistics": [label + key for label, imported in labelled for key in imported.statistics],
        "unknown": [label + key for label, imported in labelled for key in imported.unknown],
    }
    files, network = _files(config), found.generator.network
    return {
        "files": [
            {"network": name, "file": files[name], "sha256": digest} for name, digest in _digests(config).items()
        ],
        "generator": as_plain(network.config),
        "discriminators": {_published(name): as_plain(of.network.config) for name, of in found.discriminators.items()},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "counts": {name: len(those) for name, those in keys.items()},
        "keys": keys,
        "notes": _notes(config, found),
    }


def _notes(config: ImportConfig, found: _Found) -> list[str]:
    """Assumptions and omissions that the user should know."""
    notes = [note for of in (found.generator, *found.discriminators.values()) for note in of.notes]
    conditioning = found.conditioning
    if conditioning.num_labels and config.num_labels is None:
        edges = "and instance edges" if config.edges else "without edges"
        notes.append(
            f"The source channels are assumed to be {conditioning.num_labels} labels {edges}; otherwise give "
            "--num-labels and --no-edges."
        )
    if config.size.width % _PUBLISHED_STEP or config.size.height % _PUBLISHED_STEP:
        notes.append(
            f"The published networks were trained on sizes that are multiples of {_PUBLISHED_STEP}; at {config.size} "
            "their frames may be worse."
        )
    return notes


def _build(build: Build) -> tuple[ShardEntry, ...]:
    """Read and check everything, then write the checkpoint."""
    from v2vkit.checkpoint.model_file import MODEL, ModelInfo, save_model
    from v2vkit.checkpoint.snapshot import NETWORKS, save_networks

    config: ImportConfig = build.config
    found = _read(config)
    network = found.generator.network
    info = ModelInfo(
        method="pix2pixhd" if config.image else "vid2vid",
        stage=_stage_name(config),
        fingerprint=build.fingerprint,
        network=network.config,
        conditioning=found.conditioning,
        origins=_origins(found.conditioning),
        width=config.size.width,
        height=config.size.height,
        first_frame="self" if config.image else config.first_frame,
        frames={"crop": _crop(config), "size": str(config.size)},
    )
    report = _report(config, found)
    build.begin()
    build.folder.write(REPORT, (json.dumps(report, indent=1) + "\n").encode())
    written = [MODEL, REPORT]
    if found.discriminators:
        networks = {name: imported.network.state_dict() for name, imported in found.discriminators.items()}
        save_networks(build.folder, networks)
        written.append(NETWORKS)
    save_model(build.folder, network.state_dict(), info)
    return tuple(entry_of(name, build.folder.read(name)) for name in written)


def _origins(conditioning: "Conditioning") -> "tuple[Origin, ...]":
    """How the annotations of the published models were made."""
    made = [condition.published for condition in conditioning.conditions]
    absent = next((condition for condition in conditioning.conditions if condition.published is None), None)
    if absent is not None:
        raise V2VError(
            "domain-unsupported",
            f"There are no published models that are conditioned on {absent.name}.",
            "Give another --domain.",
        )
    return tuple(origin for origin in made if origin is not None)


def _stage_name(config: ImportConfig) -> str:
    return "pix2pixhd" if config.image else SPATIAL_STAGES[len(config.files) - 1]


def _import(config: ImportConfig, options: RunOptions) -> list[str]:
    """Make the checkpoint and print its report, also if it exists already."""
    outcome = run(_STAGE, config, options)
    folder = Folder(options.work) / _STAGE.output(config)
    try:
        return _print_report(json.loads(folder.read(REPORT)), f"{outcome.message} Keys by name: {folder.url}/{REPORT}")
    except (ValueError, KeyError, TypeError):
        raise V2VError(
            "model-damaged", f"{folder.url}/{REPORT} is damaged.", "Remove that folder and import again."
        ) from None


def _print_report(report: dict[str, Any], message: str) -> list[str]:
    """Print the architecture and how many keys were used; keys of no layer are problems."""
    counts, layers, unknown = report["counts"], report["generator"], report["keys"]["unknown"]
    size = f"width {layers['width']}, {layers['num_down']} downsamplings, {layers['num_blocks']} blocks"
    if "num_scales" in layers:
        kind = f"{layers['num_scales']} scales, {size}, {layers['source_channels']} source channels, "
        kind += f"history {layers['history']}, {'with' if layers['flow'] else 'without'} flow"
    else:
        kind = f"image generator with {layers['num_enhancers']} enhancers, {size}, {layers['in_channels']} channels"
    print(f"{kind}, {report['parameters']:,} parameters.")
    for name, discriminator in report.get("discriminators", {}).items():  # reports of earlier versions have none
        print(
            f"{name}: {discriminator['num_scales']} scales, width {discriminator['width']}, "
            f"{discriminator['in_channels']} channels, {discriminator['norm']} norm."
        )
    print(
        f"{counts['used']} keys used; {counts['unused statistics']} not used: running statistics, which the published "
        f"networks store and never read; {counts['unknown']} not used: of no layer."
    )
    for note in report.get("notes", ()):
        print(note)
    print(message)
    problems = [f"{key} belongs to no layer and was not used" for key in unknown[:_SHOWN]]
    return problems + [f"and {len(unknown) - _SHOWN} more such keys"] * (len(unknown) > _SHOWN)


_STAGE = Stage(
    name="import-checkpoint",
    config=ImportConfig,
    version=1,
    output=lambda config: f"checkpoints/{_stage_name(config)}",
    make=Whole(_build),
    sources=_digests,
)
COMMAND = Command(
    name="import-checkpoint",
    config=ImportConfig,
    call=_import,
    options=("work", "overwrite"),
)
