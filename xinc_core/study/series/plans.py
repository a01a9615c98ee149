"""What a study of your own clip will do: its plan, with estimates of time and disk, before
anything is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from xinc_core.clips import frames_of, list_clips, video_of
from xinc_core.models import family as family_class
from xinc_core.models import recipe
from xinc_core.storage import model_name
from xinc_core.util.suggest import unknown

from .notebooks import chosen_notebooks


@dataclass(frozen=True)
class Profile:
    """How thorough a study is. most_frames : of the clip; per_second : at most so many of them;
    epochs : of video networks;
    measured : frames of the first seed on which findings are measured; notebooks : the first so
    many of the series."""

    most_frames: int | None
    per_second: float | None
    epochs: int
    seeds: tuple[int, ...]
    measured: int
    notebooks: int


PROFILES = {
    "quick": Profile(32, 5.0, 150, (1, 10), 3, 10),
    "full": Profile(None, None, 300, (1, 10, 20, 30, 40), 8, 13),
}
# Seconds of a frame and epoch at 128×256 on two CPU cores, for estimates.
SECONDS_PER_FRAME = {"ffn": 0.065, "siren": 0.065, "nerv": 0.019, "hnerv": 0.05}
SECONDS_OF_OTHERS = 0.019
WOULD_ADD = (
    "--profile full takes every frame, trains for twice as long, fits five seeds instead of two (intervals become narrow enough "
    "for verdicts), measures the first seed on eight frames instead of three, and adds notebooks 10 to 12"
)


@dataclass(frozen=True)
class Plan:
    """What a study will do: made by :func:`plan`, carried out by
    :func:`~xinc_core.runs.carry_out`.
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
    profile: str
    device: str
    notebooks: tuple[str, ...]

    def fits(self) -> Iterator[tuple[str, int, bool]]:
        """(family, seed, mirrored) of every network; image networks have a twin fitted to the
        mirrored frame.
        """
        for family in self.families:
            for seed in self.seeds:
                yield family, seed, False
                if not family_class(family).for_video:
                    yield family, seed, True

    def model_path(self, family: str, seed: int, mirrored: bool) -> Path:
        """Where a network is kept."""
        return (
            self.out
            / "models"
            / f"{model_name(family, self.name, seed)}{'-flip' if mirrored else ''}.safetensors"
        )

    @property
    def command(self) -> str:
        """The command line that asks for this plan."""
        words = ["xinc", "study", self.source, "--out", str(self.out), "--profile", self.profile]
        start, stop, step = self.frames
        words += [
            "--frames",
            f"{start}:{'' if stop is None else stop}:{step}",
            "--families",
            *self.families,
        ]
        words += [
            "--seeds",
            *map(str, self.seeds),
            "--epochs",
            *(f"{f}={n}" for f, n in self.epochs.items()),
        ]
        words += ["--size", "x".join(map(str, self.size))] if self.size else []
        words += ["--masks", self.masks] if self.masks else []
        usual = _series(self.families, None, PROFILES[self.profile])
        words += (
            ["--notebooks", *(name[:2] for name in self.notebooks)]
            if self.notebooks != usual
            else []
        )
        words += ["--device", self.device] if self.device != "cpu" else []
        return " ".join(f'"{w}"' if " " in w else w for w in words)


