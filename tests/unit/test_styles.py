"""Styles: mixtures per class, draws that depend on nothing but the region, files that are not trusted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.errors import raises
from v2vkit.artifacts.folder import Folder
from v2vkit.conditions.region_features import RegionFeatures
from v2vkit.conditions.regions import region_ids
from v2vkit.inference.mixtures import FLOOR, fit_mixture, fit_styles
from v2vkit.inference.styles import STYLES, Mixture, Style, Styles, load_styles


def _features(label: int, vectors: np.ndarray, area: float = 0.1) -> list[tuple[RegionFeatures, ...]]:
    """One frame for each vector."""
    return [(RegionFeatures(id=t, label=label, area=area, vector=tuple(v)),) for t, v in enumerate(vectors.clip(-1, 1))]


def _two_heaps(rng: np.random.Generator, count: int = 200) -> np.ndarray:
    return np.concatenate(
        [rng.normal([0.5, 0.5, 0], 0.05, (count, 3)), rng.normal([-0.5, 0, 0.3], 0.02, (count // 2, 3))]
    )


@pytest.fixture(scope="module")
def styles() -> Styles:
    rng = np.random.default_rng(0)
    frames = _features(3, _two_heaps(rng)) + _features(7, rng.normal([-0.8, -0.8, -0.8], 0.01, (4, 3)))
    return fit_styles(frames, model="m/1", max_components=5, num_styles=3, seed=0)


def test_the_number_of_components_is_found(styles: Styles) -> None:
    mixture = styles.classes[3]
    assert len(mixture.weights) == 2
    assert sorted(mixture.weights) == pytest.approx([1 / 3, 2 / 3], abs=0.01)
    heavy = int(np.argmax(mixture.weights))
    np.testing.assert_allclose(mixture.means[heavy], [0.5, 0.5, 0], atol=0.02)
    np.testing.assert_allclose(np.diag(mixture.covariances[heavy]), [0.0025] * 3, rtol=0.3)
    assert fit_mixture(_two_heaps(np.random.default_rng(1)), max_components=1, seed=0).weights == (1.0,)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_few_vectors_make_one_component_that_can_be_drawn_from(count: int) -> None:
    vectors = np.full((count, 3), 0.25)
    mixture = fit_mixture(vectors, max_components=5, seed=0)
    assert mixture.weights == (1.0,)
    np.testing.assert_allclose(mixture.covariances[0], FLOOR * np.eye(3), atol=1e-12)
    np.testing.assert_allclose(mixture.draw(np.random.default_rng(0)), 0.25, atol=0.05)


def test_equal_vectors_in_numbers_are_no_mistake() -> None:
    assert fit_mixture(np.full((500, 2), -0.5), max_components=5, seed=0).weights == (1.0,)
    pair = fit_mixture(np.repeat([[0.5, 0.5], [-0.5, 0.0]], 50, 0), max_components=5, seed=0)
    assert len(pair.weights) == 2


def test_small_regions_count_only_where_there_are_no_larger_ones() -> None:
    large, small = np.full((3, 2), 0.5), np.full((3, 2), -0.5)
    both = fit_styles(
        _features(1, large, 0.2) + _features(1, small, 1 / 64), model="m", max_components=3, num_styles=1, seed=0
    )
    assert both.classes[1].means == ((0.5, 0.5),)
    only = fit_styles(_features(1, small, 1 / 64), model="m", max_components=3, num_styles=1, seed=0)
    assert only.classes[1].means == ((-0.5, -0.5),)


def test_fits_are_repeatable_and_more_styles_keep_the_first(styles: Styles) -> None:
    rng = np.random.default_rng(0)
    frames = _features(3, _two_heaps(rng)) + _features(7, rng.normal([-0.8, -0.8, -0.8], 0.01, (4, 3)))
    again = fit_styles(frames, model="m/1", max_components=5, num_styles=5, seed=0)
    assert again.classes == styles.classes
    assert again.seeds[:3] == styles.seeds
    assert len(set(again.seeds)) == 5


def test_no_features_and_mixed_ones_are_told() -> None:
    settings: dict[str, Any] = {"model": "m", "max_components": 2, "num_styles": 1, "seed": 0}
    with raises("features-unusable", "v2v encode-features --overwrite"):
        fit_styles([(), ()], **settings)
    with raises("features-unusable", "[2, 3]"):
        fit_styles(_features(1, np.zeros((1, 2))) + _features(1, np.zeros((1, 3))), **settings)


def test_a_region_keeps_its_vector_whatever_was_drawn_before(styles: Styles) -> None:
    regions = [3 << 16, (3 << 16) + 1, (3 << 16) + 2, 7 << 16, (9 << 16) + 4]
    first, second = Style(styles, styles.seeds[0]), Style(styles, styles.seeds[0])
    forward = {region: first.vector(region) for region in regions}
    backward = {region: second.vector(region) for region in reversed(regions)}
    for region in regions:
        np.testing.assert_array_equal(forward[region], backward[region])
        assert forward[region].dtype == np.float32
    assert not np.array_equal(forward[3 << 16], forward[(3 << 16) + 1]), "two objects of a class differ"
    other = Style(styles, styles.seeds[1])
    assert not np.array_equal(forward[3 << 16], other.vector(3 << 16)), "and so do two styles"


def test_draws_have_the_mixture_as_their_distribution(styles: Styles) -> None:
    drawn = np.stack([Style(styles, 5).vector((3 << 16) + instance) for instance in range(1500)])
    assert np.abs(drawn).max() <= 1
    expected = (2 * np.array([0.5, 0.5, 0]) + np.array([-0.5, 0, 0.3])) / 3
    np.testing.assert_allclose(drawn.mean(0), expected, atol=0.05)
    assert (drawn[:, 0] > 0).mean() == pytest.approx(2 / 3, abs=0.05)


def test_a_class_never_seen_is_drawn_from_all(styles: Styles) -> None:
    style = Style(styles, 1)
    unseen = np.stack([style.vector((200 << 16) + instance) for instance in range(300)])
    assert (unseen[:, 0] > 0.2).any()
    assert (unseen[:, 0] < -0.2).any()


def test_painting_gives_every_pixel_its_regions_vector(styles: Styles) -> None:
    rng = np.random.default_rng(4)
    labels = rng.choice(np.array([3, 7, 9, 255], np.uint8), (13, 17))
    instances = rng.integers(0, 3, (13, 17)).astype(np.uint16)
    regions = region_ids(labels, instances)
    style = Style(styles, styles.seeds[2])
    painted = style.paint(regions)
    assert painted.shape == (3, 13, 17)
    assert painted.dtype == np.float32
    for y in range(13):
        for x in range(17):
            np.testing.assert_array_equal(painted[:, y, x], style.vector(int(regions[y, x])))
    np.testing.assert_array_equal(style.paint(regions[::-1])[:, ::-1], painted)
    assert style.paint(np.zeros((2, 3), np.int32)).shape == (3, 2, 3)


def _write(folder: Path, text: str) -> Folder:
    (folder / STYLES).write_text(text)
    return Folder(str(folder))


def test_the_file_round_trips(styles: Styles, tmp_path: Path) -> None:
    assert load_styles(_write(tmp_path, styles.model_dump_json())) == styles


HOSTILE: dict[str, Any] = {
    "nan mean": lambda d: d["any_class"]["means"][0].__setitem__(0, float("nan")),
    "infinite covariance": lambda d: d["any_class"]["covariances"][0][0].__setitem__(0, float("inf")),
    "far mean": lambda d: d["any_class"]["means"][0].__setitem__(0, 1e30),
    "negative weight": lambda d: d["any_class"]["weights"].__setitem__(0, -0.5),
    "weights that are too much": lambda d: d["any_class"].update(weights=[1.0] * len(d["any_class"]["weights"])),
    "no components": lambda d: d["any_class"].update(weights=[], means=[], covariances=[]),
    "means missing": lambda d: d["any_class"].update(means=[]),
    "ragged means": lambda d: d["any_class"]["means"].__setitem__(0, [0.0]),
    "empty vectors": lambda d: d["any_class"].update(weights=[1], means=[[]], covariances=[[]]),
    "ragged covariance": lambda d: d["any_class"]["covariances"][0].pop(),
    "not symmetric": lambda d: d["any_class"]["covariances"][0][0].__setitem__(1, 0.5),
    "not positive": lambda d: d["any_class"]["covariances"][0][0].__setitem__(0, -1.0),
    "other dimensions": lambda d: d.update(dims=2),
    "no seeds": lambda d: d.update(seeds=[]),
    "negative seed": lambda d: d.update(seeds=[-1]),
    "huge seed": lambda d: d.update(seeds=[1 << 80]),
    "many seeds": lambda d: d.update(seeds=[1] * 5000),
    "label": lambda d: d.update(classes={"999": d["any_class"]}),
    "label that is none": lambda d: d.update(classes={"__proto__": d["any_class"]}),
    "format": lambda d: d.update(format=2),
    "something else": lambda d: d.update(exec="rm"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_sentences(styles: Styles, tmp_path: Path, name: str) -> None:
    data = json.loads(styles.model_dump_json())
    data["any_class"] = json.loads(styles.classes[3].model_dump_json())
    load_styles(_write(tmp_path, json.dumps(data)))
    HOSTILE[name](data)
    with raises("styles-damaged", "styles.json", "v2v sample-style"):
        load_styles(_write(tmp_path, json.dumps(data)))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "null", '{"classes": 3}'])
def test_files_that_are_no_styles(tmp_path: Path, text: str) -> None:
    with raises("styles-damaged", "styles.json"):
        load_styles(_write(tmp_path, text))


def test_no_file_and_one_that_is_too_large(tmp_path: Path) -> None:
    with raises("styles-missing", "v2v encode-features", "v2v sample-style"):
        load_styles(Folder(str(tmp_path)))
    with (tmp_path / STYLES).open("wb") as file:
        file.truncate(65 << 20)
    with raises("styles-damaged", str(65 << 20)):
        load_styles(Folder(str(tmp_path)))


def test_a_mixture_of_one_number() -> None:
    mixture = Mixture(weights=(1.0,), means=((0.5,),), covariances=(((0.01,),),))
    assert mixture.draw(np.random.default_rng(0)).shape == (1,)
    assert fit_mixture(np.random.default_rng(0).normal(0, 0.1, (40, 1)), max_components=3, seed=0).dims == 1


def test_objects_of_two_shots_differ_and_areas_do_not(styles: Styles) -> None:
    style, road, car = Style(styles, 1), 3 << 16, (3 << 16) + 1
    np.testing.assert_array_equal(style.vector(road, 0), style.vector(road, 1))
    assert not np.array_equal(style.vector(car, 0), style.vector(car, 1)), "ids begin at 1 in every shot"
    regions = np.array([[road, car]], np.int32)
    np.testing.assert_array_equal(style.paint(regions, 1)[:, 0, 1], style.vector(car, 1))
    assert not np.array_equal(style.paint(regions, 1), style.paint(regions))


def test_an_object_that_appears_late_changes_no_other_one(styles: Styles) -> None:
    early, late = Style(styles, 1), Style(styles, 1)
    first = (3 << 16) + 1
    alone = [early.paint(np.full((2, 2), first, np.int32))[:, 0, 0] for _ in range(3)]
    late.paint(np.full((2, 2), first, np.int32))
    both = late.paint(np.array([[first, (3 << 16) + 2]], np.int32))
    np.testing.assert_array_equal(both[:, 0, 0], alone[-1])


def test_a_component_is_chosen_and_a_class_is_kept(styles: Styles) -> None:
    means = np.asarray(styles.classes[3].means)
    for number, mean in enumerate(means):
        chosen = styles.model_copy(update={"components": {3: number}})
        drawn = [Style(chosen, seed).vector((3 << 16) + seed) for seed in range(30)]
        assert all(np.abs(means - vector).sum(1).argmin() == number for vector in drawn), mean
    kept = styles.model_copy(update={"keep": (3,)})
    first, second = (Style(kept, seed) for seed in kept.seeds[:2])
    np.testing.assert_array_equal(first.vector((3 << 16) + 4), second.vector((3 << 16) + 4))
    assert not np.array_equal(first.vector(7 << 16), second.vector(7 << 16))


@pytest.mark.parametrize("components", [{3: 9}, {8: 0}, {3: -1}])
def test_components_that_do_not_exist_are_damage(styles: Styles, tmp_path: Path, components: dict[int, int]) -> None:
    data = json.loads(styles.model_dump_json()) | {"components": components}
    with raises("styles-damaged", "styles.json"):
        load_styles(_write(tmp_path, json.dumps(data)))
