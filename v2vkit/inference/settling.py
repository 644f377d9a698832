"""Settling: the first frame of a shot is generated several times, each from the one before. Loads no torch.

A model that begins from nothing (`--first-frame self`) has no past frame to warp at its first one, which is softer than
the following ones. Repeated, the frame becomes its own past.
"""

from typing import TYPE_CHECKING

from v2vkit.errors import V2VError

if TYPE_CHECKING:
    from v2vkit.checkpoint.model_file import ModelInfo

SETTLE = (
    "Generate the first frame of every shot N times more, each from the one before, and keep the last: a model that "
    "begins from nothing is soft in its first frames."
)
"""Help of --settle."""


def refuse_idle_settling(settle: int, info: "ModelInfo") -> None:
    """Refuse --settle for a model that does not begin from nothing, or whose frames have no past.

    Raises:
        V2VError: it has no effect.
    """
    if settle and (info.first_frame != "self" or not info.generator.history):
        how = "sees none" if not info.generator.history else "begins from given frames"
        raise V2VError(
            "setting-unused",
            f"--settle is for models that generate their first frame and see their past ones; {info.stage} {how}.",
            "Leave it out.",
        )
