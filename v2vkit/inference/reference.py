"""Styles from a reference: the mixtures of what one frame, video or workspace shows."""

from collections.abc import Iterator

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST
from v2vkit.checkpoint.model_file import load_encoder
from v2vkit.conditions.region_features import RegionFeatures
from v2vkit.engine.devices import pick_device
from v2vkit.errors import V2VError
from v2vkit.estimators.torch_weights import one_thread
from v2vkit.inference.conditioned import conditioned_frames
from v2vkit.inference.features import describe_frame
from v2vkit.inference.mixtures import fit_styles
from v2vkit.inference.sources import open_source
from v2vkit.inference.styles import Styles


def with_reference(styles: Styles, checkpoint: Folder, path: str, *, max_components: int, seed: int) -> Styles:
    """The styles with the mixtures of the classes that a reference shows; other classes keep theirs.

    One region gives a mixture that hardly varies: every region of its class gets its look.

    Args:
        styles: of the model in `checkpoint`.
        checkpoint: folder of the model whose encoder looks at the reference.
        path: a video or picture whose annotations the model can make, or a workspace with frames and maps.
        max_components, seed: as in `fit_styles`.

    Raises:
        V2VError: the reference cannot be read, or has no frames beside its maps.
    """
    found = fit_styles(
        _features(checkpoint, path), model=styles.model, max_components=max_components, num_styles=1, seed=seed
    )
    shown = {label: mixture for label, mixture in found.classes.items() if label < 255}
    return Styles.model_validate(styles.model_dump() | {"classes": styles.classes | shown})


def _features(checkpoint: Folder, path: str) -> Iterator[tuple[RegionFeatures, ...]]:
    encoder, info = load_encoder(checkpoint)
    encoder = encoder.to(pick_device("cpu"))
    source = open_source(path, info, maps=is_workspace(path))
    for frame in conditioned_frames(source, info):
        if frame.frame.image is None or frame.regions is None:
            raise V2VError(
                "frames-missing",
                f"The reference {path} has no frames beside its maps.",
                "Give a workspace with frames and maps; or a video, where the model's maps can be made from one.",
            )
        with one_thread():
            yield describe_frame(encoder, frame.frame.image, frame.regions, downsamplings=info.encoder_downsamplings)


def is_workspace(path: str) -> bool:
    """Whether a folder is a workspace with frames."""
    return Folder(path).exists(f"frames/{MANIFEST}")
