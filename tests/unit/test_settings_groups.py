"""Settings in groups: nested in the config, flat on the command line, in recipes and in manifests."""

import json

import pytest
from click.testing import CliRunner

from tests.errors import raises
from v2vkit.cli.main import cli
from v2vkit.cli.options import given, parameters
from v2vkit.config import (
    SettingsGroup,
    StageConfig,
    as_plain,
    extras,
    fingerprinted,
    make_config,
    sections_of,
    setting,
    settings_of,
)
from v2vkit.training.config import TrainConfig


class Brush(SettingsGroup):
    """Brush."""

    width: int = setting(3, "Pixels.", ge=1, common=True)
    colour: str = setting("red", "What is painted.", choices=lambda: ("red", "green"))
    drying: float = setting(0.5, "Seconds.", affects_output=False)
    dots: tuple[int, ...] = setting((), "Where.", since="0.2")


class PaintConfig(StageConfig):
    """Paint."""

    subject: str = setting("tree", "What to paint.")
    brush: Brush = Brush()
    strokes: int = setting(9, "How many.")


def make(**values: object) -> PaintConfig:
    return make_config(PaintConfig, values, "recipe x, table [paint]")


def test_settings_are_given_flat_and_reached_through_their_group() -> None:
    config = make(width=5, subject="house", dots=[1, 2])
    assert (config.subject, config.strokes, config.brush.width, config.brush.dots) == ("house", 9, 5, (1, 2))
    assert (config.value("width"), config.value("subject")) == (5, "house")
    assert list(settings_of(PaintConfig)) == ["subject", "width", "colour", "drying", "dots", "strokes"]
    assert extras(PaintConfig, "drying")["affects_output"] is False


def test_manifests_hold_them_flat_and_configs_come_back_from_there() -> None:
    config = make(width=5)
    plain = as_plain(config)
    assert plain == {"subject": "tree", "width": 5, "colour": "red", "drying": 0.5, "dots": [], "strokes": 9}
    assert PaintConfig.model_validate(plain) == config
    assert PaintConfig.model_validate_json(config.model_dump_json()) == config
    assert json.loads(config.model_dump_json()) == plain
    assert set(fingerprinted(config)) == {"subject", "width", "colour", "strokes"}
    assert "dots" in fingerprinted(make(dots=[1]))


def test_a_copy_replaces_settings_by_their_own_names() -> None:
    config = make(width=5)
    changed = config.model_copy(update={"width": 6, "strokes": 1})
    assert (changed.brush.width, changed.brush.colour, changed.strokes, config.brush.width) == (6, "red", 1, 5)
    with pytest.raises(AssertionError, match="thickness"):
        config.model_copy(update={"thickness": 1})


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"thickness": 1}, (": thickness: ", "subject, width, colour")),
        ({"width": 0}, ("[paint]: width: ", "1", "0")),
        ({"colour": "blue"}, (": colour: ", "'red' or 'green'", "'blue'")),
        ({"brush": {"width": 4}}, (": brush ",)),
    ],
)
def test_mistakes_name_the_setting_not_its_group(values: dict[str, object], names: tuple[str, ...]) -> None:
    with raises("setting-invalid", *names):
        make(**values)


def test_flags_are_flat_and_their_choices_are_shown() -> None:
    options = {option.name: option for option in parameters(PaintConfig)}
    assert list(options) == list(settings_of(PaintConfig))
    assert options["colour"].type.to_info_dict()["choices"] == ("red", "green")
    assert given(PaintConfig, {"width": 4, "colour": None, "dots": ()}) == {"width": 4}


def test_help_lists_common_settings_first_then_every_group() -> None:
    assert sections_of(PaintConfig) == {
        "Most used": ["subject", "width", "strokes"],
        "Brush": ["colour", "drying", "dots"],
    }
    found = sections_of(TrainConfig)
    assert list(found) == [
        "Most used",
        "Model",
        "Schedule and optimiser",
        "Weights of the losses",
        "Discriminators",
        "Segmenter",
        "Training data",
        "Hardware",
        "Plan, snapshots and logs",
    ]
    assert 10 <= len(found["Most used"]) <= 14
    assert {"method", "stage", "preset", "epochs", "learning_rate", "device"} <= set(found["Most used"])
    assert sorted(name for names in found.values() for name in names) == sorted(settings_of(TrainConfig))


def test_help_prints_the_groups_with_their_headings() -> None:
    output = CliRunner().invoke(cli, ["train", "--help"]).output
    places = [output.index(f"\n{heading}:\n") for heading in sections_of(TrainConfig)]
    assert places == sorted(places)
    assert places[0] < output.index("  --epochs") < output.index("\nHow to run:\n") < places[1]
    assert output.index("  --overwrite") < places[1] < output.index("  --num-blocks ") < places[2]
    assert output.count("  --epochs") == 1
    assert "\nOptions:\n" in CliRunner().invoke(cli, ["extract-flow", "--help"]).output
