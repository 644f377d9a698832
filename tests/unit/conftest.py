"""Fixtures that several files share."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from v2vkit import Model

Command = Callable[..., tuple[int, str]]


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> "Model":
    """An untrained model of 5 labels, 64x48, in a workspace of its own; nobody changes either."""
    import v2vkit
    from tests.unit.rendering import save_untrained

    work = tmp_path_factory.mktemp("street") / "work"
    save_untrained(work, "street", maps={"num_labels": 5, "instances": "objects"}, maps_stage="ingest")
    return v2vkit.load(work, device="cpu")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`v2v` with these arguments: its exit code, and what it wrote to both outputs."""
    from v2vkit.cli.main import main

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["v2v", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        return int(ended.value.code or 0), written.out + written.err

    return call
