"""What the trainer hands to every step: the rate, the windows, how they begin and how they are augmented."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.conditions import of_domain
from tests.unit.training_data import SMALL, begin, trainer_of
from v2vkit.artifacts.manifest import ClipInfo
from v2vkit.checkpoint.train_state import Network
from v2vkit.conditions.augment import IDENTITY, Change, Move, draw_affine
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.loader import clip_sampler, load_batch
from v2vkit.training.data.sampler import BatchPlan, Window
from v2vkit.training.methods.base import StepContext
from v2vkit.training.methods.frames import video_schedule
from v2vkit.training.terms import LossTerm
from v2vkit.training.trainer import new_state
from v2vkit.training.window import chunks

CPU = torch.device("cpu")
WIDTH, HEIGHT = 320, 24
CHANGES = {
    "stage": "spatial-2",
    "num_scales": 2,
    "fix_epochs": 1,
    "epochs": 9,
    "decay": 0.33,
    "first_frames": 3,
    "double_every": 2,
    "max_frames": 12,
    "loss_ramp": 2.0,
    "max_frame_stride": 3,
    "learning_rate": 4e-3,
    "ema": 0.875,
    "seed": 7,
}
CONFIG = SMALL.model_copy(update=CHANGES)


class Recorded(VideoDataset):
    """Two clips without content; knows what was asked for."""

    def __init__(self, *, flip: bool = False) -> None:
        clips = tuple(ClipInfo(name=f"c{i}", num_frames=20, width=WIDTH, height=HEIGHT) for i in range(2))
        reader: Any = SimpleNamespace(clips=clips)
        super().__init__(reader, of_domain("street"), strides=(1, 3), flip=flip)
        self.loaded: list[tuple[Window, bool, Change | None]] = []

    def load(self, window: Window, *, flip: bool = False, change: Change | None = None) -> VideoBatch:
        self.loaded.append((window, flip, change))
        blank = torch.zeros(window.num_frames, 3, 4, 4)
        of_strides = dict.fromkeys(self.strides, blank[:, :2])
        return VideoBatch(blank, blank, of_strides, {k: w[:, :1] for k, w in of_strides.items()})


@dataclass
class Step:
    """What one step was given, and the place of training then."""

    epoch: int
    batch: int
    rates: dict[str, float]
    from_nothing: bool
    frames: list[int]
    at: StepContext


@dataclass
class Run:
    """A method whose steps do nothing, and the TensorBoard writer that its trainer was given."""

    headline: ClassVar[tuple[str, ...]] = ("G_GAN",)

    state: Any = None
    steps: list[Step] = field(default_factory=list)
    loaded: list[tuple[Window, bool, Change | None]] = field(default_factory=list)
    scalars: list[tuple[str, float, int]] = field(default_factory=list)

    def networks(self) -> dict[str, Network]:
        """Two with an optimiser of their own, and one that shares; no generator, no discriminator."""
        names = {"segmenter": "segmenter", "encoder": "segmenter", "critic": "critic"}
        return {
            name: Network(torch.nn.Linear(1, 1), of, f"{name}." if name != "critic" else None)
            for name, of in names.items()
        }

    def losses(self) -> tuple[LossTerm, ...]:
        return ()

    def chunks(self, batch: VideoBatch, *, skip: int = 0) -> Iterator[tuple[bool, list[int]]]:
        for frames in chunks(batch.x.shape[1], 2, CONFIG.schedule.chunk):
            yield batch.from_nothing, frames

    def step(self, chunk: tuple[bool, list[int]], at: StepContext) -> dict[str, Tensor]:
        rates = {
            f"{name} {number}": group["lr"]
            for name, optimizer in self.state.optimizers.items()
            for number, group in enumerate(optimizer.param_groups)
        }
        self.steps.append(Step(self.state.epoch, self.state.batch, rates, *chunk, at))
        for parameter in self.state.parameters("segmenter"):
            parameter.grad = torch.zeros_like(parameter)
        return {"G_GAN": torch.tensor(float(len(self.steps))), "F_Flow": torch.tensor(0.5)}

    def sample(self, chunk: object) -> np.ndarray:
        raise AssertionError("not asked for")

    def num_frames(self, chunk: tuple[bool, list[int]]) -> int:
        return len(chunk[1])

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))


@dataclass
class Moving(Run):
    """Its weights change; remembers one of them as every step found it."""

    weights: list[float] = field(default_factory=list)

    def weight(self) -> float:
        return float(self.state.networks["segmenter"].module.weight.detach())

    def step(self, chunk: tuple[bool, list[int]], at: StepContext) -> dict[str, Tensor]:
        self.weights.append(self.weight())
        values = super().step(chunk, at)
        for parameter in self.state.parameters("segmenter"):
            parameter.grad = torch.ones_like(parameter)
        return values


def run_through(config: TrainConfig, folder: Path, found: Run | None = None) -> Run:
    found, dataset = found or Run(), Recorded()
    found.state = new_state(config, found, CPU)
    assert trainer_of(config, dataset, folder, writer=found).fit(found, found.state)
    found.loaded = dataset.loaded
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_through(CONFIG, tmp_path_factory.mktemp("ran"))


def test_every_optimiser_gets_the_rate_of_the_epoch(ran: Run) -> None:
    expected = [4e-3] * 6 + [3e-3, 2e-3, 1e-3]
    assert {step.epoch for step in ran.steps} == set(range(9))
    for step in ran.steps:
        assert step.rates == pytest.approx({f"{name} 0": expected[step.epoch] for name in ("segmenter", "critic")})


def test_every_step_knows_its_place_in_the_schedule(ran: Run) -> None:
    expected = [3, 3, 6, 6, 12, 12, 12, 12, 12]
    batches = {epoch: 1 + max(step.batch for step in ran.steps if step.epoch == epoch) for epoch in range(9)}
    assert batches[4] > 1
    for step in ran.steps:
        assert step.at.epoch == step.epoch
        assert step.at.num_frames == expected[step.epoch]
        assert step.at.progress == pytest.approx(step.epoch + step.batch / batches[step.epoch])


def test_losses_of_longer_sequences_grow_to_their_weight() -> None:
    """Scale 1 sees 7 frames at once, which sequences have from epoch 4 on; it has grown after two epochs."""
    method = begin(CONFIG, of_domain("street")).method

    def weights(progress: float, num_frames: int) -> dict[str, float]:
        found = method._weights(StepContext(int(progress), progress, num_frames))
        return {term.key: weight for term, weight in found.items() if term.key in ("GAN", "T0", "T1")}

    assert weights(0.0, 6) == {"GAN": 1.0, "T0": 1.0}
    assert weights(4.5, 12) == pytest.approx({"GAN": 1.0, "T0": 1.0, "T1": 0.25})
    assert weights(8.0, 12) == {"GAN": 1.0, "T0": 1.0, "T1": 1.0}


def test_the_newest_scale_trains_alone_at_first() -> None:
    method = begin(CONFIG, of_domain("street")).method
    sequence = VideoBatch(torch.zeros(1, 3, 3, 8, 8), torch.rand(1, 3, 13, 8, 8), {}, {}, from_nothing=True)
    seen: list[int] = []

    def stop(network: object, inputs: object, named: dict[str, Any]) -> None:
        seen.append(named["train_from"])
        raise KeyboardInterrupt

    method.generator.register_forward_pre_hook(stop, with_kwargs=True)
    (chunk,) = method.chunks(sequence)
    for epoch in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            method.step(chunk, StepContext(epoch, float(epoch), 1))
    assert seen == [1, 0]


def test_every_step_moves_the_ema_by_the_decay_that_is_set(tmp_path: Path) -> None:
    """By less in the first steps, so that it soon forgets the initialisation."""
    run = Moving()
    run_through(CONFIG, tmp_path, run)
    ema, *later = [*run.weights, run.weight()]
    assert len(later) == len(run.steps) > 70, "the decay is reached after 62 steps"
    for steps, weight in enumerate(later, start=1):
        decay = min(0.875, (1 + steps) / (10 + steps))
        ema = decay * ema + (1 - decay) * weight
    assert float(run.state.ema["segmenter.weight"]) == pytest.approx(ema, rel=1e-5)
    assert abs(ema - run.weight()) > 1e-4


def test_a_network_without_gradients_is_not_updated_and_all_are_in_the_snapshot(ran: Run, tmp_path: Path) -> None:
    state = run_through(CONFIG.model_copy(update={"epochs": 1, "decay": 0.0}), tmp_path).state
    assert state.optimizers["segmenter"].state
    assert not state.optimizers["critic"].state
    assert set(state.ema) == {"segmenter.weight", "segmenter.bias", "encoder.weight", "encoder.bias"}
    (file,) = tmp_path.glob("state-*.safetensors")
    found = {name.split("/")[1] for name in load_file(file) if name.startswith("network/")}
    assert found == {"segmenter", "encoder", "critic"}


def test_a_window_is_generated_in_chunks_after_its_context(ran: Run) -> None:
    """And windows become longer as the schedule says, in steps of 1 to 3 frames."""
    expected = [3, 3, 6, 6, 12, 12, 12, 12, 12]
    found: dict[tuple[int, int], list[list[int]]] = {}
    for step in ran.steps:
        found.setdefault((step.epoch, step.batch), []).append(step.frames)
    for (epoch, _), parts in found.items():
        assert [frame for frames in parts for frame in frames] == list(range(2, 2 + expected[epoch]))
        assert [len(frames) for frames in parts] == [2, 1] if epoch < 2 else [2] * (expected[epoch] // 2)
    windows = [window for window, _, _ in ran.loaded]
    assert [window.num_frames - 2 for window in windows] == [expected[epoch] for epoch, _ in found]
    assert {window.stride for window in windows} == {1, 2, 3}


def test_whole_windows_begin_from_nothing_as_often_as_set(ran: Run) -> None:
    begun = {(step.epoch, step.batch, step.from_nothing) for step in ran.steps}
    assert len(begun) == len(ran.loaded)  # the chunks of a window agree
    assert 0.25 < np.mean([from_nothing for _, _, from_nothing in begun]) < 0.75


def test_tensorboard_is_told_every_loss_and_the_rate_of_every_step(ran: Run) -> None:
    expected = []
    for number, step in enumerate(ran.steps, 1):
        rate = step.rates["segmenter 0"]
        expected += [
            ("loss/G_GAN", float(number), number),
            ("loss/F_Flow", 0.5, number),
            ("learning_rate", rate, number),
        ]
    assert ran.scalars == expected


def test_windows_are_those_of_the_seed() -> None:
    def drawn(seed: int) -> tuple[BatchPlan, ...]:
        config = CONFIG.model_copy(update={"seed": seed})
        clips = Recorded().reader.clips
        return clip_sampler(config, clips, schedule=video_schedule(config), context=2).batches(3)

    assert drawn(7) == drawn(7) != drawn(8)
    assert {1, 2} <= {window.stride for batch in drawn(7) for window in batch.windows} <= {1, 2, 3}


def batches_of(
    *, seed: int = 7, flip: bool = False, size: int = 3, number: int = 150, **changes: object
) -> Iterator[list[tuple[Window, bool, Change | None]]]:
    """What was loaded for each of the batches."""
    config = CONFIG.model_copy(update={"seed": seed, **changes})
    windows = tuple(Window(0, i, 3) for i in range(size))
    for batch in range(number):
        dataset = Recorded(flip=flip)
        plan = BatchPlan(2, windows, tuple(range(batch * size, (batch + 1) * size)), from_nothing=batch == 1)
        assert load_batch(config, dataset, plan).from_nothing == (batch == 1)
        assert tuple(window for window, _, _ in dataset.loaded) == windows
        yield dataset.loaded


def test_half_of_the_sequences_are_mirrored_each_by_itself() -> None:
    flips = [[flip for _, flip, _ in loaded] for loaded in batches_of(flip=True)]
    assert 0.4 < np.mean(flips) < 0.6
    assert any(len(set(of_batch)) == 2 for of_batch in flips)
    assert not any(flip for loaded in batches_of() for _, flip, _ in loaded)


def test_every_sequence_of_a_batch_moves_by_itself_and_keeps_all_parts() -> None:
    for loaded in batches_of(augment=1.0, number=20):
        changes = [change for _, _, change in loaded if change is not None]
        assert len({change.move.tobytes() for change in changes}) == 3
        assert all(change.drop == 0 for change in changes)


def test_every_sequence_leaves_other_parts_out_and_stays_where_it_is() -> None:
    seeds = []
    for loaded in batches_of(drop_parts=0.3, number=20):
        changes = [change for _, _, change in loaded if change is not None]
        assert all(np.array_equal(change.move, IDENTITY) and change.drop == 0.3 for change in changes)
        seeds += [change.seed for change in changes]
    assert len(set(seeds)) == 3 * 20
    others = [change.seed for loaded in batches_of(drop_parts=0.3, seed=8) for *_, change in loaded if change]
    assert not set(seeds) & set(others)


def test_every_sequence_has_its_own_noise_of_labels() -> None:
    found = [change.noise for loaded in batches_of(label_jitter=1.0, number=20) for *_, change in loaded if change]
    assert all(noise is not None and (noise.jitter, noise.drop_thin) == (1.0, 0.0) for noise in found)
    assert len({noise.seed for noise in found if noise is not None}) == 3 * 20
    assert all(change.noise is None for loaded in batches_of(augment=1.0) for *_, change in loaded if change)


def test_nothing_is_changed_unless_asked_for() -> None:
    assert all(change is None for loaded in batches_of(number=5) for _, _, change in loaded)


def test_augmentation_of_a_batch_depends_on_the_seed_alone() -> None:
    def drawn(seed: int) -> list[tuple[bool, bytes]]:
        found = batches_of(seed=seed, flip=True, augment=1.0, number=20)
        return [(flip, c.move.tobytes()) for loaded in found for _, flip, c in loaded if c]

    assert drawn(7) == drawn(7)
    for one, other in zip(zip(*drawn(7), strict=True), zip(*drawn(8), strict=True), strict=True):
        assert one != other


def shift_turn_zoom(move: Move) -> tuple[float, float, float, float]:
    """Shift of the centre as shares of the size, degrees, and the factor."""
    centre = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    dx, dy = (move[:, :2] @ centre + move[:, 2] - centre) / (WIDTH, HEIGHT)
    return dx, dy, np.degrees(np.arctan2(move[0, 1], move[0, 0])), np.hypot(move[0, 0], move[0, 1])


def assert_spread(moves: list[Move], strength: float) -> None:
    """The moves fill all that their strength allows, to both sides, and nothing more."""
    dx, dy, turn, zoom = np.array([shift_turn_zoom(move) for move in moves]).T
    for values, bound in ((dx, 0.1), (dy, 0.1), (turn, 10.0), (np.log(zoom), np.log(1.1))):
        assert abs(values).max() <= bound * strength + 1e-6
        assert values.min() < -0.8 * bound * strength
        assert values.max() > 0.8 * bound * strength
        assert abs(values.mean()) < 0.2 * bound * strength
    assert abs(np.corrcoef([dx, dy, turn, zoom]) - np.eye(4)).max() < 0.2  # each by itself


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_moves_shift_turn_and_zoom_as_far_as_set(strength: float) -> None:
    rng = np.random.default_rng(0)
    assert_spread([draw_affine(rng, strength, (WIDTH, HEIGHT)) for _ in range(400)], strength)


def test_sequences_move_as_far_as_their_width_and_height_allow() -> None:
    assert_spread([change.move for loaded in batches_of(augment=1.0) for _, _, change in loaded if change], 1.0)
