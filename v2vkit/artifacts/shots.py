"""Which clips belong to one shot: `v2v ingest --clip-frames` splits long shots into clips."""

from typing import Literal

from v2vkit.artifacts.manifest import ClipInfo

_FRAMING: tuple[Literal["file", "number", "shot", "crop"], ...] = ("file", "number", "shot", "crop")


def continues(before: ClipInfo | None, clip: ClipInfo) -> bool:
    """Whether a clip is the next part of the same shot, with the same framing.

    Args:
        before: the previous clip of the artifact; None = there is none.
    """
    if before is None or "file" not in clip.source:
        return False
    same_shot = all(before.source.get(key) == clip.source.get(key) for key in _FRAMING)
    return same_shot and before.source.get("stop") == clip.source.get("start")
