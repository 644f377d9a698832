"""`v2v import-checkpoint`: published weights in, a checkpoint out that makes the published network's frames."""

import itertools
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from tests.conditions import of_domain
from tests.errors import raises
from tests.shared_data import SHARED, needs_shared
from tests.unit.published_networks import Coarse, Fine, discriminator, image_network
from tests.unit.training_data import SMALL, make_workspace
from tests.unit.video_files import read_raw
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import encode_png
from v2vkit.artifacts.manifest import MANIFEST
from v2vkit.checkpoint.find_model import find_model
from v2vkit.checkpoint.model_file import MODEL, load_model
from v2vkit.checkpoint.snapshot import NETWORKS, read_networks
from v2vkit.cli.main import COMMANDS, EXIT_PROBLEMS, cli
from v2vkit.conditions.domains import DOMAINS
from v2vkit.conditions.label_ids import instance_edges, one_hot
from v2vkit.errors import V2VError
from v2vkit.inference.first_frames import find_first_frame_model
from v2vkit.models.blocks import downsample
from v2vkit.models.generator import advance, history_from_images
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.import_checkpoint import COMMAND, REPORT, ImportConfig
from v2vkit.stages.render import COMMAND as RENDER
from v2vkit.stages.render import RenderConfig
from v2vkit.stages.train import STAGE as TRAIN
from v2vkit.training.config import TrainConfig

LABELS, FOREGROUND = 4, (1, 3)
CHANNELS = LABELS + 1
STREET: dict[str, Any] = {"domain": "street", "size": "48x32", "foreground": FOREGROUND}
State = dict[str, Tensor]


def _state(network: nn.Module) -> State:
    return network.state_dict()


def _coarse(channels: int = CHANNELS) -> Coarse:
    torch.manual_seed(0)
    return Coarse(3 * channels, 8)


def _fine(channels: int = CHANNELS) -> Fine:
    torch.manual_seed(1)
    return Fine(3 * channels, 4)


def _without(state: State, *prefixes: str) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}


def _saved(folder: Path, *states: State) -> tuple[str, ...]:
    paths = [folder / f"latest_net_G{scale}.pth" for scale in range(len(states))]
    for path, state in zip(paths, states, strict=True):
        torch.save(state, path)
    return tuple(map(str, paths))


def _import(work: Path, files: tuple[str, ...], *, overwrite: bool = False, **settings: Any) -> list[str]:
    config = ImportConfig(**({"files": files} | settings))
    return COMMAND.call(config, RunOptions(work=str(work), overwrite=overwrite))


def _refused(work: Path, files: tuple[str, ...], code: str, *names: str, **settings: Any) -> None:
    """Refused with this code, and nothing is left behind."""
    with raises(code, *names):
        _import(work, files, **settings)
    assert not (work / "checkpoints").exists()


def test_the_checkpoint_makes_the_frames_of_the_published_network(tmp_path: Path) -> None:
    """Two scales with flow and foreground, through the command line, over three frames that are fed back."""
    coarse, fine = _coarse(), _fine()
    files = _saved(tmp_path, _state(coarse), _state(fine))
    flags = ["--domain", "street", "--size", "48x32", "--foreground", "1", "--foreground", "3"]
    result = CliRunner().invoke(cli, ["import-checkpoint", *files, *flags, "--work", str(tmp_path / "w")])
    assert result.exit_code == 0, result.output
    assert "2 scales, width 8, 2 downsamplings, 3 blocks, 5 source channels" in result.output
    folder = find_model(Folder(str(tmp_path / "w")), None)
    assert folder.url.endswith("checkpoints/spatial-2")
    generator, info = load_model(folder)
    assert (info.conditioning, info.generator.foreground) == (of_domain("street", LABELS), FOREGROUND)
    assert (info.stage, info.width, info.height, info.first_frame) == ("spatial-2", 48, 32, "real")
    assert (info.frames["crop"], info.origins[0].stage) == ("none", "ingest")

    # In float64, because these random weights make large flows of rounding errors, more so with every frame fed back.
    for network in (coarse, fine, generator):
        network.double()
    torch.manual_seed(2)
    sources = torch.rand(1, 5, CHANNELS, 32, 48).double()
    past = history_from_images(torch.rand(1, 2, 3, 32, 48).double() * 2 - 1, 2)
    reference = past
    for t in range(2, 5):
        source = sources[:, t - 2 : t + 1].flatten(1, 2)
        share = sources[:, t, FOREGROUND].sum(1, keepdim=True).clamp(0, 1)
        low = downsample(source)[:, -CHANNELS:][:, FOREGROUND].sum(1, keepdim=True).clamp(0, 1)
        with torch.no_grad():
            below, features = coarse(downsample(source), reference[0], low)
            wanted = fine(source, reference[1], share, features)
            outputs = generator(source, past)
        torch.testing.assert_close(outputs[0].x_fake, below, atol=1e-6, rtol=0)
        torch.testing.assert_close(outputs[1].x_fake, wanted, atol=1e-6, rtol=0)
        past = advance(past, outputs)
        reference = [torch.cat([p[:, 3:], x], 1) for p, x in zip(reference, (below, wanted), strict=True)]


