"""Models on disk: save and load.

A ``.safetensors`` file loads alone: its header carries family, configuration, clip, frame, seed,
epochs, PSNR and versions. Weights may be stored in half precision; they are float32 once loaded.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from xinc_core.models import check_registered, family, unpacked
from xinc_core.util.checks import check_device
from xinc_core.util.file_kinds import CHECKPOINT, kind_of_file
from xinc_core.util.files import replace_file
from xinc_core.util.tensor_files import brief, is_count

from .building import LARGEST_COUNT, check_shapes, configuration, filled, shapes_of
from .compressed import MOST_PER_BYTE, unpack
from .headers import COMPRESSED, ENTRY, PLAIN, open_plain, read_header, read_held
from .published import read_authors
from .registry import find_model, no_model

CHECKPOINTS = (".ckpt", ".pth")  # how the authors' files end


def save_model(model: nn.Module, path: str | Path, half: bool = False, **facts) -> None:
    """Write weights and configuration to a ``.safetensors`` file.

    Parameters
    ----------
    model : nn.Module
        Of a family in ``models.FAMILIES``.
    path : str or Path
        Ends in ``.safetensors``; the file appears whole or not at all.
    half : bool
        Store float16; the caller answers for the loss.
    **facts
        What else the header should say: clip, seed, …

    Raises
    ------
    ValueError
        For another ending, or a network that could not be read back.
    """
    if Path(path).suffix != PLAIN:
        raise ValueError(f"a model's file ends in {PLAIN}, not as in {str(path)!r}")
    check_registered(model)
    header = dict(family=model.family, config=asdict(model.config), torch=torch.__version__) | facts
    tensors = {}
    for name, value in model.state_dict().items():
        if half:
            value = value.half()
        tensors[name] = value.contiguous().cpu()
    metadata = {ENTRY: json.dumps(header)}
    replace_file(path, lambda file: save_file(tensors, file, metadata=metadata))


def load_model(
    source: str | Path,
    size: tuple[int, int] | None = None,
    n_frames: int | None = None,
    device: str = "cpu",
) -> nn.Module:
    """Load a model by its name or from a file; weights frozen, float32.

    Parameters
    ----------
    source : str or Path
        A shipped name such as ``"nerv-courtyard"`` (seed 1) or ``"nerv-courtyard-s10"``; a
        ``.safetensors`` file; a file that ``compress`` wrote (``.xinc``); or one of the authors'
        ``.ckpt`` / ``.pth`` files, whose architecture is inferred from the tensors.
    size, n_frames : optional
        (H, W) in pixels and number of frames: the authors' files carry neither, and a wrong one
        paints a wrong picture that cannot always be told from the file. Images, and HNeRV's
        ``quant_vid.pth``, need only ``size``. All other files carry their own.
    device : str
        "cpu" or "cuda": where its weights lie, and with them its pictures and maps.

    Returns
    -------
    nn.Module

    Raises
    ------
    FileNotFoundError, ValueError
        With one sentence; a file that asks for foreign code is refused before any of it could run.
    """
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"a model is named, or its file is, not {brief(source)}")
    check_device(device)
    path = find_model(str(source)) or Path(source)
    if not path.is_file():
        raise FileNotFoundError(no_model(source))
    is_own = path.suffix in (PLAIN, COMPRESSED)
    if not is_own and path.suffix not in CHECKPOINTS and kind_of_file(path) != CHECKPOINT:
        raise ValueError(
            f"{str(source)!r} is {kind_of_file(path)}, not a model: a model is a {PLAIN} or "
            f"{COMPRESSED} file, or one of the authors' {' or '.join(CHECKPOINTS)} files"
        )
    if is_own and (size is not None or n_frames is not None):
        raise ValueError(
            f"{str(source)!r} carries its own size and length; "
            "size and n_frames are for the authors' files"
        )
    try:
        model = _load_own(path) if is_own else _load_authors(path, size, n_frames)
    except (TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{str(source)!r} describes no network that can be built: {reason}"
        ) from error
    for name, value in model.state_dict().items():
        if not value.isfinite().all():
            raise ValueError(f"{str(source)!r} holds values that are not finite, in {name!r}")
    return model.requires_grad_(False).to(device)


def _load_authors(path: Path, size, n_frames) -> nn.Module:
    kind, config, tensors = read_authors(path, size, n_frames)
    return filled(kind, config, tensors, path)


def _load_own(path: Path) -> nn.Module:
    """A model from a file of ours, plain or compressed."""
    header = read_header(path)
    if "family" not in header or "config" not in header:
        raise ValueError(
            f"{str(path)!r} is {kind_of_file(path)} and has no family and config in its header; "
            "was it written by save_model?"
        )
    if not isinstance(header["family"], str):
        raise ValueError(f"{str(path)!r} names its family by {brief(header['family'])}")
    kind = family(header["family"])
    config = configuration(kind, header["config"], path)
    frame, checksum = _checked_facts(header, path)
    if path.suffix == COMPRESSED:
        # What it unfolds to is not in its header: a bound for now, the shapes once it is unpacked.
        shapes_of(kind, config, MOST_PER_BYTE * path.stat().st_size, path)
        tensors = unpacked(kind, config, unpack(path)[1])
    else:
        found = {name: held.shape for name, held in read_held(path).items()}
        check_shapes(kind, config, found, path)
        with open_plain(path) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    model = filled(kind, config, tensors, path)
    if not kind.for_video:
        model.frame = frame
    if checksum and not header.get("flipped"):
        model.fitted_to = checksum
    return model


def _checked_facts(header: dict, path: Path) -> tuple[int, str]:
    """The frame that an image network was fitted to, and its clip's checksum, empty for none."""
    frame, checksum = header.get("frame", 0), header.get("clip_checksum", "")
    if not is_count(frame) or frame > LARGEST_COUNT:
        raise ValueError(f"{str(path)!r} says that it was fitted to frame {brief(frame)}")
    if not isinstance(checksum, str):
        raise ValueError(f"{str(path)!r} says that its clip's checksum is {brief(checksum)}")
    return frame, checksum
