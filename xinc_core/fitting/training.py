"""Fitting: overfit a network to a clip.

An epoch is one pass over the clip's frames; for an image network it is one full-image step. The
order of the frames depends on (seed, epoch) alone, so that an interrupted fit continues bit for
bit.
"""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xinc_core.clips.clip import Clip
from xinc_core.models import Recipe, position
from xinc_core.models import family as family_class
from xinc_core.models import recipe as usual
from xinc_core.util.files import digest, replace_file
from xinc_core.util.progress import progress_bar

COLLAPSE_DB = 8.0


class DivergenceError(RuntimeError):
    """The fit fell apart. ``model`` holds the last good weights, ``history`` what happened."""

    model: nn.Module
    history: History


@dataclass
class History:
    """One row per epoch: epoch, psnr (dB, of the batches as they were trained on), lr, seconds
    since the start.
    """

    rows: list[dict] = field(default_factory=list)

    def __getitem__(self, column: str) -> list[float]:
        return [row[column] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def to_csv(self, path: str | Path) -> None:
        """Write the table."""
        names = list(self.rows[0]) if self.rows else []
        lines = [",".join(names)] + [",".join(f"{row[n]:.6g}" for n in names) for row in self.rows]
        replace_file(path, lambda f: f.write_text("\n".join(lines) + "\n"))


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
    **options,
) -> tuple[nn.Module, History]:
    """Overfit a new network of a family to a clip.

    Parameters
    ----------
    family : str
        One of ``models.FAMILIES``. An image network is fitted to ``frame`` of the clip, a video
        network to all frames.
    seed : int
        Fixes the initial weights and the order of the frames.
    epochs, lr : optional
        Default: those of the family's ``recipe`` (FFN 1,000 steps at 9e-4; NeRV 300 epochs at
        1e-3).
    checkpoint : bool or path
        Where the running state is kept; True means ``.cache/fits/``, removed when done. Ctrl-C ends
        the epoch, saves and stops; the same call then continues, to the same bytes as an
        uninterrupted fit on the same machine. A file that you name holds the finished fit until you
        delete it, so that nothing is lost before you have saved the model.
    **options
        Fields of the family's configuration, e.g. ``width=64`` (FFN), ``parameters=500_000``
        (NeRV).

    Returns
    -------
    (model, History)

    Raises
    ------
    DivergenceError
        Loss is not finite, or PSNR fell by more than 8 dB and stayed there.
    """
    kind = family_class(family)
    if not 0 <= frame < len(clip):
        raise IndexError(f"frame {frame} is outside the clip's {len(clip)} frames")
    recipe = usual(family).instead(epochs=epochs, lr=lr)
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} is not available here; leave it out to fit on the CPU")
    try:
        config = kind.Config.for_clip(clip.size, len(clip), **options)
    except TypeError as error:
        raise ValueError(f"{family} has no such option: {str(error).split('() ')[-1]}") from None
    job = dict(
        family=family,
        clip=clip.checksum,
        frame=frame,
        seed=seed,
        recipe=asdict(recipe),
        config=asdict(config),
    )
    key = digest(job)[:16]
    path = (
        Path(".cache/fits") / f"{key}.pt"
        if checkpoint is True
        else Path(checkpoint)
        if checkpoint
        else None
    )
    model, encoder = _begun(family, config, seed)
    frames = clip.frames if kind.for_video else clip.frames[frame : frame + 1]
    state = _Run(model, recipe, frames.to(device), encoder, key, path)
    state.resume()
    _loop(state, seed, progress)
    if checkpoint is True:
        path.unlink(missing_ok=True)
    else:
        state.save()
    if not kind.for_video:
        model.frame = frame
    model.fitted_to = clip.checksum
    return model.to(memory_format=torch.contiguous_format).requires_grad_(False), state.history


