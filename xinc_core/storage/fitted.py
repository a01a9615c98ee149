"""Fit a network and save it, so that nothing is lost whatever happens in between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from xinc_core.clips import Clip
from xinc_core.fitting import DivergenceError, History, evaluate, fit
from xinc_core.models import usual_recipe
from xinc_core.util.files import held_alone

from .building import MOST_WEIGHTS
from .plain import save_model


def fit_and_save(
    family: str,
    clip: Clip,
    path: str | Path,
    *,
    frame: int = 0,
    seed: int = 1,
    recipe: str | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    psnr: float | None = None,
    device: str = "cpu",
    mirrored: bool = False,
    refit: bool = False,
    rescue: str | Path | None = None,
    progress: bool = True,
    **options,
) -> tuple[float, History]:
    """Fit a network to a clip and save it, with its history beside it.

    While the fit runs, its state is kept in ``NAME.fit.pt`` beside the model's file. After a stop
    (Ctrl-C, a crash, a full disk) the same call goes on from there; the file is deleted once the
    model is saved. The history is written to ``NAME.history.csv``.

    Parameters
    ----------
    family, clip, frame, seed, recipe, epochs, lr, psnr, device, refit, progress, **options
        As for :func:`xinc_core.fit`.
    path : str or Path
        Of the model's file; ends in ``.safetensors``.
    mirrored : bool
        Fit the clip mirrored left to right. The header says so, and names the clip itself.
    rescue : str or Path, optional
        Where the last good weights are saved if the fit falls apart; by default
        ``NAME.diverged.safetensors``.

    Returns
    -------
    (float, History)
        PSNR in dB of the saved network on what it was fitted to, and what happened.

    Raises
    ------
    RuntimeError
        For a fit that falls apart; the sentence says where its last good weights are.
    KeyboardInterrupt
        After Ctrl-C, with the state saved.
    """
    path = Path(path)
    _check_loadable(options.get("parameters"))
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    refusal = f"another fit is being written to {str(path)!r}; wait for it, or name another file"
    with held_alone(lock, refusal, keep=False):
        target = mirror(clip) if mirrored else clip
        state = path.with_suffix(".fit.pt")
        recipe = recipe or usual_recipe(family)
        settings = dict(
            frame=frame,
            seed=seed,
            recipe=recipe,
            epochs=epochs,
            lr=lr,
            psnr=psnr,
            device=device,
            refit=refit,
            progress=progress,
        )
        try:
            model, history = fit(family, target, checkpoint=state, **settings, **options)
        except DivergenceError as error:
            rescued = Path(rescue) if rescue else path.with_suffix(".diverged.safetensors")
            _save_last_good(error, rescued, clip, seed)
            state.unlink(missing_ok=True)
            raise RuntimeError(f"{error} They are in {str(rescued)!r}.") from None
        model = model.cpu()
        reached = evaluate(model, target)
        facts = dict(
            clip=clip.name,
            clip_checksum=clip.checksum,
            seed=seed,
            recipe=recipe,
            epochs=len(history),
            psnr=round(reached, 3),
        )
        save_model(model, path, **facts, **_role(model, mirrored, refit))
        history.to_csv(path.with_suffix(".history.csv"))
        state.unlink(missing_ok=True)
        return reached, history


def _check_loadable(parameters: int | None) -> None:
    """Refuse a network that would be fitted and saved, and could not be loaded."""
    if isinstance(parameters, int) and parameters > MOST_WEIGHTS:
        raise ValueError(
            f"a network has at most {MOST_WEIGHTS:,} parameters here, not {parameters:,}; "
            "a larger one could not be loaded"
        )


def _role(model: nn.Module, mirrored: bool, refit: bool) -> dict:
    """What the header says only where it is so: frame, mirrored twin, refit."""
    facts: dict = {}
    if not model.for_video:
        facts["frame"] = model.frame
    if mirrored:
        facts["flipped"] = True
    if refit:
        facts["refit"] = True
    return facts


def _save_last_good(error: DivergenceError, path: Path, clip: Clip, seed: int) -> None:
    """Save what a fit that fell apart has left: its last good weights, and its history."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(error.model.cpu(), path, clip=clip.name, seed=seed)
    error.history.to_csv(path.with_suffix(".history.csv"))


def mirror(clip: Clip) -> Clip:
    """The clip mirrored left to right, without its masks and its flow."""
    frames = clip.frames.flip(-1).contiguous()  # (T, 3, H, W), columns reversed
    return replace(clip, frames=frames, labels=None, segments={}, flow=None, taken=None)