def plan(
    source: str,
    out: str | Path | None = None,
    profile: str = "quick",
    families: list[str] | None = None,
    seeds: list[int] | None = None,
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
        What is not said otherwise. quick: at most 32 frames, at most 5 a second, from the start.
    epochs : int or dict of family to int
        A number is of video networks, and image networks take 10/3 as many full-image steps, as in
        the recipes (300, 1,000).

    Raises
    ------
    FileNotFoundError, ValueError
        In one sentence.
    """
    chosen, name = PROFILES[profile], _slug(source)
    taken = frames or _spread(source, chosen)
    n = len(range(*taken.indices(frames_of(source)[0])))
    if n == 0:
        raise ValueError(
            f"no frames of {source!r} lie in {taken.start or 0}:{taken.stop or ''}:{taken.step or 1}"
        )
    families = tuple(families or (("nerv", "ffn") if n > 1 else ("ffn",)))
    if n == 1 and any(family_class(f).for_video for f in families):
        raise ValueError(
            f"{source!r} gives one frame: that takes image networks (--families ffn), not {', '.join(families)}"
        )
    for family in epochs if isinstance(epochs, dict) else ():
        if family not in families:
            raise ValueError(unknown("family of this study", family, families))
    trained = {
        family: _epochs(family, epochs or chosen.epochs, chosen.epochs) for family in families
    }
    if min(trained.values()) < 1 or len(set(seeds or [0])) != len(seeds or [0]):
        raise ValueError(
            f"a study takes at least one epoch and seeds that differ, not epochs={epochs}, seeds={seeds}"
        )
    return Plan(
        source,
        Path(out or Path("runs") / name),
        name,
        (taken.start or 0, taken.stop, taken.step or 1),
        n,
        size,
        masks,
        families,
        tuple(seeds or chosen.seeds),
        trained,
        profile,
        device,
        _series(families, notebooks, chosen),
    )


def _series(families: Sequence[str], names: list[str] | None, profile: Profile) -> tuple[str, ...]:
    """The notebooks that were named, else the profile's; without those that need a video network
    where there is none.
    """
    series = chosen_notebooks(names) if names else chosen_notebooks(None)[: profile.notebooks]
    video = any(family_class(f).for_video for f in families)
    return tuple(book.name for book in series if video or not book.needs_video)


def _epochs(family: str, asked: int | dict[str, int], usual: int) -> int:
    """Epochs of a video network, full-image steps of an image network."""
    kind = family_class(family)
    number = asked.get(family) if isinstance(asked, dict) else None
    if number is not None:
        return number
    base = usual if isinstance(asked, dict) else asked
    return base if kind.for_video else round(base * recipe(family).epochs / 300)


def _slug(source: str) -> str:
    """A name for the clip, from its file's or its dataset's; not that of a shipped clip."""
    found = video_of(source)
    text = f"{found[0].partition('-')[0]}-{found[2]}" if found else Path(source).stem
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "clip"
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


def described(plan: Plan) -> str:
    """The plan in words, with estimates of time on two CPU cores and of disk."""
    steps = estimates(plan)
    lines = [
        f"{plan.source}: {plan.n_frames} frames ({plan.frames[0]}:{plan.frames[1] or ''}:{plan.frames[2]}), into {plan.out}"
    ]
    lines += [
        f"  {'done' if done else f'{seconds / 60:5.1f} min'}  {what}"
        for what, seconds, done in steps
    ]
    left = sum(seconds for _, seconds, done in steps if not done)
    lines += [
        f"about {left / 60:.0f} minutes on two CPU cores, about {disk_mb(plan):.0f} MB on disk"
    ]
    return "\n".join(lines + ([WOULD_ADD] if plan.profile == "quick" else []))


def disk_mb(plan: Plan) -> float:
    """About how much a study leaves on the disk, in MB."""
    return (
        sum(4.0 if family_class(f).for_video else 0.3 for f, _, _ in plan.fits())
        + 0.1 * plan.n_frames
        + 25
    )


def fit_name(family: str, seed: int, mirrored: bool) -> str:
    """A fit in words."""
    return f"fit {family}, seed {seed}" + (", mirrored" if mirrored else "")


def estimates(plan: Plan) -> list[tuple[str, float, bool]]:
    """(step, seconds, whether it is done already) for every fit and notebook."""
    pixels = (plan.size[0] * plan.size[1] if plan.size else 128 * 224) / (128 * 256)
    found, measured = [], PROFILES[plan.profile].measured
    for family, seed, mirrored in plan.fits():
        per_epoch = SECONDS_PER_FRAME.get(family, SECONDS_OF_OTHERS) * (
            plan.n_frames if family_class(family).for_video else 1
        )
        what = f"{fit_name(family, seed, mirrored)}: {plan.epochs[family]:,} epochs"
        found.append(
            (
                what,
                per_epoch * plan.epochs[family] * pixels,
                plan.model_path(family, seed, mirrored).exists(),
            )
        )
    videos = sum(family_class(f).for_video for f in plan.families)
    units = videos * (measured + len(plan.seeds)) + len(plan.families)
    for notebook in chosen_notebooks(list(plan.notebooks)):
        found.append((notebook.name, (8 + notebook.cost * units) * max(pixels, 0.3), False))
    return found
