"""The report of a study: one HTML page that holds everything it shows and asks for nothing.

What lives here: the page, its words, pictures and player. What does not: verdicts and figures,
which are made before and only shown here.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from xinc_core.clips import CLIP_FILE, Clip, load_clip
from xinc_core.editing.sampling import CHANNELS, CHANNELS_OF_HUGE, LARGE_NEURONS
from xinc_core.storage import model_name, read_header
from xinc_core.study.answers.table import FINDINGS, STATISTICS, notebook_tables, read_rows
from xinc_core.study.figures import saved_figures
from xinc_core.study.figures import theme as plots
from xinc_core.study.series.notebooks import SERIES
from xinc_core.study.series.plans import PROFILES
from xinc_core.tracing.rules import RULE_ORDER
from xinc_core.util.files import hash_file, replace_file

from . import pictures, words
from .player import shows

MOST = 15_000_000  # bytes of a page that is mailed
SPRITES, FIGURES = 6_000_000, 7_500_000  # of it
WITHOUT_FIGURES = ("12",)  # the table of verdicts is in the page as text
OPEN_ROWS = 14  # a longer table waits folded


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
    rows, models = _rows(run / "figures"), _models(run, clip.name)
    page = _template().render(
        facts=facts,
        clip=clip,
        stills=_stills(clip),
        css=_text("page.css"),
        js=_text("page.js"),
        **_verdicts(rows, clip.name),
        sections=_sections(run / "figures", rows, clip.name),
        shows=shows(_first(models), clip, SPRITES),
        palette=plots.palette(),
        models=models,
        sampled=dict(
            channels=CHANNELS, fewer=CHANNELS_OF_HUGE, large=LARGE_NEURONS, frames=_measured(facts)
        ),
        files=_checksums(run),
        colors=plots.VERDICT_COLORS,
        family_color=plots.family_color,
        rule_colors=plots.RULE_COLORS,
        w=words,
    )
    out = run / "report.html"
    replace_file(out, lambda file: file.write_text(page, encoding="utf-8"))
    return out


def _facts(run: Path) -> dict:
    """``run.json``, or nothing if there is none."""
    file = run / "run.json"
    try:
        facts = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise ValueError(
            f"{str(file)!r} is not JSON: {error}; run the study again, or delete the file"
        ) from None
    if not isinstance(facts, dict):
        raise ValueError(
            f"{str(file)!r} holds a {type(facts).__name__}; expected an object of facts"
        )
    return facts


def _measured(facts: dict) -> int | None:
    """On how many frames at most a network is measured in this run's profile."""
    profile = facts.get("profile")
    return PROFILES[profile].measured if isinstance(profile, str) and profile in PROFILES else None


def _clip(run: Path, facts: dict) -> Clip:
    files = sorted((run / "clips").glob(f"*{CLIP_FILE}"))
    if not files:
        raise FileNotFoundError(
            f"no clip lies in {str(run / 'clips')!r}; is {str(run)!r} the folder of a study?"
        )
    about = facts.get("clip")
    wanted = about.get("name") if isinstance(about, dict) else None
    return load_clip(next((f for f in files if f.name == f"{wanted}{CLIP_FILE}"), files[0]))


def _models(run: Path, clip: str) -> list[dict]:
    """The run's weights of this clip: header, file, checksum; by family, then seed; not the
    mirrored twins.
    """
    found = []
    for file in sorted((run / "models").glob("*.safetensors")):
        header = read_header(file)
        if header.get("clip", clip) == clip and "family" in header and not header.get("flipped"):
            found.append(header | dict(file=file, checksum=hash_file(file)))
    return sorted(found, key=lambda m: (m["family"], m.get("seed", 0)))


def _first(models: list[dict]) -> dict[str, Path]:
    """The file of each family's first seed: the one that is named without it, else the smallest;
    videos first.
    """
    first: dict[str, Path] = {}
    for m in sorted(
        models, key=lambda m: m["file"].stem != model_name(m["family"], m.get("clip", ""))
    ):
        first.setdefault(m["family"], m["file"])
    return dict(sorted(first.items(), key=lambda item: not words.FAMILIES[item[0]].for_video))


def _checksums(run: Path) -> list[tuple[str, str]]:
    return [
        (f"clips/{f.name}", hash_file(f)) for f in sorted((run / "clips").glob(f"*{CLIP_FILE}"))
    ]


