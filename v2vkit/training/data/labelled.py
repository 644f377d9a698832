"""The frames that a segmenter is trained on: those with a label map, less some that are held out to measure it."""

from collections.abc import Iterable
from math import ceil

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import ClipInfo, Manifest
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.labels import LabelsCondition
from v2vkit.errors import V2VError
from v2vkit.training.config import TrainConfig

_LABELS = LabelsCondition.artifact
_MAP = LabelsCondition.required[0]


class LabelledReader(ClipReader):
    """Every labelled frame as a clip of its own, because no frame depends on another.

    Args:
        kind: of the artifact with the label maps (`labels`, or `sparse-labels` where frames may have none).
        held_out: share of the labelled frames that are kept from training: the last ones of every shot.

    Attributes:
        clips: one per frame to train on.
        held_out: names of the others, which are read likewise.

    Raises:
        V2VError: no frame to train on has a label map.
    """

    def __init__(self, work: Folder, manifests: dict[str, Manifest], *, kind: str, held_out: float):
        super().__init__(work, manifests)
        self._kind = kind
        self._places: dict[str, tuple[str, int]] = {}
        shots: dict[tuple[object, ...], list[ClipInfo]] = {}  # several clips may be parts of one shot
        for clip in self.clips:
            for t in range(clip.num_frames):
                if not super().has(kind, clip.name, t, _MAP):
                    continue
                name = f"labelled-{len(self._places):06d}"
                self._places[name] = clip.name, t
                shots.setdefault(_shot(clip), []).append(clip.model_copy(update={"name": name, "num_frames": 1}))
        kept, apart = split(shots.values(), held_out)
        if not kept:
            raise V2VError(
                "labels-missing",
                f"No frame of {work.url} that is trained on has a label map.",
                "Ingest some with `v2v ingest --labels FOLDER --sparse-labels`, or give a smaller --held-out.",
            )
        self.clips, self.held_out = tuple(kept), tuple(of.name for of in apart)
        self._by_name |= {of.name: of for of in (*kept, *apart)}

    def has(self, kind: str, clip: str, t: int, extension: str) -> bool:
        clip, t = self._places.get(clip, (clip, t))
        return super().has(self._kind if kind == _LABELS else kind, clip, t, extension)

    def read(self, kind: str, clip: str, t: int, extension: str) -> bytes:
        clip, t = self._places.get(clip, (clip, t))
        return super().read(self._kind if kind == _LABELS else kind, clip, t, extension)


def _shot(clip: ClipInfo) -> tuple[object, ...]:
    """What clips of one shot have in common."""
    known = "number" in clip.source and "shot" in clip.source
    return (clip.source["number"], clip.source["shot"]) if known else (clip.name,)


def split(shots: Iterable[list[ClipInfo]], share: float) -> tuple[list[ClipInfo], list[ClipInfo]]:
    """Frames to train on, and the last `share` of each shot's, which are held out.

    Neighbours of trained frames look alike, so that frames held out here and there would flatter the network.
    """
    kept, apart = list[ClipInfo](), list[ClipInfo]()
    for frames in shots:
        number = min(ceil(share * len(frames)), len(frames) - 1)
        kept += frames[: len(frames) - number]
        apart += frames[len(frames) - number :]
    return kept, apart


def open_labelled(config: TrainConfig, work: Folder, manifests: dict[str, Manifest]) -> LabelledReader:
    """The frames of a workspace that a segmenter is trained on."""
    kind = config.segmenter.train_on or _LABELS
    return LabelledReader(work, manifests, kind=kind, held_out=config.segmenter.held_out)
