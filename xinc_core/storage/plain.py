"""Weights on disk: save, load, list.

A ``.safetensors`` file loads alone: its header carries family, configuration, clip, frame, seed,
epochs, PSNR and versions. Weights may be stored in half precision; they are float32 once loaded.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from math import isfinite, prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from xinc_core.clips.geometry import MOST_PIXELS, size_text
from xinc_core.models import check_registered, family
from xinc_core.util.files import replace_file
from xinc_core.util.paths import shelves

from .compressed import SUFFIX, read_facts, unpack
from .published import read_authors

MOST_WEIGHTS = (
    10**8
)  # of a network in a file; a header that claims more is refused before any is allocated


def save_model(model: nn.Module, path: str | Path, half: bool = False, **facts) -> None:
    """Write weights and configuration to a ``.safetensors`` file.

    half : store float16; the caller answers for the loss. facts : what else the header should say
    (clip, seed, …).
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"a model's file ends in .safetensors, not as in {str(path)!r}")
    check_registered(model)
    header = dict(family=model.family, config=asdict(model.config), torch=torch.__version__) | facts
    tensors = {
        k: (v.half() if half else v).contiguous().cpu() for k, v in model.state_dict().items()
    }
    # one entry: safetensors writes several in an order that changes from run to run
    replace_file(path, lambda f: save_file(tensors, f, metadata={"about": json.dumps(header)}))


def list_models() -> dict[str, dict]:
    """Names of the shipped models (and of the run's, in a study of your own), each with its
    header: family, clip, psnr, …
    """
    files = {
        path.stem: path
        for shelf in reversed(shelves("models"))
        for path in shelf.glob("*.safetensors")
    }
    return {name: read_header(files[name]) for name in sorted(files)}


def find_model(name: str) -> Path | None:
    """The file of a model that is known by its name; None if there is none."""
    files = (shelf / f"{name}.safetensors" for shelf in shelves("models"))
    return next((file for file in files if file.is_file()), None)


def model_name(family: str, clip: str, seed: int = 1) -> str:
    """The name of a shipped model: seed 1 goes without saying."""
    return f"{family}-{clip}" + ("" if seed == 1 else f"-s{seed}")


def read_header(path: str | Path) -> dict:
    """The facts in a file's header; numbers and lists come back as such."""
    if Path(path).suffix == SUFFIX:
        return read_facts(path)
    with _opened(path) as file:
        header = file.metadata() or {}
    if "about" in header:
        about = _parsed(header["about"])
        if not isinstance(about, dict):
            raise ValueError(
                f"{str(path)!r} has a header that cannot be read; was it written by save_model?"
            )
        return about
    return {k: _parsed(v) for k, v in header.items() if k != "format"}


def _parsed(text: str):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _opened(path: str | Path):
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a .safetensors file: {error}") from None


def load_model(
    source: str | Path, size: tuple[int, int] | None = None, n_frames: int | None = None
) -> nn.Module:
    """Load a model by its shipped name or from a file; weights frozen, float32, on the CPU.

    Parameters
    ----------
    source : str or Path
        A shipped name such as ``"nerv-courtyard"`` (seed 1) or ``"nerv-courtyard-s10"``; a
        ``.safetensors`` file; a file that ``compress`` wrote (``.xinc``); or one of the authors'
        ``.ckpt`` / ``.pth`` files, whose architecture is inferred from the tensors.
    size, n_frames
        (H, W) in pixels and number of frames: the authors' files carry neither, and a wrong one
        paints a wrong picture that cannot always be told from the file. Images, and HNeRV's
        ``quant_vid.pth``, need only ``size``. All other files know their own.

    Raises
    ------
    FileNotFoundError, ValueError
        With one sentence; a file that asks for foreign code is refused before any of it could run.
    """
    path = find_model(str(source)) or Path(source)
    if not path.is_file():
        first = [
            name
            for name, facts in list_models().items()
            if facts.get("seed", 1) == 1 and not facts.get("flipped")
        ]
        raise FileNotFoundError(
            f"no model {str(source)!r}: neither a file nor one of {', '.join(first)} or their other seeds"
        )
    own = path.suffix in (".safetensors", SUFFIX)
    if own and (size is not None or n_frames is not None):
        raise ValueError(
            f"{str(source)!r} carries its own size and length; size and n_frames are for the authors' files"
        )
    try:
        model = _load_own(path) if own else _load_authors(path, size, n_frames)
    except (TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{str(source)!r} describes no network that can be built: {said}"
        ) from error
    for name, value in model.state_dict().items():
        if not value.isfinite().all():
            raise ValueError(f"{str(source)!r} holds values that are not finite, in {name!r}")
    return model.requires_grad_(False)


