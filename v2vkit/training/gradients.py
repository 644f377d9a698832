"""Gradients of all networks of a step from one forward pass: discriminators see detached fakes."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from v2vkit.training.adversarial import AdversarialLosses
from v2vkit.training.parallel import Averaging, not_averaged


def store_gradients(
    heads: Sequence[Tensor],
    fakes: Sequence[Tensor],
    direct: Tensor | None,
    adversarial: AdversarialLosses,
    discriminators: Mapping[str, nn.Module],
    scale: Callable[[Tensor], Tensor],
    averaged: Averaging = not_averaged,
) -> None:
    """Store the scaled gradients of every network that was used in its weights' `grad`.

    Args:
        heads: outputs of the generator with their graphs.
        fakes: the same outputs detached, which discriminators have seen; leaves that collect gradients.
        direct: weighted sum of the losses on `heads`; None = there are none.
        adversarial: the losses of the discriminators.
        scale: loss -> scaled loss.
        averaged: of this step (`StepContext`); the generator's optimiser is called generator, each discriminator's as
            the discriminator.
    """
    total = adversarial.generator.total
    assert total is not None
    of_fakes = torch.autograd.grad(scale(total), list(fakes), retain_graph=True)
    for name, loss in adversarial.discriminators.items():
        torch.autograd.backward(averaged(name, [scale(loss)]), inputs=list(discriminators[name].parameters()))
    losses = [] if direct is None else [scale(direct)]
    ones = [torch.ones_like(loss) for loss in losses]
    torch.autograd.backward(averaged("generator", [*losses, *heads]), [*ones, *of_fakes])
