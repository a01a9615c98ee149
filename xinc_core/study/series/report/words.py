"""The report's sentences: composed from verdicts and numbers, so that none can say what was not
found.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import pandas as pd

from xinc_core.models import FAMILIES
from xinc_core.study.answers.table import as_text, statistics, verdicts_over_layers
from xinc_core.study.findings.claims import UNTRAINED, Claim, Condition
from xinc_core.study.findings.registry import captions, claims
from xinc_core.study.series.notebooks import SERIES
from xinc_core.tracing import RULE_NAMES

Cells = Mapping[tuple[str, str], str]  # (family, rule) → verdict
Verdicts = dict[tuple[str, str], dict[tuple[str, str], str]]  # (claim, clip) → Cells
Group = tuple[str, str, list[tuple[str, str]]]  # heading, its word, (claim, note) of each

DEPENDS = "depends"  # where rules differ
MEANINGS = {
    "reproduced": "In every layer the 95 % interval over fits lies wholly on the side where the "
    "claim is true.",
    "partly": "It does in at least one layer, but not in all.",
    "not reproduced": "In every layer the interval lies wholly on the other side.",
    "undecided": "The interval crosses the threshold, or the answer hangs on how biases are shared "
    "out between neurons.",
    "no verdict": "The measure failed on maps whose answer is known, or an untrained network "
    "passes just as well.",
}
KINDS = {
    "reproduced": "Holds",
    "partly": "Holds in some layers",
    "not reproduced": "Does not hold",
    DEPENDS: "Depends on the rule",
    "undecided": "Undecided",
    "no verdict": "No verdict",
}
JUDGED = (
    "What decides it: a panel per condition. Dots are means over fits, bars their 95 % intervals; "
    "grey marks what has to be passed, hollow dots the untrained network."
)
USUAL_FITS = 5  # of the full profile


# Names --------------------------------------------------------------------------------------------


def claim_texts() -> dict[str, str]:
    """Every claim in words, by its name."""
    return {name: claim.text for name, claim in claims().items()}


def family_name(family: str) -> str:
    """A family as the literature writes it: NeRV."""
    return FAMILIES[family].__name__ if family in FAMILIES else family


def is_for_video(family: str) -> bool:
    """Whether a family's networks paint videos; False for one that is not known."""
    return family in FAMILIES and FAMILIES[family].for_video


def rule_name(rule: str) -> str:
    """A rule in words: "paper's rule"."""
    return RULE_NAMES.get(rule, rule)


def count(n: int, one: str, many: str) -> str:
    """ "1 holds", "3 hold", "none hold"."""
    return f"{n if n else 'none'} {one if n == 1 else many}"


# The answer ---------------------------------------------------------------------------------------


def lead(verdicts: Verdicts, clip: str) -> list[tuple[str, list[str]]]:
    """The answer in one paragraph: pieces of a sentence, each with the claims that it names.

    Parameters
    ----------
    verdicts : (claim, clip) → (family, rule) → verdict
    clip : str
        The clip's name.
    """
    everywhere, somewhere, nowhere, rest = [], [], [], []
    for (finding, name), cells in verdicts.items():
        said = set(cells.values())
        if name != clip:
            continue
        if said == {"reproduced"}:
            everywhere.append(finding)
        elif said & {"reproduced", "partly"}:
            somewhere.append(finding)
        elif said == {"not reproduced"}:
            nowhere.append(finding)
        else:
            rest.append(finding)
    holds = [count(len(group), "holds", "hold") for group in (everywhere, somewhere, rest)]
    fails = count(len(nowhere), "fails", "fail")
    return [
        (f"{holds[0]} for every network, in every layer and under every rule", everywhere),
        (f"{holds[1]} for some network, layer or rule", somewhere),
        (f"{fails} throughout", nowhere),
        (f"{holds[2]} nowhere, but could not be refuted everywhere either", rest),
    ]


def by_family(verdicts: Verdicts, clip: str) -> dict[str, list[Group]]:
    """Per family the claims, grouped by what is said of them, with a note where rules differ.

    Parameters
    ----------
    verdicts : (claim, clip) → (family, rule) → verdict
    clip : str
        The clip's name.
    """
    grouped: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for (finding, name), cells in verdicts.items():
        if name != clip:
            continue
        for family in dict.fromkeys(family for family, _ in cells):
            kind, note = _kind_and_note(cells, family)
            grouped.setdefault(family, {}).setdefault(kind, []).append((finding, note))
    groups = {}
    for family, of_kind in grouped.items():
        groups[family] = [(KINDS[kind], kind, of_kind[kind]) for kind in KINDS if kind in of_kind]
    return groups


