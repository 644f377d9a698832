"""All metrics: one table, a row each. A new metric is one file and a row here.

`evaluate --list`, `--metrics`, what is left out and why, and the tables derive from the rows. Nothing heavy is loaded
before a metric is opened.
"""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from v2vkit.evaluation.metrics.contract import Metric
    from v2vkit.evaluation.metrics.setup import Setup

Need = Literal["counterpart", "flow", "landmarks", "irises", "people", "labels"]
"""What a metric is computed from besides frames: the real frame beside each (`counterpart`), flow of the real frames, a
face model's landmarks, a face estimator that finds irises (`irises`), a pose model's people, a label model's maps and
`--segmenter`."""

VFID_FRAMES = 30
"""Frames of a clip for VFID (vid2vid, section 4: 30 frames)."""
FVD_FRAMES = 16
"""Frames of a clip for FVD (Unterthiner et al. 2018)."""


@dataclass(frozen=True)
class MetricRow:
    """One metric.

    Attributes:
        name: by which it is chosen and stands in the report.
        heading: of its column.
        better: which way is better.
        unit: of its value.
        source: paper, equation or section.
        place: "file:function" in this package, which takes a `Setup`.
        of: `frame` (a value per frame) or `set` (one value per method).
        needs: see `Need`.
        weights: their names in the weights store.
        library: the package that it imports, where an extra of that name installs it.
        min_side: fewest pixels of a frame's side.
        clip_frames: frames of a clip where sets are of clips; 0 = of frames.
        min_count: fewest frames (or clips) with which there is a value.
        good_count: frames (or clips) below which the value comes with a warning.
        missed: what it means that nothing was found in a frame.
        digits: that tables print.
    """

    name: str
    heading: str
    better: Literal["higher", "lower"]
    unit: str
    source: str
    place: str
    of: Literal["frame", "set"] = "frame"
    needs: tuple[Need, ...] = ()
    weights: tuple[str, ...] = ()
    library: str = ""
    min_side: int = 1
    clip_frames: int = 0
    min_count: int = 1
    good_count: int = 1
    missed: str = ""
    digits: int = 4

    @property
    def counted(self) -> str:
        """What `min_count` and `good_count` count."""
        return f"clips of {self.clip_frames} frames" if self.clip_frames else "frames"


_PAIRED: tuple[Need, ...] = ("counterpart",)
_VFID = "vid2vid section 4 (VFID)"

