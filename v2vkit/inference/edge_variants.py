"""Variants of a scene by the ensemble weights a_i of a model's edge network (S-Flow GAN paper, section 3.2)."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

import numpy as np

from v2vkit.arrays import Image
from v2vkit.engine.threads import batched
from v2vkit.errors import V2VError
from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.inference.session import Session
from v2vkit.models.any_generator import AnyGenerator
from v2vkit.models.dned import NUM_OUTPUTS, check_weights, draw_weights
from v2vkit.models.sflow_generator import SFlowGenerator

_BATCH = 4


def parse_weights(text: str) -> tuple[float, ...]:
    """Six numbers with commas between them, such as `1,1,1,0,0,0`.

    Raises:
        V2VError: not six numbers of 0 or more, one of them above 0.
    """
    try:
        return check_weights([float(part) for part in text.split(",")])
    except ValueError:
        raise V2VError(
            "setting-invalid",
            f"--edge-weights {text} are not numbers.",
            f"Give {NUM_OUTPUTS} numbers of 0 or more with commas between them, such as 1,1,1,0,0,0.",
        ) from None


def make_variants(
    generator: AnyGenerator, *, weights: Sequence[float] | None = None, seed: int | None = None, number: int = 0
) -> list[AnyGenerator]:
    """The generator with other edge weights; the networks are shared.

    Args:
        weights: six a_i, finest side output first, fused map last.
        seed: draws them instead, uniform on the simplex.
        number: so many variants, of the seeds from `seed` (0 when not given) on; 0 = one, or the generator itself where
            nothing is chosen.

    Raises:
        V2VError: the model has no edge network, or has not been trained with it yet; weights and a seed are both given.
    """
    if weights is None and seed is None and not number:
        return [generator]
    if not isinstance(generator, SFlowGenerator) or generator.dned is None or not generator.has_joined:
        raise V2VError(
            "setting-unused",
            "--edge-weights, --edge-seed and --edge-variants mix the outputs of a trained edge network; this model has "
            "none.",
            "Leave them out, or train with `--method s-flow --domain cg2real`.",
        )
    if weights is not None:
        if seed is not None or number:
            raise V2VError(
                "setting-conflict",
                "--edge-weights are given, which --edge-seed and --edge-variants draw.",
                "Give the weights or the seed.",
            )
        return [generator.variant(weights)]
    first = seed or 0
    return [generator.variant(draw_weights(first + i)) for i in range(number or 1)]


def render_variants(
    sessions: Sequence[Session], frames: Iterable[ConditionedFrame]
) -> Iterator[tuple[ConditionedFrame, Image]]:
    """Every frame with its renderings by all sessions side by side: RGB uint8 [H, n W, 3]."""
    for batch in batched(frames, _BATCH):
        columns = [[image for _, image in session.render(batch)] for session in sessions]
        for frame, *images in zip(batch, *columns, strict=True):
            yield frame, np.concatenate(images, 1)


def variant_distance(sheet: Image, number: int) -> float:
    """Mean absolute difference of the variants in a row of `render_variants`, over all pairs, in levels of 255."""
    parts = np.split(sheet.astype(np.int16), number, 1)
    return float(np.mean([np.abs(a - b).mean() for a, b in combinations(parts, 2)]))