def test_a_face_model_without_flow_and_foreground(tmp_path: Path) -> None:
    network: Any = _coarse(15)
    state = _without(_state(network), "indv", "model_res_flow", "model_up_flow", "model_final_flow", "model_final_w")
    _import(tmp_path, _saved(tmp_path, state), domain="face", size="32x32", first_frame="self")
    generator, info = load_model(find_model(Folder(str(tmp_path)), "spatial-1"))
    assert (info.first_frame, info.frames["crop"], info.origins[0].stage) == ("self", "face", "make-sketches")
    source, past = torch.rand(1, 45, 32, 32), torch.rand(1, 6, 32, 32)
    with torch.no_grad():
        encoded = network.model_down_seg(source) + network.model_down_img(past)
        wanted = torch.tanh(network.model_final_img(network.model_up_img(network.model_res_img(encoded))))
        x_fake = generator(source, [past])[-1].x_fake
    torch.testing.assert_close(x_fake, wanted, atol=1e-4, rtol=0)


def test_a_pose_model_takes_our_maps_in_place_of_the_published_ones(tmp_path: Path) -> None:
    """Published skeletons are in [-1, 1], ours in [0, 1]; both scales give the same frames all the same."""
    networks: list[Any] = [_coarse(3), _fine(3)]
    states = [_without(_state(network), "indv") for network in networks]
    _import(tmp_path, _saved(tmp_path, *states), domain="pose", size="48x32", first_frame="self")
    generator, info = load_model(find_model(Folder(str(tmp_path)), "spatial-2"))
    assert (info.conditioning.names, info.origins[0].stage, info.frames["crop"]) == ("pose", "estimate-pose", "none")
    for network in (generator, *networks):
        network.double()  # in float32 the norms carry on what the shift is rounded by
    source = torch.rand(1, 9, 32, 48).double()
    past = history_from_images(torch.rand(1, 2, 3, 32, 48).double() * 2 - 1, 2)
    published, none = 2 * source - 1, torch.zeros(1, 1, 1, 1).double()
    with torch.no_grad():
        below, features = networks[0](downsample(published), past[0], none)
        wanted = networks[1](published, past[1], none, features)
        outputs = generator(source, past)
    # statistics of the frame take out most of the shift by themselves, not all of it
    assert float((networks[0](downsample(source), past[0], none)[0] - below).abs().max()) > 1e-3
    torch.testing.assert_close(outputs[0].x_fake, below, atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs[1].x_fake, wanted, atol=1e-4, rtol=0)


def test_six_channels_of_a_pose_model_are_densepose_and_skeleton(tmp_path: Path) -> None:
    """In the published order, all of them in [-1, 1] there and in [0, 1] here."""
    network: Any = _coarse(6)
    _import(tmp_path, _saved(tmp_path, _without(_state(network), "indv")), domain="pose", size="48x32")
    generator, info = load_model(find_model(Folder(str(tmp_path)), "spatial-1"))
    assert (info.conditioning.names, info.generator.source_channels) == ("densepose+pose", 6)
    assert [origin.stage for origin in info.origins] == ["ingest", "estimate-pose"]
    for each in (generator, network):
        each.double()
    source, past = torch.rand(1, 18, 32, 48).double(), torch.rand(1, 6, 32, 48).double() * 2 - 1
    with torch.no_grad():
        wanted, _ = network(2 * source - 1, past, torch.zeros(1, 1, 1, 1).double())
        found = generator(source, [past])[-1].x_fake
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    files = _saved(tmp_path, _without(_state(_coarse(7)), "indv"))
    _refused(tmp_path / "w", files, "weights-mismatch", "7", "pose", "3", domain="pose", size="48x32")


