"""The face discriminator: the regions that it sees, and its part in training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conditions import of_domain
from tests.errors import raises
from tests.people import person
from tests.unit.training_data import SMALL, begin, make_workspace, same, train_chunk
from v2vkit.conditions.conditioning import Conditioning, to_unit
from v2vkit.conditions.densepose import DensePoseCondition, DensePoseMap
from v2vkit.conditions.picture import PictureCondition
from v2vkit.conditions.pose import PoseCondition
from v2vkit.conditions.skeleton import draw_people, skeleton_channels
from v2vkit.models.generator import Output
from v2vkit.pipeline.runner import run
from v2vkit.stages.train import STAGE
from v2vkit.training.adversarial import adversarial_losses
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.face_region import cut_faces, find_faces, region_side
from v2vkit.training.generated import GeneratedChunk
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.window import WindowState, begin_window

CPU = torch.device("cpu")
POSE = SMALL.model_copy(
    update={"domain": "pose", "num_labels": None, "foreground": (), "temporal_scales": 1, "lambda_face": 2.0}
)


def drawn(x: float, y: float, height: float = 88.0, size: tuple[int, int] = (64, 96)) -> torch.Tensor:
    """The source map [3, H, W] of one person."""
    return torch.from_numpy(to_unit(skeleton_channels(draw_people((person(x, y, height),), size))))


def test_the_window_lies_around_the_face() -> None:
    (corner,) = find_faces(drawn(32, 4)[None])
    assert corner is not None
    side = region_side(96, 64)
    assert side == 24
    nose = (4 + 0.08 * 88, 32.0)
    assert all(low <= place <= low + side for low, place in zip(corner, nose, strict=True))
    (moved,) = find_faces(drawn(40, 10)[None])
    assert moved is not None
    assert np.abs(np.subtract(moved, corner) - (6, 8)).max() <= 1


def test_windows_stay_inside_the_frame_and_are_cut_where_there_are_faces() -> None:
    maps = torch.stack([drawn(1, 2), torch.zeros(3, 96, 64), drawn(63, 60)])
    corners = find_faces(maps)
    assert corners[1] is None
    frames = torch.arange(3 * 96 * 64.0).view(3, 1, 96, 64)
    cut = cut_faces(frames, corners)
    assert cut.shape == (2, 1, 24, 24)
    for number, frame in ((0, 0), (1, 2)):
        corner = corners[frame]
        assert corner is not None
        assert 0 <= corner[0] <= 96 - 24
        assert 0 <= corner[1] <= 64 - 24
        assert torch.equal(cut[number, 0, 0, 0], frames[frame, 0, corner[0], corner[1]])


def densepose(*boxes: tuple[int, int, int, int, int]) -> torch.Tensor:
    """The source map [3, 96, 64] with boxes of a part, top, bottom, left and right; the surface is no face's."""
    vui = np.zeros((96, 64, 3), np.uint8)
    for part, top, bottom, left, right in boxes:
        vui[top:bottom, left:right] = 200, 250, part
    return torch.from_numpy(to_unit(DensePoseCondition().channels(DensePoseMap(vui))))


def test_the_window_lies_around_the_face_of_densepose() -> None:
    body = (22, 30, 90, 0, 64)
    head = ((23, 10, 20, 40, 46), (24, 10, 20, 46, 50))
    maps = torch.stack([densepose(body, *head), densepose(body)])
    assert find_faces(maps, densepose=True) == [(14 - 12, 44 - 12), None]


@pytest.mark.parametrize(("height", "width", "side"), [(512, 256, 128), (96, 64, 24), (20, 30, 8), (4, 4, 4)])
def test_the_side_is_a_quarter_of_the_height(height: int, width: int, side: int) -> None:
    assert region_side(height, width) == side


def _sequence(*, faces: bool) -> VideoBatch:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 5, 3, 96, 64, generator=generator) * 2 - 1
    blue = torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1) * torch.rand(1, 5, 3, 96, 64, generator=generator)
    s = drawn(32, 4).expand(1, 5, -1, -1, -1) if faces else blue
    flow = {1: torch.zeros(1, 5, 2, 96, 64)}
    return VideoBatch(x, s, flow, {1: torch.ones(1, 5, 1, 96, 64)})


@pytest.mark.parametrize("faces", [True, False])
def test_it_trains_where_faces_are_drawn(faces: bool) -> None:
    trainer, begun = (begin(POSE, of_domain("pose"), CPU) for _ in range(2))
    face = trainer.state.modules["face"]
    sequence = _sequence(faces=faces)
    state = begin_window(sequence, trainer.method.generator, from_nothing=False)
    values, _ = train_chunk(trainer, sequence, state, [2, 3])
    names = {name for name in values if "Face" in name}
    assert names == ({"G_Face", "G_Face_Feat", "D_Face_real", "D_Face_fake"} if faces else set())
    assert same(face.state_dict(), begun.state.modules["face"].state_dict()) is not faces


