"""The authors' files of the papers, read without executing anything in them.

Each family says itself what it makes of their tensors (``from_authors``).
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from xinc_core.models import FAMILIES

# What configurations in the authors' Lightning files are made of: names that are answered by an
# inert blank.
PLAIN = {f"builtins.{n}" for n in ("bool", "dict", "float", "int", "list", "set", "str", "tuple")}
PLAIN |= {"collections.defaultdict", "typing.Any", "pathlib.PosixPath"}


def read_authors(path: Path, size, n_frames) -> tuple[type[nn.Module], object, dict[str, Tensor]]:
    """Family, configuration and tensors of one of the authors' files; size : (H, W); n_frames : of
    a video, or None.

    Raises
    ------
    ValueError
        With one sentence: for a file that cannot be read, asks for foreign code, or is of no
        family.
    """
    if size is None:
        raise ValueError(
            f"{str(path)!r} carries no picture size: say size=(H, W), e.g. size=(128, 256)"
        )
    numbers = (*size, 1 if n_frames is None else n_frames) if isinstance(size, tuple | list) else ()
    if len(numbers) != 3 or not all(isinstance(n, int) and n > 0 for n in numbers):
        raise ValueError(
            f"size is (H, W) and n_frames a number, all whole and positive, not {size!r} and {n_frames!r}"
        )
    state = {
        k.removeprefix("module.").replace("blocks.0.", ""): v for k, v in _state_dict(path).items()
    }
    kinds = [kind for kind in FAMILIES.values() if hasattr(kind, "from_authors")]
    for kind in kinds:
        try:
            found = kind.from_authors(state, tuple(size), n_frames)
        except ValueError as error:
            raise ValueError(f"{str(path)!r}: {error}") from None
        if found:
            return kind, *found
    names = ", ".join(kind.__name__ for kind in kinds)
    raise ValueError(
        f"{str(path)!r} is a checkpoint of none of {names}; its first tensor is {next(iter(state))!r}"
    )


class _Blank:
    """Stands for a configuration object in a pickle: takes anything, does nothing."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass


def _blank_dict(*args) -> dict:
    """A mapping in such an object: the unpickler fills plain dicts only."""
    return {}


def _state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``torch.save`` file, through torch's own restricted unpickler."""
    unreadable = f"{str(path)!r} cannot be read as a checkpoint of plain tensors"
    names: list[str] = []
    _check_archive(path)
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # noqa: BLE001 - the unpickler raises many kinds; each means that the file is unusable
        raise ValueError(unreadable) from None
    foreign = [n for n in names if n not in PLAIN and not n.startswith("omegaconf.")]
    if foreign:
        raise ValueError(
            f"{str(path)!r} asks for code that weights do not need ({foreign[0]}); it was not loaded"
        )
    blanks = [(_blank_dict if n == "collections.defaultdict" else _Blank, n) for n in names]
    try:
        with torch.serialization.safe_globals(blanks):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001
        raise ValueError(unreadable) from None
    tensors = _tensors(loaded.get("state_dict", loaded)) if isinstance(loaded, dict) else {}
    if not tensors:
        raise ValueError(f"{str(path)!r} holds no tensors under 'state_dict'")
    if spread := [
        k for k, v in tensors.items() if v.numel() * v.element_size() > v.untyped_storage().nbytes()
    ]:
        raise ValueError(f"{str(path)!r} claims more numbers than it holds, in {spread[0]!r}")
    return tensors


def _check_archive(path: Path) -> None:
    """Refuse what may take far more memory than the file is long: packed archives, and the
    format before PyTorch 1.6.
    """
    with path.open("rb") as file:
        archive = file.read(4) == b"PK\x03\x04"
    try:
        size = sum(entry.file_size for entry in zipfile.ZipFile(path).infolist()) if archive else 0
    except Exception:  # noqa: BLE001 - damaged archives raise many kinds
        archive = False
    if not archive:
        raise ValueError(
            f"{str(path)!r} cannot be read as a checkpoint of plain tensors: it is no whole file of PyTorch's since 1.6; "
            f"an older one can be loaded and saved again there"
        )
    if size > path.stat().st_size:
        raise ValueError(
            f"{str(path)!r} cannot be read as a checkpoint: it is packed, and would unfold to {size:,} bytes"
        )


def _tensors(state: dict) -> dict[str, Tensor]:
    """The tensors of a mapping; of a quantised video, weights and embeddings as they are once
    decoded.
    """
    if {"embed", "model"} <= state.keys() and isinstance(state["model"], dict):
        state = state["model"] | {"embed": state["embed"]}
    steps = {
        k: v
        for k, v in state.items()
        if isinstance(v, dict) and {"quant", "min", "scale"} <= v.keys()
    }
    decoded = {k: v["min"].float() + v["scale"].float() * v["quant"] for k, v in steps.items()}
    return {k: v for k, v in (state | decoded).items() if isinstance(v, Tensor)}
