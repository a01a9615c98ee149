"""Fitting: overfit a network to a clip.

An epoch is one pass over the clip's frames; for an image network it is one full-image step. The
order of the frames depends on (seed, epoch) alone, so that an interrupted fit continues bit for
bit.
"""

from __future__ import annotations

import copy
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xinc_core.clips import Clip
from xinc_core.models import Recipe, new_encoder
from xinc_core.models import family as family_class
from xinc_core.models import recipe as recipe_of
from xinc_core.util.files import digest
from xinc_core.util.progress import progress_bar

from .history import History
from .state import SAVE_EVERY, DivergenceError, FitState

__all__ = ["DivergenceError", "History", "fit", "refine", "untrained"]

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
        Default: those of the family's ``recipe`` (FFN 1,000 steps at 9e-4; NeRV 300 epochs at
        1e-3).
    device : str
        "cpu" or "cuda".
    checkpoint : bool or path
        Where the running state is kept; True means ``.cache/fits/``, removed when done. Ctrl-C ends
        the epoch, saves and stops; the same call then continues, to the same bytes as an
        uninterrupted fit on the same machine. A file that you name holds the finished fit until you
        delete it, so that nothing is lost before you have saved the model.
    progress : bool
        Show a progress bar.
    save_every : float
        Seconds between two saves of the running state.
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
    ValueError, IndexError
        For a family, an option, a device or a frame that does not exist.
    """
    kind = family_class(family)
    _check_frame(clip, frame)
    recipe = recipe_of(family).instead(epochs=epochs, lr=lr)
    _check_device(device)
    config = _configuration(kind, clip, options)
    job = dict(
        family=family,
        clip=clip.checksum,
        frame=frame,
        seed=seed,
        recipe=asdict(recipe),
        config=asdict(config),
    )
    key = digest(job)[:16]
    model, encoder = _new_network(family, config, seed)
    frames = clip.frames
    if not kind.for_video:
        frames = frames[frame : frame + 1]
    path = _state_path(checkpoint, key)
    state = FitState(model, recipe, frames.to(device), encoder, key, path, save_every)
    state.resume()
    _run_epochs(state, seed, progress)
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


def _check_frame(clip: Clip, frame: int) -> None:
    if not 0 <= frame < len(clip):
        raise IndexError(f"frame {frame} is outside the clip's {len(clip)} frames")


def _check_device(device: str) -> None:
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} is not available here; leave it out to fit on the CPU")


def _configuration(kind: type[nn.Module], clip: Clip, options: dict):
    """The family's configuration for a clip; an option that it does not have is refused."""
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


def _frozen(model: nn.Module) -> nn.Module:
    return model.to(memory_format=torch.contiguous_format).requires_grad_(False)


def _run_epochs(state: FitState, seed: int, progress: bool) -> None:
    """Epochs from where the state stands to the recipe's end.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, at the end of the epoch, with the state saved.
    """
    history, epochs = state.history, state.recipe.epochs
    start, before = time.monotonic(), history.seconds
    bar = progress_bar(
        total=epochs, initial=len(history), disable=not progress, desc=f"fit {state.model.family}"
    )
    with bar, _deferred_interrupt() as interrupt:
        for epoch in range(len(history), epochs):
            psnr, lr = _one_epoch(state, seed, epoch)
            seconds = before + time.monotonic() - start
            history.rows.append(dict(epoch=epoch + 1, psnr=psnr, lr=lr, seconds=seconds))
            state.guard()
            bar.update()
            bar.set_postfix_str(f"{psnr:.2f} dB")
            if interrupt.came or state.is_due():
                state.save()
            if interrupt.came:
                raise KeyboardInterrupt(_stopped(state))
    state.settle()


def _one_epoch(state: FitState, seed: int, epoch: int) -> tuple[float, float]:
    """One pass over the frames in a new order; the mean PSNR in dB and the last learning rate."""
    n, recipe = len(state.frames), state.recipe
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(n, generator=generator)
    psnr = []
    for number, index in enumerate(order.split(recipe.batch)):
        share = (epoch + number * recipe.batch / n) / recipe.epochs  # of the whole fit
        lr = state.learning_rate(share)
        index = index.to(state.frames.device)
        psnr += _step(state, state.codes(index), state.frames[index], lr)
    return torch.stack(psnr).mean().item(), lr


def _step(state: FitState, codes: Tensor, target: Tensor, lr: float) -> list[Tensor]:
    """One Adam step on a batch; the PSNR in dB of each of its frames before the step.

    codes : as the network decodes them, B of them; target : (B, 3, H, W).
    """
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    output = state.model.decode(codes)
    mse = F.mse_loss(output, target, reduction="none").flatten(1).mean(1)  # (B,)
    state.optimizer.zero_grad()
    mse.mean().backward()
    state.optimizer.step()
    with torch.no_grad():
        for weights, may_differ in state.sparsity:
            weights.mul_(may_differ)
    return list(-10 * mse.detach().log10())


def _stopped(state: FitState) -> str:
    """The sentence after Ctrl-C."""
    then = "nothing was kept, as asked"
    if state.path:
        then = "the same call continues from there"
    return f"stopped after epoch {len(state.history)} of {state.recipe.epochs}; {then}"


@dataclass
class _Interrupt:
    """Whether Ctrl-C was pressed."""

    came: bool = False


@contextmanager
def _deferred_interrupt() -> Iterator[_Interrupt]:
    """Note Ctrl-C instead of breaking off in the middle of a step.

    In a thread that is not the main one no signal arrives, and none can be handled.
    """
    interrupt = _Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def note(number, frame) -> None:
        interrupt.came = True

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, previous)
