"""A trained model in a program: `load` it, `generate` frames from annotations, `render` a video."""

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import torch

from v2vkit.arrays import Image
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.classes.table import ClassTable, find_table
from v2vkit.conditions.base import Condition
from v2vkit.conditions.given import check_image
from v2vkit.config import Precision, Size, parse_rate
from v2vkit.errors import V2VError
from v2vkit.inference.backend_names import Backend
from v2vkit.inference.backends import choose_backend
from v2vkit.inference.conditioned import conditioned_frames
from v2vkit.inference.edge_variants import make_variants
from v2vkit.inference.edits import NO_EDITS, Edits, open_editor
from v2vkit.inference.first_frames import find_first_frame_model, read_first_frames
from v2vkit.inference.framing import squeezed
from v2vkit.inference.given import as_numpy, each_frame, given_frames
from v2vkit.inference.graphs import Forward
from v2vkit.inference.session import Session, prepare_ahead, warm_up
from v2vkit.inference.sources import open_source, problems_of, refuse_settings_without_effect
from v2vkit.inference.styles import find_style
from v2vkit.models.any_generator import AnyGenerator
from v2vkit.video.cuts import CutMethod
from v2vkit.video.label_files import MapKind
from v2vkit.video.options import VideoOptions

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A trained model, ready to generate. `load` opens one.

    Attributes:
        generator: in evaluation mode, on its device.
        info: its description from the model file.
        device: where it runs.
        precision: number format of the convolutions.
        work: the workspace in which styles and the first-frame model are searched.
        styles, first_frame_model: folders to use instead of the workspace's.
        backend: what runs the generator.
        forward: its function; None = torch.
        settle: as of `v2v render`.
    """

    generator: AnyGenerator
    info: ModelInfo
    device: torch.device
    precision: Precision
    work: Folder
    styles: str | None = None
    first_frame_model: str | None = None
    backend: Backend = "torch"
    forward: Forward | None = None
    settle: int = 0

    def __repr__(self) -> str:
        return f"Model({self.info.stage}, {self.info.conditioning.names}, {self.size}, {self.device})"

    @property
    def conditions(self) -> tuple[Condition[Any], ...]:
        """Its conditions in order."""
        return self.info.conditioning.conditions

    @property
    def size(self) -> Size:
        """Width and height of its frames and annotations, in pixels."""
        return Size(self.info.width, self.info.height)

    @property
    def fps(self) -> Fraction:
        """Frames per second of the footage that it was trained on."""
        return self.info.rate

    def variant(self, edge_weights: Sequence[float] | None = None, *, edge_seed: int | None = None) -> "Model":
        """The same model with other weights a_i of its edge network: another variant of every scene (s-flow).

        Args:
            edge_weights: six numbers of 0 or more, the finest side output first, the fused map last.
            edge_seed: draws them instead.

        Raises:
            V2VError: the model has no edge network, both are given, or they are not such numbers.
        """
        (generator,) = make_variants(self.generator, weights=edge_weights, seed=edge_seed)
        # The graphs of a back end hold the weights with which they were made.
        forward = choose_backend(self.backend, generator, self.info, self.precision).forward
        return replace(self, generator=generator, forward=forward)

    def generate(
        self,
        annotations: Iterable[Any] | Mapping[str, Any],
        *,
        frames: Any = None,
        style: int | AnyPath = 0,
        first_frames: Any = None,
    ) -> Iterator[Image]:
        """Frames of one shot from its annotations: T in, T out, computed lazily in constant memory.

        Every call begins a new shot. Annotations are used unchanged, without temporal smoothing or gap filling.

        Args:
            annotations: one for each frame, of the model's size: an array [T, ...] of numpy or torch, a list or a
                generator. Each is a typed value (`LabelMap`, `FaceLandmarks`, `People`, `Picture` ...) or an array:
                label ids, whole numbers [H, W] (255 = none); landmarks [68, 2]; key points [people, 25, 3]; a picture,
                RGB uint8 [H, W, 3]. None = no face, nobody. A model with several conditions takes a dict of these by
                the conditions' names, or an iterable of dicts.
            frames: the frames themselves, RGB uint8 [T, H, W, 3]; needed by faces whose sketches have background edges,
                and used for edges and pictures that are not given.
            style: number of the style, for models with features (`sample_style`), or a `styles.json`.
            first_frames: L real frames to begin from, RGB uint8 [L, H, W, 3] of the model's size, or their folder.

        Yields:
            RGB uint8 [H, W, 3].

        Raises:
            V2VError: at once, if an argument is not a sequence of frames, or as `render`; at the frame, if an
                annotation does not fit the model (shape, size, type, unknown label) or one sequence ends first.
        """
        self._refuse_flow()
        session = self._session(style, first_frames)
        return map(session.step, given_frames(annotations, self.info, frames))

    def render(
        self,
        source: AnyPath,
        *,
        align: bool = False,
        start: float = 0.0,
        duration: float | None = None,
        cuts: CutMethod | None = None,
        fps: str | float | Fraction | None = None,
        maps: bool = False,
        instances: AnyPath | None = None,
        depth: AnyPath | None = None,
        densepose: AnyPath | None = None,
        classes: AnyPath | ClassTable | None = None,
        remap: AnyPath | ClassTable | None = None,
        frames: AnyPath | None = None,
        stream: int | None = None,
        keep_interlaced: bool = False,
        style: int | AnyPath = 0,
        edits: Edits = NO_EDITS,
        first_frames: Any = None,
    ) -> Iterator[Image]:
        """The frames that `v2v render` makes of a video, a folder of pictures or label maps, or a workspace.

        What the command prints comes as warnings: remarks on the source before the first frame, and the number of
        frames in which nothing was found after the last one.

        Args:
            source, align, start, duration, cuts, fps, maps, instances, depth, densepose, classes, remap, frames,
                stream, keep_interlaced: as of `v2v render`.
            edits: new labels, and whether objects are tracked (`Edits`).
            style, first_frames: as in `generate`.

        Yields:
            RGB uint8 [H, W, 3].

        Raises:
            V2VError: at once, whatever stops the command before it writes; while reading, if the source is damaged.
        """
        path = os.fspath(source)
        given: dict[MapKind, AnyPath | None] = {"instances": instances, "depth": depth, "densepose": densepose}
        folders: dict[MapKind, str] = {kind: os.fspath(of) for kind, of in given.items() if of is not None}
        own: dict[str, Any] = {
            "align": align,
            "start": start,
            "duration": duration,
            "cuts": cuts,
            "fps": fps,
            "maps": maps,
            "classes": classes,
            "remap": remap,
        }
        own |= {"frames": frames, "stream": stream, "keep_interlaced": keep_interlaced}
        refuse_settings_without_effect(path, self.info, own | dict(given))
        session = self._session(style, first_frames)
        opened = open_source(
            path,
            self.info,
            maps=maps,
            instances=folders.pop("instances", None),
            beside=folders,
            frames=None if frames is None else os.fspath(frames),
            fps=_rate(fps),
            start=start,
            duration=duration,
            options=VideoOptions(stream, not keep_interlaced),
            track=edits.track,
            classes=_table(classes),
            remap=_table(remap),
        )
        editor = open_editor(self.info, opened, edits)
        conditioned = conditioned_frames(
            opened, self.info, cuts=cuts, align=align, device=str(self.device), editor=editor
        )
        remarks = [f"{opened.name}: {remark}" for remark in opened.remarks]
        for note in filter(None, (opened.note, squeezed(self.info, opened), *remarks)):
            warnings.warn(note, stacklevel=2)

        def images() -> Iterator[Image]:
            missed = 0
            for frame, image in session.render(prepare_ahead(conditioned, self.device)):
                missed += not frame.found
                yield image
            for problem in [*problems_of(opened, self.info, missed), *(editor.problems() if editor else [])]:
                warnings.warn(problem, stacklevel=2)

        return images()

    def _session(self, style: int | AnyPath, first_frames: Any) -> Session:
        given = self._first_frames(first_frames)
        return Session(
            self.generator,
            downsamplings=self.info.downsamplings,
            first_frames=given,
            first_frame_model=self._first_frame_model if given is None else None,
            style=find_style(self.work, self.styles, style if isinstance(style, int) else os.fspath(style), self.info),
            precision=self.precision,
            forward=self.forward,
            settle=self.settle,
        )

    def _first_frames(self, given: Any) -> Image | None:
        """L real frames [L, H, W, 3], None if none were given."""
        if given is None or isinstance(given, str | os.PathLike):
            return read_first_frames(None if given is None else os.fspath(given), self.info)
        length = self.info.generator.history
        images = [
            check_image(as_numpy(image), self.size, "A first frame") for image in each_frame(given, "first_frames")
        ]
        if len(images) != length:
            raise V2VError(
                "frame-count-mismatch",
                f"{len(images)} first frames are given; the model begins from {length}.",
                f"Give {length}.",
            )
        return np.stack(images) if images else None

    @cached_property
    def _first_frame_model(self) -> AnyGenerator | None:
        """The first-frame model, None if this model needs none."""
        found = find_first_frame_model(self.work, self.first_frame_model, self.info)
        if found is not None:
            warm_up(found.to(self.device), self.info.width, self.info.height, precision=self.precision)
        return found

    def _refuse_flow(self) -> None:
        if self.generator.config.takes_flow:
            raise V2VError(
                "flow-required",
                "This model (COVST) warps its features with flow that has to be given.",
                "Use `model.render(workspace, maps=True)` with a workspace that has flow.",
            )


def _table(given: AnyPath | ClassTable | None) -> ClassTable | None:
    table: ClassTable | None = find_table(os.fspath(given) if isinstance(given, os.PathLike) else given)
    return table


def _rate(fps: str | float | Fraction | None) -> Fraction | None:
    try:
        return None if fps is None else parse_rate(str(fps))
    except ValueError as error:
        raise V2VError(
            "setting-invalid", f"fps: {error} (got {fps!r}).", "Give a number or a fraction, such as 25 or 30000/1001."
        ) from None