def refine(
    model: nn.Module,
    clip: Clip,
    epochs: int,
    lr: float = 5e-4,
    seed: int = 1,
    progress: bool = True,
) -> nn.Module:
    """A copy of a fitted network, trained further for some epochs at a decaying rate; weights
    that are zero stay zero.
    """
    model = copy.deepcopy(model).requires_grad_(True)
    frames = clip.frames if model.for_video else clip.frames[model.frame : model.frame + 1]
    run = _Run(model, Recipe(epochs, lr, cosine=True), frames)
    run.kept = [(p, p.detach() != 0) for p in model.parameters()]
    _loop(run, seed, progress)
    return model.to(memory_format=torch.contiguous_format).requires_grad_(False)


def untrained(family: str, config, seed: int = 1) -> nn.Module:
    """The network as ``fit`` finds it before the first step: same family, configuration and seed,
    same weights.

    Where codes are learned from frames, its codes are those of a network that has seen none.
    """
    return _begun(family, config, seed)[0]


def _begun(family: str, config, seed: int) -> tuple[nn.Module, nn.Module | None]:
    """A new network, and the encoder that is fitted along with it where the family has one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = family_class(family)(config)
        return model, model.new_encoder() if hasattr(model, "new_encoder") else None


class _Run:
    """What a fit needs to continue: weights, optimiser, history; and the last weights known to be
    good.

    frames : (T, 3, H, W), on the device of the fit; encoder : frames → codes, where these are
    learned.
    """

    def __init__(
        self,
        model,
        recipe: Recipe,
        frames: Tensor,
        encoder=None,
        key: str = "",
        path: Path | None = None,
    ):
        self.model, self.recipe, self.encoder, self.key, self.path = (
            model,
            recipe,
            encoder,
            key,
            path,
        )
        self.frames = frames.contiguous(memory_format=torch.channels_last)
        self.fitted = (
            model if encoder is None else nn.ModuleList([model, encoder])
        )  # all that has parameters
        self.fitted.to(frames.device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.fitted.parameters(), recipe.lr)
        self.history = History()
        self.good: dict[str, Tensor] = {}
        self.kept: list[
            tuple[Tensor, Tensor]
        ] = []  # parameters and where they may differ from zero
        self.saved = time.monotonic()

    def resume(self) -> None:
        if not (self.path and self.path.exists()):
            return
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # noqa: BLE001 - the unpickler raises many kinds
            raise ValueError(
                f"{str(self.path)!r} cannot be read as the state of a fit; delete it to start anew"
            ) from None
        if state["key"] != self.key:
            raise ValueError(
                f"{str(self.path)!r} belongs to another fit (other clip, seed, recipe or shape); "
                "name another checkpoint, or delete it"
            )
        self.fitted.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history.rows = state["history"]
        self.good = self._weights()

    def save(self) -> None:
        if not self.path:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = dict(
            key=self.key,
            model=self.fitted.state_dict(),
            optimizer=self.optimizer.state_dict(),
            history=self.history.rows,
        )
        replace_file(self.path, lambda f: torch.save(state, f))
        self.saved = time.monotonic()

    def rate(self, progress: float) -> float:
        """Learning rate after a share of the fit: linear warm-up from a tenth, then cosine to
        zero or constant.
        """
        r = self.recipe
        if progress < r.warmup:
            return r.lr * (0.1 + 0.9 * progress / r.warmup)
        done = (progress - r.warmup) / (1 - r.warmup)
        return r.lr * (0.5 + 0.5 * math.cos(math.pi * done)) if r.cosine else r.lr

    def guard(self) -> None:
        """Keep good weights; raise when the loss is not finite or PSNR collapsed for good."""
        values = self.history["psnr"]
        if not math.isfinite(values[-1]):
            self.fail(f"the loss is not finite after epoch {len(values)}")
        recent = values[-max(3, self.recipe.epochs // 20) :]
        if max(recent) < max(values) - COLLAPSE_DB:
            self.fail(
                f"PSNR fell from {max(values):.1f} to {values[-1]:.1f} dB by epoch {len(values)}"
            )
        if values[-1] >= max(values) - 1 and (
            len(values) % max(1, self.recipe.epochs // 100) == 0 or not self.good
        ):
            self.good = self._weights()

    def fail(self, what: str) -> None:
        error = DivergenceError(
            f"{what}; the last good weights are kept in this error's .model. Try a lower learning rate than "
            f"lr={self.recipe.lr:g}, or another seed."
        )
        if self.good:
            self.fitted.load_state_dict(self.good)
        self.settle()
        error.model, error.history = self.model.requires_grad_(False), self.history
        raise error

    def codes(self) -> Callable[[Tensor], Tensor]:
        """Frame numbers (B,) → what the network decodes to these frames: encoded from their
        positions, or from the frames.
        """
        if self.encoder is not None:
            return lambda index: self.encoder(self.frames[index])
        known = self.model.encode(
            torch.cat([position(self.model, f) for f in range(len(self.frames))])
        )
        return lambda index: known[
            index.to(known.device)
        ]  # one row when it does not depend on the position

    @torch.no_grad()
    def settle(self) -> None:
        """Where codes are learned, leave those of all frames in the network."""
        if self.encoder is not None:
            self.model.keep_codes(
                torch.cat([self.encoder(few) for few in self.frames.split(self.recipe.batch)])
            )

    def _weights(self) -> dict[str, Tensor]:
        return {k: v.detach().clone() for k, v in self.fitted.state_dict().items()}


def _loop(run: _Run, seed: int, progress: bool) -> None:
    """Epochs from where the run stands to its end."""
    model, recipe, n = run.model, run.recipe, len(run.frames)
    codes = run.codes()
    start, before = time.monotonic(), run.history.rows[-1]["seconds"] if len(run.history) else 0.0
    bar = progress_bar(
        total=recipe.epochs,
        initial=len(run.history),
        disable=not progress,
        desc=f"fit {model.family}",
    )
    with bar, _deferred_interrupt() as interrupted:
        for epoch in range(len(run.history), recipe.epochs):
            order = torch.randperm(
                n, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            )
            values = []
            for i, index in enumerate(order.split(recipe.batch)):
                lr = run.rate((epoch + i * recipe.batch / n) / recipe.epochs)
                index = index.to(run.frames.device)
                values += _step(run, codes(index), run.frames[index], lr)
            mean = torch.stack(values).mean().item()
            run.history.rows.append(
                dict(epoch=epoch + 1, psnr=mean, lr=lr, seconds=before + time.monotonic() - start)
            )
            run.guard()
            bar.update()
            bar.set_postfix_str(f"{mean:.2f} dB")
            if interrupted or time.monotonic() - run.saved > 30:
                run.save()
            if interrupted:
                then = (
                    "the same call continues from there"
                    if run.path
                    else "nothing was kept, as asked"
                )
                raise KeyboardInterrupt(
                    f"stopped after epoch {epoch + 1} of {recipe.epochs}; {then}"
                )
    run.settle()


def _step(run: _Run, codes: Tensor, target: Tensor, lr: float) -> list[Tensor]:
    """One Adam step on a batch; the PSNR of each of its frames before the step."""
    for group in run.optimizer.param_groups:
        group["lr"] = lr
    output = run.model.decode(codes)
    mse = F.mse_loss(output, target, reduction="none").flatten(1).mean(1)  # (B,)
    run.optimizer.zero_grad()
    mse.mean().backward()
    run.optimizer.step()
    with torch.no_grad():
        for parameter, mask in run.kept:
            parameter.mul_(mask)
    return list(-10 * mse.detach().log10())


@contextmanager
def _deferred_interrupt():
    """Collect Ctrl-C instead of breaking off in the middle of a step; the list is non-empty once
    it was pressed.
    """
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    previous = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, previous)
