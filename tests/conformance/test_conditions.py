"""The contract of a condition, run over every row of the registry."""

import json
from collections.abc import Callable
from typing import Any, ClassVar, get_args, get_type_hints

import numpy as np
import pytest

from tests.conditions import stages_of
from tests.errors import raises
from tests.faces import face_landmarks, photo
from tests.people import body, person
from v2vkit.cli.recipe_file import shipped_recipes
from v2vkit.conditions.augment import IDENTITY, Change, warp_image
from v2vkit.conditions.base import Condition, Fact
from v2vkit.conditions.conditioning import Conditioning, conditioning_of, to_unit
from v2vkit.conditions.densepose import DensePoseMap
from v2vkit.conditions.depth import DepthMap
from v2vkit.conditions.domains import DOMAINS
from v2vkit.conditions.edges import EdgeMap
from v2vkit.conditions.face import FaceLandmarks
from v2vkit.conditions.labels import LabelMap
from v2vkit.conditions.picture import Picture
from v2vkit.conditions.pose import People
from v2vkit.conditions.preview import open_layer, sort_layers
from v2vkit.conditions.registry import CONDITIONS, condition_class
from v2vkit.conditions.settings import Origin
from v2vkit.errors import V2VError
from v2vkit.estimators.base import Segments
from v2vkit.estimators.registry import rows_of
from v2vkit.stages import COMMANDS

SIZE = (90, 80)
IMAGE = photo(80, 90)
LANDMARKS = np.round(face_landmarks(45, 34, 30), 3)
LABELS = np.tile(np.arange(90, dtype=np.uint8) // 30, (80, 1))
DEPTH = np.tile(np.linspace(0.0, 40.0, 90, dtype=np.float32), (80, 1))
PARTS = np.dstack([np.tile(np.arange(90, dtype=np.uint8), (80, 1)), np.full((80, 90), 7, np.uint8), LABELS * 12])
INSTANCES = np.tile((np.arange(90) // 45 * 300).astype(np.uint16), (80, 1))

# Per condition: fields that have no default, fields that are not at theirs, annotations (the last shows nothing), and
# an estimator of its task.
EXAMPLES: dict[str, tuple[dict[str, Any], dict[str, Any], list[Any], Callable[[np.ndarray], Any] | None]] = {
    "labels": (
        {"num_labels": 3},
        {"num_labels": 7, "edges": False},
        [LabelMap(LABELS, INSTANCES), LabelMap(LABELS), LabelMap(np.full_like(LABELS, 255))],
        lambda image: Segments(LABELS, INSTANCES),
    ),
    "face": (
        {},
        {"canny": False},
        [FaceLandmarks(LANDMARKS, SIZE), FaceLandmarks(LANDMARKS, SIZE, found=False), FaceLandmarks(None, SIZE, False)],
        lambda image: LANDMARKS,
    ),
    "pose": (
        {},
        {"stroke": 2},
        [People((person(45, 8, 60), person(20, 30, 40)), SIZE), People((), SIZE, found=False)],
        lambda image: body(45, 8, 60)[None],
    ),
    "densepose": ({}, {}, [DensePoseMap(PARTS), DensePoseMap(np.zeros_like(PARTS))], None),
    "depth": (
        {},
        {"metric": True, "near": 2.0, "far": 50.0},
        [DepthMap.of(DEPTH), DepthMap.of(DEPTH, near_far=(2.0, 30.0)), DepthMap.of(DEPTH * 0)],
        None,
    ),
    "picture": ({}, {}, [Picture(IMAGE), Picture(np.zeros_like(IMAGE))], None),
    "edges": (
        {},
        {"kernel": "square", "sigma": 2.0, "threshold": 3.5},
        [EdgeMap(np.where(LABELS == 1, np.uint8(255), np.uint8(0))), EdgeMap(np.zeros_like(LABELS))],
        None,
    ),
}
NAMES = sorted(CONDITIONS)
CASES = [(name, number) for name in NAMES for number in range(len(EXAMPLES[name][2]))]


def build(name: str) -> Condition[Any]:
    return condition_class(name)(**EXAMPLES[name][0])


@pytest.fixture(params=NAMES)
def condition(request: pytest.FixtureRequest) -> Condition[Any]:
    return build(request.param)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request: pytest.FixtureRequest) -> tuple[Condition[Any], Any]:
    name, number = request.param
    return build(name), EXAMPLES[name][2][number]


def test_every_row_is_here() -> None:
    assert set(EXAMPLES) == set(CONDITIONS)


def test_a_condition_says_what_it_is(condition: Condition[Any]) -> None:
    assert CONDITIONS[condition.name].endswith(type(condition).__name__)
    assert condition.artifact
    assert condition.required
    assert set(condition.reads["channels"]) <= {*condition.required, *condition.optional}
    assert {name for names in condition.reads.values() for name in names} >= set(condition.required)
    assert condition.appearance < set(type(condition).model_fields)
    assert condition.nothing
    assert set(stages_of(condition.artifact)) <= set(COMMANDS)
    assert all(stage in condition.making() for stage in stages_of(condition.artifact))
    assert str(condition)
    assert (condition.beside is None) == (type(condition).of_map.__func__ is Condition.of_map.__func__)
    assert condition.from_frame == (type(condition).of_frame is not Condition.of_frame)
    if condition.task is not None:
        assert rows_of(condition.task)
        assert condition.estimator_stage in stages_of(condition.artifact)
    if condition.published is not None:
        assert condition.published.stage in stages_of(condition.artifact)
        condition.Settings.model_validate(condition.published.settings)


@pytest.mark.parametrize("name", NAMES)
def test_a_condition_is_a_value_that_goes_through_json(name: str) -> None:
    required, other, _, _ = EXAMPLES[name]
    for fields in (required, required | other):
        condition = condition_class(name)(**fields)
        conditioning = Conditioning.of(condition)
        assert Conditioning.model_validate_json(conditioning.model_dump_json()) == conditioning
        assert json.loads(conditioning.model_dump_json())[0]["name"] == name
        assert hash(condition) == hash(condition_class(name)(**fields))
    assert not other or build(name) != condition_class(name)(**(required | other))
    with pytest.raises(ValueError, match="frozen"):
        build(name).name = "another"
    for wrong in ({"name": "aura"}, {"name": name, **required, "aura": 1}, {}, name):
        with pytest.raises(ValueError):
            Conditioning.model_validate([wrong])


def test_channels_are_bytes_of_the_frames_size(case: tuple[Condition[Any], Any]) -> None:
    condition, annotation = case
    channels = condition.channels(annotation, IMAGE)
    assert channels.shape == (condition.num_channels, SIZE[1], SIZE[0])
    assert channels.dtype == np.uint8
    assert annotation.size == SIZE
    np.testing.assert_array_equal(channels, condition.channels(annotation, IMAGE))
    drawn = condition.draw(condition.prepare([annotation])[0], IMAGE)
    np.testing.assert_array_equal(channels, condition.channels(drawn, IMAGE))


def test_encoded_annotations_are_decoded_unchanged(case: tuple[Condition[Any], Any]) -> None:
    condition, annotation = case
    files = condition.encode(condition.draw(annotation, IMAGE), estimator="test 1")
    assert {*condition.required} <= set(files)
    for use in condition.reads:
        read = condition.decode({name: files[name] for name in condition.reads[use] if name in files}, size=SIZE)
        assert (read.size, read.found) == (SIZE, annotation.found)
        # Of a drawing on disk the frame is not needed any more.
        image = None if use == "channels" else IMAGE
        np.testing.assert_array_equal(condition.channels(read, image), condition.channels(annotation, IMAGE))
        if use == "channels":
            assert condition.encode(condition.draw(read, IMAGE), estimator="test 1") == files


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"[" * 5000, b"{}"], ids=["empty", "png", "deep", "json"])
def test_damaged_files_are_refused(condition: Condition[Any], data: bytes) -> None:
    files = condition.encode(condition.draw(EXAMPLES[condition.name][2][0], IMAGE), estimator="test 1")
    for name in condition.required:
        with pytest.raises(V2VError) as caught:
            condition.decode(files | {name: data}, size=SIZE)
        assert caught.value.code.endswith("-damaged")