def test_the_imported_model_renders_the_maps_of_a_workspace(tmp_path: Path) -> None:
    data = make_workspace(tmp_path / "data", num_clips=1, clip_frames=4)  # 32x24, 12 labels
    state = _state(_coarse(13))
    _import(tmp_path, _saved(tmp_path, state), domain="street", size="32x24", foreground=(2,), num_labels=12)
    real = tmp_path / "real"
    real.mkdir()
    for t in range(2):
        (real / f"{t}.png").write_bytes(encode_png(torch.full((24, 32, 3), 90 * t, dtype=torch.uint8).numpy()))
    target = str(tmp_path / "out.mp4")
    config = RenderConfig(source=data.work, target=target, maps=True, device="cpu", first_frames=str(real))
    assert RENDER.call(config, RunOptions(work=str(tmp_path))) == []
    assert [frame.shape for frame in read_raw(Path(target))[0]] == [(24, 32, 3)] * 4


def test_an_image_generator_makes_its_images_and_opens_videos(tmp_path: Path) -> None:
    network = image_network(CHANNELS, 8)
    torch.manual_seed(2)
    (file,) = _saved(tmp_path, _state(network))
    assert _import(tmp_path, (file,), image=True, domain="street", size="48x32") == []
    image, info = load_model(Folder(f"{tmp_path}/checkpoints/pix2pixhd"))
    assert (info.stage, info.conditioning.num_labels, info.output_size) == ("pix2pixhd", LABELS, (48, 32))
    source = torch.rand(1, CHANNELS, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(image(source)[-1].x_fake, network.model(source), atol=1e-4, rtol=0)
    first_frame_model = find_first_frame_model(
        Folder(str(tmp_path)), None, info.model_copy(update={"first_frame": "image"})
    )
    assert first_frame_model is not None
    report = json.loads((tmp_path / "checkpoints/pix2pixhd" / REPORT).read_text())
    assert report["counts"]["used"] == len(network.state_dict())


@pytest.mark.parametrize(
    ("changes", "code", "name"),
    [
        ({"domain": "pose"}, "domain-unsupported", "--domain face or street"),
        ({"foreground": FOREGROUND}, "foreground-mismatch", "--foreground"),
        ({"num_labels": 9}, "weights-mismatch", "9 labels"),
    ],
    ids=["pose", "foreground", "labels"],
)
def test_image_generators_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], code: str, name: str) -> None:
    files = _saved(tmp_path, _state(image_network(CHANNELS, 8)))
    settings: dict[str, Any] = {"image": True, "domain": "street", "size": "48x32"} | changes
    _refused(tmp_path / "w", files, code, name, **settings)
    _refused(tmp_path / "w", files * 2, "file-count-mismatch", "--image", image=True, domain="street", size="48x32")
    _refused(
        tmp_path / "w",
        _saved(tmp_path, _state(_coarse())),
        "weights-mismatch",
        "--image",
        image=True,
        domain="street",
        size="48x32",
    )


def _going_on(tmp_path: Path) -> TrainConfig:
    """Settings that train the imported model in `tmp_path` on, hardly changing it; its norm is left to give."""
    layers = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))[0].config
    return SMALL.model_copy(
        update={"start_from": f"{tmp_path}/checkpoints/spatial-1", "foreground": (2,), "epochs": 1, "decay": 0.0}
        | {"width": layers.width, "num_down": layers.num_down, "num_blocks": layers.num_blocks}
        | {"composition": layers.composition, "learning_rate": 1e-9, "num_blocks_fine": layers.num_blocks_fine}
    )


