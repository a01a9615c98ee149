"""Names of a package that are imported when they are first asked for.

A package that knows its names without importing them answers quickly: ``xinc --help`` and lists of
what ships need no torch. What is asked for is looked up as PEP 562 says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from importlib import import_module


def lazy_names(
    package: str, places: dict[str, str], rooms: Iterable[str] = ()
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` of a package.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    places : dict of str to str
        A public name → the module of the package that it lives in. These modules are found as
        attributes too.
    rooms : iterable of str
        Further modules that are found as attributes.

    Returns
    -------
    (callable, callable)

    Examples
    --------
    >>> __getattr__, __dir__ = lazy_names("xinc_core", {"trace": "tracing"})
    >>> __getattr__("trace").__module__
    'xinc_core.tracing.canvas'
    """
    modules = {place.partition(".")[0] for place in places.values()} | set(rooms)

    def look_up(name: str) -> object:
        if name in places:
            module = import_module(f"{package}.{places[name]}")
            value = getattr(module, name)
        elif name in modules:
            value = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)  # the next time it is simply there
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places, *modules})

    return look_up, names
