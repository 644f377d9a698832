"""The methods that `v2v train` knows: a row each. Loads none of them, so that `--help` stays quick."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from v2vkit.errors import V2VError

if TYPE_CHECKING:
    from v2vkit.training.methods.base import MethodSpec


@dataclass(frozen=True)
class MethodRow:
    """A method as `--help` and the names of checkpoints need it.

    Attributes:
        place: `module:NAME` of its `MethodSpec`.
        summary: a few words for the help.
        staged: trained in spatial stages, each with a checkpoint of its own name; else the method's name is its
            checkpoint's.
        defaults: settings that have another default with it.
        perceptual: networks of its perceptual loss where none is named, the first that is here.
    """

    place: str
    summary: str
    staged: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)
    perceptual: tuple[str, ...] = ("vgg19",)


METHODS: dict[str, MethodRow] = {
    "vid2vid": MethodRow("v2vkit.training.methods.vid2vid:VID2VID", "video to video, coarse to fine", staged=True),
    "pix2pixhd": MethodRow("v2vkit.training.methods.pix2pixhd:PIX2PIXHD", "single images (first frames, a baseline)"),
    "covst": MethodRow("v2vkit.training.methods.covst:COVST", "pix2pixhd with features moved by given flow"),
    "s-flow": MethodRow(
        "v2vkit.training.methods.s_flow:S_FLOW",
        "labels and edges to independent frames, trained for consistent flow (S-Flow GAN)",
        defaults={"gan": "bce", "discriminator_scales": 1, "lambda_flow": 1.0},
        perceptual=("vgg19", "lite0"),
    ),
    "pix2pix": MethodRow(
        "v2vkit.training.methods.pix2pix:PIX2PIX",
        "single images by a U-Net (a baseline)",
        defaults={"gan": "bce", "discriminator_scales": 1, "lambda_l1": 100.0, "lambda_feature": 0.0},
        perceptual=(),
    ),
}


def method_spec(name: str) -> "MethodSpec":
    """What there is to know about the method of that name.

    Raises:
        V2VError: there is none of that name.
    """
    if name not in METHODS:
        raise V2VError(f"There is no method {name}.", f"Known: {', '.join(METHODS)}.")
    module, _, attribute = METHODS[name].place.partition(":")
    spec: MethodSpec = getattr(importlib.import_module(module), attribute)
    return spec
