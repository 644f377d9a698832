"""What the generator is shown in training is what it is shown in rendering."""

import pytest
import torch
from torch import Tensor

from tests.conditions import of_domain
from tests.unit.training_data import SMALL, begin
from v2vkit.inference.rollout import Rollout
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.window import begin_window, generate_chunk, source_stack

POSE = of_domain("pose")
FRAMES, SIZE = 7, (8, 12)


def noise(frames: int = FRAMES) -> VideoBatch:
    generator = torch.Generator().manual_seed(3)
    x, s = (torch.rand(1, frames, 3, *SIZE, generator=generator) for _ in range(2))
    return VideoBatch(x, s, {1: torch.zeros(1, frames, 2, *SIZE)}, {1: torch.ones(1, frames, 1, *SIZE)})


@pytest.mark.parametrize("from_nothing", [True, False])
def test_a_window_shows_the_maps_that_a_rendered_video_shows(from_nothing: bool) -> None:
    """From nothing the first frame's map stands in for a past; after real frames theirs are the past."""
    config = SMALL.model_copy(update={"foreground": ()})
    generator = begin(config, POSE, torch.device("cpu")).method.generator
    sequence = noise()
    seen: list[Tensor] = []
    hook = generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    state = begin_window(sequence, generator, from_nothing=from_nothing)
    with torch.no_grad():
        for frames in ([2, 3], [4, 5], [6]):
            generate_chunk(generator, sequence, state, frames)
    hook.remove()

    rollout, first = Rollout(generator), 2 if from_nothing else 0
    shown = [rollout.remember(sequence.s[0, t].numpy()) for t in range(first, FRAMES)]
    assert len(seen) == 5
    for found, expected in zip(seen, shown[-5:], strict=True):
        assert torch.equal(found, expected)
    if from_nothing:
        assert torch.equal(seen[0], sequence.s[:, 2].repeat(1, 3, 1, 1))


def test_maps_are_followed_by_their_features() -> None:
    sequence = noise()
    features = {t: torch.full((1, 2, *SIZE), float(t)) for t in range(FRAMES)}
    found = source_stack(sequence, 3, 2, first=2, features=features)
    expected = [part for t in (2, 2, 3) for part in (sequence.s[:, t], features[t])]
    assert torch.equal(found, torch.cat(expected, 1))
