"""Reads published weights into our networks, checked against the settings of `import-checkpoint`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from v2vkit.conditions.conditioning import Conditioning, conditioning_of, configure
from v2vkit.conditions.domains import DOMAINS, domain_has, domains_that
from v2vkit.config import check_foreground
from v2vkit.errors import V2VError
from v2vkit.models.any_generator import AnyGenerator
from v2vkit.models.discriminator import Discriminator, video_channels
from v2vkit.models.image_generator import FrameGenerator
from v2vkit.models.published import (
    import_discriminator,
    import_generator,
    import_image_generator,
    infer_generator,
    read_published_file,
    take_unit_sources,
)
from v2vkit.models.published_layers import Imported

_CITYSCAPES_LABELS = 35
"""Number of label ids in the published Cityscapes models."""


class ImportSettings(Protocol):
    """Settings of `import-checkpoint` that cannot be inferred from the tensors."""

    @property
    def domain(self) -> str: ...
    @property
    def num_labels(self) -> int | None: ...
    @property
    def edges(self) -> bool: ...
    @property
    def foreground(self) -> tuple[int, ...]: ...


def _conditioning(settings: ImportSettings, channels: int) -> Conditioning:
    """The conditions of the model, whose number of channels has to be that of the weights.

    Raises:
        V2VError: it is not, or a setting belongs to another domain.
    """
    if not domain_has(settings.domain, "foreground"):
        if settings.num_labels is not None or settings.foreground or not settings.edges:
            shown, names = " and ".join(domains_that("foreground")), " or ".join(_with_labels())
            raise V2VError(
                "setting-unused",
                f"--num-labels, --foreground and --no-edges are for {shown}, not for --domain {settings.domain}.",
                f"Leave them out, or give --domain {names}.",
            )
        lists = (DOMAINS[settings.domain].conditions, *DOMAINS[settings.domain].published)
        of_lists = [configure(names, {}, count_labels=lambda artifact: 1) for names in lists]
        conditioning = next((of for of in of_lists if of.num_channels == channels), of_lists[0])
    else:
        if settings.num_labels is None and settings.edges:
            _check_ambiguity(settings, channels)
        number = settings.num_labels or channels - int(settings.edges)
        if not 1 <= number <= 255:
            raise V2VError(
                "weights-mismatch",
                f"The weights take {channels} source channels a frame, which leaves {number} labels.",
                "Give the weights of a street model, and --no-edges if it has no edge channel.",
            )
        conditioning = conditioning_of(settings.domain, num_labels=number, edges=settings.edges)
    if conditioning.num_channels != channels:
        number = conditioning.num_labels
        labels = f" with {number} labels {'and' if settings.edges else 'without'} edges" * bool(number)
        raise V2VError(
            "weights-mismatch",
            f"The weights take {channels} source channels a frame; {settings.domain}{labels} has "
            f"{conditioning.num_channels}.",
            "Give the --domain that the weights were trained on, and for streets its --num-labels and --no-edges.",
        )
    return conditioning


def _check_ambiguity(settings: ImportSettings, channels: int) -> None:
    """Check that the number of source channels identifies the domain.

    Raises:
        V2VError: another domain, or Cityscapes labels without edges, have the same number of channels.
    """
    others = [name for name in DOMAINS if not domain_has(name, "foreground")]
    same = next((name for name in others if conditioning_of(name).num_channels == channels), None)
    if same is None and channels != _CITYSCAPES_LABELS:
        return
    what = f"--domain {same}" if same is not None else f"Cityscapes' {channels} labels without edges"
    raise V2VError(
        "domain-ambiguous",
        f"The weights take {channels} source channels a frame: either those of {what}, or {channels - 1} labels and "
        f"edges (--domain {settings.domain}).",
        f"Give {f'--domain {same}' if same else f'--num-labels {channels} --no-edges'}, or "
        f"--num-labels {channels - 1}.",
    )


def _with_labels() -> list[str]:
    """The domains whose labels can have a foreground branch."""
    return [name for name in DOMAINS if domain_has(name, "foreground")]


def _check_foreground(settings: ImportSettings, conditioning: Conditioning, has_foreground: bool) -> None:
    if has_foreground and not conditioning.has("foreground"):
        raise V2VError(
            "foreground-mismatch",
            f"The weights have a foreground branch, which --domain {settings.domain} does not.",
            f"Give --domain {' or '.join(_with_labels())}.",
        )
    if has_foreground and not settings.foreground:
        raise V2VError(
            "foreground-required",
            "The weights have a foreground branch, but do not say for which labels.",
            "Name every label with --foreground (Cityscapes as published: --foreground 26, cars).",
        )
    if settings.foreground and not has_foreground:
        raise V2VError("foreground-mismatch", "The weights have no foreground branch.", "Leave out --foreground.")
    check_foreground(settings.foreground, conditioning.num_labels)


def read_generator(files: Sequence[str], settings: ImportSettings) -> tuple[Imported[AnyGenerator], Conditioning]:
    """The video generator from the state dicts of its scales (coarsest first), and its conditions.

    Raises:
        V2VError: a file holds another network, or `settings` contradicts the tensors.
    """
    states, notes = zip(*map(read_published_file, files), strict=True)
    inferred, has_foreground = infer_generator(states)
    conditioning = _conditioning(settings, inferred.source_channels)
    _check_foreground(settings, conditioning, has_foreground)
    imported = import_generator(states, foreground=settings.foreground)
    if conditioning.has("signed"):
        take_unit_sources(imported.network)
    return replace(imported, notes=sum(notes, ())), conditioning


def read_image_generator(files: Sequence[str], settings: ImportSettings) -> tuple[Imported[AnyGenerator], Conditioning]:
    """The image generator (pix2pixHD) from one state dict, and its conditions. Raises as `read_generator`."""
    if len(files) > 1:
        raise V2VError(
            "file-count-mismatch",
            "An image generator is one file.",
            "Leave out --image for the scales of a video generator.",
        )
    if not domain_has(settings.domain, "published_images"):
        others = " or ".join(name for name in DOMAINS if domain_has(name, "published_images"))
        raise V2VError(
            "domain-unsupported",
            f"There is no published image generator for {DOMAINS[settings.domain].shows}.",
            f"Give --domain {others}.",
        )
    state, notes = read_published_file(files[0])
    imported = import_image_generator(state)
    conditioning = _conditioning(settings, imported.network.config.in_channels)
    _check_foreground(settings, conditioning, has_foreground=False)
    generator = FrameGenerator(imported.network.config)
    generator.network = imported.network
    return Imported(generator, imported.used, imported.statistics, imported.unknown, notes), conditioning


def read_discriminators(files: Mapping[str, str], conditioning: Conditioning) -> dict[str, Imported[Discriminator]]:
    """The discriminators by their names in training: image, video0, video1 ...

    Args:
        files: name -> file with its state dict.
        conditioning: the conditions of the generator, which the image discriminator sees too.

    Raises:
        V2VError: a file holds no discriminator, or one with another number of input channels.
    """
    if conditioning.has("signed") and "image" in files:
        # 2 s - 1 cannot be folded into its first layer as for the generator: it pads with zeros.
        raise V2VError(
            "weights-unsupported",
            "Published image discriminators of poses see maps in [-1, 1]; ours are in [0, 1].",
            "Leave out --discriminator; training makes a new one.",
        )
    found: dict[str, Imported[Discriminator]] = {}
    for name, path in files.items():
        state, notes = read_published_file(path)
        found[name] = replace(import_discriminator(state), notes=notes)
    expected = conditioning.num_channels + 3
    for name, imported in found.items():
        channels = imported.network.config.in_channels
        if name == "image" and channels != expected:
            raise V2VError(
                "weights-mismatch",
                f"{files[name]} has {channels} input channels; the source map and a frame have {expected}.",
                "Give the discriminator that was trained with this generator.",
            )
        if name != "image" and channels not in map(video_channels, range(2, 9)):
            raise V2VError(
                "weights-mismatch",
                f"{files[name]} has {channels} input channels, which do not fit K frames and their flow.",
                "Give video discriminators (latest_net_D_T0.pth and so on) with --video-discriminator.",
            )
    return found
