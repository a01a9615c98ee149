"""The models that are known by a name: the shipped ones, and those of a study of one's own."""

from __future__ import annotations

from pathlib import Path

from xinc_core.util.paths import no_data, shelves, shipped_folder

from .headers import PLAIN, read_header

TWIN_ENDING = "-flip"  # of the name of a network that was fitted to mirrored frames


def list_models() -> dict[str, dict]:
    """Names of the models that are known, each with its header: family, clip, psnr and so on.

    They are the shipped ones (where the shipped data are here) and, in a study of your own, the
    run's.
    """
    files = {}
    for shelf in reversed(shelves("models")):  # the run's own come last, and win
        for path in shelf.glob(f"*{PLAIN}"):
            files[path.stem] = path
    return {name: read_header(files[name]) for name in sorted(files)}


def find_model(name: str) -> Path | None:
    """The file of a model that is known by its name; None if there is none."""
    for shelf in shelves("models"):
        file = shelf / f"{name}{PLAIN}"
        if file.is_file():
            return file
    return None


def model_name(family: str, clip: str, seed: int = 1) -> str:
    """The name of a model of a clip: "nerv-courtyard" for seed 1, else "nerv-courtyard-s10"."""
    name = f"{family}-{clip}"
    if seed == 1:
        return name
    return f"{name}-s{seed}"


def is_own_fit(facts: dict) -> bool:
    """Whether a header is that of a clip's own fit: neither a mirrored twin nor a refit."""
    return not facts.get("flipped") and not facts.get("refit")


def no_model(source: str | Path) -> str:
    """The sentence for a model that is neither a file nor known by its name."""
    refused = f"no model {str(source)!r}"
    if shipped_folder("models") is None:
        return f"{refused}: it is no file, and {no_data('the shipped models are')}"
    first_seeds = []
    for name, facts in list_models().items():
        if facts.get("seed", 1) == 1 and is_own_fit(facts):
            first_seeds.append(name)
    return f"{refused}: neither a file nor one of {', '.join(first_seeds)} or their other seeds"