def test_a_change_that_moves_nothing_changes_nothing(case: tuple[Condition[Any], Any]) -> None:
    condition, annotation = case
    still = condition.augment(condition.draw(annotation, IMAGE), Change(IDENTITY))
    np.testing.assert_array_equal(condition.channels(still, IMAGE), condition.channels(annotation, IMAGE))
    assert still.found == annotation.found


def test_a_change_moves_what_is_known_and_repeats(condition: Condition[Any]) -> None:
    annotation = condition.draw(EXAMPLES[condition.name][2][0], IMAGE)
    change = Change(np.array([[1.0, 0, 4], [0, 1, -3]]), drop=0.5, seed=(1, 2))
    image = warp_image(IMAGE, change.move)
    moved, again = (condition.channels(condition.augment(annotation, change), image) for _ in range(2))
    np.testing.assert_array_equal(moved, again)
    assert not np.array_equal(moved, condition.channels(annotation, IMAGE))
    if condition.has_parts:
        whole = condition.augment(annotation, Change(change.move))
        assert not np.array_equal(moved, condition.channels(whole, image))


def test_previews_are_pictures_at_any_size(case: tuple[Condition[Any], Any]) -> None:
    condition, annotation = case
    channels = to_unit(condition.channels(annotation, IMAGE))
    for shown in (channels, channels[:, ::2, ::2]):
        picture = condition.preview(np.ascontiguousarray(shown))
        assert picture.shape == (*shown.shape[1:], 3)
        assert picture.dtype == np.uint8


