"""One optimiser step: a chunk of generated frames, every loss on it, and the update of all networks.

Every forward pass of a discriminator serves both sides: the fakes enter as leaves, the discriminator's gradient is
taken with respect to its weights and the generator's with respect to the fakes, from the same graph. So real frames
pass through D once, and the generator's update never computes weight gradients of D.

Shapes: B batch; a window has L context frames and then the generated ones.
"""

import torch
from torch import Tensor

from v2vkit.errors import V2VError
from v2vkit.models.discriminator import image_input
from v2vkit.models.generator import Output
from v2vkit.models.temporal import temporal_windows
from v2vkit.training.config import TrainConfig
from v2vkit.training.dataset import Sequence
from v2vkit.training.face_region import cut_faces, find_faces
from v2vkit.training.features import feature_maps
from v2vkit.training.objectives import Losses, direct_losses, join, judge_inputs, play, video_inputs
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.precision import autocast
from v2vkit.training.trainer import Trainer
from v2vkit.training.window import WindowState, generate_chunk


def train_chunk(
    config: TrainConfig,
    trainer: Trainer,
    sequence: Sequence,
    state: WindowState,
    frames: list[int],
    *,
    train_from: int = 0,
    warmed: tuple[float, ...] = (1.0, 1.0, 1.0),
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
        V2VError: a loss term is not finite; names it, and nothing has been updated.
    """
    networks, scaler = trainer.networks, trainer.scaler
    with autocast(config.precision, sequence.x.device):
        features = feature_maps(config, networks, sequence, state, frames, train_from=train_from)
        outputs = generate_chunk(networks.generator, sequence, state, frames, train_from=train_from, features=features)
    direct = direct_losses(config, sequence, state, frames, outputs, networks.vgg)
    # From here on the discriminators see leaves, so that G's and D's gradients come from one forward pass.
    x_leaf = [o.x_fake.detach().requires_grad_() for o in outputs]
    h_leaf = [] if config.images else [o.h.detach().requires_grad_() for o in outputs]
    adversarial = Losses()
    d_losses: dict[str, Tensor] = {}
    d_terms: dict[str, Tensor] = {}

    s = join([sequence.s[:, t] for t in frames])
    x = join([sequence.x[:, t] for t in frames])
    fakes = [image_input(s, join(leaves)) for leaves in (x_leaf, h_leaf) if leaves]
    together = config.norm != "batch"
    judged_real, judged_fakes = judge_inputs(
        networks.image, image_input(s, x), fakes, config.precision, together=together
    )
    d_losses["image"], terms = play("GAN", judged_real, judged_fakes, config, 1.0, adversarial)
    d_terms |= terms

    windows = temporal_windows(
        len(state.x_fake),
        len(frames),
        num_frames=config.video_frames,
        num_scales=len(networks.video),
        sparse=config.sparse,
    )
    for scale, network in enumerate(networks.video):
        if not windows[scale]:
            continue
        real, fake = video_inputs(sequence, state, windows[scale], config.strides[scale], x_leaf)
        judged_real, judged_fakes = judge_inputs(network, real, [fake], config.precision)
        name = f"T{scale}"
        d_losses[f"video{scale}"], terms = play(
            name, judged_real, judged_fakes, config, config.lambda_temporal * warmed[scale], adversarial
        )
        d_terms |= terms

    if networks.face is not None:
        corners = find_faces(s)
        seen = any(corner is not None for corner in corners)
        if parallel.any(seen):
            # A process that sees no face takes part with a window that weighs nothing: gradients are averaged over all.
            corners = corners if seen else [(0, 0)] * len(corners)
            real, fake = (cut_faces(image_input(s, images), corners) for images in (x, join(x_leaf)))
            judged_real, judged_fakes = judge_inputs(networks.face, real, [fake], config.precision)
            weight = config.lambda_face * float(seen)
            d_losses["face"], terms = play("Face", judged_real, judged_fakes, config, weight, adversarial)
            d_losses["face"] = d_losses["face"] * float(seen)
            d_terms |= terms

    all_terms = direct.terms | adversarial.terms | d_terms
    stacked = parallel.mean(torch.stack(list(all_terms.values())))
    values = dict(zip(all_terms, stacked.tolist(), strict=True))
    _refuse_non_finite(values)

    assert adversarial.total is not None
    gradients = torch.autograd.grad(scaler.scale(adversarial.total), [*x_leaf, *h_leaf], retain_graph=True)
    for name, loss in d_losses.items():
        parameters = list(networks.named()[name].parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(scaler.scale(loss), parameters), strict=True):
            # In the layout of the weights: fused Adam relies on it, and does not check it on a CPU.
            same = gradient.stride() == parameter.stride()
            parameter.grad = gradient if same else torch.empty_like(parameter).copy_(gradient)
    trainer.optimizers["generator"].zero_grad()
    heads: list[Tensor] = [*(o.x_fake for o in outputs), *(o.h for o in outputs[: len(h_leaf)])]
    if direct.total is None:
        torch.autograd.backward(heads, list(gradients))
    else:
        total = scaler.scale(direct.total)
        torch.autograd.backward([total, *heads], [torch.ones_like(total), *gradients])
    for name in ("generator", *d_losses):
        parameters = networks.parameters(name)
        parallel.average_gradients(parameters)
        scaler.unscale_(trainer.optimizers[name])
        if config.gradient_clip:
            torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
        scaler.step(trainer.optimizers[name])
    scaler.update()
    return values, outputs


def _refuse_non_finite(values: dict[str, float]) -> None:
    wrong = [name for name, value in values.items() if not abs(value) < float("inf")]
    if wrong:
        raise V2VError(
            f"Training stopped: {', '.join(wrong)} is not a finite number.",
            "Resume with the same command from the last snapshot, or train again with a lower --learning-rate.",
        )
