"""Class tables: what is built in, what a file may say, merging, and where names and colours are used."""

from pathlib import Path

import numpy as np
import pytest

from tests.errors import raises
from v2vkit.classes.colours import ids_of_colours
from v2vkit.classes.remap import merged_ids, remapped_table
from v2vkit.classes.table import ClassTable, built_in, find_table, table_names, tables_with
from v2vkit.conditions.label_ids import colorize
from v2vkit.conditions.labels import LabelsCondition


def table(text: str, folder: Path) -> ClassTable:
    (folder / "t.toml").write_text(text)
    return find_table(str(folder / "t.toml"))


ROADS = """
name = "roads"
classes = [
  { id = 0, name = "road", colour = [128, 64, 128] },
  { id = 1, name = "car", colour = [0, 0, 142], foreground = true, thing = true },
  { id = 2, name = "void", ignore = true },
]
"""


def test_the_published_tables_are_built_in() -> None:
    numbers = {name: built_in(name).num_labels for name in table_names()}
    assert numbers == {
        "ade20k": 151,
        "apolloscape": 169,
        "camvid": 11,
        "carla": 29,
        "cityscapes": 34,
        "cityscapes-train": 19,
        "synthia": 23,
        "toy": 8,
    }


@pytest.mark.parametrize(
    ("name", "label", "number", "colour"),
    [
        ("cityscapes", "car", 26, (0, 0, 142)),
        ("cityscapes-train", "car", 13, (0, 0, 142)),
        ("camvid", "car", 8, (64, 0, 128)),
        ("carla", "car", 14, (0, 0, 142)),
        ("apolloscape", "car", 33, (0, 0, 142)),
        ("synthia", "car", 8, (0, 0, 142)),
        ("ade20k", "car", 21, (0, 102, 200)),
        ("toy", "car", 6, (52, 88, 176)),
    ],
)
def test_cars_are_foreground_things_of_the_published_id_and_colour(name, label, number, colour) -> None:
    (found,) = [of for of in built_in(name).classes if of.name == label]
    assert (found.id, found.colour, found.foreground, found.thing) == (number, colour, True, True)


def test_names_are_found_in_any_case_and_ids_stand_for_themselves() -> None:
    cityscapes = built_in("cityscapes")
    assert [cityscapes.id_of(of) for of in ("Traffic Light", "car", "26", 7)] == [19, 26, 26, 7]
    with raises("class-unknown", "cityscapes", "cart", "car"):
        cityscapes.id_of("cart")


def test_a_table_comes_from_a_file(tmp_path: Path) -> None:
    found = table(ROADS, tmp_path)
    assert (found.name, found.num_labels, found.ignored) == ("roads", 2, {2})
    assert ClassTable.model_validate(found.plain()) == found


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("classes = [", "t.toml"),
        ('classes = [{ id = 0, name = "a" }, { id = 0, name = "b" }]', "0"),
        ('classes = [{ id = 0, name = "a" }, { id = 1, name = "a" }]', "'a'"),
        ('classes = [{ id = 300, name = "a" }]', "id"),
        ('classes = [{ id = 255, name = "a" }]', "255"),
        ('classes = [{ id = 0, name = "a", colour = [0, 0, 256] }]', "colour"),
        ('classes = [{ id = 0, name = "a", color = "red" }]', "colo"),
        ('classes = [{ id = 0, name = "a=b" }]', "name"),
        ("classes = []", "classes"),
        ('classes = [{ id = 0, name = "a", ting = true }]', "ting"),
        ('classes = [{ id = 0, name = "a", ignore = true }]', "t.toml"),
    ],
)
def test_mistakes_in_a_table_are_named(tmp_path: Path, text: str, named: str) -> None:
    with raises("class-table-damaged", "t.toml", named):
        table(text, tmp_path)


def test_a_table_that_is_none_is_told_with_those_that_are(tmp_path: Path) -> None:
    with raises("class-table-unknown", "cityscape", "cityscapes-train"):
        find_table("cityscape")
    with raises("file-missing", "none.toml"):
        find_table(str(tmp_path / "none.toml"))


def test_classes_are_merged_and_what_is_not_named_is_left_out(tmp_path: Path) -> None:
    coarse = table(
        """
        name = "coarse"
        classes = [
          { id = 0, name = "ground", merges = ["road", "sidewalk", 9] },
          { id = 1, name = "mover", colour = [1, 2, 3], merges = ["car", "person"] },
        ]
        """,
        tmp_path,
    )
    assert merged_ids(coarse, built_in("cityscapes")) == {7: 0, 8: 0, 9: 0, 26: 1, 24: 1}
    after = remapped_table(coarse, built_in("cityscapes"))
    assert [of.colour for of in after.classes] == [(128, 64, 128), (1, 2, 3)]


@pytest.mark.parametrize(
    ("merges", "source", "code"),
    [
        ('["cat"]', "cityscapes", "class-unknown"),
        ("[77]", "cityscapes", "class-unknown"),
        ('["car", "car"]', "cityscapes", "class-duplicate"),
        ('["car"]', None, "class-table-required"),
        ("[]", "cityscapes", "remap-empty"),
        ("[1000000000000]", None, "label-id-out-of-range"),
    ],
)
def test_remaps_that_mean_nothing_are_refused(tmp_path: Path, merges: str, source: str | None, code: str) -> None:
    remap = table(f'classes = [{{ id = 0, name = "a", merges = {merges} }}]', tmp_path)
    with raises(code):
        merged_ids(remap, None if source is None else built_in(source))


def test_colours_become_ids_and_unknown_ones_are_counted_with_the_nearest_class() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[0] = (128, 64, 128)
    image[1] = (64, 0, 129)
    ids, unknown = ids_of_colours(image, built_in("camvid"))
    assert ids.tolist() == [[3] * 3, [-1] * 3]
    (of,) = unknown
    assert (of.colour, of.pixels, of.nearest, of.nearest_colour) == ((64, 0, 129), 3, "car", (64, 0, 128))
    ids, unknown = ids_of_colours(image, built_in("camvid"), nearest=True)
    assert (ids[1].tolist(), unknown) == ([8] * 3, [])


def test_tables_are_found_by_their_ids() -> None:
    assert tables_with({33, 26, 255}) == ["ade20k", "cityscapes"]


def test_the_condition_carries_names_and_colours_and_no_more_channels() -> None:
    plain = LabelsCondition(num_labels=11)
    named = LabelsCondition.configured({"classes": built_in("camvid").plain()}, lambda: 3)
    assert (named.num_labels, named.num_channels) == (11, plain.num_channels)
    assert "classes" not in plain.model_dump()
    assert LabelsCondition.model_validate_json(named.model_dump_json()) == named
    assert named.same_channels(plain)
    assert plain.same_channels(named)
    other = LabelsCondition.configured({"classes": ClassTable(name="x", classes=_renamed()).plain()}, lambda: 3)
    assert not named.same_channels(other)
    channels = np.zeros((12, 1, 1), np.float32)
    channels[8] = 1
    assert named.preview(channels).tolist() == [[[64, 0, 128]]]


def _renamed() -> tuple[object, ...]:
    return tuple(of.model_copy(update={"name": f"{of.name} 2"}) for of in built_in("camvid").classes)


def test_pictures_have_the_colours_of_the_table() -> None:
    ids = np.array([[3, 8, 255]], np.uint8)
    assert colorize(ids, built_in("camvid")).tolist() == [[[128, 64, 128], [64, 0, 128], [0, 0, 0]]]
