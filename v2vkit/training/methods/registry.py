"""The table of training methods. It loads none of them, so that `--help` stays fast."""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    """

    place: str
    summary: str
    staged: bool = False


METHODS: dict[str, MethodRow] = {
    "vid2vid": MethodRow("v2vkit.training.methods.vid2vid:VID2VID", "video to video, coarse to fine", staged=True),
    "pix2pixhd": MethodRow("v2vkit.training.methods.pix2pixhd:PIX2PIXHD", "single images (first frames, a baseline)"),
    "covst": MethodRow("v2vkit.training.methods.covst:COVST", "pix2pixhd with features warped with given flow"),
    "segmenter": MethodRow("v2vkit.training.methods.segmenter:SEGMENTER", "label maps from frames, for `v2v segment`"),
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
