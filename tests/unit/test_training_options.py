"""Switches of training: they change what they say and nothing else."""

from pathlib import Path

import pytest
import torch
from torch._functorch import config as functorch

from tests.errors import raises
from tests.unit.training_data import (
    SMALL,
    Begun,
    begin,
    make_workspace,
    open_dataset,
    same,
    train_chunk,
    train_into,
    windows_of,
)
from v2vkit.config import fingerprinted
from v2vkit.models.discriminator import image_input
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.train import STAGE
from v2vkit.training.adversarial import discriminate
from v2vkit.training.data.batch import VideoBatch, stack
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.schedule import Schedule, ramp_factor
from v2vkit.training.window import begin_window

CPU = torch.device("cpu")
ONE = SMALL.model_copy(
    update={"epochs": 1, "decay": 0.0, "max_frames": 3, "temporal_scales": 1, "threads": 1, "chunk": 3}
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_workspace(tmp_path_factory.mktemp("options") / "work").work


@pytest.fixture(scope="module")
def dataset(work: str) -> VideoDataset:
    return open_dataset(work, strides=(1, 2))


def one_step(
    dataset: VideoDataset, scale: float | None = None, *, exact: bool = False, **changes: object
) -> tuple[dict[str, float], Begun]:
    """The losses of one step of freshly initialised networks, and the trainer with its gradients.

    `scale` is what float16's losses are multiplied with in this step.
    """
    config = ONE.model_copy(update=changes)
    trainer = begin(config, dataset.source, CPU)
    if scale is not None:
        trainer.state.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    sequence = textured(dataset)
    if exact:
        for module in trainer.state.modules.values():
            module.double()
        sequence = in_float64(sequence)
    state = begin_window(sequence, trainer.method.generator, from_nothing=False)
    values, _ = train_chunk(trainer, sequence, state, [2, 3, 4])
    return values, trainer


def textured(dataset: VideoDataset) -> VideoBatch:
    windows = windows_of(dataset, 3)
    loaded = stack([dataset.load(window) for window in windows])
    generator = torch.Generator().manual_seed(0)
    s = torch.rand(loaded.s.shape, generator=generator)
    return VideoBatch(loaded.x, s, loaded.flow, loaded.confidence)


def in_float64(sequence: VideoBatch) -> VideoBatch:
    flow, confidence = ({k: v.double() for k, v in of.items()} for of in (sequence.flow, sequence.confidence))
    return VideoBatch(sequence.x.double(), sequence.s.double(), flow, confidence)


def gradients(trainer: Begun) -> list[torch.Tensor]:
    parameters = [p for module in trainer.state.modules.values() for p in module.parameters()]
    return [p.grad for p in parameters if p.grad is not None]


@pytest.mark.parametrize("switch", [{"gradient_checkpointing": True}, {"channels_last": True}])
def test_memory_switches_change_no_loss_and_no_gradient(dataset: VideoDataset, switch: dict[str, bool]) -> None:
    """In float64, because fresh networks' steep gradients make float32's other orders of summation large."""
    expected, plain = one_step(dataset, exact=True)
    found, switched = one_step(dataset, exact=True, **switch)
    assert found == pytest.approx(expected, rel=1e-12)
    steepest = max(float(a.norm()) for a in gradients(plain))
    for a, b in zip(gradients(plain), gradients(switched), strict=True):
        assert (a - b).norm() <= 1e-9 * steepest


@pytest.mark.slow
def test_compiled_networks_compute_the_same_losses(dataset: VideoDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and differentiated as torch.compile does; only the code generator, which takes minutes, is left out."""
    compiled: list[torch.nn.Module] = []
    compile_module = torch.nn.Module.compile

    def compile_without_code(module: torch.nn.Module) -> None:
        compiled.append(module)
        compile_module(module, backend="aot_eager")

    monkeypatch.setattr(torch.nn.Module, "compile", compile_without_code)
    monkeypatch.setattr(functorch, "donated_buffer", True)
    plain, _ = one_step(dataset)
    assert compiled == []
    traced, trainer = one_step(dataset, compile=True)
    assert compiled == list(trainer.state.modules.values())
    assert traced == pytest.approx(plain, rel=1e-4)
    # Only the code generator gives buffers away, and then refuses the second gradient of D's graph.
    assert not functorch.donated_buffer


def test_float16_gradients_come_back_to_their_size(dataset: VideoDataset) -> None:
    _, full = one_step(dataset)
    _, half = one_step(dataset, scale=256.0, precision="fp16")
    a, b = (torch.cat([gradient.flatten() for gradient in gradients(trainer)]) for trainer in (full, half))
    assert 0.5 < float(b.norm() / a.norm()) < 2  # and not 256
    assert float(torch.cosine_similarity(a, b, dim=0)) > 0.8


def test_a_float16_step_that_overflows_is_left_out(dataset: VideoDataset) -> None:
    _, trainer = one_step(dataset, scale=2.0**60, precision="fp16")
    begun = begin(ONE, dataset.source, CPU)
    for name, network in begun.state.modules.items():
        assert same(network.state_dict(), trainer.state.modules[name].state_dict()), name
    assert trainer.state.scaler.get_scale() == 2.0**59


@pytest.mark.slow
def test_float16_resumes_with_its_scale(dataset: VideoDataset, tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"precision": "fp16", "max_frames": 3, "temporal_scales": 1})
    whole = train_into(config, dataset, tmp_path / "whole")
    train_into(config, dataset, tmp_path / "halves", stop_at=3)
    resumed = train_into(config, dataset, tmp_path / "halves")
    assert whole.state.scaler.get_scale() == resumed.state.scaler.get_scale()
    assert whole.state.scaler._get_growth_tracker() == resumed.state.scaler._get_growth_tracker() > 0
    assert same(whole.method.generator.state_dict(), resumed.method.generator.state_dict())


def test_gradient_clipping_bounds_every_network(dataset: VideoDataset) -> None:
    def norms(trainer: Begun) -> dict[str, float]:
        return {
            name: float(
                torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in m.parameters() if p.grad is not None]))
            )
            for name, m in trainer.state.modules.items()
        }

    free, clipped = norms(one_step(dataset)[1]), norms(one_step(dataset, gradient_clip=0.01)[1])
    assert min(free.values()) > 0.02
    assert all(norm == pytest.approx(0.01, rel=1e-3) for norm in clipped.values())


def test_hinge_replaces_only_the_adversarial_terms(dataset: VideoDataset) -> None:
    lsgan, _ = one_step(dataset)
    hinge, _ = one_step(dataset, gan="hinge")
    changed = {name for name in lsgan if lsgan[name] != pytest.approx(hinge[name], rel=1e-5)}
    assert changed == {"G_GAN", "G_T0", "D_GAN_real", "D_GAN_fake", "D_T0_real", "D_T0_fake"}


def test_video_discriminators_of_two_frames(dataset: VideoDataset) -> None:
    values, trainer = one_step(dataset, video_frames=2, temporal_scales=2)
    assert trainer.method.discriminators["video0"].config.in_channels == 2 * 3 + 2
    assert "G_T1" in values


def test_sparse_windows_are_fewer(dataset: VideoDataset) -> None:
    values, _ = one_step(dataset, sparse=True)
    assert "G_T0" in values
    config = ONE.model_copy(update={"sparse": True, "chunk": 2})
    trainer = begin(config, dataset.source, CPU)
    sequence = textured(dataset)
    state = begin_window(sequence, trainer.method.generator, from_nothing=False)
    first, _ = train_chunk(trainer, sequence, state, [2, 3])
    assert "G_T0" not in first


def test_ablations_leave_their_terms_out(dataset: VideoDataset) -> None:
    values, trainer = one_step(dataset)
    of_flow, of_time = {"F_Flow", "F_Warp", "G_Warp", "W"}, {name for name in values if "T0" in name}
    assert of_flow <= values.keys()
    assert of_time
    assert of_flow & one_step(dataset, flow=False)[0].keys() == {"G_Warp"}
    assert not of_time & one_step(dataset, temporal_scales=0)[0].keys()
    for made, foreground in ((trainer, True), (one_step(dataset, foreground=())[1], False)):
        names = [name for name, _ in made.method.generator.named_parameters() if "foreground" in name]
        assert bool(names) == foreground


def test_losses_that_begin_later_grow_to_their_weight() -> None:
    schedule = Schedule(8, 0.0, 3, 2, 12)  # 3 3 6 6 12 12 12 12 frames

    def at(progress: float, ramp: float = 2.0) -> list[float]:
        return [ramp_factor(schedule, num_frames, progress=progress, ramp=ramp) for num_frames in (3, 7)]

    assert at(0) == [1.0, 0.0]  # the first is there from the beginning; the second has no window yet
    assert at(4.0) == [1.0, 0.0]
    assert at(5.0) == [1.0, 0.5]
    assert at(6.5) == [1.0, 1.0]
    assert at(0, ramp=0) == [1.0, 1.0]


def test_batches_must_be_shareable(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with raises("batch-size-mismatch", "--batch-size 1", "2"):
        run(STAGE, ONE, RunOptions(work=work))


def test_no_video_discriminator_is_trained_whose_losses_weigh_nothing(dataset: VideoDataset) -> None:
    values, trainer = one_step(dataset, lambda_temporal=0.0)
    assert set(trainer.method.discriminators) == {"image"}
    assert not any("T0" in name for name in values)


def test_fakes_have_passes_of_their_own_where_norms_are_over_the_batch(dataset: VideoDataset) -> None:
    """The published networks see the composed and the raw frame in passes of their own."""
    trainer = begin(ONE.model_copy(update={"norm": "batch"}), dataset.source, CPU)
    image, sequence = trainer.method.discriminators["image"], textured(dataset)
    real, *fakes = (image_input(sequence.s[:, 2], (sequence.x[:, 2] * scale).clamp(-1, 1)) for scale in (1, 0.1, 3))
    with torch.no_grad():
        _, apart = discriminate(image, real, fakes, "fp32", together=False)
        _, together = discriminate(image, real, fakes, "fp32")
        assert torch.equal(apart[1][0][-1], image(fakes[1])[0][-1])
    assert not torch.allclose(apart[1][0][-1], together[1][0][-1], atol=1e-4)
    judged: list[int] = []
    image.register_forward_hook(lambda _, inputs, __: judged.append(inputs[0].shape[0]))
    state = begin_window(sequence, trainer.method.generator, from_nothing=False)
    train_chunk(trainer, sequence, state, [2, 3])
    assert judged == [2, 2, 2]


def test_what_has_a_weight_of_its_own_does_not_need_the_flow_losses(dataset: VideoDataset) -> None:
    alone, _ = one_step(dataset, lambda_flow=0.0, lambda_mask=5.0)
    both, _ = one_step(dataset, lambda_flow=10.0, lambda_mask=5.0)
    assert alone["W"] == pytest.approx(both["W"])
    assert not {"F_Flow", "F_Warp"} & set(alone)
    assert alone["G_Warp"] == pytest.approx(both["G_Warp"])
    assert "G_Warp" not in one_step(dataset, lambda_warp=0.0)[0]
    assert "W" not in one_step(dataset, lambda_mask=0.0)[0]


def test_batch_norm_trains_what_rendering_runs(work: str) -> None:
    with raises("setting-conflict", "--norm batch", "--batch-size 1"):
        run(STAGE, ONE.model_copy(update={"norm": "batch", "batch_size": 2}), RunOptions(work=work))


def test_a_stage_too_small_for_the_perceptual_network_is_refused(work: str, tmp_path: Path) -> None:
    (tmp_path / "vgg.pth").write_bytes(b"never opened")
    changes = {"perceptual_weights": str(tmp_path / "vgg.pth"), "num_scales": 2}  # 32x24 halved
    with raises("frame-too-small", "perceptual", "16", "spatial-1", "12"):
        run(STAGE, ONE.model_copy(update=changes), RunOptions(work=work))


def test_models_trained_before_a_setting_existed_stay_valid() -> None:
    later = {"feature_dims", "lambda_warp"}
    assert not later & set(fingerprinted(ONE))
    assert later <= set(fingerprinted(ONE.model_copy(update={"feature_dims": 3, "lambda_warp": 3.0})))