def test_regions_and_subjects_are_where_they_are_told_to_be(case: tuple[Condition[Any], Any]) -> None:
    condition, annotation = case
    if condition.has_regions:
        regions = condition.regions(annotation)
        assert regions.shape == (SIZE[1], SIZE[0])
        assert regions.dtype == np.int32
        np.testing.assert_array_equal(regions, condition.regions(condition.draw(annotation, IMAGE)))
    else:
        with pytest.raises(NotImplementedError):
            condition.regions(annotation)
    if condition.has_subject:
        assert (condition.align(annotation) is not None) == (annotation is not EXAMPLES[condition.name][2][-1])
    else:
        with pytest.raises(NotImplementedError):
            condition.align(annotation)


def test_files_can_be_shown(condition: Condition[Any]) -> None:
    files = condition.encode(condition.draw(EXAMPLES[condition.name][2][0], IMAGE), estimator="test 1")
    shown = sort_layers(set(files))
    assert shown
    assert set(shown) == set(condition.layers) & set(files)
    for name in shown:
        assert open_layer(name, []).render(files[name], name).shape == (SIZE[1], SIZE[0], 3)


def test_frames_are_annotated_in_their_order(condition: Condition[Any]) -> None:
    if condition.task is None:
        pytest.skip("no estimator stands behind it")
    estimator = EXAMPLES[condition.name][3]
    assert estimator is not None
    frames = [np.full_like(IMAGE, t) for t in range(11)]
    annotated = list(condition.annotate(iter(frames), estimator, {}, size=SIZE))
    assert [int(image[0, 0, 0]) for image, _ in annotated] == list(range(11))
    assert all(annotation.found and annotation.size == SIZE for _, annotation in annotated)
    with raises("maps-required", "in.mp4"):
        condition.refuse_other_footage(Origin(stage="another"), "in.mp4")
    condition.refuse_other_footage(Origin(stage=str(condition.estimator_stage)), "in.mp4")


def test_a_condition_is_configured_as_its_stage_was(condition: Condition[Any]) -> None:
    required, other, _, _ = EXAMPLES[condition.name]
    made = type(condition).configured(required | other | {"unknown": 1}, lambda: 5)
    assert made == type(condition)(**(required | other))
    assert isinstance(type(condition).configured({}, lambda: 5), type(condition))


def test_settings_of_appearance_alone_leave_the_channels_the_same(condition: Condition[Any]) -> None:
    required, other, _, _ = EXAMPLES[condition.name]
    changed = type(condition)(**(required | other))
    assert condition.same_channels(changed) == (set(other) <= condition.appearance)
    assert condition.same_channels(build(condition.name))


def test_a_list_of_conditions_stacks_channels_in_its_order() -> None:
    both = Conditioning.of(build("pose"), build("labels"))
    people, labels = EXAMPLES["pose"][2][0], EXAMPLES["labels"][2][0]
    assert both.names == "pose+labels"
    assert both.artifacts == ("poses", "labels")
    assert both.num_channels == 3 + 4
    channels = both.channels((people, labels), IMAGE)
    np.testing.assert_array_equal(channels[:3], build("pose").channels(people))
    np.testing.assert_array_equal(channels[3:], build("labels").channels(labels))
    np.testing.assert_array_equal(both.preview(to_unit(channels)), build("pose").preview(to_unit(channels[:3])))
    regions = both.regions((people, labels))
    assert regions is not None
    np.testing.assert_array_equal(regions, build("labels").regions(labels))
    assert both.align((people, labels)) == build("pose").align(people)
    assert both.slice_of("foreground") == slice(3, 7)
    assert both.num_labels == 3
    assert not both.mirrors, "skeletons may not be mirrored"
    assert both.label_folder is None, "label maps alone are not enough"
    assert not both.same_channels(Conditioning.of(build("labels"), build("pose")))
    with raises("size-mismatch", "poses 90x80", "labels 8x8"):
        both.channels((people, LabelMap(np.zeros((8, 8), np.uint8))))
    with pytest.raises(ValueError):
        Conditioning(())


@pytest.mark.parametrize("fact", get_args(Fact))
def test_what_code_asks_for_by_name_is_true_or_false_of_every_condition(fact: str) -> None:
    assert get_type_hints(Condition)[fact] == ClassVar[bool]
    assert {getattr(condition_class(name), fact) for name in CONDITIONS} == {True, False}


@pytest.mark.parametrize("name", DOMAINS)
def test_a_domain_is_a_row_of_defaults(name: str) -> None:
    row = DOMAINS[name]
    assert row.recipe in shipped_recipes()
    fields = {key: value for condition in row.conditions for key, value in EXAMPLES[condition][0].items()}
    assert conditioning_of(name, **fields).names == "+".join(row.conditions)
    assert len(row.artifacts) == len(row.conditions)


def test_edges_of_the_background_need_the_frame() -> None:
    with raises("frame-required"):
        build("face").channels(FaceLandmarks(LANDMARKS, SIZE))
    plain = condition_class("face")(canny=False)
    np.testing.assert_array_equal(
        plain.channels(FaceLandmarks(LANDMARKS, SIZE)), plain.channels(FaceLandmarks(LANDMARKS, SIZE), IMAGE)
    )
