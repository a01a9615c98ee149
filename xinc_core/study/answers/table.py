"""The findings table: one row per claim, family, layer, rule and clip, as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from xinc_core.tracing.rules import RULE_ORDER
from xinc_core.util.files import replace_file
from xinc_core.util.paths import figures

COLUMNS = (
    "finding",
    "family",
    "layer",
    "rule",
    "clip",
    "seed",
    "statistic",
    "value",
    "low",
    "high",
    "n_units",
    "holds",
    "verdict",
)
VERDICTS = ("reproduced", "partly", "not reproduced", "undecided", "no verdict")


FINDINGS = {
    "decomposition": "the maps are a decomposition of what a layer computes",
    "distributed": "the representation is distributed",
    "distributed_learned": "it is more distributed than before training",
    "edge_bias": "contributions follow edges, not only intensity",
    "colour_and_edges_over_space": "colour and edges over space, by the paper's statistic",
    "space_agnostic": "space-agnostic, once colour and edges are controlled for",
    "no_object_semantics": "neurons do not care about objects",
    "motion_dominates": "change over time is dominated by motion",
    "clusters": "neurons cluster by contribution profile",
    "faithful": "the maps tell what a neuron does to the picture",
    "prunable_by_contribution": "contributions tell which neurons can go",
    "bits_by_contribution": "contributions tell where bits are needed",
    "smaller_than_codecs": "a compressed network is smaller than a codec's file",
    "faults_found": "contributions find a broken neuron",
    "errors_under_strong_maps": "the error lies where the maps are strong",
}
STATISTICS = {
    "calibration": "planted maps: 1 = the claim must hold on them, 0 = it must not",
    "layers_where_it_holds": "share of the layers in which the claim holds",
    "completeness_error_below": "how far a layer's terms are from adding up, at most",
    "additivity_error_below": "how far first-order maps are from adding up, at most",
    "effective_neurons": "effective share of neurons per pixel",
    "effective_pixels": "effective share of pixels per neuron",
    "partial_edges": "rank correlation with edges, others fixed",
    "shift_null": "97.5 % of toroidal shifts",
    "rank_intensity": "rank correlation with intensity",
    "rank_edges": "rank correlation with edges",
    **{
        f"selectivity_{p}": f"median selectivity for {p} regions"
        for p in ("instances", "grid", "RGB", "Gabor", "Gabor_paper", "lattice")
    },
    **{
        f"null_selectivity_{p}": f"97.5 % of shifts: selectivity for {p} regions"
        for p in ("RGB", "Gabor", "Gabor_paper")
    },
    **{
        f"eta2_{p}": f"adjusted share of variance that {p} explains alone"
        for p in ("instances", "grid", "RGB", "Gabor")
    },
    **{
        f"shapley_{p}": f"Shapley share of {p} in the joint R²"
        for p in ("instances", "grid", "RGB", "Gabor")
    },
    "grid_last": "what the grid adds last, share of R²",
    "r2_joint": "adjusted R² of all partitions",
    "r2_colour_edges": "adjusted R² of colour and edges",
    "null_r2_colour_edges": "97.5 % of shifts: R² of colour and edges",
    "dead_neurons": "share of neurons without any contribution",
    "flat_neurons": "share of neurons with a flat map",
    "twin_content": "correlation with the mirrored own map",
    "twin_position": "correlation with the own map in place",
    "instances_last": "what instances add last to R²",
    "planted_instances_last": "the same with one instance doubled",
    "null_instances_last": "97.5 % of shifted masks",
    "persistence_same": "persistence of an instance's δ over 5 frames",
    "persistence_different": "the same between different instances",
    "persistence_moving": "the same for moving instances",
    "persistence_colour": "the same for colours of the instances' size",
    "partial_flow": "rank correlation with flow, others fixed",
    "time_null": "97.5 % of flow at other times",
    "rank_flow": "rank correlation with flow",
    "auc_moving": "AUC: moving against static pixels",
    "auc_moving_change": "the same by the picture's own change",
    "auc_uncovered": "AUC: uncovered background",
    "auc_uncovered_change": "the same by the picture's own change",
    "silhouette": "silhouette of six groups",
    "gaussian_silhouette": "97.5 % of Gaussians of equal covariance",
    "mixing": "how evenly seeds mix (1 = fully)",
    "mixing_of_families": "how evenly the architectures mix (1 = fully)",
    "best_match": "best correlation with a neuron of another seed",
    "null_best_match": "the same with Gaussians",
    **{
        f"{last}{what}_{base}": f"{text}, {base} baseline{' (last layer)' if last else ''}"
        for last in ("", "last_")
        for what, text in (
            ("pixels", "rank correlation with ablation over pixels"),
            ("totals", "the same of totals over neurons"),
        )
        for base in ("zero", "mean")
    },
    "dead_yet_effective": "share of neurons with an empty map whose removal changes the picture",
    **{
        f"{order}pruned_psnr": f"mean PSNR (dB) with 10 to 80 % of the neurons gone, {text} first"
        for order, text in (
            ("", "least contribution"),
            ("weight_norm_", "least weight norm"),
            ("activation_norm_", "least activation norm"),
            ("random_", "random ones"),
        )
    },
    "unpruned_psnr": "PSNR (dB) with all neurons",
    **{
        f"{order}tuned_psnr": f"PSNR (dB) with 40 % gone, {text} first, then tuned"
        for order, text in (
            ("", "least contribution"),
            ("weight_norm_", "least weight norm"),
            ("random_", "random ones"),
        )
    },
    "guided_psnr": "mean PSNR (dB) at 8 to 4 bits, shared out by contribution",
    "equal_psnr": "mean PSNR (dB) at 8 to 4 bits, the same for every tensor",
    "guided_psnr_6": "PSNR (dB) at 6 bits, shared out by contribution",
    "equal_psnr_6": "PSNR (dB) at 6 bits, the same for every tensor",
    "equal_psnr_8": "PSNR (dB) at 8 bits, the same for every tensor",
    "size_over_codec": "size over that of the best codec at the same PSNR",
    "bits_per_pixel": "bits per pixel of the file at 8 bits per weight",
    "psnr_at_8_bits": "PSNR (dB) of all frames at 8 bits per weight",
    "fault_top1": "share of faults whose neuron is the first suspect",
    "fault_top10": "share of faults whose neuron is among ten suspects",
    "visible_fault_top10": "the same of faults that cost 0.1 dB or more",
    "norm_fault_top10": "the same, suspects by weight norm",
    "chance_fault_top10": "the same, suspects by chance",
    "faults_visible": "share of faults that cost 0.1 dB or more",
    "rank_error_heatmap": "rank correlation of the error with the heatmap",
    "rank_error_effective": "rank correlation of the error with effective neurons",
}


def save_findings(number: str, rows: Iterable[dict]) -> list[dict]:
    """Write ``figures/NN_findings.csv``; every row needs the thirteen columns, values that do
    not apply are empty.
    """
    rows = [{c: _text(row.get(c, "")) for c in COLUMNS} for row in rows]
    wrong = {row["verdict"] for row in rows} - {*VERDICTS, ""}
    if wrong:
        raise ValueError(f"verdicts are {', '.join(VERDICTS)}; not {', '.join(sorted(wrong))}")
    known = {*STATISTICS, *(f"untrained_{s}" for s in STATISTICS)}
    strange = {row["finding"] for row in rows} - {*FINDINGS} | {
        row["statistic"] for row in rows
    } - known
    if strange:
        raise ValueError(
            f"not in the lists of findings and statistics: {', '.join(sorted(strange))}"
        )
    replace_file(figures() / f"{number}_findings.csv", lambda f: write_rows(f, rows))
    return rows


def read_findings() -> list[dict]:
    """All rows of the notebooks' tables, in the order of the notebooks; every value as text."""
    return [row for path in notebook_tables(figures()) for row in read_rows(path)]


