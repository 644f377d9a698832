"""What the generator is shown in training is what it is shown in rendering."""

import pytest
import torch
from torch import Tensor

from tests.conditions import of_domain
from tests.errors import raises
from tests.unit.training_data import SMALL, begin, train_chunk
from v2vkit.inference.rollout import Rollout
from v2vkit.training.check import check_settings
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.window import HistoryNoise, begin_window, generate_chunk, source_stack

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


@pytest.mark.parametrize("from_nothing", [True, False])
def test_history_noise_is_on_the_frames_that_the_generator_sees_alone(from_nothing: bool) -> None:
    """Of the deviation that is set, anew for every frame; frames that are missing stay zero, the state's stay clean."""
    generator = begin(SMALL.model_copy(update={"foreground": ()}), POSE).method.generator
    sequence, seen, clean = noise(), [], []
    hook = generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    state = begin_window(sequence, generator, from_nothing=from_nothing)
    disturbance = HistoryNoise(0.25, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for frame in range(2, FRAMES):
            clean.append(state.history)
            generate_chunk(generator, sequence, state, [frame], noise=disturbance)
    hook.remove()

    added = [past[0] - real[0] for past, real in zip(seen, clean, strict=True) if real is not None]
    assert len(added) == (4 if from_nothing else 5)
    if from_nothing:
        assert seen[0] is None
        assert not seen[1][0][:, :3].any()
        added[0] = added[0][:, 3:]
    assert all(0.2 < each.std() < 0.3 and each.mean().abs() < 0.05 for each in added)
    assert len({each.sum().item() for each in added}) == len(added)
    assert state.history is not None
    assert torch.equal(state.history[0], torch.cat(state.x_fake[-2:], 1))


def test_a_step_with_history_noise_depends_on_its_place_alone() -> None:
    def generated(sigma: float, epoch: int) -> Tensor:
        begun = begin(SMALL.model_copy(update={"foreground": (), "history_noise": sigma}), POSE)
        sequence = noise()
        state = begin_window(sequence, begun.method.generator, from_nothing=False)
        return train_chunk(begun, sequence, state, [2], epoch=epoch)[1][0].x_fake.detach()

    first = generated(0.3, 0)
    assert torch.equal(first, generated(0.3, 0))
    assert not torch.equal(first, generated(0.3, 1))
    assert torch.equal(generated(0.0, 0), generated(0.0, 1))
    assert not torch.equal(first, generated(0.0, 0))


def test_history_noise_is_refused_where_there_is_no_history() -> None:
    for method in ("pix2pixhd", "predictor"):
        with raises("setting-unused", "--history-noise", method):
            check_settings(SMALL.model_copy(update={"method": method, "foreground": (), "history_noise": 0.1}), {})
