"""The table of training methods. It loads none of them, so that `--help` stays fast."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from v2vkit.errors import V2VError

if TYPE_CHECKING:
    from v2vkit.training.methods.base import MethodSpec


@dataclass(frozen=True)
class MethodRow:
    """A method, with what is needed without loading it.

    Attributes:
        place: `module:NAME` of its `MethodSpec`.
        summary: a few words for the help.
        staged: trained in spatial stages, each with a checkpoint named after it; else the checkpoint has the method's
            name.
        defaults: settings with another default for this method.
        perceptual: networks for the perceptual loss if none is named; the first whose weights are found is used.
    """

    place: str
    summary: str
    staged: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)
    perceptual: tuple[str, ...] = ("vgg19",)


METHODS: dict[str, MethodRow] = {
    "vid2vid": MethodRow("v2vkit.training.methods.vid2vid:VID2VID", "video to video, coarse to fine", staged=True),
    "pix2pixhd": MethodRow("v2vkit.training.methods.pix2pixhd:PIX2PIXHD", "single images (first frames, a baseline)"),
    "covst": MethodRow("v2vkit.training.methods.covst:COVST", "pix2pixhd with features warped with given flow"),
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
    "segmenter": MethodRow("v2vkit.training.methods.segmenter:SEGMENTER", "label maps from frames, for `v2v segment`"),
    "predictor": MethodRow("v2vkit.training.methods.predictor:PREDICTOR", "future label maps"),
    "prednet": MethodRow("v2vkit.training.methods.prednet:PREDNET", "future frames by PredNet (a baseline)"),
    "mcnet": MethodRow("v2vkit.training.methods.mcnet:MCNET", "future frames by MCNet (a baseline)"),
}


def method_spec(name: str) -> "MethodSpec":
    """Loads the description of the method of that name.

    Raises:
        V2VError: there is no such method.
    """
    if name not in METHODS:
        raise V2VError("method-unknown", f"There is no method {name}.", f"Known: {', '.join(METHODS)}.")
    module, _, attribute = METHODS[name].place.partition(":")
    spec: MethodSpec = getattr(importlib.import_module(module), attribute)
    return spec
