"""Networks from descriptions that may be anything: every number is checked before it is used.

A description is built first without memory (on torch's meta device), by a count that stops as soon
as there is more than the file can hold; the shapes are compared; then it is built.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from math import isfinite, prod
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules

from xinc_core.clips.geometry import MOST_PIXELS, size_text
from xinc_core.util.tensor_files import brief

# Of a network in a file; a header that claims more is refused before any is allocated.
MOST_WEIGHTS = 10**8
LARGEST_COUNT = 2**31 - 1
LARGEST_FLOAT = 3e38  # float32's
LONGEST_TUPLE = 64  # entries of a configuration's tuple: layers, strides
# How much more than its file holds a description may ask for and still be built without memory, so
# that the sentence can say which tensors are missing.
SLACK = 10**6  # weights, and for each thousand of them a tensor
PER_TENSOR = 1_000

Shapes = Mapping[str, tuple[int, ...]]


def configuration(kind: type[nn.Module], values: dict, path: Path):
    """A family's configuration from the values in a file's header.

    Values that the family does not have are left out.

    Raises
    ------
    ValueError
        For a value of another type than its field's, or a picture that is too large.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{str(path)!r} describes its network by {brief(values)}")
    types = {field.name: str(field.type) for field in fields(kind.Config)}
    known = {}
    for name, value in values.items():
        if isinstance(value, list):  # JSON has no tuples
            value = tuple(value)
        if name not in types:
            continue
        if not fits_type(value, types[name]):
            raise ValueError(
                f"{str(path)!r} says that {name} is {brief(value)}, where {types[name]} is wanted"
            )
        known[name] = value
    if "size" not in known:
        raise ValueError(f"{str(path)!r} does not say what size its network paints")
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
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and abs(value) < LARGEST_FLOAT and isfinite(value)
    if wanted == "str":
        return isinstance(value, str)
    if wanted.startswith("tuple[int"):
        if not isinstance(value, tuple) or len(value) > LONGEST_TUPLE:
            return False
        of_any_length = wanted.endswith("...]")
        if not of_any_length and len(value) != 2:
            return False
        return all(_is_count(number) for number in value)
    return True


def _is_count(value) -> bool:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and 0 < value <= LARGEST_COUNT


@dataclass
class _Allowance:
    """How many weights and tensors may still be made."""

    weights: int
    tensors: int

    def take(self, value: Tensor) -> None:
        """Count one more tensor; raise where it is one too many."""
        self.weights -= value.numel()
        self.tensors -= 1
        if self.weights < 0 or self.tensors < 0:
            raise ValueError("it would have more weights than its file can hold")


@contextmanager
def at_most(n_weights: int, n_tensors: int) -> Iterator[None]:
    """Stop the building of networks, on this thread, at so many weights and tensors.

    Raises
    ------
    ValueError
        From within, when the first one too many is registered.
    """
    allowance, thread = _Allowance(n_weights, n_tensors), threading.get_ident()

    def count(module: nn.Module, name: str, value: Tensor | None) -> None:
        if value is not None and threading.get_ident() == thread:
            allowance.take(value)

    hooks = [
        torch_modules.register_module_parameter_registration_hook(count),
        torch_modules.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def shapes_of(kind: type[nn.Module], config, most_weights: int, path: Path) -> Shapes:
    """The shapes of a network's tensors, without memory for them.

    Raises
    ------
    ValueError
        If it would have more than ``most_weights``, or ``MOST_WEIGHTS``.
    """
    most = min(most_weights, MOST_WEIGHTS)
    try:
        with at_most(most, most // PER_TENSOR + LONGEST_TUPLE), torch.device("meta"):
            state = kind(config).state_dict()
    except ValueError as error:
        raise ValueError(f"{str(path)!r} describes a {kind.family}: {error}") from None
    return {name: tuple(value.shape) for name, value in state.items()}


def check_shapes(kind: type[nn.Module], config, found: Shapes, path: Path) -> None:
    """Refuse tensors that are not those of the network described, by their shapes alone.

    Raises
    ------
    ValueError
        Naming those that are missing, extra or of another shape.
    """
    held = sum(prod(shape) for shape in found.values())
    wanted = shapes_of(kind, config, 2 * held + SLACK, path)
    names = sorted(wanted.keys() | found.keys())
    wrong = [name for name in names if wanted.get(name) != found.get(name)]
    if wrong:
        details = []
        for name in wrong[:3]:
            expected, got = wanted.get(name, "none"), found.get(name, "none")
            details.append(f"{brief(name)[1:-1]}: expected {expected}, found {got}")
        raise ValueError(
            f"{str(path)!r} does not fit a {kind.family} of its description: {'; '.join(details)}"
        )


def filled(kind: type[nn.Module], config, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """The network with these tensors, as float32; leaves the global random state alone.

    Raises
    ------
    ValueError
        If they are not the tensors of the network described, or no real numbers.
    """
    check_shapes(kind, config, {name: tuple(t.shape) for name, t in tensors.items()}, path)
    for name, value in tensors.items():
        if not value.is_floating_point():
            raise ValueError(f"{str(path)!r} holds {value.dtype} in {name!r}, no real numbers")
    with torch.random.fork_rng(devices=[]):
        model = kind(config)
    model.load_state_dict({name: value.float() for name, value in tensors.items()})
    return model
