"""What a study of your own clip will do: decided before anything is written.

The steps of a plan, with estimates of time and disk, are listed in ``steps``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from math import ceil
from pathlib import Path
from typing import NamedTuple

from xinc_core.clips import clip_name, frames_of, list_clips, video_of
from xinc_core.models import family as family_class
from xinc_core.models import recipe as recipe_of
from xinc_core.models import usual_recipe
from xinc_core.storage import TWIN_ENDING, model_name
from xinc_core.util.checks import check_device
from xinc_core.util.files import digest
from xinc_core.util.suggest import unknown

from .notebooks import chosen_notebooks


@dataclass(frozen=True)
class Profile:
    """How thorough a study is.

    Attributes
    ----------
    most_frames : int or None
        At most so many frames of the clip; None for all.
    per_second : float or None
        At most so many of them from a second of the clip; None for all.
    times : int
        How many times a recipe's epochs networks are trained for.
    seeds : tuple of int
        Fits per family.
    measured : int
        Frames of the first seed on which findings are measured.
    notebooks : int
        The first so many of the series.
    """

    most_frames: int | None
    per_second: float | None
    times: int
    seeds: tuple[int, ...]
    measured: int
    notebooks: int


PROFILES = {
    "quick": Profile(32, 5.0, 1, (1,), 3, 10),
    "full": Profile(None, None, 2, (1, 10, 20, 30, 40), 8, 13),
}
WOULD_ADD = (
    "--profile full takes every frame, trains for twice as long, fits five seeds instead of one "
    "(which gives intervals), measures the first seed on eight frames instead of three, and adds "
    "notebooks 10 to 12"
)
LONGEST_SLUG = 60  # characters of a clip's name in the names of files
USUAL_RECIPE = "fast"


class Role(Enum):
    """What a network of a study is fitted for; the value is the ending of its name."""

    OWN = ""
    TWIN = TWIN_ENDING  # the same seed, fitted to the frames mirrored left to right
    REFIT = "-refit"  # the same seed and frames, fitted once more on another way


class Fit(NamedTuple):
    """One network of a study."""

    family: str
    seed: int
    role: Role


@dataclass(frozen=True)
class Plan:
    """What a study will do: made by :func:`plan`, carried out by
    :func:`~xinc_core.study.series.runs.carry_out`.

    Attributes
    ----------
    source : str
        The clip, as it was named.
    out : Path
        The run's folder.
    name : str
        The clip's name in that folder.
    frames : (start, stop or None, step)
        Which frames are taken; ``n_frames`` of them.
    size : (H, W) or None
        To which frames are scaled; None for the usual size.
    epochs : dict of family to int
        Epochs of a video network, full-image steps of an image network.
    recipe : str
        By which networks are fitted, "fast" or "paper"; :meth:`recipe_of` says it for a family.
    notebooks : tuple of str
        Names, in the order of the series.
    """

    source: str
    out: Path
    name: str
    frames: tuple[int, int | None, int]
    n_frames: int
    size: tuple[int, int] | None
    masks: str | None
    families: tuple[str, ...]
    seeds: tuple[int, ...]
    epochs: dict[str, int]
    recipe: str
    profile: str
    device: str
    notebooks: tuple[str, ...]

    def fits(self) -> Iterator[Fit]:
        """Every network: one per family and seed, a twin and a refit of the first seed, and twins
        of an image network's other seeds.
        """
        for family in self.families:
            for seed in self.seeds:
                is_first = seed == self.seeds[0]
                yield Fit(family, seed, Role.OWN)
                if is_first or not family_class(family).for_video:
                    yield Fit(family, seed, Role.TWIN)
                if is_first:
                    yield Fit(family, seed, Role.REFIT)

    def model_path(self, family: str, seed: int, role: Role = Role.OWN) -> Path:
        """Where a network is kept."""
        name = model_name(family, self.name, seed) + role.value
        return self.out / "models" / f"{name}.safetensors"

    def recipe_of(self, family: str) -> str:
        """The recipe of a family: the plan's, or its own usual one where it has none so called."""
        return usual_recipe(family, self.recipe)

    @property
    def command(self) -> str:
        """The command line that asks for this plan."""
        start, stop, step = self.frames
        stop = "" if stop is None else stop
        epochs = [f"{family}={number}" for family, number in self.epochs.items()]
        words = ["xinc", "study", self.source, "--out", str(self.out), "--profile", self.profile]
        words += ["--frames", f"{start}:{stop}:{step}"]
        words += ["--families", *self.families]
        words += ["--seeds", *map(str, self.seeds)]
        words += ["--recipe", self.recipe]
        words += ["--epochs", *epochs]
        if self.size:
            words += ["--size", "x".join(map(str, self.size))]
        if self.masks:
            words += ["--masks", self.masks]
        if self.notebooks != _series(self.families, None, PROFILES[self.profile]):
            words += ["--notebooks", *(name[:2] for name in self.notebooks)]
        if self.device != "cpu":
            words += ["--device", self.device]
        return shlex.join(words)


