"""The report's sentences: composed from verdicts and numbers, so that none can say what was not
found.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

from xinc_core.models import FAMILIES
from xinc_core.study.answers.table import FINDINGS, STATISTICS
from xinc_core.study.findings import (
    bits,
    distributed,
    edges,
    faithfulness,
    faults,
    groups,
    motion,
    objects,
    pruning,
    selectivity,
)
from xinc_core.study.findings.claims import Claim, Condition

MODULES = (
    distributed,
    edges,
    selectivity,
    objects,
    motion,
    groups,
    faithfulness,
    pruning,
    bits,
    faults,
)
CLAIMS: dict[str, Claim] = {claim.finding: claim for module in MODULES for claim in module.CLAIMS}
MEANINGS = {
    "reproduced": "In every layer the 95 % interval over fits lies wholly on the side where the claim is true.",
    "partly": "It does in at least one layer, but not in all.",
    "not reproduced": "In every layer the interval lies wholly on the other side.",
    "undecided": "The interval crosses the threshold, or the answer hangs on how biases are shared out between neurons.",
    "no verdict": "The measure failed on maps whose answer is known, or an untrained network passes just as well.",
}
KINDS = {
    "reproduced": "Holds",
    "partly": "Holds in some layers",
    "not reproduced": "Does not hold",
    "depends": "Depends on the rule",
    "undecided": "Undecided",
    "no verdict": "No verdict",
}
CAPTIONS = {
    "00_start_here": "The frame, what the network makes of it, and the maps of three neurons: bright where a neuron contributes.",
    "01_fit_a_network": "A brief fit: quality against epochs; then the frame, what the brief fit paints, and what the "
    "finished network paints.",
    "02_canvas": "A row per layer, from the input on: the contribution of all neurons together and of the strongest "
    "one, under both rules. Every map has its own scale.",
    "02_totals": "How evenly a layer's contribution is shared out: what the largest neurons hold of it. On the dotted "
    "diagonal all would contribute alike.",
    "03_neurons_per_pixel": "The share of a layer's neurons that count at every pixel, together making up 90 % or 50 % "
    "of the layer's contribution. Black is none, bright is all.",
    "03_pixels_per_neuron": "In how many pixels each neuron contributes more than the average neuron; neurons sorted.",
    "04_heatmaps": "The frame, its brightness and its edges; then the contribution of each layer under both rules, and "
    "how it differs from brightness.",
    "13_your_own_network": "A network that is no family of the study, after a brief fit: the frame, what it paints, and what "
    "each of its layers contributes under both rules.",
    "05_partitions": "The ways in which the picture is cut into regions, every region in its mean colour.",
    "05_selectivity": "How strongly neurons prefer some regions to others, on a logarithmic scale; a curve for each way of "
    "cutting the picture, neurons sorted.",
    "05_shapley": "How much of a map's variance each way of cutting the picture explains: a bar per layer and rule, its "
    "parts shared out by Shapley's rule.",
    "06_over_time": "What each annotated object receives from a neuron, frame by frame: a panel per neuron, a line per object.",
    "06_per_instance": "What each annotated object receives from two neurons of a layer; 1 is the picture's mean.",
    "07_fluctuation": "A frame, its optical flow, the change of the picture and its edges; then where contributions change "
    "from one frame to the next, in each layer under both rules.",
    "08_groups": "Neurons laid out by the likeness of their maps (UMAP) and sorted into six groups; each group's mean "
    "map, and one of its neurons.",
    "08_one_space": "Neurons of all networks in one plane by the likeness of their maps (UMAP), coloured by network, seed "
    "and layer.",
    "09_agreement": "The neuron whose map under the paper's rule agrees best with its removal, and the one that agrees "
    "worst: frame, paper's rule, first-order rule, and the truth.",
    "09_deletion": "How quality falls as neurons are removed, the most important first: the faster, the better the ranking.",
    "10_pruning": "How quality falls as neurons are removed, the least important first: the slower, the better the ranking.",
    "10_bits": "Quality against bits per weight: the same for every tensor, or shared out by contribution.",
    "10_rates": "Quality against size, every byte counted: the network beside codecs for pictures and video.",
    "11_faults": "How often a neuron broken on purpose is found among ten suspects, in each layer.",
    "11_report": "Quality per frame; the error of the worst frame; neurons without effect, or with a duplicate.",
}
JUDGED = (
    "What decides it: a panel per condition. Dots are means over fits, bars their 95 % intervals; grey marks what has to be "
    "passed, hollow dots the untrained network."
)


def family_name(family: str) -> str:
    """A family as the literature writes it: NeRV."""
    return FAMILIES[family].__name__ if family in FAMILIES else family


def rule_name(rule: str) -> str:
    return {"paper": "paper's rule", "first_order": "first-order rule"}.get(rule, rule)


def verdicts(rows: Iterable[dict]) -> dict[tuple[str, str], dict[tuple[str, str], str]]:
    """(finding, clip) → (family, rule) → verdict, in the order of the study's list of findings."""
    found: dict = {}
    for row in rows:
        if row["layer"] == "all":
            found.setdefault((row["finding"], row["clip"]), {})[row["family"], row["rule"]] = row[
                "verdict"
            ]
    order = list(FINDINGS)
    return dict(
        sorted(
            found.items(),
            key=lambda item: order.index(item[0][0]) if item[0][0] in order else len(order),
        )
    )


