"""How good is the picture? PSNR, defined here once, and whether a model and a clip belong
together.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from xinc_core.clips.clip import Clip
from xinc_core.models import render


def check_clip(model: nn.Module, clip: Clip) -> None:
    """Refuse a clip that is not the one a model paints: another size, length or content.

    Raises
    ------
    ValueError
        In one sentence. Content is compared where the model knows what it was fitted to.
    """
    (H, W), size = clip.size, tuple(model.config.size)
    if size != (H, W):
        raise ValueError(f"the model paints {size[0]}×{size[1]} pixels, the clip has {H}×{W}")
    if model.for_video and model.config.n_frames != len(clip):
        n = model.config.n_frames
        raise ValueError(
            f"the model has {n} frames, the clip {len(clip)}; cut the clip: clip[start:stop:step]"
        )
    if not model.for_video and model.frame >= len(clip):
        raise ValueError(
            f"the model was fitted to frame {model.frame} of its clip, and this one has {len(clip)} frames"
        )
    if getattr(model, "fitted_to", clip.checksum) != clip.checksum:
        raise ValueError(
            f"the model was fitted to another clip than this {clip.name!r}: same size, other frames or another cut"
        )


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB: per frame from its MSE on [0, 1], averaged over frames.

    image, target : (T, 3, H, W) or (3, H, W).
    """
    mse = (image - target).pow(2).reshape(-1, *image.shape[-3:]).flatten(1).mean(1)
    return (-10 * mse.log10()).mean()


def evaluate(
    model: nn.Module, clip: Clip, frame: int | None = None, frames: Sequence[int] | None = None
) -> float:
    """PSNR in dB of the rendered, clamped frames: of all of them, or of ``frames``, for a video
    network; for an image network of ``frame``, by default the one that it was fitted to."""
    if not model.for_video:
        return psnr(
            render(model).cpu(), clip.frames[model.frame if frame is None else frame]
        ).item()
    check_clip(model, clip)
    frames = range(len(clip)) if frames is None else frames
    return sum(psnr(render(model, f).cpu(), clip.frames[f]).item() for f in frames) / len(frames)