def plan(
    source: str,
    out: str | Path | None = None,
    profile: str = "quick",
    families: list[str] | None = None,
    seeds: list[int] | None = None,
    recipe: str = USUAL_RECIPE,
    epochs: int | dict[str, int] | None = None,
    size: tuple[int, int] | None = None,
    frames: slice | None = None,
    masks: str | None = None,
    device: str = "cpu",
    notebooks: list[str] | None = None,
) -> Plan:
    """Decide what a study of a clip will do; nothing is written.

    Parameters
    ----------
    source : str
        A video, an image, a folder of frames, a shipped clip's name, or a dataset's video
        (``cityscapes-vps:ROOT:VIDEO``). One frame gets the study of image networks.
    out : path, optional
        The run's folder; by default ``runs/NAME``.
    profile : {"quick", "full"}
        Whatever the other parameters leave open. quick: at most 32 frames, at most 5 a second,
        from the start.
    families : list of str, optional
        By default NeRV and FFN; of one frame FFN.
    seeds : list of int, optional
        One fit per family and seed.
    recipe : {"fast", "paper"}
        By which networks are fitted.
    epochs : int or dict of family to int, optional
        By default the recipe's, times the profile's. A number is of NeRV, and the other families
        are trained longer or shorter in the proportions of their recipes.
    size : (H, W), optional
        By default the short side has 128 pixels, and the aspect is kept.
    frames : slice, optional
        Which frames of the clip.
    masks : str, optional
        A COCO-panoptic folder, or a folder of label images.
    device : str
        Where networks are fitted.
    notebooks : list of str, optional
        By number or name.

    Raises
    ------
    FileNotFoundError, ValueError
        In one sentence.
    """
    chosen, name = PROFILES[profile], _slug(source)
    out = Path(out or Path("runs") / name)
    if out.exists() and not out.is_dir():
        raise ValueError(
            f"{str(out)!r} is a file; the study goes into a folder: name another --out"
        )
    if masks and not Path(masks).exists():
        raise FileNotFoundError(f"there are no masks at {masks!r}")
    check_device(device)
    taken = frames or _spread(source, chosen)
    n = _count(source, taken)
    families = tuple(families or (("nerv", "ffn") if n > 1 else ("ffn",)))
    _check_families(source, n, families)
    trained = _trained(families, epochs, recipe, chosen.times)
    if min(trained.values()) < 1 or (seeds and len(set(seeds)) != len(seeds)):
        raise ValueError(
            "a study takes at least one epoch and seeds that differ, "
            f"not epochs={epochs}, seeds={seeds}"
        )
    return Plan(
        source=source,
        out=out,
        name=name,
        frames=(taken.start or 0, taken.stop, taken.step or 1),
        n_frames=n,
        size=size,
        masks=masks,
        families=families,
        seeds=tuple(seeds or chosen.seeds),
        epochs=trained,
        recipe=recipe,
        profile=profile,
        device=device,
        notebooks=_series(families, notebooks, chosen),
    )


def _count(source: str, taken: slice) -> int:
    """How many frames of the clip are taken."""
    in_clip, _ = frames_of(source)
    n = len(range(*taken.indices(in_clip)))
    if n == 0:
        span = f"{taken.start or 0}:{taken.stop or ''}:{taken.step or 1}"
        raise ValueError(f"no frames of {source!r} lie in {span}")
    return n


def _check_families(source: str, n_frames: int, families: Sequence[str]) -> None:
    """Refuse video networks for a single frame."""
    if n_frames == 1 and any(family_class(family).for_video for family in families):
        raise ValueError(
            f"{source!r} gives one frame: that takes image networks (--families ffn), "
            f"not {', '.join(families)}"
        )


def _trained(
    families: Sequence[str], asked: int | dict[str, int] | None, which: str, times: int
) -> dict[str, int]:
    """Epochs of each family: those named for it, those in proportion to one number for NeRV, or
    so many times its recipe's.
    """
    named = asked if isinstance(asked, dict) else {}
    for family in named:
        if family not in families:
            raise ValueError(unknown("family of this study", family, families))
    trained = {}
    for family in families:
        usual = recipe_of(family, usual_recipe(family, which)).epochs
        if family in named:
            trained[family] = named[family]
        elif isinstance(asked, int):
            trained[family] = round(asked * usual / recipe_of("nerv", which).epochs)
        else:
            trained[family] = times * usual
    return trained


def _series(families: Sequence[str], names: list[str] | None, profile: Profile) -> tuple[str, ...]:
    """The notebooks that were named, else the profile's; without those that need a video network
    where there is none.
    """
    series = chosen_notebooks(names) if names else chosen_notebooks(None)[: profile.notebooks]
    video = any(family_class(family).for_video for family in families)
    return tuple(book.name for book in series if video or not book.needs_video)


def _slug(source: str) -> str:
    """A name for the clip, from its file's or its dataset's; not that of a shipped clip."""
    dataset = video_of(source)
    if dataset:
        kind, _, video = dataset
        text = f"{kind.partition('-')[0]}-{video}"
    else:
        text = clip_name(Path(source))
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "clip"
    if len(name) > LONGEST_SLUG:
        name = f"{name[:LONGEST_SLUG]}-{digest(name)[:8]}"
    return f"my-{name}" if name in list_clips() else name


def _spread(source: str, profile: Profile) -> slice:
    """Which frames a profile takes: evenly from the start, as far apart as it takes to stay
    below its most per second.
    """
    if profile.most_frames is None:
        return slice(0, None, 1)
    n, fps = frames_of(source)
    if source in list_clips():  # thinned out already
        return slice(0, profile.most_frames, 1)
    sparse = ceil(n / profile.most_frames)  # as far apart as the whole clip would need
    step = max(1, min(sparse, round(fps / profile.per_second)))
    return slice(0, min(n, profile.most_frames * step), step)
