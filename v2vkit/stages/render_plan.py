"""Opens all that `v2v render` needs before it writes: model, source, back end, and the rest of an earlier part."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.find_model import describe_checkpoint, find_model
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.errors import V2VError
from v2vkit.inference.conditioned import ConditionedFrame, conditioned_frames
from v2vkit.inference.continuing import Rest, rest_of
from v2vkit.inference.edge_variants import make_variants, parse_weights
from v2vkit.inference.edits import LabelEditor, open_editor, parse_edits
from v2vkit.inference.first_frames import read_first_frames
from v2vkit.inference.framing import squeezed
from v2vkit.inference.open_session import OpenedModel, open_model, open_session, start_session
from v2vkit.inference.session import Session
from v2vkit.inference.sources import open_source, refuse_settings_without_effect
from v2vkit.inference.state import load_state
from v2vkit.inference.tiles import tiled
from v2vkit.inference.transfer import at_size, find_proportions, refuse_paste_back
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.render_checks import refuse_idle_history, refuse_several, state_settings
from v2vkit.stages.render_config import RenderConfig
from v2vkit.video.options import VideoOptions
from v2vkit.video.stream import Source

if TYPE_CHECKING:
    import torch

    from v2vkit.video.label_files import MapKind

_EDITS = ("relabel", "in_region", "objects", "in_frames", "track")
"""Settings of `parse_edits`."""


@dataclass(frozen=True)
class Rendering:
    """A rendering that is ready to run.

    Attributes:
        sessions: one, or one for each variant of the edge network; the networks are shared.
        info: the model's description, at the size that is rendered.
        device: where the networks run.
        source: what is rendered, or its rest after a saved state.
        frames: its frames, conditioned.
        num_before: frames that were rendered before the saved state.
        editor: changes labels; None = they stay.
        notes: sentences on what was found and chosen.
    """

    sessions: list[Session]
    info: ModelInfo
    device: "torch.device"
    source: Source
    frames: Iterator[ConditionedFrame]
    num_before: int
    editor: LabelEditor | None
    notes: list[str]

    def problems(self) -> list[str]:
        """What went wrong with the edits, after the last frame."""
        return [] if self.editor is None else self.editor.problems()


def open_rendering(config: RenderConfig, options: RunOptions) -> Rendering:
    """Open model and source, and generate one frame that is thrown away.

    Raises:
        V2VError: model, source or saved state is missing or damaged, settings do not fit together, or the model does
            not fit into memory.
    """
    work = Folder(options.work)
    checkpoint = find_model(work, config.checkpoint)
    model = open_model(checkpoint, device=config.device, settle=config.settle, size=config.size)
    info, trained = model.info, model.trained
    refuse_idle_history(config.refresh, trained)
    if config.paste_back:
        refuse_paste_back(trained, compare=config.compare)
    edits = parse_edits(info, **{name: config.value(name) for name in _EDITS})
    sessions = _open_sessions(config, work, model)
    source = _open_source(config, info)
    editor = open_editor(info, source, edits)
    frames = conditioned_frames(
        source,
        info,
        cuts=config.cuts,
        align=config.align,
        device=config.device,
        editor=editor,
        target=at_size(find_proportions(trained, work), trained, config.size) if config.retarget else None,
        paste_back=config.paste_back,
    )
    chosen = start_session(sessions[0], info, config.backend)
    rest = _resume(config, sessions[0], info, source, frames)
    source = rest.source
    remarks = [f"{source.name}: {remark}" for remark in source.remarks]
    backend = None if config.backend == "torch" else str(chosen)
    of_edits = () if editor is None else editor.notes
    notes = [describe_checkpoint(work, checkpoint, info), backend, rest.note, source.note, squeezed(info, source)]
    told = [note for note in (*notes, *of_edits, *remarks) if note]
    return Rendering(sessions, info, model.device, source, rest.frames, rest.num_before, editor, told)


def _open_sessions(config: RenderConfig, work: Folder, model: OpenedModel) -> list[Session]:
    """One session, or one for each variant of the edge network; with --tile they run their networks in tiles."""
    if config.first_frames is not None and config.first_frame_model is not None:
        raise V2VError(
            "setting-conflict",
            "--first-frames and --first-frame-model both give the first frames.",
            "Give one of them.",
        )
    weights = None if config.edge_weights is None else parse_weights(config.edge_weights)
    variants = make_variants(model.generator, weights=weights, seed=config.edge_seed, number=config.edge_variants)
    session = open_session(
        model,
        work,
        style=config.style,
        styles=config.styles,
        first_frames=read_first_frames(config.first_frames, model.info),
        first_frame_model=config.first_frame_model,
        precision=config.precision,
        settle=config.settle,
    )
    if len(variants) > 1:
        refuse_several(config.model_fields_set)
    return [
        replace(
            session,
            generator=generator,
            forward=None if config.tile is None else tiled(generator, config.tile, model.info.generator),
            refresh=config.refresh,
            anchor_colours=config.anchor_colours,
        )
        for generator in variants
    ]


def _open_source(config: RenderConfig, info: ModelInfo) -> Source:
    refuse_settings_without_effect(config.source, info, config.model_dump())
    given: dict[MapKind, str | None] = {"depth": config.depth, "densepose": config.densepose}
    return open_source(
        config.source,
        info,
        maps=config.maps,
        instances=config.instances,
        beside={kind: folder for kind, folder in given.items() if folder is not None},
        frames=config.frames,
        fps=config.fps,
        start=config.start,
        duration=config.duration,
        options=VideoOptions(config.stream, not config.keep_interlaced),
        track=config.track,
        classes=config.classes,
        remap=config.remap,
    )


def _resume(
    config: RenderConfig, session: Session, info: ModelInfo, source: Source, frames: Iterator[ConditionedFrame]
) -> Rest:
    """What is left to render: everything, or the rest after a saved state, which is put into the session."""
    if config.resume_state is None:
        return Rest(source, frames)
    state = load_state(config.resume_state, session, info, settings=state_settings(config))
    return rest_of(source, frames, state, session)
