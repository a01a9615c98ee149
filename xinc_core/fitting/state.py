"""A fit in progress: what it needs to go on after a stop, and when it has fallen apart."""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from xinc_core.models import Recipe, position
from xinc_core.util.files import replace_file

from .history import History
from .muon import Muon

COLLAPSE_DB = 8.0  # a fall of PSNR by more, for good, is a divergence
GOOD_DB = 1.0  # weights are good while PSNR is at most so far below its best
SAVE_EVERY = 30.0  # seconds between two saves of the running state
# Beside Muon: the mean square of a gradient over the last 50 steps, as steps are few.
ADAM_BETAS = (0.9, 0.98)


class DivergenceError(RuntimeError):
    """The fit fell apart.

    Attributes
    ----------
    model : nn.Module
        With the last good weights.
    history : History
        What happened.
    """

    model: nn.Module
    history: History


class FitState:
    """What a fit needs to go on: weights, optimiser, history; and the last good weights.

    Parameters
    ----------
    model : nn.Module
    recipe : Recipe
    frames : Tensor, (T, 3, H, W)
        In [0, 1], on the device of the fit.
    encoder : nn.Module, optional
        Frames → codes, where these are learned.
    key : str
        What the fit is of. A saved state is only taken up by the same fit.
    path : Path, optional
        Where the state is saved; without one it is not.
    save_every : float
        Seconds between two saves.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        frames: Tensor,
        encoder: nn.Module | None = None,
        key: str = "",
        path: Path | None = None,
        save_every: float = SAVE_EVERY,
    ):
        self.model, self.recipe, self.encoder = model, recipe, encoder
        self.key, self.path, self.save_every = key, path, save_every
        self.frames = frames.contiguous(memory_format=torch.channels_last)
        self.trained = model  # all that has parameters
        if encoder is not None:
            self.trained = nn.ModuleList([model, encoder])
        self.trained.to(frames.device, memory_format=torch.channels_last)
        self.optimizers = _optimizers(model, self.trained, recipe)
        self.history = History()
        self.good: dict[str, Tensor] = {}
        # parameters, and where they may differ from zero; all of them may, unless it is said here
        self.sparsity: list[tuple[Tensor, Tensor]] = []
        self._fixed_codes: Tensor | None = None
        self._saved = time.monotonic()

    def resume(self) -> None:
        """Take up the saved state, if there is one.

        Raises
        ------
        ValueError
            If the file is no state, or that of another fit.
        """
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
        self.trained.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        self.history.rows = state["history"]
        self.good = self._weights()

    def save(self) -> None:
        """Save the state, if it has a path; the file appears whole or not at all."""
        if not self.path:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = dict(
            key=self.key,
            model=self.trained.state_dict(),
            optimizers=[optimizer.state_dict() for optimizer in self.optimizers],
            history=self.history.rows,
        )
        replace_file(self.path, lambda file: torch.save(state, file))
        self._saved = time.monotonic()

    def is_due(self) -> bool:
        """Whether the state was last saved long enough ago."""
        return time.monotonic() - self._saved >= self.save_every

    def set_rates(self, progress: float) -> float:
        """Set the optimisers' rates after a share of the fit, 0 to 1; the recipe's ``lr`` by then.

        A linear warm-up from a tenth of the highest rate; then a cosine to zero, or constant with a
        line to zero at the end.
        """
        share = _share_of_rate(self.recipe, progress)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = share * group["highest_lr"]
        return share * self.recipe.lr

    def codes(self, index: Tensor) -> Tensor:
        """What the network decodes to these frames: codes of their positions, or of the frames.

        index : (B,) frame numbers, on the device of the fit.
        """
        if self.encoder is not None:
            return self.encoder(self.frames[index])
        if self._fixed_codes is None:
            positions = [position(self.model, frame) for frame in range(len(self.frames))]
            self._fixed_codes = self.model.encode(torch.cat(positions))
        # an image's code, which does not depend on the position, is one row
        return self._fixed_codes[index.to(self._fixed_codes.device)]

    def guard(self) -> None:
        """After an epoch: keep good weights; raise when the fit fell apart.

        Raises
        ------
        DivergenceError
            When the loss is not finite, or PSNR collapsed and stayed low for a twentieth of the
            fit.
        """
        psnr, epochs = self.history["psnr"], self.recipe.epochs
        best, last, n = max(psnr), psnr[-1], len(psnr)
        if not math.isfinite(last):
            self._fail(f"the loss is not finite after epoch {n}")
        recent = psnr[-max(3, epochs // 20) :]
        if max(recent) < best - COLLAPSE_DB:
            self._fail(f"PSNR fell from {best:.1f} to {last:.1f} dB by epoch {n}")
        is_time = n % max(1, epochs // 100) == 0 or not self.good
        if is_time and last >= best - GOOD_DB:
            self.good = self._weights()

    def _fail(self, what: str) -> None:
        error = DivergenceError(
            f"{what}; the last good weights are kept in this error's .model. "
            f"Try a lower learning rate than lr={self.recipe.lr:g}, or another seed."
        )
        if self.good:
            self.trained.load_state_dict(self.good)
        self.settle()
        error.model, error.history = self.model.requires_grad_(False), self.history
        raise error

    @torch.no_grad()
    def settle(self) -> None:
        """Where codes are learned, leave those of all frames in the network."""
        if self.encoder is not None:
            codes = [self.encoder(batch) for batch in self.frames.split(self.recipe.batch)]
            self.model.keep_codes(torch.cat(codes))

    def _weights(self) -> dict[str, Tensor]:
        """A copy of all that is trained."""
        state = self.trained.state_dict()
        return {name: value.detach().clone() for name, value in state.items()}


def _optimizers(
    model: nn.Module, trained: nn.Module, recipe: Recipe
) -> list[torch.optim.Optimizer]:
    """Adam for all parameters; or Muon for the weights of all traced layers but the last, and Adam
    for the rest.
    """
    parameters = list(trained.parameters())
    if recipe.adam_lr is None:
        optimizers = [torch.optim.Adam(parameters, recipe.lr)]
    else:
        # A layer's weight may be a view of the parameter; their memory is the same.
        inner = {layer.weight.data_ptr() for layer in model.layers()[:-1]}
        matrices = [weight for weight in parameters if weight.data_ptr() in inner]
        others = [weight for weight in parameters if weight.data_ptr() not in inner]
        adam = torch.optim.Adam(others, recipe.adam_lr, ADAM_BETAS, fused=True)
        optimizers = [Muon(matrices, recipe.lr), adam] if matrices else [adam]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["highest_lr"] = group["lr"]
    return optimizers


def _share_of_rate(recipe: Recipe, progress: float) -> float:
    """Which share of the highest rate is due after a share of the fit, both 0 to 1."""
    if progress < recipe.warmup:
        return 0.1 + 0.9 * progress / recipe.warmup
    if not recipe.cosine:
        left = 1 - progress
        return min(1.0, left / recipe.decay) if recipe.decay else 1.0
    done = (progress - recipe.warmup) / (1 - recipe.warmup)
    return 0.5 + 0.5 * math.cos(math.pi * done)