def test_training_goes_on_from_the_imported_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the layers of the import: its norm, its composition, its sizes; with others it is refused."""
    data = make_workspace(tmp_path / "data", num_clips=1, clip_frames=5)  # 32x24, 12 labels
    files = _saved(tmp_path, _state(_coarse(13)))
    _import(tmp_path, files, domain="street", size="32x24", foreground=(2,), num_labels=12)
    imported, _ = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    config = _going_on(tmp_path)
    with raises("model-mismatch", "norm batch"):
        run(TRAIN, config, data)
    run(TRAIN, config.model_copy(update={"norm": "batch"}), data)
    printed = capsys.readouterr().out
    assert "generator: 1 of 1 scales from" in printed
    assert "image: from scratch" in printed
    trained, _ = load_model(Folder(f"{data.work}/checkpoints/spatial-1"))
    for name, tensor in imported.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[name], tensor, atol=1e-6, rtol=0)


def test_without_a_foreground_the_composition_of_the_imported_weights_is_free(tmp_path: Path) -> None:
    data = make_workspace(tmp_path / "data", num_clips=1, clip_frames=5)
    files = _saved(tmp_path, _without(_state(_coarse(13)), "indv"))
    _import(tmp_path, files, domain="street", size="32x24", num_labels=12)
    config = _going_on(tmp_path).model_copy(update={"foreground": (), "composition": "paper", "norm": "batch"})
    run(TRAIN, config, data)
    assert load_model(Folder(f"{data.work}/checkpoints/spatial-1"))[0].config.composition == "paper"


def _discriminator(folder: Path, name: str, channels: int, *, width: int = 8, scales: int = 2) -> tuple[str, State]:
    torch.manual_seed(channels)
    state = _state(discriminator(channels, width, scales))
    torch.save(state, folder / name)
    return str(folder / name), state


def test_training_goes_on_from_imported_discriminators(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_workspace(tmp_path / "data", num_clips=1, clip_frames=5)
    image, image_state = _discriminator(tmp_path, "latest_net_D.pth", 13 + 3)
    video, video_state = _discriminator(tmp_path, "latest_net_D_T0.pth", 13)
    settings: dict[str, Any] = {"domain": "street", "size": "32x24", "foreground": (2,), "num_labels": 12}
    files = _saved(tmp_path, _state(_coarse(13)))
    _import(tmp_path, files, discriminator=image, video_discriminator=(video,), **settings)
    assert "D: 2 scales, width 8, 16 channels, batch norm." in capsys.readouterr().out
    keys = json.loads((tmp_path / f"checkpoints/spatial-1/{REPORT}").read_text())["keys"]
    assert {key for key in [*keys["used"], *keys["unused statistics"]] if key.startswith(("D:", "D_T0:"))} == {
        f"{name}:{key}" for name, state in (("D", image_state), ("D_T0", video_state)) for key in state
    }
    layers = {"norm": "batch", "discriminator_scales": 2, "discriminator_width": 8, "temporal_scales": 1}
    run(TRAIN, _going_on(tmp_path).model_copy(update=layers), data)
    printed = capsys.readouterr().out
    assert "image: 2 of 2 scales" in printed
    assert "video0: 2 of 2 scales" in printed
    networks = read_networks(Folder(f"{data.work}/checkpoints/spatial-1"))
    for name, state in (("image", image_state), ("video0", video_state)):
        for scale, layer in itertools.product(range(2), range(5)):
            ours = networks[name][f"scales.{scale}.layers.{layer}.0.weight"]
            torch.testing.assert_close(ours, state[f"scale{scale}_layer{layer}.0.weight"], atol=1e-6, rtol=0)


def test_other_discriminators_are_other_inputs_and_bad_ones_cost_nothing(tmp_path: Path) -> None:
    for name in ("pose", "images"):
        (tmp_path / name).mkdir()
    files = _saved(tmp_path, _state(_coarse()))
    image, _ = _discriminator(tmp_path, "D.pth", CHANNELS + 3)
    video, _ = _discriminator(tmp_path, "D_T0.pth", 13)
    other, _ = _discriminator(tmp_path, "other.pth", 9)
    refused: list[tuple[dict[str, Any], str, list[str]]] = [
        ({"discriminator": video}, "weights-mismatch", ["D_T0.pth", "13", "8"]),
        ({"discriminator": files[0]}, "weights-mismatch", ["layer0"]),
        ({"discriminator": str(tmp_path / "none.pth")}, "file-unreadable", ["none.pth"]),
        ({"video_discriminator": (video, other)}, "weights-mismatch", ["other.pth", "9"]),
    ]
    for changes, code, names in refused:
        _refused(tmp_path / "w", files, code, *names, **(STREET | changes))
    pose = _saved(tmp_path / "pose", _without(_state(_coarse(3)), "indv"))
    _refused(tmp_path / "w", pose, "weights-unsupported", "[-1, 1]", domain="pose", size="32x32", discriminator=image)
    images = _saved(tmp_path / "images", _state(image_network(CHANNELS, 8)))
    only: dict[str, Any] = {"image": True, "domain": "street", "size": "48x32"}
    _refused(tmp_path / "w", images, "setting-unused", "--video-discriminator", video_discriminator=(video,), **only)
    _import(tmp_path, files, discriminator=image, **STREET)
    assert (tmp_path / f"checkpoints/spatial-1/{NETWORKS}").exists()
    with raises("artifact-stale", "input D", "--overwrite"):
        _import(tmp_path, files, **STREET)
    _import(tmp_path, files, overwrite=True, **STREET)
    assert not (tmp_path / f"checkpoints/spatial-1/{NETWORKS}").exists()


def test_every_key_is_reported_and_those_of_no_layer_are_problems(tmp_path: Path) -> None:
    coarse, fine = _state(_coarse()), _state(_fine())
    files = _saved(tmp_path, coarse, fine | {f"extra.{i}": torch.zeros(1) for i in range(25)})
    command = ["import-checkpoint", *files, "--domain", "street", "--size", "48x32", "--work", str(tmp_path)]
    for _ in range(2):  # made, and recognised
        result = CliRunner().invoke(cli, [*command, "--foreground", "1", "--foreground", "3"])
        assert result.exit_code == EXIT_PROBLEMS
        assert "G1:extra.19 belongs to no layer" in result.output
        assert "and 5 more such keys" in result.output
    assert "nothing to do" in result.output
    report = json.loads((tmp_path / f"checkpoints/spatial-2/{REPORT}").read_text())
    keys = report["keys"]
    assert keys["unknown"] == [f"G1:extra.{i}" for i in range(25)]
    assert keys["unused statistics"]
    assert all(
        key.endswith(("running_mean", "running_var", "num_batches_tracked")) for key in keys["unused statistics"]
    )
    assert report["counts"] == {name: len(found) for name, found in keys.items()}
    whole = [key for found in keys.values() for key in found]
    wanted = {f"G0:{key}" for key in coarse} | {f"G1:{key}" for key in fine} | set(keys["unknown"])
    assert set(whole) == wanted
    assert len(whole) == len(wanted)
    assert report["parameters"] == sum(p.numel() for network in (_coarse(), _fine()) for p in network.parameters())
    assert [file["file"] for file in report["files"]] == list(files)


def test_an_existing_checkpoint_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    files = _saved(tmp_path, _state(_coarse()))
    _import(tmp_path, files, **STREET)
    model = tmp_path / "checkpoints/spatial-1" / MODEL
    before = model.read_bytes()
    torch.manual_seed(9)
    (tmp_path / "other").mkdir()
    other = _saved(tmp_path / "other", _state(Coarse(3 * CHANNELS, 8)))
    with raises("artifact-stale", "input G0", "--overwrite"):
        _import(tmp_path, other, **STREET)
    with raises("artifact-stale", "size (was 48x32, now 64x32)", "--overwrite"):
        _import(tmp_path, files, **(STREET | {"size": "64x32"}))
    (tmp_path / "bad.pth").write_bytes(b"hello")
    with raises("weights-damaged", "bad.pth"):  # a bad file never costs the good checkpoint
        _import(tmp_path, (str(tmp_path / "bad.pth"),), overwrite=True, **STREET)
    assert model.read_bytes() == before
    _import(tmp_path, other, overwrite=True, **STREET)
    assert model.read_bytes() != before
    (model.parent / REPORT).unlink()  # what was lost is made again
    _import(tmp_path, other, **STREET)
    assert sorted(path.name for path in model.parent.iterdir()) == [REPORT, MANIFEST, MODEL]


def test_a_folder_that_is_no_checkpoint_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "checkpoints/spatial-1"
    place.mkdir(parents=True)
    (place / "thesis.txt").write_text("years of work")
    with raises("folder-not-empty", "thesis.txt"):
        _import(tmp_path, _saved(tmp_path, _state(_coarse())), overwrite=True, **STREET)
    assert [path.name for path in place.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("settings", "code", "names"),
    [
        ({"num_labels": 6}, "weights-mismatch", ["5", "6 labels", "7"]),
        ({"num_labels": 4, "edges": False}, "weights-mismatch", ["5", "4 labels"]),
        ({"foreground": ()}, "foreground-required", ["--foreground"]),
        ({"foreground": (4,)}, "label-id-out-of-range", ["--foreground 4", "0 to 3"]),
        ({"foreground": (-1,)}, "label-id-out-of-range", ["--foreground -1"]),
        ({"foreground": (1, 1)}, "label-duplicate", ["--foreground"]),
        ({"domain": "face", "foreground": ()}, "weights-mismatch", ["5", "face", "15"]),
        ({"domain": "face"}, "setting-unused", ["--foreground", "--domain face"]),
        ({"domain": "face", "foreground": (), "num_labels": 4}, "setting-unused", ["--num-labels", "--domain face"]),
        ({"crop": "face"}, "setting-conflict", ["--crop face"]),
    ],
)
def test_settings_that_contradict_the_weights(
    tmp_path: Path, settings: dict[str, Any], code: str, names: list[str]
) -> None:
    _refused(tmp_path / "w", _saved(tmp_path, _state(_coarse())), code, *names, **(STREET | settings))


def test_contradictions_of_the_foreground(tmp_path: Path) -> None:
    _refused(
        tmp_path / "w",
        _saved(tmp_path, _without(_state(_coarse()), "indv")),
        "foreground-mismatch",
        "--foreground",
        **STREET,
    )
    files = _saved(tmp_path, _state(_coarse(15)))
    _refused(tmp_path / "w", files, "foreground-mismatch", "--domain face", domain="face", size="32x32")


@pytest.mark.parametrize("domain", [name for name, row in DOMAINS.items() if all(of.published for of in row.classes)])
def test_every_domain_can_be_imported(tmp_path: Path, domain: str) -> None:
    source = of_domain(domain, LABELS)
    state = _without(_state(_coarse(source.num_channels)), "indv")
    _import(tmp_path, _saved(tmp_path, state), domain=domain, size="32x32")
    _, info = load_model(find_model(Folder(str(tmp_path)), None))
    assert info.conditioning == source
    assert info.origins[0].stage in COMMANDS


def test_there_are_no_published_models_of_other_looks(tmp_path: Path) -> None:
    files = _saved(tmp_path, _without(_state(_coarse(3)), "indv"))
    _refused(tmp_path / "w", files, "domain-unsupported", "picture", domain="frames", size="32x32")


@pytest.mark.parametrize("missing", ["domain", "size"])
def test_settings_that_cannot_be_inferred_from_tensors_are_required(tmp_path: Path, missing: str) -> None:
    given = [("--domain", "street"), ("--size", "48x32")]
    flags = [text for flag in given if missing not in flag[0] for text in flag]
    files = _saved(tmp_path, _state(_coarse()))
    arguments = ["import-checkpoint", *files, *flags, "--work", str(tmp_path / "w")]
    result = CliRunner().invoke(cli, arguments)
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "setting-invalid"
    assert missing in result.exception.message


def test_scales_out_of_order(tmp_path: Path) -> None:
    files = _saved(tmp_path, _state(_coarse()), _state(_fine()))
    _refused(tmp_path / "w", files[::-1], "weights-mismatch", "G0", **STREET)
    _refused(tmp_path / "w", files[1:], "weights-mismatch", "G0", **STREET)
    _refused(tmp_path / "w", (files[0], files[0]), "weights-mismatch", "G1", **STREET)


class _Bomb:
    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.path,)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    for number, dump in enumerate((torch.save, lambda state, path: path.write_bytes(pickle.dumps(state)))):
        path, sign = tmp_path / f"{number}.pth", tmp_path / f"ran-{number}"
        dump(_state(_coarse()) | {"model_down_seg.99.weight": _Bomb(sign)}, path)
        _refused(tmp_path / "w", (str(path),), "weights-damaged", path.name, **STREET)
        assert not sign.exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["current", "torch-0.4"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_truncated_files(tmp_path: Path, share: float, zipped: bool) -> None:
    path = tmp_path / "G0.pth"
    torch.save(_state(_coarse()), path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    _refused(tmp_path / "w", (str(path),), "weights-damaged", "G0", **STREET)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda state: {}, "weights-damaged"),
        (lambda state: list(state.values()), "weights-damaged"),
        (lambda state: {"state": state}, "weights-damaged"),
        (lambda state: _without(state, "model_down_seg.1."), "weights-mismatch"),
        (lambda state: _without(state, "model_up_flow.0"), "weights-mismatch"),
        (lambda state: _without(state, "indv_up"), "weights-mismatch"),
        (lambda state: state | {"model_final_w.1.weight": torch.zeros(2, 8, 7, 7)}, "weights-mismatch"),
        (lambda state: state | {"model_down_img.1.weight": torch.zeros(8, 2, 7, 7)}, "weights-mismatch"),
        (lambda state: state | {"model_final_flow.1.bias": torch.tensor([0.0, float("nan")])}, "weights-damaged"),
        (lambda state: state | {"model_final_flow.1.bias": torch.tensor([0.0, float("inf")])}, "weights-damaged"),
        (lambda state: state | {"model_final_flow.1.bias": torch.zeros(2, dtype=torch.int64)}, "weights-damaged"),
        (lambda state: state | {"model_final_flow.1.bias": torch.zeros(2, dtype=torch.complex64)}, "weights-damaged"),
        (lambda state: state | {"model_final_flow.1.bias": torch.zeros(2).to_sparse()}, "weights-damaged"),
        (
            lambda state: state | {"model_down_seg.1.weight": torch.zeros(1, 1, 1, 1).expand(100_000, 100_000, 7, 7)},
            "weights-damaged",
        ),
        (lambda state: state | {"\x1b[2J": torch.zeros(1)}, "weights-mismatch"),
        (lambda state: state | {f"model_down_seg.{'9' * 5000}.weight": torch.zeros(1)}, "weights-mismatch"),
    ],
)
def test_files_that_hold_something_else(tmp_path: Path, change: Callable[[State], Any], code: str) -> None:
    path = tmp_path / "G0.pth"
    torch.save(change(_state(_coarse())), path)
    _refused(tmp_path / "w", (str(path),), code, **STREET)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    _refused(tmp_path / "w", (str(tmp_path / "G0.pth"),), "file-unreadable", "G0.pth", **STREET)


@needs_shared
@pytest.mark.parametrize(
    ("name", "num_scales", "settings"),
    [
        ("street_2scale_fg", 2, {"domain": "street", "size": "128x64", "num_labels": 6, "foreground": (2, 4)}),
        ("street_3scale", 3, {"domain": "street", "size": "256x128", "num_labels": 5}),
        ("face_1scale", 1, {"domain": "face", "size": "64x64"}),
        # a pose map has as many channels as a street of six labels without edges
        ("pose_1scale_noflow", 1, {"domain": "street", "size": "64x64", "edges": False, "first_frame": "self"}),
    ],
)
def test_the_published_networks_outputs(tmp_path: Path, name: str, num_scales: int, settings: dict[str, Any]) -> None:
    """The goldens' weights through the command: the golden frames, each from the golden frames before it.

    Of networks with several scales only the first frame: the coarse scales' own past is not among the goldens.
    """
    from safetensors.torch import load_file

    assert SHARED is not None
    parity = SHARED / "parity"
    files = tuple(str(parity / f"{name}_net_G{scale}.pth") for scale in range(num_scales))
    assert _import(tmp_path, files, **settings) == []
    counts = json.loads((tmp_path / f"checkpoints/spatial-{num_scales}/{REPORT}").read_text())["counts"]
    stored = sum(len(torch.load(path, weights_only=True)) for path in files)
    assert counts["used"] + counts["unused statistics"] == stored
    generator, info = load_model(find_model(Folder(str(tmp_path)), None))
    tensors = load_file(parity / f"{name}.safetensors")
    source, wanted = tensors["input/source"], tensors["output/frames"]
    if "input/instance" in tensors:
        maps = zip(source[0, :, 0].numpy(), tensors["input/instance"][0, :, 0].numpy(), strict=True)
        layers = [
            torch.from_numpy(
                np.concatenate([one_hot(ids, info.conditioning.num_labels), instance_edges(inst)[None]])
            ).float()
            for ids, inst in maps
        ]
        source = torch.stack(layers)[None]
    frames = torch.cat([tensors["input/real_first_two"], wanted], 1)
    for t in range(2, 3 if num_scales > 1 else frames.shape[1]):
        past = history_from_images(frames[:, t - 2 : t], num_scales)
        with torch.no_grad():
            x_fake = generator(source[:, t - 2 : t + 1].flatten(1, 2), past)[-1].x_fake
        torch.testing.assert_close(x_fake, wanted[:, t - 2], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("wrap", "told"),
    [
        (lambda state: {f"module.{key}": value for key, value in state.items()}, "`module.` was taken off"),
        (lambda state: {"epoch": 7, "state_dict": state}, "its entry `state_dict`; not used: epoch"),
        (lambda state: {"model": {f"module.{key}": value for key, value in state.items()}}, "`module.` was taken off"),
    ],
    ids=["data parallel", "checkpoint", "both"],
)
def test_what_trainers_put_around_a_network_is_taken_off_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrap: Callable[[State], Any], told: str
) -> None:
    plain = _state(_coarse())
    _import(tmp_path / "plain", _saved(tmp_path, plain), **STREET)
    torch.save(wrap(plain), tmp_path / "wrapped.pth")
    capsys.readouterr()
    assert not _import(tmp_path / "wrapped", (str(tmp_path / "wrapped.pth"),), **STREET)
    assert told in capsys.readouterr().out
    model = "checkpoints/spatial-1/model.safetensors"
    first, second = (load_model(find_model(Folder(str(tmp_path / work)), None))[0] for work in ("plain", "wrapped"))
    assert (tmp_path / "wrapped" / model).is_file()
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[key]), key


@pytest.mark.parametrize(("channels", "others"), [(35, "--num-labels 35 --no-edges"), (15, "--domain face")])
def test_channels_that_fit_by_accident_are_asked_about(tmp_path: Path, channels: int, others: str) -> None:
    files = _saved(tmp_path, _without(_state(_coarse(channels)), "indv"))
    street: dict[str, Any] = {"domain": "street", "size": "64x32"}
    with raises("domain-ambiguous", str(channels), others):
        _import(tmp_path / "w", files, **street)
    _import(tmp_path / "w", files, num_labels=channels - 1, **street)


def test_labels_that_were_counted_and_odd_sizes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _import(tmp_path, _saved(tmp_path, _state(_coarse())), **STREET)
    told = capsys.readouterr().out
    assert "assumed to be 4 labels and instance edges" in told
    assert "at 48x32" in told
    _import(tmp_path, _saved(tmp_path, _state(_coarse())), overwrite=True, **(STREET | {"size": "64x32"}), num_labels=4)
    told = capsys.readouterr().out
    assert "assumed" not in told
    assert "multiples of" not in told


def test_another_published_network_is_named(tmp_path: Path) -> None:
    image = _saved(tmp_path, _state(image_network(CHANNELS, 8)))
    with raises("weights-mismatch", "--image"):
        _import(tmp_path / "w", image, domain="street", size="64x32")
    video = _saved(tmp_path, _state(_coarse()))
    _refused(tmp_path / "w", video, "weights-mismatch", "--image", domain="street", size="64x32", image=True)
    judge = _saved(tmp_path, _state(discriminator(CHANNELS + 3, 8, 1)))
    _refused(tmp_path / "w", judge, "weights-mismatch", "--discriminator", **STREET)
    features = _saved(tmp_path, {"model_downsample_seg.1.weight": torch.zeros(8, 15, 7, 7)})
    _refused(
        tmp_path / "w", features, "weights-unsupported", "global_with_features", domain="face", size="64x64", image=True
    )


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    (path,) = map(Path, _saved(tmp_path, _state(_coarse())))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    _refused(tmp_path / "w", (str(path),), "weights-damaged", path.name, **STREET)


def test_a_git_lfs_pointer_in_place_of_weights(tmp_path: Path) -> None:
    (tmp_path / "G0.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    _refused(tmp_path / "w", (str(tmp_path / "G0.pth"),), "lfs-pointer", "git lfs pull", **STREET)