class _OfTwo(Parallel):
    """One of two processes, of which the mean over both is known."""

    def __init__(self, mean: float):
        super().__init__()
        self._mean = mean

    def mean(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.full_like(tensor, self._mean)


def test_faces_are_found_in_the_skeleton_beside_another_condition() -> None:
    config = POSE.model_copy(update={"domain": None, "condition": ("picture", "pose")})
    both = Conditioning.of(PictureCondition(), PoseCondition())
    trainer = begin(config, both, CPU)
    sequence = _sequence(faces=True)
    noise = torch.rand(sequence.s.shape, generator=torch.Generator().manual_seed(1))
    sequence = replace(sequence, s=torch.cat([noise, sequence.s], 2))
    state = begin_window(sequence, trainer.method.generator, from_nothing=False)
    train_chunk(trainer, sequence, state, [2, 3])
    assert all(parameter.grad is not None for parameter in trainer.state.modules["face"].parameters())


@pytest.mark.parametrize("beside", [(), (PoseCondition(),)])
def test_faces_are_found_in_densepose_where_there_is_densepose(beside: tuple[PoseCondition, ...]) -> None:
    """The skeleton's face is elsewhere, or there is no skeleton."""
    source = Conditioning.of(*beside, DensePoseCondition())
    config = POSE.model_copy(update={"domain": None, "condition": tuple(source.names.split("+"))})
    trainer = begin(config, source, CPU)
    face = densepose((23, 60, 70, 40, 50))
    s = torch.cat([*(drawn(10, 4) for _ in beside), face])[None, None]
    seen: list[torch.Tensor] = []
    trainer.state.modules["face"].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    x = torch.zeros(1, 3, 3, 96, 64)
    sequence = VideoBatch(x, s.expand(1, 3, -1, -1, -1), {1: x[:, :, :2]}, {1: x[:, :, :1]})
    train_chunk(trainer, sequence, begin_window(sequence, trainer.method.generator, from_nothing=False), [2])
    (window,) = find_faces(face[None], densepose=True)
    assert torch.equal(seen[0][:1, :-3], cut_faces(s[0], [window]))


def test_every_face_weighs_the_same_whichever_process_it_is_in() -> None:
    """Three frames with a face and one without: one process judges them, or two with (2, 0) and (1, 0) faces each."""
    generator = torch.Generator().manual_seed(0)
    method = begin(POSE, of_domain("pose"), CPU).method
    (term,) = [term for term in method.losses() if term.network == "face"]
    x, x_fake = (torch.rand(4, 3, 96, 64, generator=generator) * 2 - 1 for _ in range(2))
    nothing = torch.zeros(3, 96, 64)
    s = torch.stack([drawn(32, 4), drawn(40, 10), drawn(20, 6), nothing])

    def losses(frames: list[int], parallel: Parallel) -> dict[str, torch.Tensor]:
        """Of frames that are a batch of sequences of one frame."""
        fake = x_fake[frames]
        output = Output(fake, h=fake, flow=None, mask=None, warped=None)
        sequence = VideoBatch(x[frames][:, None], s[frames][:, None], {}, {})
        chunk = GeneratedChunk(sequence, WindowState(0, None, False), [0], [output], parallel=parallel)
        found = adversarial_losses(POSE, {term: POSE.losses.lambda_face}, method.discriminators, chunk)
        assert found.generator.total is not None
        return {**found.terms, **found.generator.terms, "G": found.generator.total} | found.discriminators

    whole = losses([0, 1, 2, 3], ALONE)
    parts = [losses([0, 1], _OfTwo(1.5)), losses([2, 3], _OfTwo(1.5))]
    assert whole.keys() == parts[0].keys()
    for name, value in whole.items():
        torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, value)
    parts = [losses([0, 1, 2], _OfTwo(1.5)), losses([3], _OfTwo(1.5))]
    for name, value in whole.items():
        torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, value)
        assert float(parts[1][name].detach()) == 0


def test_its_gradient_reaches_the_generator_with_its_weight() -> None:
    moved = {}
    for weight in (0.0, 1.0, 2.0):
        config = POSE.model_copy(update={"lambda_face": weight})
        trainer = begin(config, of_domain("pose"), CPU)
        sequence = _sequence(faces=True)
        state = begin_window(sequence, trainer.method.generator, from_nothing=False)
        train_chunk(trainer, sequence, state, [2, 3])
        parameters = trainer.method.generator.parameters()
        moved[weight] = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    one, two = moved[1.0] - moved[0.0], moved[2.0] - moved[0.0]
    assert one.norm() > 0
    torch.testing.assert_close(two, 2 * one, rtol=1e-2, atol=float(1e-3 * two.abs().max()))


def test_it_is_for_poses(tmp_path: Path) -> None:
    options = make_workspace(tmp_path)
    for changes in ({"lambda_face": 2.0}, {"drop_parts": 0.1}):
        with raises("setting-unused"):
            run(STAGE, SMALL.model_copy(update=changes), options)
