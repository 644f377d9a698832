"""Fixtures that several files share."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from v2vkit import Model


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> "Model":
    """An untrained model of 5 labels, 64x48, in a workspace of its own; nobody changes either."""
    import v2vkit
    from tests.unit.rendering import save_untrained

    work = tmp_path_factory.mktemp("street") / "work"
    save_untrained(work, "street", maps={"num_labels": 5, "instances": "objects"}, maps_stage="ingest")
    return v2vkit.load(work, device="cpu")
