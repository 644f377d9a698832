"""One optimiser step: a chunk of generated frames, every loss on it, and the update of all networks.

The discriminators judge leaves cut from the generator's graph (`judging`), so that G's and D's gradients come from one
forward pass: real frames pass through D once, and the generator's update never computes weight gradients of D.

Shapes: B batch; a window has L context frames and then the generated ones.
"""

import torch
from torch import Tensor

from v2vkit.engine.precision import autocast
from v2vkit.errors import V2VError
from v2vkit.models.generator import Output
from v2vkit.training.config import MAX_TEMPORAL_SCALES, TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.features import feature_maps
from v2vkit.training.judging import Games, Leaves, play_games
from v2vkit.training.objectives import Losses, direct_losses
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.trainer import Trainer
from v2vkit.training.window import WindowState, generate_chunk


def train_chunk(
    config: TrainConfig,
    trainer: Trainer,
    sequence: VideoBatch,
    state: WindowState,
    frames: list[int],
    *,
    train_from: int = 0,
    warmed: tuple[float, ...] = (1.0,) * MAX_TEMPORAL_SCALES,
    parallel: Parallel = ALONE,
) -> tuple[dict[str, float], list[Output]]:
    """Generate the chunk, compute every loss, update every network once.

    Args:
        frames: numbers of the chunk's frames in the window.
        train_from: the first spatial scale that trains; coarser ones stay as they are.
        warmed: per temporal scale, the share of its weight that its loss has grown to (`warm_up_factors`).
        parallel: the other processes of this run.

    Returns:
        The unweighted loss terms, and the generator's outputs (for pictures).

    Raises:
        V2VError: a loss term or a gradient is not finite; names it, and nothing has been updated.
    """
    networks = trainer.networks
    with autocast(config.precision, sequence.x.device):
        features = feature_maps(config, networks, sequence, state, frames, train_from=train_from)
        outputs = generate_chunk(networks.generator, sequence, state, frames, train_from=train_from, features=features)
    direct = direct_losses(config, sequence, state, frames, outputs, networks.vgg)
    leaves = Leaves.of(outputs, images=config.images)
    games = play_games(config, networks, sequence, state, frames, leaves, warmed=warmed, parallel=parallel)
    terms = direct.terms | games.generator.terms | games.terms
    _find_gradients(trainer, direct, games, outputs, leaves)
    names = ("generator", *games.discriminators)
    return _update(trainer, names, terms, gradient_clip=config.gradient_clip, parallel=parallel), outputs


def _find_gradients(trainer: Trainer, direct: Losses, games: Games, outputs: list[Output], leaves: Leaves) -> None:
    """Put the scaled gradients of every network that played into its weights' `grad`, in place of the last step's."""
    scaler = trainer.scaler
    assert games.generator.total is not None
    of_leaves = torch.autograd.grad(scaler.scale(games.generator.total), [*leaves.x_fake, *leaves.h], retain_graph=True)
    for name, loss in games.discriminators.items():
        parameters = trainer.networks.parameters(name)
        for parameter, gradient in zip(parameters, torch.autograd.grad(scaler.scale(loss), parameters), strict=True):
            # In the layout of the weights: fused Adam relies on it, and does not check it on a CPU.
            same = gradient.stride() == parameter.stride()
            parameter.grad = gradient if same else torch.empty_like(parameter).copy_(gradient)
    trainer.optimizers["generator"].zero_grad()
    heads = [*(o.x_fake for o in outputs), *(o.h for o in outputs[: len(leaves.h)])]
    if direct.total is None:
        torch.autograd.backward(heads, list(of_leaves))
    else:
        total = scaler.scale(direct.total)
        torch.autograd.backward([total, *heads], [torch.ones_like(total), *of_leaves])


def _update(
    trainer: Trainer, names: tuple[str, ...], terms: dict[str, Tensor], *, gradient_clip: float, parallel: Parallel
) -> dict[str, float]:
    """One step of the optimisers of these names, on gradients averaged over the processes, unscaled and clipped.

    Args:
        terms: the losses, on the device.

    Returns:
        Their values, means over the processes.

    Raises:
        V2VError: a loss or a gradient is not finite (fp16 leaves such a step out); nothing has been updated.
    """
    norms = {}
    for name in names:
        parameters = trainer.networks.parameters(name)
        parallel.average_gradients(parameters)
        trainer.scaler.unscale_(trainer.optimizers[name])
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norms[f"the gradient of {name}"] = norm = torch.nn.utils.get_total_norm(gradients)
        if gradient_clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, gradient_clip, norm)
    # Read at once, when everything is on its way: a GPU would be waited for each time.
    losses = parallel.mean(torch.stack(list(terms.values())))
    numbers = torch.cat([losses, torch.stack(list(norms.values()))]).tolist()
    values = dict(zip(terms, numbers, strict=False))
    _refuse_non_finite(values)
    if not trainer.scaler.is_enabled():
        _refuse_non_finite(dict(zip(norms, numbers[len(terms) :], strict=True)))
    for name in names:
        trainer.scaler.step(trainer.optimizers[name])
    trainer.scaler.update()
    return values


def _refuse_non_finite(values: dict[str, float]) -> None:
    wrong = [name for name, value in values.items() if not abs(value) < float("inf")]
    if wrong:
        raise V2VError(
            f"Training stopped: {', '.join(wrong)} is not a finite number.",
            "The same command would come to the same end: go on from the last snapshot with --continue and a lower "
            "--learning-rate; where there is none yet, give --overwrite instead of --continue.",
        )
