"""The recipes that are shipped: valid, and at the paper's settings where they say so (vid2vid specification 1.10)."""

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.errors import raises
from v2vkit.cli.main import cli, load
from v2vkit.cli.recipe import read_steps
from v2vkit.cli.recipe_file import read_recipe
from v2vkit.config import make_config
from v2vkit.errors import V2VError
from v2vkit.evaluation.papers.published import PUBLISHED
from v2vkit.pipeline.stage import RunOptions, Stage
from v2vkit.training.check import refuse_unused
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.registry import method_spec
from v2vkit.training.methods.s_flow import phase_epochs
from v2vkit.training.schedule import Phase, Schedule, flow_strides, frames_at, learning_rate_factor, phases, shortened

CONTEXT = 2  # real frames before the generated ones
PIPELINES = Path(__file__).parents[2] / "pipelines"
RECIPES = sorted(PIPELINES.glob("*.toml"))


def training(name: str) -> list[TrainConfig]:
    tables = [table for command, table in read_recipe(str(PIPELINES / f"{name}.toml")) if command == "train"]
    return [make_config(TrainConfig, {key: of for key, of in table.items() if key != "work"}, name) for table in tables]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_table_of_every_recipe_is_valid(path: Path) -> None:
    tables = read_recipe(str(path))
    assert tables
    strides: set[int] = set()
    for command, table in tables:
        target = load(command)
        config = make_config(target.config, {key: value for key, value in table.items() if key != "work"}, str(path))
        if command == "extract-flow" or (command == "ingest" and "flow" in table):
            strides = set(config.strides if command == "extract-flow" else config.value("strides"))
        if isinstance(config, TrainConfig):
            assert isinstance(target, Stage)
            (part, *_) = target.parts(config)
            needed = method_spec(config.method).strides(part)
            assert set(flow_strides(needed, config.data.max_frame_stride)) <= strides, "flow for every loss"


# recipe -> per stage: scales of D, n0, epochs per doubling, epochs of the new scale alone, epochs, decay, learning rate
TABLE = {
    "street-published": [(2, 6, 5, 0, 10, 10, 2e-4), (3, 4, 2, 10, 10, 10, 1e-4), (4, 4, 1, 5, 5, 5, 5e-5)],
    "street-1gpu": [(1, 6, 5, 0, 10, 10, 2e-4), (2, 4, 2, 8, 10, 5, 2e-4), (3, 4, 2, 8, 10, 5, 1e-4)],
    "face-paper": [(3, 12, 5, 0, 20, 20, 2e-4)],
    "pose-published": [(2, 12, 5, 0, 5, 5, 2e-4), (3, 12, 5, 3, 5, 5, 1e-4), (4, 12, 5, 3, 5, 5, 5e-5)],
}


@pytest.mark.parametrize("name", ["face-paper", "face-1gpu", "pose-paper", "pose-published", "pose-1gpu"])
def test_clips_are_long_enough_for_the_longest_sequences(name: str) -> None:
    (ingest,) = (table for command, table in read_recipe(str(PIPELINES / f"{name}.toml")) if command == "ingest")
    assert all(config.schedule.max_frames + CONTEXT <= ingest["clip_frames"] for config in training(name))


