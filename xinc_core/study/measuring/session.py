"""A study's session: its place and memory, and measuring with them.

What a finding measures on one unit is computed once, stored small, and read afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from xinc_core.clips import Clip
from xinc_core.storage import load_model, model_name
from xinc_core.study.findings.base import Finding
from xinc_core.util.files import hash_bytes
from xinc_core.util.progress import progress_bar

from .compute import MEASURE, compute
from .jobs import Asked, compute_side_by_side
from .memory import Memory
from .store import Address, Found
from .units import MOST_FRAMES, Unit, Variant, trials_of, twin_of, units_of

KEYS = ["clip", "family", "seed", "rule", "variant", "frame", "layer"]


class Session(Memory):
    """Measure findings on clips and networks; see :class:`.memory.Memory` for what it remembers."""

    def measure(
        self,
        findings: Finding | Sequence[Finding],
        clips: Clip | Sequence[Clip],
        families: Sequence[str],
        seeds: Sequence[int],
        rules: Sequence[str],
        most: int = MOST_FRAMES,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Measure findings on clips, or read them where they are stored.

        Parameters
        ----------
        findings : Finding or sequence of Finding
        clips : Clip or sequence of Clip
            Networks are those named after the clip; a seed without weights is left out.
        families, seeds, rules : sequences
        most : int
            The first seed is measured on so many frames, the others on a quarter of them, the
            variants on one. A huge network is measured on one frame, and of its layers a sample.

        Returns
        -------
        DataFrame
            A row per unit, layer and statistic: columns ``KEYS``, statistic, value.
        """
        findings = [findings] if isinstance(findings, Finding) else findings
        clips = [clips] if isinstance(clips, Clip) else clips
        tasks: list[list[Asked]] = []  # one list per finding and clip
        for clip in clips:
            for finding in findings:
                if finding.needs_masks and clip.labels is None:
                    continue
                units = [*units_of(finding, clip, families, seeds, rules, most)]
                units += trials_of(finding, clip)
                tasks.append([Asked(finding, clip, unit) for unit in units])
        compute_side_by_side(self, [one for task in tasks for one in task], MEASURE, progress)
        rows = []
        for task in tasks:
            rows += self._collected(task, progress)
        return pd.DataFrame(rows, columns=[*KEYS, "statistic", "value"])

    def pictures(
        self,
        finding: Finding,
        clip: Clip,
        families: Sequence[str],
        seed: int,
        rules: Sequence[str],
        frame: int,
        what: str = "pictures",
    ) -> dict[str, dict[str, Found]]:
        """What a finding stores to be drawn: family → rule → layer → name → array or number.

        Of a finding that measures whole networks: all that it stores.
        """
        if finding.measure_network is not None:
            what = MEASURE
        asked = []
        for family in families:
            model = load_model(model_name(family, clip.name, seed))
            shown = frame if model.for_video else model.frame
            for rule in rules:
                unit = Unit(clip.name, family, seed, rule, Variant.TRAINED.value, shown)
                asked.append(Asked(finding, clip, unit))
        compute_side_by_side(self, asked, what)
        found: dict[str, dict[str, Found]] = {family: {} for family in families}
        for one in asked:
            values = self.values(finding, clip, one.unit, what)
            found[one.unit.family][one.unit.rule] = values
        return found

    def profiles(
        self, finding: Finding, clip: Clip, families: Sequence[str], seeds: Sequence[int], rule: str
    ) -> dict[tuple[str, int, str], dict]:
        """The stored profiles of trained networks: (family, seed, layer) → numbers and profiles."""
        found = {}
        for unit in units_of(finding, clip, families, seeds, [rule]):
            if unit.variant == Variant.TRAINED:
                for layer, values in self.values(finding, clip, unit).items():
                    found[unit.family, unit.seed, layer] = values
        return found

    def embedding(
        self, finding: Finding, clip: Clip, label: str, vectors: np.ndarray
    ) -> np.ndarray:
        """The finding's ``embed`` of vectors (n, R), stored: positions in the plane, (n, 2)."""
        checksum = hash_bytes(vectors.tobytes())
        key = dict(version=finding.version, vectors=checksum)
        address = Address(f"{finding.name}_pictures", clip.name, label, key)

        def embed() -> Found:
            return {"plane": {"places": finding.embed(vectors.astype(np.float32))}}

        return self.store.remember(address, embed)["plane"]["places"].astype(float)

    def values(self, finding: Finding, clip: Clip, unit: Unit, what: str = MEASURE) -> Found:
        """What one unit comes to, read where it is stored: layer → statistic → number or array."""
        address = self.address(finding, clip, unit, what)
        return self.store.remember(address, lambda: compute(self, finding, clip, unit, what))

    def address(self, finding: Finding, clip: Clip, unit: Unit, what: str = MEASURE) -> Address:
        """Where a unit is stored, and under which key."""
        if unit.is_planted:
            key = asdict(unit) | dict(checksum=clip.identity, version=finding.version)
            return Address(finding.name, clip.name, f"planted {unit.seed}", key)
        weights = self.checksum(unit.model)
        if finding.compares_twin:
            weights += self.checksum(twin_of(unit.model))
        key = asdict(unit) | dict(
            weights=weights,
            clip=clip.identity,
            version=finding.version,
            channels=self.channels(unit.model),
        )
        name = finding.name if what == MEASURE else f"{finding.name}_{what}"
        label = f"{unit.model} {unit.rule} {unit.variant} {unit.frame}"
        return Address(name, clip.name, label, key)

    def _collected(self, task: list[Asked], progress: bool) -> list[dict]:
        """The rows of one finding on one clip."""
        if not task:
            return []
        finding, clip = task[0].finding, task[0].clip
        stored = all(self.store.holds(self.address(finding, clip, one.unit)) for one in task)
        bar = progress_bar(
            task,
            desc=f"{finding.name}, {clip.name}",
            unit="unit",
            delay=2,
            leave=False,
            disable=not progress or stored,
        )
        found = []
        rows = []
        for one in bar:
            values = self.values(finding, clip, one.unit)
            found.append((one.unit, values))
            rows += _rows(one.unit, values)
        if finding.across is not None:
            rows += self._compared_across_seeds(finding, clip, found)
        return rows

    def _compared_across_seeds(
        self, finding: Finding, clip: Clip, found: list[tuple[Unit, Found]]
    ) -> list[dict]:
        """What a finding measures over all seeds of a layer together: rows per seed.

        The arrays that it takes are stored of trained networks only, which are drawn; those of
        variants are computed again if need be.
        """
        rows = []
        for same in _layers_over_seeds(found):
            compared = self.store.remember(
                self._address_across(finding, clip, same),
                lambda same=same: self._compare(finding, clip, same),
            )  # seed, as text → statistics
            for unit in same.values:
                rows += _rows(unit, {same.layer: compared[str(unit.seed)]})
        variants = set()  # labels of units whose arrays are not needed again
        for unit, _ in found:
            if unit.variant != Variant.TRAINED:
                variants.add(self.address(finding, clip, unit).label)
        self.store.leave_out(finding.name, clip.name, variants, finding.passing)
        return rows

    def _address_across(self, finding: Finding, clip: Clip, same: LayerOverSeeds) -> Address:
        """Where the comparison of seeds is stored: under the keys of all that is compared."""
        seeds = {}
        for unit in same.values:
            address = self.address(finding, clip, unit)
            seeds[unit.seed] = [address.label, address.key]
        key = dict(seeds=[finding.version, seeds])
        return Address(finding.name, clip.name, same.label, key)

    def _compare(self, finding: Finding, clip: Clip, same: LayerOverSeeds) -> Found:
        """The finding's comparison of one layer over seeds."""
        values_of_seeds = {}
        for unit, values in same.values.items():
            if not all(name in values for name in finding.passing):
                values = compute(self, finding, clip, unit)[same.layer]
            values_of_seeds[unit.seed] = values
        return finding.across(values_of_seeds)


@dataclass(frozen=True)
class LayerOverSeeds:
    """One layer of networks that differ in their seed alone.

    label : under which the comparison is stored; values : unit → its values in this layer.
    """

    label: str
    layer: str
    values: dict[Unit, dict]


def _layers_over_seeds(found: list[tuple[Unit, Found]]) -> list[LayerOverSeeds]:
    """Measured units, sorted by family, rule, variant, frame and layer; a unit per seed."""
    layers: dict[str, LayerOverSeeds] = {}
    for unit, values_of_layers in found:
        for layer, values in values_of_layers.items():
            about = ("across", unit.family, unit.rule, unit.variant, unit.frame, layer)
            label = " ".join(map(str, about))
            same = layers.setdefault(label, LayerOverSeeds(label, layer, {}))
            same.values[unit] = values
    return list(layers.values())


def _rows(unit: Unit, found: Found) -> list[dict]:
    """A row per layer and statistic that is a number."""
    rows = []
    for layer, values in found.items():
        for statistic, value in values.items():
            if isinstance(value, float):
                about = asdict(unit) | dict(layer=layer)
                rows.append(about | dict(statistic=statistic, value=value))
    return rows