# fmt: off
METRICS: tuple[MetricRow, ...] = (
    MetricRow("psnr", "PSNR dB", "higher", "dB", "10 log10(1 / MSE)", "psnr:open_metric", needs=_PAIRED, digits=2),
    MetricRow("ssim", "SSIM", "higher", "-1 to 1", "Wang et al. 2004, eq. 13", "ssim:open_metric", needs=_PAIRED),
    MetricRow("ms_ssim", "MS-SSIM", "higher", "0 to 1", "Wang et al. 2003, eq. 7", "ms_ssim:open_metric",
              needs=_PAIRED, min_side=22),
    MetricRow("lpips", "LPIPS", "lower", "distance", "Zhang et al. 2018, eq. 1 (AlexNet)", "lpips:open_alex",
              needs=_PAIRED, weights=("alexnet", "lpips-alex"), min_side=35),
    MetricRow("lpips_vgg", "LPIPS VGG", "lower", "distance", "Zhang et al. 2018, eq. 1 (VGG-16)", "lpips:open_vgg",
              needs=_PAIRED, weights=("vgg16", "lpips-vgg"), min_side=16),
    MetricRow("lite0_distance", "lite0 distance", "lower", "distance", "Zhang et al. 2018, eq. 1, weights 1 (lite0)",
              "lite0_distance:open_metric", needs=_PAIRED, weights=("lite0",), min_side=32),
    MetricRow("warp_error", "warp error", "lower", "colour, 0 to 1", "Lai et al. 2018, section 5 (L1)",
              "warp_error:open_metric", needs=("counterpart", "flow")),
    MetricRow("landmark_error", "landmark error", "lower", "outer eye distance", "300-W (NME)",
              "landmark_error:open_metric", needs=("landmarks",), missed="no face"),
    MetricRow("iris_error", "iris error", "lower", "eye's width", "place of the iris between the eye's corners",
              "iris_error:open_metric", needs=("counterpart", "irises"), missed="no eyes"),
    MetricRow("identity_distance", "identity distance", "lower", "distance", "dlib, dnn_face_recognition_ex",
              "identity_distance:open_metric", needs=("counterpart", "landmarks"), weights=("dlib-face-id",),
              library="dlib", missed="no face"),
    MetricRow("pose_error", "pose error", "lower", "person's diagonal", "few-shot vid2vid, section 4 (normalised)",
              "pose_error:open_metric", needs=("people",), missed="no person"),
    MetricRow("pose_recall", "pose recall", "higher", "0 to 1", "key points found / expected; for pose error",
              "pose_error:open_recall", needs=("people",)),
    MetricRow("label_fidelity", "mIoU of labels", "higher", "0 to 1", "pix2pixHD section 4.1; S-Flow GAN section 4",
              "label_fidelity:open_metric", of="set", needs=("labels",)),
    MetricRow("fid", "FID", "lower", "squared distance", "Heusel et al. 2017, eq. 6; clean-fid", "sets:open_fid",
              of="set", weights=("inception-fid",), min_count=50, good_count=2048, digits=2),
    MetricRow("fid_lite0", "FID-lite0", "lower", "squared distance", "as FID, on EfficientNet-lite0",
              "sets:open_fid_lite0", of="set", weights=("lite0",), min_side=32, min_count=50, good_count=1280,
              digits=2),
    MetricRow("kid", "KID", "lower", "squared MMD", "Binkowski et al. 2018, section 4", "sets:open_kid",
              of="set", weights=("inception-fid",), min_count=20, good_count=200),
    MetricRow("kid_lite0", "KID-lite0", "lower", "squared MMD", "as KID, on EfficientNet-lite0",
              "sets:open_kid_lite0", of="set", weights=("lite0",), min_side=32, min_count=20, good_count=200),
    MetricRow("vfid_i3d", "VFID I3D", "lower", "squared distance", _VFID, "sets:open_vfid_i3d",
              of="set", weights=("i3d",), clip_frames=VFID_FRAMES, min_count=10, good_count=500, digits=2),
    MetricRow("vfid_resnext", "VFID ResNeXt", "lower", "squared distance", _VFID, "sets:open_vfid_resnext",
              of="set", weights=("resnext101-3d",), clip_frames=VFID_FRAMES, min_count=10, good_count=500, digits=3),
    MetricRow("vfid_r3d18", "VFID R3D-18", "lower", "squared distance", f"{_VFID}, on torchvision's r3d_18",
              "sets:open_vfid_r3d18", of="set", weights=("r3d18",), clip_frames=VFID_FRAMES, min_count=10,
              good_count=500, digits=3),
    MetricRow("fvd", "FVD", "lower", "squared distance", "Unterthiner et al. 2018, eq. 1", "sets:open_fvd",
              of="set", weights=("i3d",), clip_frames=FVD_FRAMES, min_count=10, good_count=256, digits=1),
)
# fmt: on


def metric_names() -> tuple[str, ...]:
    """Names of all metrics, as the choices of a setting."""
    return tuple(row.name for row in METRICS)


def rows(names: tuple[str, ...] = ()) -> tuple[MetricRow, ...]:
    """The rows of these metrics in the table's order; all where none is named."""
    return tuple(row for row in METRICS if not names or row.name in names)


def open_metric(row: MetricRow, setup: "Setup") -> "Metric":
    """The metric, ready to take frames.

    Raises:
        V2VError: its weights are not what they should be, or the device is not there.
    """
    file, _, function = row.place.partition(":")
    metric: Metric = getattr(importlib.import_module(f"v2vkit.evaluation.metrics.{file}"), function)(setup)
    return metric
