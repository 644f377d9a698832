"""Numbers that the paper and the settings fix: optimisers, sizes of the networks, what is kept in memory."""

import pytest
import torch

from tests.conditions import of_domain
from tests.errors import raises
from tests.unit.training_data import SMALL, begin, files_read, make_workspace, open_dataset
from v2vkit.config import Precision, as_plain, make_config
from v2vkit.engine.precision import autocast, resolve_precision
from v2vkit.models.generator import GeneratorConfig
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.data.sampler import Window, sequence_rng
from v2vkit.training.methods.vid2vid import VID2VID

CPU = torch.device("cpu")
POSE = of_domain("pose")
PLAIN = SMALL.model_copy(update={"domain": "pose", "foreground": (), "lambda_face": 1.0})


def test_every_network_is_trained_by_the_published_adam() -> None:
    config = PLAIN.model_copy(update={"learning_rate": 0.003})
    optimizers = begin(config, POSE, CPU).state.optimizers
    assert set(optimizers) == {"generator", "image", "video0", "video1", "face"}
    for optimizer in optimizers.values():
        assert isinstance(optimizer, torch.optim.Adam)
        for group in optimizer.param_groups:
            assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (0.003, (0.5, 0.999), 1e-8, 0)


@pytest.mark.parametrize(
    ("stage", "given", "scales", "of_face"),
    [
        ("spatial-1", None, 2, 1),
        ("spatial-1", 1, 1, 1),
        ("spatial-1", 3, 3, 1),
        ("spatial-1", 4, 4, 2),
        ("spatial-2", None, 3, 1),
        ("spatial-2", 3, 4, 2),
    ],
)
def test_discriminators_see_as_many_sizes_as_set(stage: str, given: int | None, scales: int, of_face: int) -> None:
    """One more in a finer stage; that of faces, which are small, sees two fewer, and one at least."""
    config = PLAIN.model_copy(update={"stage": stage, "num_scales": 2, "discriminator_scales": given})
    discriminators = begin(config, POSE, CPU).method.discriminators
    assert list(discriminators) == ["image", "video0", "video1", "face"]
    found = [len(network.scales) for network in discriminators.values()]
    assert found == [scales, scales, scales, of_face]


@pytest.mark.parametrize("given", [{"seed": 2**63}, {"threads": 2**63}])
def test_numbers_that_torch_cannot_take_are_out_of_range(given: dict[str, int]) -> None:
    with raises("setting-invalid", *given):
        make_config(TrainConfig, given, "v2v train")


def test_the_largest_seed_seeds_every_draw() -> None:
    """That of the weights (torch) and of sampling (numpy)."""
    seed = 2**63 - 1
    begin(make_config(TrainConfig, {**as_plain(PLAIN), "seed": seed}, "v2v train"), POSE, CPU)
    assert sequence_rng(seed, 0, 0).random() < 1


def test_flow_heads_speak_in_twenties_of_pixels() -> None:
    """As the published ones do."""
    assert GeneratorConfig(source_channels=3).flow_multiplier == 20
    assert VID2VID.describe(PLAIN, POSE)["network"].flow_multiplier == 20


@pytest.mark.parametrize(("amx", "avx512_bf16"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_cpu_computes_in_bfloat16_where_it_is_fast_at_it(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512_bf16: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16, raising=False)
    assert resolve_precision("auto", CPU) == ("bf16" if amx or avx512_bf16 else "fp32")


@pytest.mark.parametrize(
    ("named", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_convolutions_compute_in_the_precision_that_was_named(named: Precision, dtype: torch.dtype) -> None:
    x = torch.ones(1, 1, 4, 4)
    with autocast(named, CPU):
        assert torch.nn.functional.conv2d(x, x).dtype == dtype


def test_a_torch_that_cannot_tell_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert resolve_precision("auto", CPU) == "fp32"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_workspace(tmp_path_factory.mktemp("settings") / "work").work


def equal(a: VideoBatch, b: VideoBatch) -> bool:
    def tensors(of: VideoBatch) -> list[torch.Tensor]:
        return [of.x, of.s, *of.flow.values(), *of.confidence.values()]

    return all(torch.equal(one, other) for one, other in zip(tensors(a), tensors(b), strict=True))


@pytest.mark.parametrize("downsamplings", [0, 1])
def test_memory_stays_within_its_limit_and_changes_nothing(work: str, downsamplings: int) -> None:
    windows = [Window(clip, start, 5) for start in (0, 6, 3, 0, 1, 7) for clip in (0, 1)]
    expected = [open_dataset(work, downsamplings=downsamplings).load(window, flip=True) for window in windows]
    limit = 120_000
    roomy, tight = (open_dataset(work, downsamplings=downsamplings) for _ in range(2))
    for window in windows:
        roomy.load(window, flip=True)
    assert roomy.cached_bytes > 2 * limit
    tight.cache_bytes = limit
    for window, of_window in zip(windows, expected, strict=True):
        assert equal(tight.load(window, flip=True), of_window)
        assert limit / 2 < tight.cached_bytes <= limit or window is windows[0]
    kept = sum(array.nbytes for kept in tight._cache.values() for array in kept.values())
    assert tight.cached_bytes == kept
    none = open_dataset(work, downsamplings=downsamplings)
    none.cache_bytes = 100  # not even one frame
    assert equal(none.load(windows[0], flip=True), expected[0])
    assert none.cached_bytes <= 100


def test_the_cache_drops_the_least_recently_used_first(work: str) -> None:
    dataset = open_dataset(work, strides=())
    dataset.load(Window(0, 0, 1))
    dataset.cache_bytes = 2 * dataset.cached_bytes
    for t in (1, 0, 2, 0, 1):
        dataset.load(Window(0, t, 1))
    assert [t for kind, _, t, _ in files_read(dataset) if kind == "frames"] == [0, 1, 2, 1]
