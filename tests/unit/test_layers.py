"""The shape of the project: imports point one way, heavy libraries stay where they belong."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from v2vkit.stages import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "v2vkit"

# A module may import from its own layer's package and from any layer below (ARCHITECTURE.md).
LAYERS = [
    {"cli"},
    {"stages"},
    {"training", "evaluation", "inference"},
    {"checkpoint"},
    {"conditions"},
    {"estimators", "models", "toyworld"},
    {"pipeline"},
    {"artifacts", "video", "engine"},
    {"errors", "arrays", "config", "progress", "weights", "classes"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
OWNERS = {
    "click": {"cli"},
    "av": {"video"},
    "scenedetect": {"video"},
    "OpenEXR": {"video/depth_files.py"},
    "ray": {"engine/ray.py"},
    "h5py": {"models/dned_weights.py"},
    "mediapipe": {"estimators/mediapipe_graph.py"},
    "dlib": {"estimators/dlib_face.py", "estimators/dlib_identity.py"},
    "ptlflow": {"estimators/ptlflow_flow.py"},
    "ultralytics": {"estimators/ultralytics_models.py"},
}
# A checkpoint can be an estimator, too. Its row stands with the others, from which the choices of flags derive; only
# stages, which may import inference, open it.
EXCEPTIONS = {"estimators/registry.py": {"v2vkit.inference.trained_segment"}}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def _places(path: Path) -> Iterator[str]:
    """Modules that rows of registries name as "v2vkit.module:Name", to be imported later."""
    for node in ast.walk(ast.parse(path.read_text())):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and (found := re.fullmatch(r"(v2vkit(\.\w+)+):\w+", text)):
            yield found[1]


def _layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    layer = _layer(path)
    if layer == "__init__":
        return
    rows = set(_places(path)) - EXCEPTIONS.get(str(path.relative_to(PACKAGE)), set())
    for module in (*_imports(path), *rows):
        parts = module.split(".")
        if parts[0] != "v2vkit" or len(parts) == 1:
            continue
        other = parts[1]
        if other == layer:
            continue
        assert RANK[other] > RANK[layer] or RANK[other] == RANK["errors"], f"{path.name} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_in_their_place(path: Path) -> None:
    place = str(path.relative_to(PACKAGE))
    for module in _imports(path):
        owners = OWNERS.get(module.split(".")[0])
        if owners is not None:
            assert place in owners or place.split("/")[0] in owners, f"{place} imports {module}"


def test_stages_never_import_each_other() -> None:
    for path in (PACKAGE / "stages").glob("*.py"):
        modules = {module for module in _imports(path) if module.startswith("v2vkit.stages.")}
        others = {module for module in modules if _command(module.rpartition(".")[2]) != _command(path.stem)}
        assert others <= {"v2vkit.stages.run_estimator"}, f"{path.name} imports {others}"


def _command(file: str) -> str:
    """The command that a file of `stages` belongs to: the longest name with which its own begins."""
    names = [name.replace("-", "_") for name in COMMANDS]
    return max((name for name in names if f"{file}_".startswith(f"{name}_")), key=len, default=file)


def _modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(*sorted(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {
    "torch",
    "cv2",
    "av",
    "mediapipe",
    "skimage",
    "sklearn",
    "scenedetect",
    "webdataset",
    "torchvision",
    "matplotlib",
}


def test_opening_a_model_does_not_load_torchs_compiler() -> None:
    """It would take six seconds before the first frame."""
    code = (
        "import torch\n"
        "from v2vkit.models.presets import generator_config\n"
        "from v2vkit.models.any_generator import build_generator\n"
        "with torch.device('meta'):\n"
        "    build_generator(generator_config('tiny', source_channels=3, width=8))\n"
        "import sys; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "v2vkit.models.generator" in done.stdout
    assert "torch._dynamo" not in done.stdout.split()


def test_help_loads_nothing_heavy() -> None:
    code = "from click.testing import CliRunner\nfrom v2vkit.cli.main import cli\n"
    code += "assert 'ingest' in CliRunner().invoke(cli, ['--help']).output"
    assert not _modules_after(code) & HEAVY


@pytest.mark.parametrize(
    "command",
    [
        "ingest",
        "segment",
        "make-sketches",
        "estimate-pose",
        "extract-flow",
        "track",
        "train",
        "encode-features",
        "sample-style",
        "render",
        "evaluate",
        "show",
    ],
)
def test_help_of_a_command_loads_nothing_heavy(command: str) -> None:
    code = "from click.testing import CliRunner\nfrom v2vkit.cli.main import cli\n"
    code += f"assert '--work' in CliRunner().invoke(cli, ['{command}', '--help']).output"
    assert not _modules_after(code) & HEAVY


def test_nothing_asks_which_domain_it_is() -> None:
    """What code wants to know is a fact of the condition."""
    for path in FILES:
        for line in path.read_text().splitlines():
            assert not re.search(r"""domain\b\)?\s*(==|!=|in|not in)\s*[("'\[{]""", line), f"{path}: {line}"


def test_no_pickles() -> None:
    allowed = "weights_only=True"
    for path in FILES:
        text = path.read_text()
        assert "torch.save(" not in text, path
        for line in text.splitlines():
            if "torch.load(" in line:
                assert allowed in line, f"{path}: {line}"
        assert "pickle.load" not in text, path


def test_everything_imported_is_declared() -> None:
    """Tests and package import nothing that pyproject.toml does not name."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {
        "".join(c if c.isalnum() or c in "-_" else " " for c in entry).split()[0].lower().replace("-", "_")
        for entries in lists
        for entry in entries
    }
    module_of = {"opencv_python": "cv2", "pillow": "PIL", "dlib_bin": "dlib", "openexr": "OpenEXR"}
    module_of |= {"scikit_image": "skimage", "scikit_learn": "sklearn", "clean_fid": "cleanfid"}
    modules = {module_of.get(name, name) for name in declared} | {"v2vkit", "tests", "benchmarks"}
    for path in [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        for module in _imports(path):
            top = module.split(".")[0]
            assert top in modules or top in sys.stdlib_module_names, f"{path} imports {top}"