def lead(found: dict, clip: str) -> list[tuple[str, list[str]]]:
    """The answer in one paragraph: pieces of a sentence, each with the findings that it names."""
    own = {
        finding: list(cells.values()) for (finding, name), cells in found.items() if name == clip
    }
    everywhere = [f for f, words in own.items() if set(words) == {"reproduced"}]
    somewhere = [
        f
        for f, words in own.items()
        if {"reproduced", "partly"} & set(words) and f not in everywhere
    ]
    nowhere = [f for f, words in own.items() if set(words) == {"not reproduced"}]
    rest = [f for f in own if f not in (*everywhere, *somewhere, *nowhere)]
    return [
        (
            f"{count(len(everywhere), 'holds', 'hold')} for every network, in every layer and under every rule",
            everywhere,
        ),
        (f"{count(len(somewhere), 'holds', 'hold')} for some network, layer or rule", somewhere),
        (f"{count(len(nowhere), 'fails', 'fail')} throughout", nowhere),
        (
            f"{count(len(rest), 'holds', 'hold')} nowhere, but could not be refuted everywhere either",
            rest,
        ),
    ]


def count(n: int, one: str, many: str) -> str:
    return f"{n if n else 'none'} {one if n == 1 else many}"


def by_family(found: dict, clip: str) -> dict[str, list[tuple[str, str, list[tuple[str, str]]]]]:
    """Per family: (kind, word, [(finding, what each rule says where they differ)])."""
    out: dict = {}
    for (finding, name), cells in found.items():
        for family in dict.fromkeys(f for f, _ in cells) if name == clip else ():
            said = {rule: word for (f, rule), word in cells.items() if f == family}
            kind = next(iter(said.values())) if len(set(said.values())) == 1 else "depends"
            note = (
                "; ".join(f"{word} under the {rule_name(rule)}" for rule, word in said.items())
                if kind == "depends"
                else ""
            )
            if kind != "depends" and len(said) == 1:
                note = f"asked under the {rule_name(next(iter(said)))} only"
            out.setdefault(family, {}).setdefault(kind, []).append((finding, note))
    return {f: [(KINDS[k], k, kinds[k]) for k in KINDS if k in kinds] for f, kinds in out.items()}


def conditions(claim: Claim, measured: set[str]) -> list[str]:
    """What a layer has to show for the claim to hold, of what was measured here."""
    return [
        f"{STATISTICS[c.statistic]} {side(c)}" for c in claim.conditions if c.statistic in measured
    ]


def side(condition: Condition) -> str:
    against = condition.against
    if isinstance(against, str):
        bare = against.removeprefix("untrained_")
        against = ("the untrained network's " if bare != against else "") + STATISTICS.get(
            bare, bare
        )
    return f"{'above' if condition.above else 'below'} {against}"


def span(row: dict) -> str:
    """A row's interval: "0.27 to 0.3"."""
    return f"{row['low']} to {row['high']}".replace("-", "−") if row.get("low") else ""


def reach(n: int) -> float:
    """Half the width of a 95 % interval over n fits, in standard deviations between fits."""
    from scipy.stats import t

    return float(t.ppf(0.975, n - 1)) / sqrt(n)


def certainty(rows: Iterable[dict]) -> str:
    """How sure verdicts from so few fits can be, and how many stay undecided."""
    own = [row for row in rows if row["layer"] == "all"]
    fits = sorted({int(row["n_units"]) for row in own if str(row["n_units"]).isdigit()})
    open_ = sum(row["verdict"] == "undecided" for row in own)
    text = (
        f"{open_} of {len(own)} verdicts {'is' if open_ == 1 else 'are'} undecided. " if own else ""
    )
    widths = [
        f"from {n} fits it reaches {reach(n):.1f} standard deviations to either side of the mean"
        for n in fits
        if n > 1
    ]
    if widths:
        text += f"An interval is Student's t over fits that differ in their seed alone: {', '.join(widths)}"
        text += f"; from 5 it would reach {reach(5):.1f}. " if max(fits) < 5 else ". "
    if 1 in fits:
        text += "A single fit has no interval at all, and what needs one stays undecided. "
    return text.strip()


def caption(stem: str, clip: str) -> str:
    """What is seen in a figure, by its file's name: which one of a series, then the sentence."""
    known = {
        f"{stem[:2]}_{finding}": f"{text[0].upper()}{text[1:]}? {JUDGED}"
        for finding, text in FINDINGS.items()
    } | CAPTIONS
    key = max((k for k in known if stem == k or stem.startswith(f"{k}_")), key=len, default=None)
    if key is None:
        return f"{stem[3:].replace('_', ' ').strip().capitalize()}."
    rest = stem[len(key) + 1 :]
    rest = rest.removesuffix(clip).strip("_")
    return f"{family_name(rest)}. {known[key]}" if rest else known[key]


def is_judged(stem: str) -> bool:
    """Whether a figure is the one that decides a finding."""
    return any(stem == f"{stem[:2]}_{f}" or stem.startswith(f"{stem[:2]}_{f}_") for f in FINDINGS)
