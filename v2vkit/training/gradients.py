"""Gradients of all networks of a step from one forward pass: discriminators see detached fakes."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from v2vkit.training.adversarial import AdversarialLosses


def store_gradients(
    heads: Sequence[Tensor],
    fakes: Sequence[Tensor],
    direct: Tensor | None,
    adversarial: AdversarialLosses,
    discriminators: Mapping[str, nn.Module],
    scale: Callable[[Tensor], Tensor],
) -> None:
    """Store the scaled gradients of every network that was used in its weights' `grad`.

    Args:
        heads: outputs of the generator with their graphs.
        fakes: the same outputs detached, which discriminators have seen; leaves that collect gradients.
        direct: weighted sum of the losses on `heads`; None = there are none.
        adversarial: the losses of the discriminators.
        scale: loss -> scaled loss.
    """
    total = adversarial.generator.total
    assert total is not None
    of_fakes = torch.autograd.grad(scale(total), list(fakes), retain_graph=True)
    for name, loss in adversarial.discriminators.items():
        parameters = list(discriminators[name].parameters())
        gradients = torch.autograd.grad(scale(loss), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            # Fused Adam needs gradients in the memory layout of the weights, and does not check it on a CPU.
            same = gradient.stride() == parameter.stride()
            parameter.grad = gradient if same else torch.empty_like(parameter).copy_(gradient)
    if direct is None:
        torch.autograd.backward(list(heads), list(of_fakes))
    else:
        scaled = scale(direct)
        torch.autograd.backward([scaled, *heads], [torch.ones_like(scaled), *of_fakes])
