"""Networks from descriptions that may be anything: every number is checked before it is used."""

from __future__ import annotations

from dataclasses import fields
from math import isfinite, prod
from pathlib import Path

import torch
from torch import Tensor, nn

from xinc_core.clips.geometry import MOST_PIXELS, size_text

# Of a network in a file; a header that claims more is refused before any is allocated.
MOST_WEIGHTS = 10**8
LARGEST_COUNT = 2**31 - 1


def configuration(kind: type[nn.Module], values: dict, path: Path):
    """A family's configuration from the values in a file's header.

    Values that the family does not have are left out.

    Raises
    ------
    ValueError
        For a value of another type than its field's, or a picture that is too large.
    """
    types = {field.name: str(field.type) for field in fields(kind.Config)}
    known = {}
    for name, value in values.items():
        if isinstance(value, list):  # JSON has no tuples
            value = tuple(value)
        if name not in types:
            continue
        if not fits_type(value, types[name]):
            raise ValueError(
                f"{str(path)!r} says that {name} is {value!r}, where {types[name]} is wanted"
            )
        known[name] = value
    if prod(known["size"]) > MOST_PIXELS:
        raise ValueError(
            f"{str(path)!r} claims to paint {size_text(known['size'])} pixels, which is too large"
        )
    return kind.Config(**known)


def fits_type(value, wanted: str) -> bool:
    """Whether a value is of a field's type, which is written as in the code.

    For example "int" or "tuple[int, ...]". Whole numbers must be able to count something. Types
    that are not numbers are left to the family.
    """
    if wanted == "int":
        return _is_count(value)
    if wanted == "float":
        return isinstance(value, int | float) and isfinite(value)
    if wanted.startswith("tuple[int"):
        if not isinstance(value, tuple):
            return False
        of_any_length = wanted.endswith("...]")
        if not of_any_length and len(value) != 2:
            return False
        return all(_is_count(number) for number in value)
    return True


def _is_count(value) -> bool:
    return isinstance(value, int) and 0 < value <= LARGEST_COUNT


def blank_network(kind: type[nn.Module], config) -> nn.Module:
    """A network whose weights are about to be replaced; leaves the global random state alone.

    Raises
    ------
    ValueError
        If it would have more than ``MOST_WEIGHTS`` weights: they are counted before any is
        allocated.
    """
    with torch.device("meta"):
        tensors = kind(config).state_dict().values()
        n_weights = sum(tensor.numel() for tensor in tensors)
    if n_weights > MOST_WEIGHTS:
        raise ValueError(
            f"a {kind.family} of {config} would have {n_weights:,} weights, "
            "which is more than any that is read"
        )
    with torch.random.fork_rng(devices=[]):
        return kind(config)


def filled(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """The model with these tensors, as float32.

    Raises
    ------
    ValueError
        Naming those that are missing, extra or of another shape.
    """
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    names = sorted(wanted.keys() | found.keys())
    wrong = [name for name in names if wanted.get(name) != found.get(name)]
    if wrong:
        details = []
        for name in wrong[:3]:
            expected, got = wanted.get(name, "none"), found.get(name, "none")
            details.append(f"{name}: expected {expected}, found {got}")
        raise ValueError(
            f"{str(path)!r} does not fit a {model.family} of its description: {'; '.join(details)}"
        )
    model.load_state_dict({name: value.float() for name, value in tensors.items()})
    return model
