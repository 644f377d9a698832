"""The command line: settings become flags, mistakes become sentences, recipes run in order."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.errors import raises
from tests.unit.video_files import moving_frames, write_file
from v2vkit.cli.main import COMMANDS, LazyGroup, cli, load, main
from v2vkit.cli.recipe_file import read_recipe
from v2vkit.config import Size, StageConfig, as_plain, make_config, settings_of
from v2vkit.errors import V2VError

ROOT = Path(__file__).resolve().parents[2]


def _run(*args: str) -> Result:
    return CliRunner().invoke(cli, list(args))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_every_setting(command: str) -> None:
    output = _run(command, "--help").output
    for name in settings_of(load(command).config):
        assert name.strip("_").replace("_", "-") in output or name.upper() in output, name


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("ingest", "work workers engine address worker-gpus overwrite dry-run"),
        ("train", "work overwrite continue dry-run"),
        ("sample-style", "work overwrite dry-run"),
        ("import-checkpoint", "work overwrite"),
        ("make-toy", "workers overwrite"),
        ("run", "work workers engine address worker-gpus overwrite continue dry-run"),
        ("estimate-cost", "work"),
        ("render", "work"),
        ("evaluate", "work overwrite"),
        ("show", "work"),
        ("check", "work"),
        ("doctor", "work"),
    ],
)
def test_a_command_takes_only_the_flags_that_it_looks_at(command: str, flags: str) -> None:
    output = _run(command, "--help").output
    flags_of_runs = ("work", "workers", "engine", "address", "worker-gpus", "overwrite", "continue", "dry-run")
    shown = {flag for flag in flags_of_runs if re.search(rf"^  --{flag} ", output, re.M)}
    assert shown == set(flags.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_explains_itself(command: str) -> None:
    for name, field in settings_of(load(command).config).items():
        assert field.description, f"{command} {name}"
        assert field.description.endswith((".", "?")) or field.description[-1].isalnum(), f"{command} {name}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme_or_a_page_of_the_documentation(command: str) -> None:
    generated = {"cli.md", "errors.md"}
    pages = [ROOT / "README.md", *(page for page in (ROOT / "docs").glob("*.md") if page.name not in generated)]
    assert any(re.search(rf"\bv2v {command}\b", page.read_text()) for page in pages)


def test_unknown_command_suggests_the_near_one() -> None:
    result = _run("extract-flo")
    assert result.exit_code == 2
    assert "v2v extract-flow" in result.output


def test_out_of_range_value_names_the_setting() -> None:
    with raises("setting-invalid", "max_frames"):
        make_config(load("train").config, {"max_frames": 0}, "v2v train")


@pytest.mark.parametrize(
    ("command", "values", "names", "ranges"),
    [
        ("train", {"max_frames": 0}, ["greater than or equal to 1"], True),
        ("train", {"variant": "a/b"}, ["lower-case letters, digits and hyphens", "'a/b'"], False),
        ("export-dataset", {"target": "t", "split": "a/b"}, ["letters, digits and hyphens"], False),
        ("ingest", {"sources": ["a"], "crop": "face"}, ["--size"], False),
        ("train", {"variant": "a/b", "max_frames": 0}, ["hyphens", "greater than"], True),
    ],
)
def test_only_values_out_of_range_are_sent_to_the_ranges(
    command: str, values: dict[str, object], names: list[str], ranges: bool
) -> None:
    with raises("setting-invalid", *names) as caught:
        make_config(load(command).config, values, f"v2v {command}")
    assert ("ranges" in caught.error.hint) == ranges
    assert "[" not in caught.error.message


def test_a_list_is_asked_for_in_the_words_of_recipes() -> None:
    with raises("setting-invalid", "strides", "[1]"):
        make_config(load("extract-flow").config, {"strides": 1}, "recipe")


def test_unknown_key_names_the_known_ones() -> None:
    with raises("setting-invalid", "sise", "recipe r.toml, table [ingest]") as caught:
        make_config(load("ingest").config, {"sources": ["a"], "sise": "64x64"}, "recipe r.toml, table [ingest]")
    assert "size" in caught.error.hint


@pytest.mark.parametrize("text", ["64", "64x", "0x10", "axb"])
def test_sizes_that_are_none(text: str) -> None:
    with raises("setting-invalid", "size"):
        make_config(load("ingest").config, {"sources": ["a"], "size": text}, "here")


@pytest.mark.parametrize("text", ["100000x100000", "99999x99999", "70000x16", "16x16385", "16384x16384"])
def test_sizes_that_are_too_large(text: str) -> None:
    with raises("setting-invalid", "size", text, "16384"):
        make_config(load("ingest").config, {"sources": ["a"], "size": text}, "here")
    make_config(load("ingest").config, {"sources": ["a"], "size": "16384x4096"}, "here")


@pytest.mark.parametrize(("number", "text"), [(25, "25"), (12.5, "25/2"), ("30000/1001", "30000/1001")])
def test_a_frame_rate_may_be_a_number_in_recipes(number: object, text: str) -> None:
    ingest = make_config(load("ingest").config, {"sources": ["a"], "fps": number}, "test")
    render = make_config(load("render").config, {"source": "a", "target": "b.mp4", "fps": number}, "test")
    assert ingest.fps == render.fps == Fraction(text)
    assert as_plain(ingest)["fps"] == as_plain(render)["fps"] == text
    with raises("setting-invalid", "fps"):
        make_config(load("ingest").config, {"sources": ["a"], "fps": True}, "test")


@pytest.mark.parametrize(
    ("command", "name"),
    [("segment", "weights"), ("estimate-pose", "weights"), ("make-sketches", "weights"), ("ingest", "face_weights")],
)
def test_weights_are_found_from_any_folder(command: str, name: str) -> None:
    given = {"sources": ["a"], "size": "64x64", "crop": "face", "face": "dlib"} if command == "ingest" else {}
    config = make_config(load(command).config, {name: "mine.pt", **given}, "test")
    assert getattr(config, name) == str(Path("mine.pt").absolute())
    assert getattr(make_config(load(command).config, given, "test"), name) is None


def test_words_that_a_code_page_lacks_do_not_end_a_command(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "v2vkit", "check", f"{tmp_path}/caf\u00e9 \u2191.mp4"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in told.stderr
    assert "caf" in told.stdout + told.stderr
    assert told.returncode in (1, 3)


@pytest.mark.parametrize("rate", ["30000/0", "-1", "inf", "nan", "1e9", "0", "1001", "x"])
def test_a_frame_rate_is_above_zero_and_at_most_1000(rate: str) -> None:
    with raises("setting-invalid", rate, "above 0", "1000"):
        make_config(load("ingest").config, {"sources": ["a"], "fps": rate}, "here")


def test_a_name_that_looks_like_an_option_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "./-dash.mp4" not in _run("ingest", "-dash.mp4").output
    Path("-dash.mp4").touch()
    told = _run("ingest", "-dash.mp4")
    assert told.exit_code == 2
    assert "./-dash.mp4" in told.output


def test_a_frame_rate_near_zero_is_refused() -> None:
    result = _run("make-toy", "never", "--fps", "0.0004")
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "setting-invalid"
    assert "fps" in result.exception.message


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ("ingest SOURCE ''", "sources"),
        ("ingest SOURCE --labels ''", "labels"),
        ("render SOURCE '' --work w", "target"),
        ("render ' ' x.mp4 --work w", "source"),
        ("make-toy ''", "out"),
        ("report --out ''", "out"),
    ],
)
def test_empty_names_of_an_unset_variable_are_refused(arguments: str, name: str, tmp_path: Path) -> None:
    result = _run(*(str(tmp_path) if word == "SOURCE" else word for word in shlex.split(arguments)))
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "setting-invalid"
    assert f"{name}: " in result.exception.message


def test_a_recipe_needs_a_workspace(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('[make-toy]\nout = "{work}/toy"\n')  # would be /toy
    result = _run("run", str(recipe), "--work", "", "--dry-run")
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "folder-unsupported"


@pytest.mark.parametrize("work", ["", "/"])
def test_an_empty_workspace_is_not_the_root_of_the_file_system(work: str) -> None:
    result = _run("check", "--work", work)
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "folder-unsupported"
    assert "--work" in result.exception.hint


@pytest.mark.parametrize("work", ["https://example.com/work", "zip://inside::archive.zip"])
def test_a_workspace_that_cannot_be_written_is_refused(work: str) -> None:
    result = _run("check", "--work", work)
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "folder-unsupported"
    assert work in result.exception.message


def test_size_round_trips() -> None:
    config = make_config(load("ingest").config, {"sources": ["a"], "size": "128x96"}, "here")
    assert config.size == Size(128, 96)
    assert config.model_dump(mode="json")["size"] == "128x96"


def test_user_errors_are_two_sentences_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["v2v", "extract-flow", "--work", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    captured = capsys.readouterr().err
    assert captured.startswith("error [artifact-missing]: ")
    assert "frames" in captured
    assert "v2v ingest" in captured
    assert "Traceback" not in captured


@pytest.mark.parametrize(
    ("settings", "code", "name"),
    [
        ('target = "x.webm"', "format-unsupported", ".webm"),
        ('target = "memory://x/x.mp4"', "url-unsupported", "memory://x/x.mp4"),
        ('target = "{work}/x.mp4"\ncodec = "nope"', "codec-unknown", "nope"),
        ('target = "{work}/r.toml/new/x.mp4"', "folder-required", "r.toml"),
    ],
)
def test_a_recipe_that_cannot_end_well_does_not_begin(tmp_path: Path, settings: str, code: str, name: str) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'[make-toy]\nout = "{{work}}/toy"\n[render]\nsource = "in.mp4"\n{settings}\n')
    result = _run("run", str(recipe), "--work", str(tmp_path))
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == code
    assert name in result.exception.message
    assert list(tmp_path.iterdir()) == [recipe]


def test_a_target_in_a_folder_that_the_recipe_has_still_to_make_is_fine(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('[make-toy]\nout = "{work}/toy"\n[render]\nsource = "in.mp4"\ntarget = "{work}/x.mp4"\n')
    result = _run("run", str(recipe), "--work", str(tmp_path / "work"), "--dry-run")
    assert result.output == "[1/2] make-toy: missing\n[2/2] render: runs every time\n"


def test_render_looks_at_its_target_before_anything_else(tmp_path: Path) -> None:
    result = _run("render", "in.mp4", str(tmp_path / "x.webm"), "--work", str(tmp_path))
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "format-unsupported"
    assert ".webm" in result.exception.message


def test_shipped_recipes_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = read_recipe(ROOT / "pipelines/face.toml")
    assert read_recipe("face.toml") == read_recipe("face") == shipped
    for name in ("fase.toml", "other/face.toml"):
        with raises("recipe-missing", name, " face,", "toy"):
            read_recipe(name)
    Path("face").mkdir()  # a folder of pictures, perhaps
    assert read_recipe("face") == shipped
    Path("face.toml").write_text("[show]\n")
    assert read_recipe("face.toml") == [("show", {})]


def test_shipped_recipes_are_found_in_the_wheel(tmp_path: Path) -> None:
    """There they lie in the package itself."""
    package = tmp_path / "v2vkit"
    shutil.copytree(ROOT / "v2vkit", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "pipelines", package / "pipelines")
    code = "from v2vkit.cli.recipe_file import shipped_recipes; print(*shipped_recipes().values())"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    listed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path, check=True
    )
    assert str(package / "pipelines/face.toml") in listed.stdout.split()


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_control_c_while_modules_load() -> None:
    result = CliRunner().invoke(LazyGroup("v2v", find=_stop), ["doctor"])
    assert (result.exit_code, result.output) == (130, "Stopped before any work.\n")


@pytest.mark.parametrize(("command", "again"), [("render", "starts over"), ("run", "resumes from the finished parts")])
def test_control_c_says_what_the_same_command_does(tmp_path: Path, command: str, again: str) -> None:
    group = LazyGroup("v2v", find=lambda name: replace(load(name), call=_stop))
    recipe = tmp_path / "r.toml"
    recipe.write_text("[extract-flow]\n")
    arguments = ["in.mp4", str(tmp_path / "out.mp4")] if command == "render" else [str(recipe)]
    result = CliRunner().invoke(group, [command, *arguments, "--work", str(tmp_path)])
    assert result.exit_code == 130
    assert f"rerunning the command {again}" in result.output


def test_control_c_in_a_stage_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    group = LazyGroup("v2v", find=lambda name: replace(load(name), inputs=_stop))
    result = CliRunner().invoke(group, ["extract-flow", "--work", str(tmp_path)])
    assert result.exit_code == 130
    assert "rerunning the command resumes" in result.output


def test_recipe_tables_keep_their_order(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('[train]\nepochs = 1\n[ingest]\nsources = ["a"]\n[[show]]\na = 1\n[[show]]\na = 2\n')
    assert [name for name, _ in read_recipe(recipe)] == ["train", "ingest", "show", "show"]


@pytest.mark.parametrize(
    ("text", "code", "name"),
    [
        ("", "recipe-damaged", "r.toml"),
        ("[ingest", "recipe-damaged", "r.toml"),
        ("epochs = 3", "recipe-damaged", "epochs"),
        ("[nonsense]", "command-unknown", "[nonsense]"),
    ],
)
def test_bad_recipes(tmp_path: Path, text: str, code: str, name: str) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(text)
    result = _run("run", str(recipe), "--work", str(tmp_path))
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == code
    assert name in result.exception.message


def test_recipe_with_a_wrong_key_fails_before_anything_runs(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'[make-toy]\nout = "{tmp_path}/toy"\n[extract-flow]\nstride = 3\n')
    result = _run("run", str(recipe), "--work", str(tmp_path / "work"))
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "setting-invalid"
    assert "table [extract-flow]: stride: " in result.exception.message
    assert not (tmp_path / "toy").exists()


def test_a_missing_recipe_is_told_without_numbers_of_the_system(tmp_path: Path) -> None:
    result = _run("run", str(tmp_path / "none.toml"))
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "recipe-missing"
    assert "Errno" not in result.exception.message


def test_a_missing_workspace_is_told_from_one_without_the_artifact(tmp_path: Path) -> None:
    for work, there in ((tmp_path, True), (tmp_path / "none", False)):
        result = _run("extract-flow", "--work", str(work))
        assert isinstance(result.exception, V2VError)
        assert result.exception.code == "artifact-missing"
        assert ("not exist" in result.exception.message) != there


def test_dry_run_says_what_is_missing(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text("[extract-flow]\n")
    result = _run("run", str(recipe), "--work", str(tmp_path), "--dry-run")
    assert "[1/1] extract-flow: missing" in result.output
    assert list(tmp_path.iterdir()) == [recipe]


def test_set_overrides_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text("[extract-flow]\nstrides = [1]\n")
    result = _run("run", str(recipe), "--work", str(tmp_path), "--set", "extract-flow.preset=nonsense")
    assert "preset" in str(result.exception)
    result = _run("run", str(recipe), "--work", str(tmp_path), "--set", "train.epochs=1")
    assert isinstance(result.exception, V2VError)
    assert result.exception.code == "table-unknown"
    assert "[train]" in result.exception.message


@pytest.mark.parametrize("recipe", sorted((ROOT / "pipelines").glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_hold_only_known_settings(recipe: Path) -> None:
    for name, values in read_recipe(recipe):
        values.pop("work", None)
        config = make_config(load(name).config, values, str(recipe))
        assert isinstance(config, StageConfig)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("command", [["check"], ["--help"]])
def test_a_full_disk_behind_standard_output_is_a_sentence(tmp_path, command):
    path = write_file(tmp_path / "a.mp4", moving_frames(8))
    arguments = [sys.executable, "-m", "v2vkit.cli.main", *command, *([str(path)] if command == ["check"] else [])]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error [disk-full]: ")
    assert "Traceback" not in done.stderr


def test_a_closed_error_output_costs_no_result(tmp_path):
    write_file(tmp_path / "a.mp4", moving_frames(8))
    command = f"{sys.executable} -m v2vkit.cli.main ingest {tmp_path}/a.mp4 --work {tmp_path}/work 2>&-"
    done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "frames: 8 frames in 1 clip, 1 shard.\n")
