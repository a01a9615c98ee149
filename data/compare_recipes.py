#!/usr/bin/env python3
"""Does it matter how a network was fitted? Every statistic of notebooks 03–09 under both recipes.

    python data/compare_recipes.py [--clips courtyard bunny] [--families nerv ffn siren hnerv]

Fits the development clips by the fast recipe and measures one frame of each network of the first
seed; both are kept in .cache/recipes, so that a stopped run goes on. Beside it stands what is
stored of the shipped networks of that seed, which the paper's recipe fitted, as a mean over their
measured frames. Writes data/recipes.csv: a row per clip, family, rule, layer and statistic, its
value under both recipes, and both networks' PSNR in dB. About half an hour on two cores.
"""

import argparse
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from xinc_core.clips import load_clip
from xinc_core.models import family as family_class
from xinc_core.storage import fit_and_save, model_name, read_header
from xinc_core.storage.registry import find_model
from xinc_core.study import Session
from xinc_core.study.findings import registry
from xinc_core.study.measuring.units import MOST_FRAMES, Unit, Variant, twin_of, units_of
from xinc_core.util.paths import environment

DATA = Path(__file__).resolve().parent
RUN = Path(".cache/recipes")
NOTEBOOKS = ("03", "04", "05", "06", "07", "08", "09")
RULES = ("paper", "first_order")
SAME = ["clip", "family", "rule", "layer", "statistic"]


def main() -> None:
    """Fit, measure both, join."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", nargs="+", default=["courtyard", "bunny"])
    parser.add_argument("--families", nargs="+", default=["nerv", "ffn", "siren", "hnerv"])
    options = parser.parse_args()
    for clip in options.clips:
        for family in options.families:
            fit(family, clip)
    paper = measured(options.clips, options.families, MOST_FRAMES)
    with environment(XINC_RUN=str(RUN.resolve())):
        fast = measured(options.clips, options.families, 1)
    table = paper.merge(fast, on=SAME, suffixes=("_paper", "_fast"))
    table = table[[*SAME, "value_paper", "value_fast", "psnr_paper", "psnr_fast"]]
    table.round(4).to_csv(DATA / "recipes.csv", index=False)
    print(summary(table).to_string())


def fit(family: str, clip: str) -> None:
    """The network of the fast recipe, and the twin of an image network, unless they are there."""
    name = model_name(family, clip)
    names = [name] if family_class(family).for_video else [name, twin_of(name)]
    for one in names:
        path = RUN / "models" / f"{one}.safetensors"
        if not path.exists():
            fit_and_save(family, load_clip(clip), path, recipe="fast", mirrored=one != name)


def measured(clips: list[str], families: list[str], most: int) -> pd.DataFrame:
    """Statistics of the trained networks of the first seed, as means over at most so many frames.

    What is stored is read; what is not is measured.
    """
    session = Session()
    rows = []
    opened = [load_clip(name) for name in clips]
    for notebook in NOTEBOOKS:
        for finding in registry.measured_in(notebook):
            for clip in opened:
                if finding.needs_masks and clip.labels is None:
                    continue
                units = list(units_of(finding, clip, families, [1], RULES, most))
                trained = [unit for unit in units if unit.variant == Variant.TRAINED]
                for unit in tqdm(trained, desc=f"{finding.name}, {clip.name}", disable=None):
                    rows += rows_of(unit, session.values(finding, clip, unit))
    table = pd.DataFrame(rows, columns=[*SAME, "value"])
    table = table.groupby(SAME, sort=False, as_index=False)["value"].mean()
    psnr = {}
    for name in clips:
        for family in families:
            psnr[name, family] = read_header(find_model(model_name(family, name)))["psnr"]
    networks = zip(table["clip"], table["family"])
    return table.assign(psnr=[psnr[network] for network in networks])


def rows_of(unit: Unit, values: dict) -> list[list]:
    """The numbers among a unit's values, one row each."""
    rows = []
    for layer, statistics in values.items():
        for statistic, value in statistics.items():
            if isinstance(value, int | float):
                rows.append([unit.clip, unit.family, unit.rule, layer, statistic, value])
    return rows


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """How much the recipes differ, per statistic and family: median and largest |difference|."""
    apart = (table["value_fast"] - table["value_paper"]).abs()
    groups = apart.groupby([table["statistic"], table["family"]])
    return groups.agg(["median", "max", "size"]).round(3)


if __name__ == "__main__":
    main()