@pytest.mark.parametrize("name", TABLE)
def test_recipes_follow_the_published_table(name: str) -> None:
    street = name.startswith("street")
    longest = 30 if street else 126  # frames of Cityscapes' clips, and the published cap
    for number, (config, row) in enumerate(zip(training(name), TABLE[name], strict=True), 1):
        judged, first, doubling, fixed, epochs, decay, rate = row
        assert config.scale == number
        assert (config.num_scales or 1) == len(TABLE[name])
        assert (config.adversaries.discriminator_scales or 2) + number - 1 == judged
        assert config.schedule.learning_rate == rate
        assert config.model.foreground == ((26,) if street else ())
        schedule = method_spec(config.method).schedule(config)
        newest = [phase for phase in phases(schedule) if phase.newest_only]
        assert (newest[-1].last + 1 if newest else 0) == fixed
        for epoch in range(schedule.epochs):
            assert frames_at(schedule, epoch) == min(first * 2 ** (epoch // doubling), longest)
            left = 1.0 if epoch < epochs else 1 - (epoch - epochs + 1) / (decay + 1)
            assert learning_rate_factor(schedule, epoch) == pytest.approx(left)
        assert schedule.epochs == epochs + decay


@pytest.mark.parametrize("name", ["street-paper", "face-paper", "pose-paper"])
def test_paper_recipes_have_the_settings_that_the_paper_states(name: str) -> None:
    """Section 4: 40 epochs at 2e-4; supplement: three video discriminators; cars and pedestrians in front."""
    for config in training(name):
        assert (config.schedule.epochs, config.schedule.learning_rate) == (40, 2e-4)
        assert config.adversaries.temporal_scales == 3
        assert (config.losses.perceptual, config.losses.lambda_perceptual) == ("vgg19", 10)
        assert config.model.foreground == ((24, 26) if name.startswith("street") else ())


@pytest.mark.parametrize("name", ["tables-toy", "tables-street", "tables-face"])
def test_recipes_of_tables_evaluate_what_they_train_and_show_what_they_evaluate(name: str) -> None:
    steps = read_recipe(str(PIPELINES / f"{name}.toml"))
    trained = [config for config in training(name) if config.method != "segmenter"]
    for config in training(name):
        refuse_unused(config, method_spec(config.method))
    reports = [table for command, table in steps if command == "evaluate"]
    assert {table["checkpoint"] for table in reports} == {config.checkpoint for config in trained}
    fidelity = len(training(name)) > len(trained)
    assert all(("segmenter" in table) == fidelity for table in reports)
    places = [table["out"] for table in reports]
    assert len(set(places)) == len(places) == 2 * (len(trained) + 1), "short and long, and ground-truth flow"
    ((_, table),) = (step for step in steps if step[0] == "table")
    labels = dict(row.split("=") for row in table["row"])
    assert set(labels) == {place.rpartition("/")[2] for place in places}
    if (published := PUBLISHED.get(table.get("published", "none"))) is not None:
        assert set(published.rows) <= set(labels.values())


@pytest.mark.parametrize("name", ["tables-sflow", "tables-sflow-street"])
def test_tables_of_s_flow_have_the_rows_of_the_paper(name: str) -> None:
    steps = read_recipe(str(PIPELINES / f"{name}.toml"))
    trained = {config.checkpoint: config for config in training(name)}
    for config in trained.values():
        refuse_unused(config, method_spec(config.method))
    models = {name: config for name, config in trained.items() if config.method != "segmenter"}
    assert len({config.schedule.epochs for config in models.values()}) == 1, "as many frames for each"
    reports = [table for command, table in steps if command == "evaluate"]
    assert {table["checkpoint"] for table in reports} == set(models)
    assert (
        len({table["out"] for table in reports}) == len(reports) == len(models) * (2 if name == "tables-sflow" else 1)
    )
    assert {table["segmenter"] for table in reports} == {"{work}/checkpoints/segmenter"}
    ((_, table),) = (step for step in steps if step[0] == "table")
    labels = dict(row.split("=") for row in table["row"])
    assert set(labels) == set(models)
    assert set(PUBLISHED[table["published"]].rows) <= {*labels.values(), "real frames"}
    assert PUBLISHED[table["published"]].row("no L_flow")
    whole, ablated = models["s-flow"], {name: of for name, of in models.items() if name.startswith("s-flow-")}
    assert phase_epochs(whole)[1] > 0 == phase_epochs(ablated["s-flow-no-flow-loss"])[1]
    assert not ablated["s-flow-no-edges"].conditions_have("shows_edges")
    if name == "tables-sflow":
        assert ablated["s-flow-laplacian-only"].model.edge_network == "none"
        assert ablated["s-flow-multi-scale"].adversaries.discriminator_scales == 3


@pytest.mark.parametrize("name", ["street-paper", "street-published", "face-paper", "pose-paper", "pose-published"])
def test_paper_recipes_refuse_to_start_without_vgg(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before ingest: nothing is written."""
    monkeypatch.setenv("V2V_WEIGHTS", str(tmp_path / "empty"))
    result = CliRunner().invoke(cli, ["run", name, "--work", str(tmp_path / "work")])
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "weights-missing"
    assert "v2v weights fetch vgg19" in result.exception.hint
    assert not (tmp_path / "work").exists()


def test_a_setting_that_a_later_table_does_not_use_stops_a_recipe_before_its_first_stage(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text('[make-toy]\nout = "{work}/toy"\n[train]\nmethod = "predictor"\nlabel_jitter = 1.0\n')
    result = CliRunner().invoke(cli, ["run", str(file), "--work", str(tmp_path / "w")])
    with raises("setting-unused", "--label-jitter"):
        assert result.exception is not None
        raise result.exception
    assert not (tmp_path / "w").exists()


def test_tables_run_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Tables of one name need not stand together; what looks like a table in a text or a list is none."""
    recipe = tmp_path / "a.toml"
    recipe.write_text(
        """predict = { frames = 1 }
[[train]]
epochs = 1
[ingest]
sources = [
  "a",
  '''
[[train]]
''',
]
 [[ "train" ]]  # again
epochs = 2
[segment]
[[train]]
epochs = 3
"""
    )
    steps = read_recipe(recipe)
    assert [name for name, _ in steps] == ["predict", "train", "ingest", "train", "segment", "train"]
    assert [table["epochs"] for name, table in steps if name == "train"] == [1, 2, 3]
    assert read_recipe(str(PIPELINES / "sim2real-toy.toml"))[10][0] == "render", "before its frames are ingested"


def test_defaults_are_shared_and_a_table_of_its_own_replaces_them(tmp_path: Path) -> None:
    recipe = tmp_path / "a.toml"
    recipe.write_text(
        "[defaults.train]\nepochs = 3\ndomain = 'face'\n[[train]]\n[[train]]\nepochs = 5\n"
        "[[train]]\ndefaults = false\nepochs = 7\n[ingest]\nsize = '64x64'\n"
    )
    face = {"epochs": 3, "domain": "face"}
    trained = [("train", face), ("train", face | {"epochs": 5}), ("train", {"epochs": 7})]
    assert read_recipe(recipe) == [*trained, ("ingest", {"size": "64x64"})]


def test_what_a_recipe_renders_is_there_before_it_is_ingested() -> None:
    """sim2real-toy trains a segmenter on the frames of each model."""
    seen: set[str] = set()
    for _, table in read_recipe(str(PIPELINES / "sim2real-toy.toml")):
        for source in table.get("sources", ()):
            assert any(source.startswith(place.rstrip("/")) for place in seen), source
        seen |= {table[key] for key in ("out", "target") if key in table}


def test_a_short_budget_keeps_every_phase_of_s_flow() -> None:
    """sim2real-toy with 5 of its 30 epochs: Laplacian edges, with the edge network, L_flow."""
    (config,) = [config for config in training("sim2real-toy") if config.method == "s-flow"]
    assert len(phases(shortened(method_spec("s-flow").schedule(config), 5))) == 3


def test_shared_settings_are_set_where_they_are_shared() -> None:
    """`--set train.foreground` would also reach the image models and the ablation of the foreground."""
    steps = read_steps("tables-toy", ("defaults.train.foreground=[3]",), RunOptions(work="w"), load)
    trained = [config for _, config, _ in steps if isinstance(config, TrainConfig)]
    assert [config.model.foreground for config in trained] == [(3,), (3,), (3,), (), (), ()]
    with raises("table-unknown", "[defaults.segment]"):
        read_steps("tables-toy", ("defaults.segment.keep=[3]",), RunOptions(work="w"), load)


def test_one_of_several_tables_is_set_by_its_number() -> None:
    given = ("ingest.2.start=5.0", "train.1-5.width=16", "train.6.width=8", "train.epochs=2")
    steps = read_steps("tables-street", given, RunOptions(work="w"), load)
    assert [config.start for stage, config, _ in steps if stage.name == "ingest"] == [0.0, 5.0, 3.733]
    trained = [config for _, config, _ in steps if isinstance(config, TrainConfig)]
    assert [config.model.width for config in trained] == [16] * 5 + [8, None]
    assert {config.schedule.epochs for config in trained} == {2}
    for name in ("train.0", "train.8", "train.5-9", "train.3-2", "table.x"):
        with raises("table-unknown", f"[{name}]"):
            read_steps("tables-street", (f"{name}.width=16",), RunOptions(work="w"), load)


@pytest.mark.parametrize(
    ("text", "code", "name"),
    [
        ("[defaults.train]\nepochs = 3\n[ingest]", "table-unknown", "[defaults.train]"),
        ("[defaults]\nepochs = 3\n[train]", "recipe-damaged", "`defaults`"),
        ("[[defaults]]\nepochs = 3\n[train]", "recipe-damaged", "`defaults`"),
        ("[train]\ndefaults = 'no'", "recipe-damaged", "[train]"),
        ("[defaults.train]\nepochs = 3", "table-unknown", "[defaults.train]"),
    ],
)
def test_defaults_that_belong_to_no_table_are_refused(tmp_path: Path, text: str, code: str, name: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with raises(code, "a.toml", name):
        read_recipe(tmp_path / "a.toml")


# recipe -> per stage: epochs at the full learning rate, epochs in which it falls
SCHEDULES = {
    "tables-toy": [(5, 4)] * 6,
    "tables-street": [(20, 10)] * 7,
    "tables-face": [(15, 9)] * 5,
    "tables-sflow": [(6, 6), *[(6, 3)] * 8],
    "tables-sflow-street": [(16, 8), (12, 12), *[(16, 8)] * 5],
    "toy": [(5, 4)],
    "toy-styles": [(8, 4)],
    "predict-toy": [(5, 3), (5, 3), (5, 3), (4, 4)],
    "toy-cg": [(5, 4)],
    "frames": [(20, 10)],
    "derain": [(12, 8), (6, 4)],
    "waterdrop": [(12, 8), (6, 4)],
    "sign": [(26, 14), (16, 9)],
    "cg2real": [(40, 20)],
    "face": [(12, 8)],
    "face-fine": [(13, 8), (6, 6)],
    "face-1gpu": [(20, 20), (20, 20)],
    "face-paper": [(20, 20)],
    "pose": [(13, 8)],
    "pose-1gpu": [(5, 5), (5, 5)],
    "pose-paper": [(20, 20), (20, 20), (20, 20)],
    "pose-published": [(5, 5), (5, 5), (5, 5)],
    "sim2real-toy": [(36, 24), (7, 5), (18, 12), (6, 6), (6, 6), (6, 6), (6, 6), (6, 6)],
    "street": [(18, 9)],
    "street-from-video": [(12, 12), (40, 20)],
    "street-1gpu": [(10, 10), (10, 5), (10, 5)],
    "street-paper": [(20, 20), (20, 20), (20, 20)],
    "street-published": [(10, 10), (10, 10), (5, 5)],
}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_share_of_the_epochs_decays_as_before(path: Path) -> None:
    """The schedules that results were measured with, spelled as a total and a share."""
    found = [Schedule(config.schedule.epochs, config.schedule.decay) for config in training(path.stem)]
    assert [(of.epochs - of.decay_epochs, of.decay_epochs) for of in found] == SCHEDULES[path.stem]


@pytest.mark.parametrize(
    ("epochs", "decay", "decaying"),
    [
        (1, 0.5, 0),
        (1, 0.51, 1),
        (2, 0.5, 1),
        (3, 0.5, 1),
        (5, 0.3, 1),
        (5, 0.31, 2),
        (40, 0.5, 20),
        (9, 0.45, 4),
        (7, 0, 0),
        (7, 1, 7),
    ],
)
def test_the_share_is_rounded_to_whole_epochs_and_half_of_one_stays_at_the_full_rate(
    epochs: int, decay: float, decaying: int
) -> None:
    schedule = Schedule(epochs, decay)
    assert schedule.decay_epochs == decaying
    factors = [learning_rate_factor(schedule, epoch) for epoch in range(epochs)]
    assert factors.count(1.0) == epochs - decaying
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] > 0


def test_the_defaults_are_those_of_the_paper() -> None:
    """20 epochs at the full rate and 20 of decay, and `--epochs 1` trains one epoch."""
    default = TrainConfig().schedule
    assert (default.epochs, Schedule(default.epochs, default.decay).decay_epochs) == (40, 20)
    assert phases(method_spec("vid2vid").schedule(TrainConfig(epochs=1))) == [Phase(0, 0, 4)]


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "a.toml"
    recipe.write_bytes(b"\xef\xbb\xbf[ingest]\nsize = '64x64'\n")
    assert read_recipe(recipe) == [("ingest", {"size": "64x64"})]
    recipe.write_bytes("[ingest]".encode("utf-16"))
    with raises("recipe-damaged", "a.toml", "UTF-8"):
        read_recipe(recipe)


@pytest.mark.parametrize("text", [r'"C:\Users\me.mp4"', r'"C:\talk.mp4"', r'"c:\new\a.mp4"'])
def test_windows_paths_in_double_quotes_are_explained(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_text(f"[ingest]\nsources = [{text}]\n")
    with raises("recipe-damaged", "a.toml", "C:/folder/file"):
        read_recipe(tmp_path / "a.toml")


@pytest.mark.parametrize("text", [r"'C:\talk.mp4'", r'"C:\\talk.mp4"', '"C:/talk.mp4"', r'"line: \n"'])
def test_other_texts_are_as_they_stand(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_text(f"[ingest]\nsources = [{text}]\n")
    assert read_recipe(tmp_path / "a.toml") == [("ingest", {"sources": [tomllib.loads(f"a = {text}")["a"]]})]
