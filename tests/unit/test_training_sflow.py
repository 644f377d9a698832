"""`--method s-flow` and `--method pix2pix`: phases, losses, exact resume, ablations, and what is refused."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.vgg import cfgs, make_layers

from tests.errors import raises
from tests.stored_weights import empty_store
from tests.unit.training_data import SMALL, Begun, begin, make_workspace, same, train_into
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import read_manifest
from v2vkit.checkpoint.model_file import load_model
from v2vkit.checkpoint.train_state import saved_weights
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.edges import EdgesCondition
from v2vkit.conditions.labels import LabelsCondition
from v2vkit.inference.rollout import Rollout
from v2vkit.models.dned import DNEDConfig
from v2vkit.models.sflow_generator import SFlowGenerator
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.make_edges import STAGE as EDGES
from v2vkit.stages.train import STAGE as TRAIN
from v2vkit.training import perceptual
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.loader import load_batch
from v2vkit.training.data.sampler import BatchPlan, Window
from v2vkit.training.methods import s_flow
from v2vkit.training.methods.base import StepContext
from v2vkit.training.methods.frames import Chunk, FrameMethod
from v2vkit.training.methods.registry import method_spec
from v2vkit.training.schedule import phases
from v2vkit.training.terms import losses_on

SIZES = {name: SMALL.value(name) for name in ("preset", "width", "num_down", "num_blocks", "discriminator_width")}
QUIET = {"device": "cpu", "precision": "fp32", "threads": 1, "sample_every": 0, "tensorboard": False}
CONFIG = TrainConfig(
    method="s-flow", domain="cg2real", num_labels=12, perceptual="off", epochs=3, decay=0.33, **SIZES, **QUIET
)
PIX2PIX = TrainConfig(
    method="pix2pix",
    domain="street",
    num_labels=12,
    perceptual="off",
    epochs=2,
    decay=0.5,
    preset="tiny",
    width=4,
    num_down=5,
    discriminator_width=8,
    **QUIET,
)


@dataclass(frozen=True)
class Data:
    """A workspace with labels and edges: one clip of four frames, 32x24."""

    options: RunOptions
    cg2real: VideoDataset
    street: VideoDataset


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    options = make_workspace(tmp_path_factory.mktemp("sflow") / "work", num_clips=1, clip_frames=4)
    run(EDGES, EDGES.config(), options)
    folder = Folder(options.work)
    manifests = {kind: read_manifest(folder / kind) for kind in ("frames", "labels", "edges")}
    reader = ClipReader(folder, {kind: manifest for kind, manifest in manifests.items() if manifest is not None})
    labels = LabelsCondition(num_labels=12)
    both, alone = Conditioning.of(labels, EdgesCondition()), Conditioning.of(labels)
    return Data(options, VideoDataset(reader, both, strides=()), VideoDataset(reader, alone, strides=()))


def named_phases(**changes: object) -> list[tuple[int, int, int, str]]:
    schedule = s_flow.phase_schedule(CONFIG.model_copy(update={"epochs": 9} | changes))
    return [(phase.first, phase.last, phase.num_frames, phase.name) for phase in phases(schedule)]


LAPLACIAN, JOINT = "Laplacian edges", "with the edge network"
LAST = "L_flow on pairs of frames and the edge network"


def test_the_phases_are_those_of_the_paper_and_each_can_be_left_out() -> None:
    assert named_phases() == [(0, 2, 1, LAPLACIAN), (3, 5, 1, JOINT), (6, 8, 2, LAST)]
    assert named_phases(laplacian_epochs=0) == [(0, 5, 1, JOINT), (6, 8, 2, LAST)]
    assert named_phases(flow_epochs=0) == [(0, 2, 1, LAPLACIAN), (3, 8, 1, JOINT)]
    assert named_phases(laplacian_epochs=0, flow_epochs=9) == [(0, 8, 2, LAST)]
    alone = [(0, 5, 1, LAPLACIAN), (6, 8, 2, "L_flow on pairs of frames")]
    assert named_phases(edge_network="none") == alone
    assert [phase[3] for phase in named_phases(domain="street")] == ["without edges", alone[1][3]]
    assert named_phases(laplacian_epochs=4, flow_epochs=5) == [(0, 3, 1, LAPLACIAN), (4, 8, 2, LAST)]
    assert named_phases(laplacian_epochs=6, flow_epochs=6) == [
        (0, 2, 1, LAPLACIAN),
        (3, 5, 2, "L_flow on pairs of frames"),
        (6, 8, 2, LAST),
    ]


def test_losses_begin_with_their_phase() -> None:
    terms = {term.key: term for term in losses_on(method_spec("s-flow").losses(CONFIG), CONFIG)}
    assert {key: (term.begins, term.num_frames) for key, term in terms.items()} == {
        "GAN": (0, 1),
        "Feat": (0, 1),
        "E_DNED": (1, 1),
        "G_Flow": (0, 2),
    }
    assert (CONFIG.adversaries.gan, CONFIG.losses.lambda_flow, CONFIG.adversaries.discriminator_scales) == ("bce", 1, 1)


def weights_of(begun: Begun) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in saved_weights(begun.state.networks).items()}


def test_the_edge_network_learns_from_its_phase_on_and_flow_in_the_last(data: Data, tmp_path: Path) -> None:
    start = weights_of(begin(CONFIG, data.cg2real.source))
    steps = 4  # frames of the clip: an epoch of single frames
    first = train_into(CONFIG, data.cg2real, tmp_path / "a", stop_at=steps)
    assert isinstance(first.method.generator, SFlowGenerator)
    now = weights_of(first)
    changed = {name for name in start if not torch.equal(start[name], now[name])}
    assert changed == {name for name in start if name.startswith("network.") or name == "joined"}
    second = train_into(CONFIG, data.cg2real, tmp_path / "b", stop_at=steps + 1)
    assert not torch.equal(start["dned.fuse.weight"], weights_of(second)["dned.fuse.weight"])

    stopped, info = load_model(Folder(str(tmp_path / "a")))
    assert isinstance(stopped, SFlowGenerator)
    s = np.zeros((14, 24, 32), np.float32)
    s[13, 5:9] = 1
    plain = stopped.network(torch.from_numpy(s)[None])
    frame = Rollout(stopped).step(s).x_fake
    torch.testing.assert_close(frame, plain)
    assert info.method == "s-flow"


@pytest.fixture(scope="module")
def whole(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    """Trained without a stop."""
    return train_into(CONFIG, data.cg2real, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("stop_at", [2, 6, 9], ids=["laplacian", "joint", "flow"])
def test_resume_is_exact_in_every_phase(data: Data, whole: Begun, tmp_path: Path, stop_at: int) -> None:
    train_into(CONFIG, data.cg2real, tmp_path / "parts", stop_at=stop_at)
    resumed = train_into(CONFIG, data.cg2real, tmp_path / "parts")
    assert resumed.state.steps == whole.state.steps == 4 + 4 + 2
    for name, module in whole.state.modules.items():
        assert same(module.state_dict(), resumed.state.modules[name].state_dict())
    assert same(whole.state.ema, resumed.state.ema)


def test_resume_of_pix2pix_is_exact_with_its_dropout(data: Data, tmp_path: Path) -> None:
    whole = train_into(PIX2PIX, data.street, tmp_path / "whole")
    assert any(isinstance(module, torch.nn.Dropout) for module in whole.method.generator.modules())
    train_into(PIX2PIX, data.street, tmp_path / "parts", stop_at=3)
    torch.manual_seed(5)
    resumed = train_into(PIX2PIX, data.street, tmp_path / "parts")
    assert same(whole.state.ema, resumed.state.ema)


def test_with_batch_norm_a_frame_of_a_pair_does_not_depend_on_the_other(data: Data) -> None:
    config = CONFIG.model_copy(update={"norm": "batch", "laplacian_epochs": 0})
    begun = begin(config, data.cg2real.source)
    batch = load_batch(config, data.cg2real, BatchPlan(0, (Window(0, 0, 2),), (0,)))
    method, at = begun.method, StepContext(2, 2.0, 2, lambda loss: loss)
    assert isinstance(method, FrameMethod)
    with torch.no_grad():
        (chunk,) = method.chunks(batch)
        pair = method.generate(chunk, at)
        alone = [method.generate(Chunk(chunk.sequence, chunk.state, [t]), at)[0] for t in chunk.frames]
    for of_pair, of_one in zip(pair, alone, strict=True):
        assert torch.equal(of_pair.x_fake, of_one.x_fake)


def test_discriminators_do_not_see_the_edges(data: Data) -> None:
    for config, source in (
        (CONFIG, data.cg2real.source),
        (CONFIG.model_copy(update={"domain": "street"}), data.street.source),
    ):
        begun = begin(config, source)
        assert begun.method.discriminators["image"].config.in_channels == 13 + 3
        assert begun.method.generator.config.source_channels == source.num_channels
    scales = CONFIG.model_copy(update={"discriminator_scales": 3})
    assert len(begin(scales, data.cg2real.source).method.discriminators["image"].scales) == 3


@pytest.mark.parametrize("gan", ["bce", "lsgan", "hinge"])
@pytest.mark.parametrize("ablation", [{}, {"edge_network": "none"}, {"domain": "street"}, {"balance_edges": True}])
def test_every_ablation_trains(data: Data, tmp_path: Path, gan: str, ablation: dict[str, object]) -> None:
    config = CONFIG.model_copy(update={"gan": gan, "laplacian_epochs": 0, "flow_epochs": 3} | ablation)
    dataset = data.street if config.domain == "street" else data.cg2real
    begun = train_into(config, dataset, tmp_path, stop_at=2)
    assert begun.state.steps == 2


def test_the_weights_of_vgg16_are_where_dned_begins(
    data: Data, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    vgg16 = {f"features.{key}": value for key, value in make_layers(cfgs["D"]).state_dict().items()}
    torch.save(vgg16, tmp_path / "vgg16.pth")
    empty_store(monkeypatch, tmp_path / "store")("vgg16", tmp_path / "vgg16.pth")
    begun = begin(CONFIG.model_copy(update={"edge_network": "vgg16"}), data.cg2real.source)
    assert isinstance(begun.method.generator, SFlowGenerator)
    dned = begun.method.generator.dned
    assert dned is not None
    trunk = dned.stages.state_dict().values()
    assert all(torch.equal(found, given) for found, given in zip(trunk, vgg16.values(), strict=True))
    assert begun.method.generator.config.dned == DNEDConfig(preprocessing="imagenet")


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"laplacian_epochs": 3, "flow_epochs": 0}, "setting-invalid", "--edge-network none"),
        ({"flow_epochs": 4}, "setting-invalid", "--flow-epochs"),
        ({"method": "pix2pix"}, "setting-unused", "--num-blocks"),
        ({"domain": "street", "laplacian_epochs": 1}, "setting-unused", "--laplacian-epochs"),
        ({"edge_network": "none", "laplacian_epochs": 1}, "setting-unused", "--laplacian-epochs"),
        ({"edge_network": "none", "balance_edges": True}, "setting-unused", "--balance-edges"),
        ({"edge_network": "none", "lambda_dned": 2.0}, "setting-unused", "--lambda-dned"),
        ({"method": "pix2pixhd", "flow_epochs": 1}, "setting-unused", "--flow-epochs"),
        ({"lambda_style": 1.0}, "setting-unused", "--lambda-style"),
    ],
)
def test_settings_that_do_not_fit_are_refused(data: Data, changes: dict[str, object], code: str, told: str) -> None:
    values = {"method": "s-flow", "domain": "cg2real", "epochs": 3, **SIZES, **QUIET, **changes}
    with raises(code, told):
        run(TRAIN, TrainConfig.model_validate(values), data.options)


def test_the_plan_names_the_phases(data: Data) -> None:
    options = RunOptions(work=data.options.work, workers=1, dry_run=True)
    said = [line for line in run(TRAIN, CONFIG, options).message.splitlines() if line.startswith("  phase")]
    for name, line in zip((LAPLACIAN, JOINT, LAST), said, strict=True):
        assert f"({name})" in line


def test_the_perceptual_loss_takes_the_first_network_that_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = empty_store(monkeypatch, tmp_path / "store")
    (tmp_path / "some.pth").write_bytes(b"weights")
    config = CONFIG.model_copy(update={"perceptual": "auto"})

    def chosen(method: str) -> str:
        other = config.model_copy(update={"method": method})
        return str(perceptual.resolve_perceptual(other, Folder(str(tmp_path))).losses.perceptual)

    assert chosen("s-flow") == "off"
    put("lite0", tmp_path / "some.pth")
    assert (chosen("s-flow"), chosen("pix2pixhd"), chosen("pix2pix")) == ("lite0", "off", "off")
    put("vgg19", tmp_path / "some.pth")
    assert (chosen("s-flow"), chosen("pix2pixhd"), chosen("pix2pix")) == ("vgg19", "vgg19", "off")
