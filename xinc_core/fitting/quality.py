"""How good is the picture? PSNR, defined here once.

Also whether a model and a clip belong together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from xinc_core.clips import Clip
from xinc_core.models import render
from xinc_core.util.checks import brief, check_is_clip, check_is_model, frame_number
from xinc_core.util.exact import exactly


def check_clip(model: nn.Module, clip: Clip) -> None:
    """Refuse a clip that is not the one a model paints: another size, length or content.

    Raises
    ------
    TypeError, ValueError
        In one sentence. Content is compared where the model says what it was fitted to.
    """
    check_is_model(model)
    check_is_clip(clip)
    _check_size(model, clip)
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


def _check_size(model: nn.Module, clip: Clip) -> None:
    (H, W), (h, w) = clip.size, model.config.size
    if (h, w) != (H, W):
        raise ValueError(f"the model paints {h}×{w} pixels, the clip has {H}×{W}")


@exactly
def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, of each frame from its own MSE, averaged over frames.

    Parameters
    ----------
    image, target : Tensor, (T, 3, H, W) or (3, H, W)
        In [0, 1], of one shape.

    Returns
    -------
    Tensor, ()
        −10·log10(MSE), in dB; infinite where the two are equal.

    Raises
    ------
    TypeError
        For what is no tensor of fractions; bytes become one by ``frames.float() / 255``.
    ValueError
        For pictures of two shapes.
    """
    for picture in (image, target):
        if not isinstance(picture, Tensor):
            raise TypeError(
                f"psnr compares two tensors, not {brief(picture)}; frames are clip.frames[t], "
                "a network's are xc.render(model, t), and xc.evaluate(model, clip) takes both"
            )
        if not picture.is_floating_point():
            raise TypeError(
                f"psnr compares pictures in [0, 1], not {picture.dtype}; "
                "of bytes they are made by frames.float() / 255"
            )
    if image.device != target.device:
        raise ValueError(
            f"psnr compares pictures on one device, not on {image.device} and {target.device}; "
            ".cpu() brings them there"
        )
    if image.shape != target.shape or image.ndim < 3:
        raise ValueError(
            f"psnr compares pictures (…, 3, H, W) of one shape, not {tuple(image.shape)} "
            f"with {tuple(target.shape)}"
        )
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
        The one frame of the clip to compare; by default, for an image network, the one that it was
        fitted to.
    frames : sequence of int, optional
        For a video network: several frames; by default all of them.

    Returns
    -------
    float
        The mean over frames of each frame's PSNR in dB.

    Raises
    ------
    TypeError
        For what is no model, no clip or no whole number.
    ValueError
        For a clip that is not the video network's own or of another size, for no frame at all, and
        where both ``frame`` and ``frames`` are given.
    IndexError
        For a frame that does not exist.
    """
    check_is_model(model)
    check_is_clip(clip)
    if frame is not None and frames is not None:
        raise ValueError("frame is one frame, frames are several: give one of the two")
    if not model.for_video:
        # The pictures of an image network are one, 0, whatever frame of the clip it is of.
        for number in () if frames is None else frames:
            frame_number(number, 1, "an image network's")
        _check_size(model, clip)
        of_clip = frame_number(model.frame if frame is None else frame, len(clip), "the clip's")
        return psnr(render(model).cpu(), clip.frames[of_clip]).item()
    check_clip(model, clip)
    if frame is not None:
        frames = [frame]
    numbers = _frame_numbers(range(len(clip)) if frames is None else frames, len(clip))
    per_frame = [psnr(render(model, t).cpu(), clip.frames[t]).item() for t in numbers]
    return sum(per_frame) / len(numbers)


def _frame_numbers(frames: Iterable[int], n_frames: int) -> list[int]:
    """Several frames as ints; at least one."""
    if isinstance(frames, str) or not isinstance(frames, Iterable):
        raise TypeError(f"frames are several whole numbers, not {brief(frames)}; one is frame=…")
    numbers = [frame_number(frame, n_frames) for frame in frames]
    if not numbers:
        raise ValueError("there is no frame among frames; leave it out for all of them")
    return numbers
