"""What callers give, checked once, at the public boundary.

Each check takes constant time (that of pictures looks at them once) and raises one sentence: what
came, what was wanted, what to do. ``TypeError`` is for a thing of another kind, ``ValueError`` for
a value that makes no sense, ``IndexError`` for a place that does not exist.

Trap: torch is imported by the functions that need it, because the front door is to open without it.
"""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

# What tells a network that can be traced from other things: models.TracedModel lists all of it.
OF_A_MODEL = ("for_video", "encode", "stem", "layers")
OF_A_CLIP = ("frames", "size", "checksum")


def whole_number(
    value: Any, what: str, least: int | None = None, most: int | None = None, instead: str = ""
) -> int:
    """A whole number as Python's own; numpy's and one-element tensors count, bools do not.

    Parameters
    ----------
    value : object
        What came.
    what : str
        What it is, for the sentence, such as "frame".
    least, most : int, optional
        Its range, both ends included.
    instead : str
        What to do, behind the sentence about another kind of value.

    Raises
    ------
    TypeError
        For a bool, a float, a range, …
    ValueError
        Out of the range.
    """
    advice = f"; {instead}" if instead else ""
    number = _as_int(value)
    if number is None:
        raise TypeError(f"{what} is one whole number, not {brief(value)}{advice}")
    if least is not None and number < least:
        raise ValueError(f"{what} is at least {least}, not {number}{advice}")
    if most is not None and number > most:
        raise ValueError(f"{what} is at most {most:,}, not {number:,}{advice}")
    return number


def _as_int(value: Any) -> int | None:
    """The value as an int; None where it is no whole number."""
    is_bool = isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")
    if is_bool or getattr(value, "shape", ()) not in ((), (1,)):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def frame_number(frame: Any, n_frames: int, of: str = "this model's") -> int:
    """A frame of a video, 0..T−1, as an int.

    Raises
    ------
    TypeError
        For what is no whole number.
    IndexError
        For a frame that does not exist; negative ones are not counted from the end.
    """
    number = whole_number(frame, "a frame", instead="for several, ask for one after the other")
    if not 0 <= number < n_frames:
        raise IndexError(f"frame {number} is outside {of} {n_frames} frames (0 to {n_frames - 1})")
    return number


def check_is_model(model: Any) -> None:
    """Refuse what cannot be traced and painted, and say how to make a model of it.

    Raises
    ------
    TypeError
    """
    if not isinstance(model, type) and all(hasattr(model, name) for name in OF_A_MODEL):
        return
    came = brief(model)
    if isinstance(model, str | Path):
        advice = f"load it first: xc.load_model({str(model)!r})"
    elif isinstance(model, tuple):
        advice = "xc.fit returns a model and its history: model, history = xc.fit(…)"
    elif isinstance(model, type):
        came = f"the class {model.__name__}"
        advice = "make one of it, by xc.fit or xc.load_model"
    elif hasattr(model, "module") and all(hasattr(model.module, name) for name in OF_A_MODEL):
        came = f"a {type(model).__name__} around one"
        advice = "take its .module"
    elif hasattr(model, "forward") and hasattr(model, "parameters"):
        came = f"a {type(model).__name__}, which does not describe its layers"
        advice = "a chain of Linear or Conv2d layers is wrapped by xc.models.chain(…, size=(H, W))"
    else:
        advice = "it comes from xc.load_model, xc.fit or xc.models.chain"
    raise TypeError(f"a model is wanted, not {came}; {advice}")


def check_is_clip(clip: Any) -> None:
    """Refuse what is no clip, and say how to make one of it.

    Raises
    ------
    TypeError
    """
    if not isinstance(clip, type) and all(hasattr(clip, name) for name in OF_A_CLIP):
        return
    if isinstance(clip, str | Path):
        advice = f"load it first: xc.load_clip({str(clip)!r})"
    elif hasattr(clip, "shape"):
        advice = "frames (T, 3, H, W) in [0, 1] become one by xc.Clip(name, frames)"
    else:
        advice = "it comes from xc.load_clip or xc.Clip(name, frames)"
    raise TypeError(f"a clip is wanted, not {brief(clip)}; {advice}")


def check_device(device: Any) -> None:
    """Refuse a device that does not exist, or not here.

    Raises
    ------
    ValueError
    """
    import torch

    try:
        found = torch.device(device)
        usable = found.type != "meta"  # meta tensors hold no numbers
    except (RuntimeError, TypeError):
        usable = False
    if not usable:
        raise ValueError(
            f"no device {device!r}; there is 'cpu' and, with an NVIDIA GPU, 'cuda'"
        ) from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {str(device)!r} is not available here; 'cpu' is")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        n_devices = torch.cuda.device_count()
        raise ValueError(f"device {str(device)!r} is not available here; there are {n_devices}")


def check_pictures(frames: Any, what: str = "frames") -> None:
    """Refuse what is not (T, 3, H, W), floating, finite and in [0, 1].

    Parameters
    ----------
    frames : Tensor
    what : str
        What they are, for the sentence.

    Raises
    ------
    TypeError, ValueError
    """
    import torch

    if not isinstance(frames, torch.Tensor):
        raise TypeError(f"{what} are a tensor (T, 3, H, W), not {brief(frames)}")
    shape = tuple(frames.shape)
    if len(shape) != 4 or shape[1] != 3:
        raise ValueError(f"{what} are (T, 3, H, W), not {shape}; {_turned(shape)}")
    if 0 in shape:
        raise ValueError(f"{what} are {shape}: there is no pixel in them")
    if not frames.is_floating_point():
        raise ValueError(
            f"{what} are numbers in [0, 1], not {frames.dtype}; "
            "of bytes they are made by frames.float() / 255"
        )
    lowest, highest = (float(bound) for bound in frames.detach().aminmax())
    if not lowest <= highest or highest - lowest == float("inf"):  # NaN is in both bounds
        raise ValueError(f"{what} hold values that are not finite")
    if lowest < 0 or highest > 1:
        advice = "frames / 255 brings them there" if highest > 2 else "frames.clamp(0, 1) cuts them"
        raise ValueError(f"{what} lie in [0, 1], not in [{lowest:g}, {highest:g}]; {advice}")


def _turned(shape: tuple[int, ...]) -> str:
    """What to do with pictures of another shape."""
    if len(shape) == 3 and shape[0] == 3:
        return "a single picture is frames[None]"
    if len(shape) == 3 and shape[-1] == 3:
        return "a single picture, channels last, is frames.movedim(-1, 0)[None]"
    if len(shape) == 4 and shape[-1] == 3:
        return "channels come first: frames.movedim(-1, 1)"
    if len(shape) == 4 and shape[1] in (1, 4):
        return "a picture has the three channels red, green and blue"
    return "frames, channels, rows, columns"


def brief(value: Any) -> str:
    """A value in a sentence: itself where it is short, else what kind of thing it is."""
    shape = getattr(value, "shape", None)
    if shape is not None and tuple(shape) not in ((), (1,)):
        return f"a {type(value).__name__} {tuple(shape)}"
    text = repr(value)
    if len(text) <= 40 and "\n" not in text and " at 0x" not in text:
        return text
    return f"a {type(value).__name__}"