def _load_authors(path: Path, size, n_frames) -> nn.Module:
    kind, config, tensors = read_authors(path, size, n_frames)
    return _filled(_blank(kind, config), tensors, path)


def _load_own(path: Path) -> nn.Module:
    header = read_header(path)
    if not {"family", "config"} <= header.keys():
        raise ValueError(
            f"{str(path)!r} has no family and config in its header; was it written by save_model?"
        )
    kind = family(header["family"])
    config = _config(kind, header["config"], path)
    model = _blank(kind, config)
    if path.suffix == SUFFIX:
        tensors = unpacked(kind, config, unpack(path)[1])
    else:
        with _opened(path) as file:
            tensors = {k: file.get_tensor(k) for k in file.keys()}
    if not kind.for_video:
        model.frame = header.get("frame", 0)
    if "clip_checksum" in header and not header.get("flipped"):
        model.fitted_to = header["clip_checksum"]
    return _filled(model, tensors, path)


def _config(kind: type[nn.Module], values: dict, path: Path):
    """A configuration from a header, whose numbers may be anything."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    known = {f.name: str(f.type) for f in fields(kind.Config)}
    for name, value in values.items():
        if name in known and not _is(value, known[name]):
            raise ValueError(
                f"{str(path)!r} says that {name} is {value!r}, where {known[name]} is wanted"
            )
    if prod(values["size"]) > MOST_PIXELS:
        raise ValueError(
            f"{str(path)!r} claims to paint {size_text(values['size'])} pixels, which is too large"
        )
    return kind.Config(**{k: v for k, v in values.items() if k in known})


def _is(value, wanted: str) -> bool:
    """Whether a value is of a field's type, with whole numbers that can count something."""
    if wanted.startswith("tuple[int"):
        return (
            isinstance(value, tuple)
            and all(_is(v, "int") for v in value)
            and (wanted.endswith("...]") or len(value) == 2)
        )
    if wanted == "int":
        return isinstance(value, int) and 0 < value < 2**31
    return wanted != "float" or isinstance(value, int | float) and isfinite(value)


def packed(model: nn.Module) -> dict[str, Tensor]:
    """What a compressed file holds of a model: all its tensors, or what its family makes of
    them.
    """
    return model.packed() if hasattr(model, "packed") else model.state_dict()


def unpacked(kind: type[nn.Module], config, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state from what ``packed`` gave."""
    return kind.unpacked(config, tensors) if hasattr(kind, "unpacked") else tensors


def _blank(kind: type[nn.Module], config) -> nn.Module:
    """A network whose weights are about to be replaced; leaves the global random state alone.
    Counts before it allocates.
    """
    with torch.device("meta"):
        n = sum(value.numel() for value in kind(config).state_dict().values())
    if n > MOST_WEIGHTS:
        raise ValueError(
            f"a {kind.family} of {config} would have {n:,} weights, which is more than any that is read"
        )
    with torch.random.fork_rng(devices=[]):
        return kind(config)


def _filled(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """Copy tensors into the model, naming every one that is missing, extra or of another shape."""
    wanted = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    got = {k: tuple(v.shape) for k, v in tensors.items()}
    if wanted != got:
        wrong = sorted(k for k in wanted.keys() | got.keys() if wanted.get(k) != got.get(k))
        detail = "; ".join(
            f"{k}: expected {wanted.get(k, 'none')}, found {got.get(k, 'none')}" for k in wrong[:3]
        )
        raise ValueError(
            f"{str(path)!r} does not fit a {model.family} of its description: {detail}"
        )
    model.load_state_dict({k: v.float() for k, v in tensors.items()})
    return model