def notebook_tables(folder: Path) -> list[Path]:
    """The notebooks' tables in a folder of figures, in the order of the notebooks."""
    return sorted(folder.glob("[0-9][0-9]_findings.csv"))


def read_rows(path: Path) -> list[dict]:
    """The rows of a table; every value as text."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def join_findings() -> Path:
    """Join the notebooks' tables to ``figures/findings.csv``."""
    rows, path = read_findings(), figures() / "findings.csv"
    replace_file(path, lambda f: write_rows(f, rows))
    return path


def write_rows(path: Path, rows: Iterable[dict], columns: Sequence[str] = COLUMNS) -> None:
    """Write rows as CSV; values that do not apply are empty."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({c: _text(row.get(c, "")) for c in columns} for row in rows)


def _text(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def shown(rows: Iterable[dict]) -> str:
    """The rows that decide, as text: a line per layer and condition, under the claim, clip,
    family and rule.
    """
    lines, last = [], None
    for row in rows:
        if row["verdict"] == "" or row["layer"] == "all":
            continue
        head = " · ".join(row[k] for k in ("finding", "clip", "family", "rule"))
        if head != last:
            lines += ["", head]
        last = head
        span = f"[{row['low']}, {row['high']}]" if row["low"] else ""
        lines.append(
            f"  {row['layer']:7} {row['statistic']:24} {row['value']:>9} {span:24} {row['verdict']}"
        )
    return "\n".join(lines).strip()


def trials(rows: Iterable[dict]) -> str:
    """The calibration, as text: what the claim must say of planted maps, and what it says."""
    words = {
        "1": "must hold",
        "0": "must not hold",
        "True": "holds",
        "False": "does not hold",
        "": "undecided",
    }
    return "\n".join(
        f"{row['finding']:28} {row['clip']:10} {row['layer']:22} {words[row['value']]:14} {words[row['holds']]}"
        for row in rows
        if row["statistic"] == "calibration"
    )


def summary(rows: Iterable[dict]) -> str:
    """The verdicts, as text: a line per claim, clip, family and rule."""
    return "\n".join(
        f"{row['finding']:28} {row['clip']:10} {row['family']:5} {row['rule']:12} {row['n_units']} seeds  {row['verdict']}"
        for row in rows
        if row["layer"] == "all"
    )


def where_it_holds(rows: Iterable[dict]) -> dict[tuple[str, str], str]:
    """(finding, rule) → the families in which a finding holds, at least partly, on every clip: a
    property of these networks, or of one architecture. ``all families`` where there are several and
    it holds in each; ``none`` where it holds in none and fails throughout in all; else
    ``undecided``."""
    verdicts: dict[tuple[str, str], dict[str, set[str]]] = {}
    for row in rows:
        if row["layer"] == "all" and row["rule"] in RULE_ORDER:
            verdicts.setdefault((row["finding"], row["rule"]), {}).setdefault(
                row["family"], set()
            ).add(row["verdict"])
    found = {}
    for key, families in verdicts.items():
        holds = [name for name, words in families.items() if words <= {"reproduced", "partly"}]
        fails = all(words == {"not reproduced"} for words in families.values())
        everywhere = len(families) > 1 and len(holds) == len(families)
        found[key] = (
            "all families" if everywhere else ", ".join(holds) or ("none" if fails else "undecided")
        )
    return found


def verdict_table(rows: Iterable[dict]) -> str:
    """The verdicts as a Markdown table: findings and clips down, families across; a cell:
    paper's rule / first-order rule.
    """
    own = [row for row in rows if row["layer"] == "all"]
    families = list(dict.fromkeys(row["family"] for row in own))
    cell = {
        (row["finding"], row["clip"], row["family"], row["rule"]): row["verdict"] for row in own
    }
    lines = [["finding", "clip", *families], ["---"] * (2 + len(families))]
    pairs = dict.fromkeys((row["finding"], row["clip"]) for row in own)
    for finding, clip in sorted(pairs, key=lambda pair: list(FINDINGS).index(pair[0])):
        both = [
            [cell.get((finding, clip, family, rule), "–") for rule in RULE_ORDER]
            for family in families
        ]
        lines.append(
            [FINDINGS[finding], clip, *(" / ".join(dict.fromkeys(words)) for words in both)]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