def _kind_and_note(cells: Cells, family: str) -> tuple[str, str]:
    """What is said of a claim for one family, and a note if not all rules say the same."""
    by_rule = {rule: word for (name, rule), word in cells.items() if name == family}
    words = set(by_rule.values())
    if len(words) > 1:
        notes = [f"{word} under the {rule_name(rule)}" for rule, word in by_rule.items()]
        return DEPENDS, "; ".join(notes)
    if len(by_rule) == 1:
        (rule,) = by_rule
        return words.pop(), f"asked under the {rule_name(rule)} only"
    return words.pop(), ""


# Numbers ------------------------------------------------------------------------------------------


def conditions(claim: Claim, measured: set[str]) -> list[str]:
    """What a layer has to show for the claim to hold, of what was measured here."""
    known = statistics()
    return [
        f"{known[condition.statistic]} {side(condition)}"
        for condition in claim.conditions
        if condition.statistic in measured
    ]


def side(condition: Condition) -> str:
    """On which side of what a condition's statistic has to lie: "above 0.25"."""
    against = condition.against
    if isinstance(against, str):
        bare = against.removeprefix(UNTRAINED)
        whose = "the untrained network's " if bare != against else ""
        against = f"{whose}{statistics().get(bare, bare)}"
    return f"{'above' if condition.above else 'below'} {against}"


def span(low: float, high: float) -> str:
    """An interval: "0.27 to 0.3"; empty where there is none."""
    if pd.isna(low):
        return ""
    return f"{as_text(low)} to {as_text(high)}".replace("-", "−")


def reach(n: int) -> float:
    """Half the width of a 95 % interval over n fits, in standard deviations between fits."""
    from scipy.stats import t

    return float(t.ppf(0.975, n - 1)) / sqrt(n)


def certainty(rows: pd.DataFrame) -> str:
    """How sure verdicts from so few fits can be, and how many stay undecided.

    rows : the findings table of one clip
    """
    own = verdicts_over_layers(rows)
    fits = sorted({int(n) for n in own.n_units.dropna()})
    sentences = []
    if len(own):
        n_open = int((own.verdict == "undecided").sum())
        sentences.append(
            f"{n_open} of {len(own)} verdicts {'is' if n_open == 1 else 'are'} undecided."
        )
    widths = [
        f"from {n} fits it reaches {reach(n):.1f} standard deviations to either side of the mean"
        for n in fits
        if n > 1
    ]
    if widths:
        usual = ""
        if max(fits) < USUAL_FITS:
            usual = f"; from {USUAL_FITS} it would reach {reach(USUAL_FITS):.1f}"
        sentences.append(
            "An interval is Student's t over fits that differ in their seed alone: "
            f"{', '.join(widths)}{usual}."
        )
    if 1 in fits:
        sentences.append("A single fit has no interval at all, and what needs one stays undecided.")
    return " ".join(sentences)


# Figures ------------------------------------------------------------------------------------------


def caption(stem: str, clip: str) -> str:
    """What is seen in a figure, by its file's name: which one of a series, then the sentence.

    Parameters
    ----------
    stem : str
        The file's name without its ending: ``02_canvas_nerv``.
    clip : str
        The clip's name, which is left out.
    """
    known = _captions()
    matching = [name for name in known if stem == name or stem.startswith(f"{name}_")]
    if not matching:
        return f"{stem[3:].replace('_', ' ').strip().capitalize()}."
    name = max(matching, key=len)
    rest = stem[len(name) + 1 :].removesuffix(clip).strip("_")
    return f"{family_name(rest)}. {known[name]}" if rest else known[name]


def _captions() -> dict[str, str]:
    """Every figure's caption by its name: those of what decides a claim, of findings, and of
    notebooks.
    """
    known = {}
    for name, text in _deciding_figures().items():
        known[name] = f"{text[0].upper()}{text[1:]}? {JUDGED}"
    known |= captions()
    for notebook in SERIES:
        known |= notebook.captions
    return known


def _deciding_figures() -> dict[str, str]:
    """The names of the figures that decide a claim, and its text: a notebook's number, then the
    claim's name.
    """
    return {
        f"{notebook.number}_{name}": text
        for name, text in claim_texts().items()
        for notebook in SERIES
    }


def is_judged(stem: str) -> bool:
    """Whether a figure is the one that decides a finding."""
    return any(stem == name or stem.startswith(f"{name}_") for name in _deciding_figures())
