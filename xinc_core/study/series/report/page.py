"""The page: what a run's folder holds, put into the template."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from xinc_core.clips import CLIP_FILE, Clip, load_clip
from xinc_core.editing.sampling import CHANNELS, CHANNELS_OF_HUGE, LARGE_NEURONS
from xinc_core.storage import is_own_fit, model_name, read_header
from xinc_core.study import figures
from xinc_core.study.series.plans import PROFILES
from xinc_core.util.files import hash_file, replace_file
from xinc_core.util.text import as_plain

from . import pictures, words
from .player import shows
from .tables import Section, clips_verdicts, read_rows, sections, tables_columns

MOST = 15_000_000  # bytes of a page that is mailed
SPRITES, FIGURES = 6_000_000, 7_500_000  # of it
STILL = 720  # pixels of a still's longer side


def write_report(run: str | Path) -> Path:
    """Write ``RUN/report.html`` of a study that lies in ``RUN``: clips, models, figures and
    findings tables.

    The page holds the verdicts, a player of frames and maps, the figures and how it was made; it
    loads nothing, works from a mail attachment, and stays within 15 MB. Nothing outside ``run`` is
    read or set.

    Parameters
    ----------
    run : str or Path
        A study's folder; facts that its ``run.json`` lacks are left out of the page.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    FileNotFoundError, ValueError
        With one sentence, if the folder holds no clip, weights of another clip, or an unreadable
        ``run.json``.
    """
    run = Path(run)
    facts = _facts(run)
    clip = _clip(run, facts)
    rows, models = read_rows(run / "figures"), _models(run, clip.name)
    page = _template().render(
        facts=facts,
        clip=clip,
        stills=_stills(clip),
        css=_text("page.css"),
        js=_text("page.js"),
        **_answers(rows, clip.name),
        sections=_packed(sections(run / "figures", rows, clip.name)),
        shows=shows(_first_of_families(models), clip, SPRITES),
        palette=figures.palette(),
        models=models,
        sampled=_sampled(facts),
        files=_checksums(run),
        colors=figures.VERDICT_COLORS,
        family_color=figures.family_color,
        rule_colors=figures.RULE_COLORS,
        w=words,
    )
    out = run / "report.html"
    # Halves of characters, as in file names of another encoding, have no UTF-8.
    data = page.encode("utf-8", "backslashreplace")
    replace_file(out, lambda file: file.write_bytes(data))
    return out


# What the folder holds ----------------------------------------------------------------------------


def _facts(run: Path) -> dict:
    """``run.json``, or nothing if there is none."""
    file = run / "run.json"
    if not file.is_file():
        return {}
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{str(file)!r} is not JSON: {error}; run the study again, or delete the file"
        ) from None
    if not isinstance(facts, dict):
        raise ValueError(
            f"{str(file)!r} holds a {type(facts).__name__}; expected an object of facts"
        )
    return facts


def _clip(run: Path, facts: dict) -> Clip:
    """The clip that run.json names, else the first of the folder."""
    files = sorted((run / "clips").glob(f"*{CLIP_FILE}"))
    if not files:
        raise FileNotFoundError(
            f"no clip lies in {str(run / 'clips')!r}; is {str(run)!r} the folder of a study?"
        )
    about = facts.get("clip")
    if isinstance(about, dict):
        for file in files:
            if file.name == f"{about.get('name')}{CLIP_FILE}":
                return load_clip(file)
    return load_clip(files[0])


def _models(run: Path, clip: str) -> list[dict]:
    """The run's weights of this clip: header, file, checksum; by family, then seed; not the
    mirrored twins and the refits.
    """
    models = []
    for file in sorted((run / "models").glob("*.safetensors")):
        header = read_header(file)
        own = header.get("clip", clip) == clip and "family" in header
        if own and is_own_fit(header):
            models.append(header | dict(file=file, checksum=hash_file(file)))
    return sorted(models, key=lambda model: (model["family"], model.get("seed", 0)))


def _first_of_families(models: list[dict]) -> dict[str, Path]:
    """The file of each family's first seed: the one that is named without it, else the smallest;
    video networks first.
    """
    unnamed = [
        model
        for model in models
        if model["file"].stem == model_name(model["family"], model.get("clip", ""))
    ]
    first: dict[str, Path] = {}
    for model in [*unnamed, *models]:
        first.setdefault(model["family"], model["file"])
    return dict(sorted(first.items(), key=lambda item: not words.is_for_video(item[0])))


def _checksums(run: Path) -> list[tuple[str, str]]:
    """SHA-256 of the clips."""
    files = sorted((run / "clips").glob(f"*{CLIP_FILE}"))
    return [(f"clips/{file.name}", hash_file(file)) for file in files]


# What the page shows ------------------------------------------------------------------------------


def _answers(rows, clip: str) -> dict:
    """The verdicts, in the words of the page and as its table."""
    verdicts = clips_verdicts(rows)
    columns = tables_columns(verdicts)
    by_family = words.by_family(verdicts, clip)
    return dict(
        found=verdicts,
        columns=columns,
        findings=words.claim_texts(),
        answer=words.lead(verdicts, clip),
        by_family={family: by_family.get(family, []) for family, _ in columns},
        certainty=words.certainty(rows[rows["clip"] == clip]),
        used={word for cells in verdicts.values() for word in cells.values()},
    )


def _packed(chapters: list[Section]) -> list[dict]:
    """The sections with their figures as addresses that need no file, all within the budget."""
    files = [file for chapter in chapters for file in chapter.figures]
    packed = pictures.figures(files, FIGURES) if files else {}
    out = []
    for chapter in chapters:
        shown = []
        for file, caption in chapter.figures.items():
            shown.append(packed[file] | dict(name=file.stem, caption=caption))
        out.append(dict(notebook=chapter.notebook, figures=shown, tables=chapter.tables))
    return out


def _stills(clip: Clip) -> list[dict]:
    """The first, middle and last frame; of a photograph the one there is."""
    stills = []
    for number in sorted({0, len(clip) // 2, len(clip) - 1}):
        frame = clip.frames[number].permute(1, 2, 0)  # (H, W, 3)
        image = pictures.Image.fromarray((frame * 255).round().byte().numpy())
        image.thumbnail((STILL, STILL))
        address = pictures.uri(pictures.webp(image, quality=85), "image/webp")
        stills.append(dict(number=number, uri=address))
    return stills


def _sampled(facts: dict) -> dict:
    """What was sampled: channels of large layers, and frames of a network at most."""
    profile, frames = facts.get("profile"), None
    if isinstance(profile, str) and profile in PROFILES:
        frames = PROFILES[profile].measured
    return dict(channels=CHANNELS, fewer=CHANNELS_OF_HUGE, large=LARGE_NEURONS, frames=frames)


def _text(name: str) -> str:
    """A file beside this one."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _template():
    from jinja2 import Environment

    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_plain
    )
    return environment.from_string(_text("page.html"))


def _plain(value):
    """A value that the template shows: text without control characters; autoescape does the rest.

    What is marked as HTML is the template's own.
    """
    return as_plain(value) if type(value) is str else value