def _rows(figures: Path) -> list[dict]:
    """The notebooks' findings tables, in their order; which notebook a row is from comes with
    it.
    """
    return [
        row | dict(notebook=path.name[:2])
        for path in notebook_tables(figures)
        for row in read_rows(path)
    ]


def _verdicts(rows: list[dict], clip: str) -> dict:
    found = words.verdicts(rows)
    pairs = list(dict.fromkeys(pair for cells in found.values() for pair in cells))
    families = sorted({f for f, _ in pairs}, key=lambda f: (not _for_video(f), f))
    columns = [(f, [r for r in RULE_ORDER if (f, r) in pairs]) for f in families]
    own = [row for row in rows if row["clip"] == clip]
    return dict(
        found=found,
        columns=columns,
        findings=FINDINGS,
        answer=words.lead(found, clip),
        by_family={f: words.by_family(found, clip).get(f, []) for f in families},
        certainty=words.certainty(own),
        used={w for cells in found.values() for w in cells.values()},
    )


def _for_video(family: str) -> bool:
    return family in words.FAMILIES and words.FAMILIES[family].for_video


def _sections(folder: Path, rows: list[dict], clip: str) -> list[dict]:
    """The notebooks that have figures or findings: question, claim, figures with captions, the
    rows that decide.
    """
    files = [
        f for f in saved_figures(folder, "[0-9][0-9]_*") if f.name[:2] not in WITHOUT_FIGURES
    ]
    packed = pictures.figures(files, FIGURES) if files else {}
    out = []
    for notebook in SERIES:
        mine = sorted(
            (f for f in files if f.name[:2] == notebook.name[:2]),
            key=lambda f: (words.is_judged(f.stem), f.stem),
        )
        tables = _tables([r for r in rows if r["notebook"] == notebook.name[:2]])
        if mine or (tables and notebook.name[:2] not in WITHOUT_FIGURES):
            shown = [
                packed[f] | dict(name=f.stem, caption=words.caption(f.stem, clip)) for f in mine
            ]
            out.append(dict(notebook=notebook, figures=shown, tables=tables))
    return out


def _tables(rows: list[dict]) -> list[dict]:
    """Per finding and clip: its conditions, its verdicts, and a line per family, layer and
    statistic with both rules.
    """
    out = []
    for finding, clip in dict.fromkeys((r["finding"], r["clip"]) for r in rows):
        mine = [r for r in rows if (r["finding"], r["clip"]) == (finding, clip)]
        cell = {(r["family"], r["layer"], r["statistic"], r["rule"]): r for r in mine}
        deciding = [r for r in mine if r["verdict"] and r["layer"] != "all"]
        lines = [
            dict(
                family=family,
                layer=layer,
                statistic=STATISTICS.get(statistic, statistic),
                slug=statistic,
                cells={rule: cell.get((family, layer, statistic, rule)) for rule in RULE_ORDER},
            )
            for family, layer, statistic in dict.fromkeys(
                (r["family"], r["layer"], r["statistic"]) for r in deciding
            )
        ]
        if lines:
            claim = words.CLAIMS.get(finding)
            asked = words.conditions(claim, {r["statistic"] for r in deciding}) if claim else []
            first = all(
                table["finding"] != finding for table in out
            )  # the one that the table of verdicts links to
            out.append(
                dict(
                    finding=finding,
                    clip=clip,
                    lines=lines,
                    conditions=asked,
                    open=len(lines) <= OPEN_ROWS,
                    first=first,
                    verdicts=words.verdicts(mine).get((finding, clip), {}),
                )
            )
    return out


def _stills(clip: Clip) -> list[dict]:
    """The first, middle and last frame; of a photograph the one there is."""
    out = []
    for number in sorted({0, len(clip) // 2, len(clip) - 1}):
        frame = (clip.frames[number].permute(1, 2, 0) * 255).round().byte().numpy()
        image = pictures.Image.fromarray(frame)
        image.thumbnail((720, 720))
        out.append(
            dict(number=number, uri=pictures.uri(pictures.webp(image, quality=85), "image/webp"))
        )
    return out


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _template():
    from jinja2 import Environment

    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        _text("page.html")
    )
