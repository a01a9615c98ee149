"""The files that the papers' authors published, read without executing anything in them.

Each family says itself what it makes of their tensors (``from_authors``).
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from xinc_core.models import author_readers
from xinc_core.util.file_kinds import ZIP, kind_of_file
from xinc_core.util.tensor_files import is_count

from .building import SLACK, at_most

# What configurations in the authors' Lightning files are made of: names that are answered by an
# inert blank.
BUILTINS = ("bool", "dict", "float", "int", "list", "set", "str", "tuple")
PLAIN_TYPES = {f"builtins.{name}" for name in BUILTINS}
PLAIN_TYPES |= {"collections.defaultdict", "typing.Any", "pathlib.PosixPath"}
QUANTISED = {"quant", "min", "scale"}  # what a quantised tensor of theirs consists of
NETWORKS_TRIED = 3  # that a family may build of a file's tensors to find out how they belong


def read_authors(path: Path, size, n_frames) -> tuple[type[nn.Module], object, dict[str, Tensor]]:
    """Family, configuration and tensors of one of the authors' files.

    Parameters
    ----------
    path : Path
    size : (H, W) in pixels
    n_frames : int or None
        Of a video.

    Raises
    ------
    ValueError
        With one sentence: for a file that cannot be read, asks for foreign code, or is of no
        family.
    """
    state = {}
    for name, value in _read_tensors(path).items():
        state[name.removeprefix("module.").replace("blocks.0.", "")] = value
    _check_shape(path, size, n_frames)
    kinds = author_readers()
    held = sum(value.numel() for value in state.values())
    for kind in kinds:
        try:
            with at_most(NETWORKS_TRIED * held + SLACK, SLACK):
                understood = kind.from_authors(state, tuple(size), n_frames)
        except ValueError as error:
            raise ValueError(f"{str(path)!r}: {error}") from None
        if understood:
            config, tensors = understood
            return kind, config, tensors
    names = ", ".join(kind.__name__ for kind in kinds)
    first = next(iter(state))
    raise ValueError(
        f"{str(path)!r} is a checkpoint of none of {names}; its first tensor is {first!r}"
    )


def _check_shape(path: Path, size, n_frames) -> None:
    """Refuse a size or a length that is missing, or that nothing can have."""
    if size is None:
        raise ValueError(
            f"{str(path)!r} carries no picture size: say size=(H, W), e.g. size=(128, 256)"
        )
    numbers = ()
    if isinstance(size, tuple | list):
        numbers = (*size, 1 if n_frames is None else n_frames)
    if len(numbers) != 3 or not all(is_count(n) and n > 0 for n in numbers):
        raise ValueError(
            "size is (H, W) and n_frames a number, all whole and positive, "
            f"not {size!r} and {n_frames!r}"
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


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``torch.save`` file, through torch's own restricted unpickler."""
    _check_archive(path)
    loaded = _unpickled(path)
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    tensors = {}
    if isinstance(state, dict) and all(isinstance(name, str) for name in state):
        tensors = _tensors_in(state, path)
    if not tensors:
        raise ValueError(f"{str(path)!r} holds no tensors under 'state_dict'")
    return tensors


def _unpickled(path: Path):
    """What the file holds, with blanks where it names plain configuration types."""
    unreadable = f"{str(path)!r} cannot be read as a checkpoint of plain tensors"
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # noqa: BLE001 - the unpickler raises many kinds; the file is unusable
        raise ValueError(unreadable) from None
    blanks = []
    for name in names:
        if name not in PLAIN_TYPES and not name.startswith("omegaconf."):
            raise ValueError(
                f"{str(path)!r} asks for code that weights do not need ({name}); it was not loaded"
            )
        is_mapping = name == "collections.defaultdict"
        blanks.append((_blank_dict if is_mapping else _Blank, name))
    try:
        with torch.serialization.safe_globals(blanks):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001
        raise ValueError(unreadable) from None


def _check_archive(path: Path) -> None:
    """Refuse what may take far more memory than the file is long.

    That is a packed archive, and the format before PyTorch 1.6.
    """
    size = _unfolded_bytes(path)
    if size is None:
        raise ValueError(
            f"{str(path)!r} cannot be read as a checkpoint of plain tensors: "
            f"it is {kind_of_file(path)}; a checkpoint is a file of PyTorch's since 1.6, "
            "and an older one can be loaded and saved again there"
        )
    if size > path.stat().st_size:
        raise ValueError(
            f"{str(path)!r} cannot be read as a checkpoint: "
            f"it is packed, and would unfold to {size:,} bytes"
        )


def _unfolded_bytes(path: Path) -> int | None:
    """How many bytes an archive's files have together; None if it is no whole archive."""
    with path.open("rb") as file:
        if file.read(len(ZIP)) != ZIP:
            return None
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except Exception:  # noqa: BLE001 - damaged archives raise many kinds
        return None


def _tensors_in(state: dict, path: Path) -> dict[str, Tensor]:
    """The tensors of a mapping.

    Of a quantised video, weights and embeddings are as they are once decoded.

    Raises
    ------
    ValueError
        For a tensor that claims more numbers than the file holds of it.
    """
    if {"embed", "model"} <= state.keys() and isinstance(state["model"], dict):
        state = state["model"] | {"embed": state["embed"]}
    tensors = {}
    for name, value in state.items():
        if isinstance(value, dict) and value.keys() >= QUANTISED:
            tensors[name] = _decoded(value, name, path)
        elif isinstance(value, Tensor):
            tensors[name] = _whole(value, name, path)
    return tensors


def _decoded(value: dict, name: str, path: Path) -> Tensor:
    """A quantised tensor: min + scale · quant."""
    low, scale, quant = (value[part] for part in ("min", "scale", "quant"))
    for part in (low, scale, quant):
        if not isinstance(part, Tensor):
            raise ValueError(f"{str(path)!r} holds no numbers in {name!r}")
        _whole(part, name, path)
    try:
        low, scale = low.expand(quant.shape), scale.expand(quant.shape)  # views: no memory
    except RuntimeError:
        raise ValueError(f"{str(path)!r} holds parts that do not fit, in {name!r}") from None
    return low.float() + scale.float() * quant


def _whole(value: Tensor, name: str, path: Path) -> Tensor:
    """The tensor, if the file holds every number of it."""
    claimed = value.numel() * value.element_size()
    if claimed > value.untyped_storage().nbytes():
        raise ValueError(f"{str(path)!r} claims more numbers than it holds, in {name!r}")
    return value
