"""Numbers that do not depend on what surrounds a call: autocast, inference mode, gradients.

Autocast would compute products in half precision; in inference mode no slope of an activation could
be asked of torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

DEVICES = ("cpu", "cuda")  # whose autocast is switched off


@contextmanager
def exact() -> Iterator[None]:
    """In the tensors' own precision, outside of inference mode, without gradients."""
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for device in DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def exactly(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function, or each step of the generator, run under :func:`exact`."""
    if inspect.isgeneratorfunction(function):
        return _each_step(function)

    @wraps(function)
    def run(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        with exact():
            return function(*arguments, **options)

    return run


def _each_step(function: Callable) -> Callable:
    """A generator function whose steps run under :func:`exact`, and whose caller does not."""

    @wraps(function)
    def steps(*arguments, **options):
        generator = function(*arguments, **options)
        try:
            while True:
                with exact():
                    try:
                        value = next(generator)
                    except StopIteration:
                        return
                yield value
        finally:
            generator.close()

    return steps
