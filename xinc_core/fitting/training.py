"""Fitting: overfit a network to a clip.

An epoch is one pass over the clip's frames; for an image network it is one full-image step. The
order of the frames depends on (seed, epoch) alone, so that an interrupted fit continues bit for
bit.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xinc_core.clips import Clip
from xinc_core.models import Recipe, new_encoder
from xinc_core.models import family as family_class
from xinc_core.models import recipe as recipe_of
from xinc_core.util.checks import (
    check_device,
    check_is_clip,
    check_pictures,
    frame_number,
    whole_number,
)
from xinc_core.util.files import digest
from xinc_core.util.machine import free_bytes
from xinc_core.util.progress import progress_bar

from .history import History
from .signals import Stopped, deferred_signals
from .state import SAVE_EVERY, DivergenceError, FitState

__all__ = ["DivergenceError", "History", "Stopped", "fit", "refine", "untrained"]

ORDER_OF_A_REFIT = 500_000  # added to the seed of the order of batches
MOVE_OF_A_REFIT = 1e-3  # of the standard deviation of a tensor of initial weights
# A float32 each for the weight, its gradient and two moments.
BYTES_OF_A_PARAMETER = 16
MOST_PARAMETERS = 2e9  # where the system does not say how much memory is free
STATES = Path(".cache/fits")  # where running states are saved unless a file is named


def fit(
    family: str,
    clip: Clip,
    frame: int = 0,
    seed: int = 1,
    epochs: int | None = None,
    lr: float | None = None,
    device: str = "cpu",
    checkpoint: str | Path | bool = True,
    progress: bool = True,
    save_every: float = SAVE_EVERY,
    *,
    recipe: str | None = None,
    psnr: float | None = None,
    refit: bool = False,
    **options,
) -> tuple[nn.Module, History]:
    """Overfit a new network of a family to a clip.

    Parameters
    ----------
    family : str
        One of ``models.FAMILIES``.
    clip : Clip
    frame : int
        An image network is fitted to this frame of the clip, a video network to all frames.
    seed : int
        Fixes the initial weights and the order of the frames.
    epochs, lr : optional
        Instead of the recipe's. The rate is Adam's, or Muon's where the recipe uses it.
    device : str
        "cpu" or "cuda".
    checkpoint : bool or path
        Where the running state is kept; True means ``.cache/fits/``, removed when done. Ctrl-C,
        SIGTERM and SIGHUP end the epoch, save and stop; the same call then continues, to the same
        bytes as an uninterrupted fit on the same machine. A file that you name holds the finished
        fit until you delete it, so that nothing is lost before you have saved the model.
    progress : bool
        Show a progress bar.
    save_every : float
        Seconds between two saves of the running state.
    recipe : str, optional
        "fast" (the default: Muon on the inner layers' weights, Adam on the rest) or "paper" (Adam,
        as the papers fit these networks: NeRV 300 epochs at 1e-3, FFN 1,000 steps at 9e-4). A
        family of your own has the recipes that it names.
    psnr : float, optional
        Stop once the mean PSNR of an epoch has reached so many dB.
    refit : bool
        Fit the network of this seed a second time, as METHOD 5 has it: from the same initial
        weights in another order of batches. A network that sees all frames in every step starts
        from initial weights that are moved by 1e-3 of their standard deviation instead.
    **options
        Fields of the family's configuration, e.g. ``width=64`` (FFN), ``parameters=500_000``
        (NeRV).

    Returns
    -------
    (model, History)
        The model is frozen and on the device.

    Raises
    ------
    DivergenceError
        Loss is not finite, or PSNR fell by more than 8 dB and stayed there.
    Stopped
        After Ctrl-C, SIGTERM or SIGHUP.
    TypeError, ValueError, IndexError
        For what is no clip or no network, and for a family, recipe, option, device or frame that
        does not exist.
    """
    kind = family_class(family)
    check_is_clip(clip)
    check_pictures(clip.frames)
    frame = frame_number(frame, len(clip), "the clip's")
    check_device(device)
    how = recipe_of(family, recipe).instead(epochs=epochs, lr=lr)
    if psnr is not None and not psnr > 0:
        raise ValueError(f"psnr is a positive number of dB at which to stop, not {psnr!r}")
    config = _configuration(kind, clip, options)
    job = dict(
        family=family,
        clip=clip.checksum,
        frame=frame,
        seed=seed,
        recipe=asdict(how),
        config=asdict(config),
        refit=refit,
    )
    key = digest(job)[:16]
    model, encoder = _new_network(family, config, seed)
    frames = clip.frames
    if not kind.for_video:
        frames = frames[frame : frame + 1]
    path = _state_path(checkpoint, key)
    state = FitState(model, how, frames.to(device), encoder, key, path, save_every)
    order = seed
    if refit and len(frames) > how.batch:
        order = seed + ORDER_OF_A_REFIT
    elif refit:
        _move_weights(state.trained, seed)
    state.resume()
    _run_epochs(state, order, progress, psnr)
    if checkpoint is True:
        path.unlink(missing_ok=True)
    else:
        state.save()
    if not kind.for_video:
        model.frame = frame
    model.fitted_to = clip.checksum
    return _frozen(model), state.history


def refine(
    model: nn.Module,
    clip: Clip,
    epochs: int,
    lr: float = 5e-4,
    seed: int = 1,
    progress: bool = True,
) -> nn.Module:
    """A copy of a fitted network, trained further; weights that are zero stay zero.

    Parameters
    ----------
    model : nn.Module
    clip : Clip
        What it paints.
    epochs : int
    lr : float
        The rate at the beginning; it decays to zero along a cosine.
    seed : int
        Fixes the order of the frames.
    progress : bool
        Show a progress bar.

    Raises
    ------
    DivergenceError
        As for :func:`fit`.
    """
    model = copy.deepcopy(model).requires_grad_(True)
    frames = clip.frames
    if not model.for_video:
        frames = frames[model.frame : model.frame + 1]
    state = FitState(model, Recipe(epochs, lr, cosine=True), frames)
    state.sparsity = [(weights, weights.detach() != 0) for weights in model.parameters()]
    _run_epochs(state, seed, progress)
    return _frozen(model)


def untrained(family: str, config, seed: int = 1) -> nn.Module:
    """The network as ``fit`` finds it before the first step.

    Same family, configuration and seed, same weights. Where codes are learned from frames, its
    codes are those of a network that has seen none.
    """
    model, _ = _new_network(family, config, seed)
    return model


def _configuration(kind: type[nn.Module], clip: Clip, options: dict):
    """The family's configuration for a clip.

    An option that the family does not have is refused, and so is a network that has no room here.
    """
    if options.get("parameters") is not None:
        most = min(free_bytes() / BYTES_OF_A_PARAMETER, MOST_PARAMETERS)
        options["parameters"] = whole_number(
            options["parameters"], "parameters", 1, int(most), "this machine has room for no more"
        )
    try:
        return kind.Config.for_clip(clip.size, len(clip), **options)
    except TypeError as error:
        reason = str(error).split("() ")[-1]
        raise ValueError(f"{kind.family} has no such option: {reason}") from None


def _state_path(checkpoint: str | Path | bool, key: str) -> Path | None:
    """Where the running state is saved; None for nowhere."""
    if checkpoint is True:
        return STATES / f"{key}.pt"
    if checkpoint:
        return Path(checkpoint)
    return None


def _new_network(family: str, config, seed: int) -> tuple[nn.Module, nn.Module | None]:
    """A new network, and the encoder that is fitted along with it where the family has one.

    The global random state is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = family_class(family)(config)
        return model, new_encoder(model)


