"""The pinned packages run on the oldest Python that the project promises."""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]


def test_every_pinned_package_takes_the_oldest_python() -> None:
    (oldest,) = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    assert oldest.operator == ">="
    lines = (line.partition("#")[0].strip() for line in (ROOT / "third_party/constraints.txt").read_text().splitlines())
    refused, seen = [], 0
    for name in (Requirement(line).name for line in lines if line):
        try:
            needed = distribution(name).metadata["Requires-Python"]
        except PackageNotFoundError:  # of an extra, or of another Python
            continue
        seen += 1
        if needed and not SpecifierSet(needed).contains(f"{oldest.version}.0"):
            refused.append(f"{name}: {needed}")
    assert seen
    assert refused == []
