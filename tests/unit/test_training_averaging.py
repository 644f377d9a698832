"""Gradients that backward averages over two processes, over gloo on the CPU."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_training_parallel import launch

pytest.importorskip("lightning")
pytestmark = pytest.mark.slow

# `twice` and `sometimes` share an optimiser, `other` has its own. The first process uses `sometimes` in the first
# step, neither does in the second one; nobody calls a network's `forward` through a wrapper.
_SCRIPT = """
import json
import torch
from torch import nn
from v2vkit.checkpoint.train_state import Network
from v2vkit.training.parallel import open_parallel
if __name__ == "__main__":
    parallel = open_parallel("cpu")
    torch.manual_seed(parallel.rank)
    modules = {name: nn.Linear(1, 1, bias=False) for name in ("twice", "sometimes", "other")}
    networks = {name: Network(of, "other" if name == "other" else "shared") for name, of in modules.items()}
    averaged = parallel.averaging(networks)
    x, steps = torch.full((1, 1), parallel.rank + 1.0), []
    for step in range(2):
        for module in modules.values():
            module.zero_grad()
        heads = [modules["twice"](x), 10 * modules["twice"](x)]
        heads += [modules["sometimes"](x)] if parallel.rank == step == 0 else [x.sum().requires_grad_() * 1]
        torch.autograd.backward(averaged("shared", heads), [torch.ones_like(head) for head in heads])
        if step:
            torch.autograd.backward(averaged("other", [modules["other"](x)]), inputs=[modules["other"].weight])
        steps.append({name: None if of.weight.grad is None else of.weight.grad.item() for name, of in modules.items()})
    print("WEIGHTS", json.dumps([of.weight.item() for of in modules.values()]))
    print("STEPS", json.dumps(steps))
"""


def _after(word: str, printed: str) -> Any:
    (line,) = [line for line in printed.splitlines() if line.startswith(word)]
    return json.loads(line.removeprefix(word))


def test_backward_averages_the_gradients_of_the_weights_that_it_reaches(tmp_path: Path) -> None:
    """d/dw of 11 w x is 11 x, with x = 1 and 2; a weight that only one process uses counts as 0 in the other."""
    script = tmp_path / "average.py"
    script.write_text(_SCRIPT)
    first, second = launch([str(script)], processes=2)
    expected = [{"twice": 16.5, "sometimes": 0.5, "other": None}, {"twice": 16.5, "sometimes": None, "other": 1.5}]
    assert _after("STEPS", first) == _after("STEPS", second) == expected
    assert _after("WEIGHTS", first) == _after("WEIGHTS", second)
    assert "unused parameters" not in first + second