@torch.no_grad()
def _move_weights(trained: nn.Module, seed: int) -> None:
    """Move initial weights a little, by random numbers of the seed's own."""
    random = torch.Generator().manual_seed(seed)
    for weight in trained.parameters():
        if weight.numel() > 1:
            # drawn on the CPU: the same numbers on every device
            noise = torch.randn(weight.shape, generator=random).to(weight)
            weight.add_(noise * weight.std() * MOVE_OF_A_REFIT)


def _frozen(model: nn.Module) -> nn.Module:
    return model.to(memory_format=torch.contiguous_format).requires_grad_(False)


def _run_epochs(state: FitState, order: int, progress: bool, enough: float | None = None) -> None:
    """Epochs from where the state stands to the recipe's end.

    order : seed of the order of frames; enough : PSNR in dB of an epoch that ends the fit.

    Raises
    ------
    Stopped
        After Ctrl-C or a signal that asks to end: at the end of the epoch, with the state saved.
    """
    history, epochs = state.history, state.recipe.epochs
    if enough is None:
        enough = math.inf
    start, before = time.monotonic(), history.seconds
    bar = progress_bar(
        total=epochs, initial=len(history), disable=not progress, desc=f"fit {state.model.family}"
    )
    with bar, deferred_signals() as signals:
        for epoch in range(len(history), epochs):
            if len(history) and history["psnr"][-1] >= enough:
                break
            psnr, lr = _one_epoch(state, order, epoch)
            seconds = before + time.monotonic() - start
            history.rows.append(dict(epoch=epoch + 1, psnr=psnr, lr=lr, seconds=seconds))
            state.guard()
            bar.update()
            bar.set_postfix_str(f"{psnr:.2f} dB")
            if signals.came or state.is_due():
                state.save()
            if signals.came:
                raise Stopped(_stopped(state), signals.came)
    state.settle()


def _one_epoch(state: FitState, seed: int, epoch: int) -> tuple[float, float]:
    """One pass over the frames in a new order; the mean PSNR in dB and the last learning rate."""
    n, recipe = len(state.frames), state.recipe
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(n, generator=generator)
    psnr = []
    for number, index in enumerate(order.split(recipe.batch)):
        share = (epoch + number * recipe.batch / n) / recipe.epochs  # of the whole fit
        lr = state.set_rates(share)
        index = index.to(state.frames.device)
        psnr += _step(state, state.codes(index), state.frames[index])
    return torch.stack(psnr).mean().item(), lr


def _step(state: FitState, codes: Tensor, target: Tensor) -> list[Tensor]:
    """One step on a batch; the PSNR in dB of each of its frames before the step.

    codes : as the network decodes them, B of them; target : (B, 3, H, W).
    """
    output = state.model.decode(codes)
    mse = F.mse_loss(output, target, reduction="none").flatten(1).mean(1)  # (B,)
    for optimizer in state.optimizers:
        optimizer.zero_grad()
    mse.mean().backward()
    for optimizer in state.optimizers:
        optimizer.step()
    with torch.no_grad():
        for weights, may_differ in state.sparsity:
            weights.mul_(may_differ)
    return list(-10 * mse.detach().log10())


def _stopped(state: FitState) -> str:
    """The sentence after a signal."""
    then = "nothing was kept, as asked"
    if state.path:
        then = "the same call continues from there"
    return f"stopped after epoch {len(state.history)} of {state.recipe.epochs}; {then}"
