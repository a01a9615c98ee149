"""How good is the picture? PSNR, defined here once.

Also whether a model and a clip belong together.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from xinc_core.clips import Clip
from xinc_core.models import render


def check_clip(model: nn.Module, clip: Clip) -> None:
    """Refuse a clip that is not the one a model paints: another size, length or content.

    Raises
    ------
    ValueError
        In one sentence. Content is compared where the model says what it was fitted to.
    """
    (H, W), (h, w) = clip.size, model.config.size
    if (h, w) != (H, W):
        raise ValueError(f"the model paints {h}×{w} pixels, the clip has {H}×{W}")
    if model.for_video and model.config.n_frames != len(clip):
        raise ValueError(
            f"the model has {model.config.n_frames} frames, the clip {len(clip)}; "
            "cut the clip: clip[start:stop:step]"
        )
    if not model.for_video and model.frame >= len(clip):
        raise ValueError(
            f"the model was fitted to frame {model.frame} of its clip, "
            f"and this one has {len(clip)} frames"
        )
    if getattr(model, "fitted_to", clip.checksum) != clip.checksum:
        raise ValueError(
            f"the model was fitted to another clip than this {clip.name!r}: "
            "same size, other frames or another cut"
        )


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, of each frame from its own MSE, averaged over frames.

    Parameters
    ----------
    image, target : Tensor, (T, 3, H, W) or (3, H, W)
        In [0, 1].

    Returns
    -------
    Tensor, ()
        −10·log10(MSE), in dB; infinite where the two are equal.
    """
    squares = (image - target).pow(2)
    mse = squares.reshape(-1, *image.shape[-3:]).flatten(1).mean(1)  # (T,)
    return (-10 * mse.log10()).mean()


def evaluate(
    model: nn.Module, clip: Clip, frame: int | None = None, frames: Sequence[int] | None = None
) -> float:
    """PSNR in dB of the rendered, clamped frames.

    Parameters
    ----------
    model : nn.Module
    clip : Clip
        What it paints.
    frame : int, optional
        For an image network; by default the frame that it was fitted to.
    frames : sequence of int, optional
        For a video network; by default all of them.

    Raises
    ------
    ValueError
        For a clip that is not the video network's own.
    """
    if not model.for_video:
        if frame is None:
            frame = model.frame
        return psnr(render(model).cpu(), clip.frames[frame]).item()
    check_clip(model, clip)
    if frames is None:
        frames = range(len(clip))
    per_frame = [psnr(render(model, t).cpu(), clip.frames[t]).item() for t in frames]
    return sum(per_frame) / len(frames)
