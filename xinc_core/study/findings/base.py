"""What a finding is, and what it sees of a network.

A finding is a question about contribution maps, with everything that the study needs to ask it:
what is measured, what is drawn, on which frames, what the planted maps are on which its answer is
known, and the words that go with it. Each stands in one file of this room as a constant
``FINDING``, and in one line of ``registry.py``. Tables, figures, report and explorer read it from
there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from xinc_core.study.statistics.scene import Scene
from xinc_core.tracing import LayerMaps

from .browsing import BrowserSpec
from .claims import Claim

Values = dict[str, "float | np.ndarray | Tensor"]  # statistic → number, or name → array
PlantedMaps = dict[
    str, tuple[Tensor, ...]
]  # case → maps (n, H, W), one per frame that is looked at


@dataclass(frozen=True)
class View:
    """One layer of one network, as a finding measures it.

    Attributes
    ----------
    layers : tuple of LayerMaps
        The layer at ``frame`` + each of the finding's offsets; behind them the layer of the
        mirrored twin, or those of the ablation truth under baselines "zero" and "mean", where the
        finding compares with them.
    pictures : tuple of Tensor, (3, H, W) each
        What the network painted at each of these frames, unclamped.
    scene : Scene
    frame : int
    stride : int
        Picture pixels per cell of the network's coarsest grid.
    """

    layers: tuple[LayerMaps, ...]
    pictures: tuple[Tensor, ...]
    scene: Scene
    frame: int
    stride: int = 1

    @property
    def layer(self) -> LayerMaps:
        """The layer at the frame itself (for a finding whose first offset is 0)."""
        return self.layers[0]

    @property
    def step(self) -> int:
        """Pixels by which nulls shift the maps, so that the lattice of sub-pixels stays in place.

        The multiple of ``stride`` that is at least 16; 0 where the picture cannot be cut into such
        steps, and there is no null.
        """
        step = -(-16 // self.stride) * self.stride
        height, width = self.layer.shape[1:]
        divides = height % step == 0 and width % step == 0
        if divides and max(height, width) > step:
            return step
        return 0


@dataclass(frozen=True)
class NetworkView:
    """A whole network, for findings that change it instead of looking at one layer's maps."""

    model: nn.Module
    scene: Scene
    rule: str
    seed: int
    frame: int


@dataclass(frozen=True)
class Finding:
    """One finding of the study.

    Attributes
    ----------
    name : str
        Its name, also that of its stored results.
    version : int
        Part of every stored result's key: raise it when what is measured changes.
    question : str
        What is asked, as a sentence.
    section : str
        Where the paper says it; "beyond the paper" where it does not.
    notebook : str
        Number of the notebook that shows it, e.g. ``"03"``.
    statistics : mapping of str to str
        Every statistic that it measures, in words.
    claims : tuple of Claim
        What is judged by these statistics.
    measure : callable, optional
        View of one layer → statistics (and arrays that other steps need).
    measure_network : callable, optional
        Instead of ``measure``: view of the whole network → layer → statistics.
    pictures : mapping of str to callable
        What is stored to be drawn, View → name → array; the usual one is called "pictures".
    network_pictures : mapping of str to callable
        The same of a whole network: NetworkView → layer → name → array or number.
    plant : callable, optional
        (scene, frame, seed) → case → maps whose answer is known; claims say what must come out.
    offsets : tuple of int
        At which frames around its own it looks.
    frames : tuple of int, optional
        On which frames it is measured; by default on all that :func:`.scene.measured_frames` gives.
    needs_masks : bool
        Whether it is asked of clips with masks only.
    on_stills : bool
        Whether a single frame is enough where there are too few for ``offsets``.
    compares_twin, compares_truth : bool
        Whether it also looks at the twin that was fitted to the mirrored frame; at ablation.
    samples_layers : bool
        Whether large layers are sampled under the paper's rule too (under others they always are).
    draws_whole_layers : bool
        Whether what is drawn takes all neurons of large layers.
    across : callable, optional
        seed → values of one layer → seed (as text) → statistics that compare seeds.
    passing : tuple of str
        Arrays that ``across`` takes and that are not stored of variants.
    embed : callable, optional
        Profiles (n, R) → positions in the plane (n, 2), for the eye.
    captions : mapping of str to str
        Name of a figure, without suffix and without what tells its copies apart → what is seen in
        it.
    browser : BrowserSpec, optional
        Its browser, as plain values.
    """

    name: str
    version: int
    question: str
    section: str
    notebook: str
    statistics: Mapping[str, str]
    claims: tuple[Claim, ...] = ()
    measure: Callable[[View], Values] | None = None
    measure_network: Callable[[NetworkView], dict[str, Values]] | None = None
    pictures: Mapping[str, Callable[[View], Values]] = field(default_factory=dict)
    network_pictures: Mapping[str, Callable[[NetworkView], dict[str, Values]]] = field(
        default_factory=dict
    )
    plant: Callable[[Scene, int, int], PlantedMaps] | None = None
    offsets: tuple[int, ...] = (0,)
    frames: tuple[int, ...] | None = None
    needs_masks: bool = False
    on_stills: bool = False
    compares_twin: bool = False
    compares_truth: bool = False
    samples_layers: bool = False
    draws_whole_layers: bool = False
    across: Callable[[dict[int, Values]], dict[str, dict[str, float]]] | None = None
    passing: tuple[str, ...] = ()
    embed: Callable[[np.ndarray], np.ndarray] | None = None
    captions: Mapping[str, str] = field(default_factory=dict)
    browser: BrowserSpec | None = None

    def offsets_for(self, n_frames: int) -> tuple[int, ...]:
        """At which frames around its own it looks in a clip of so many frames."""
        too_few = n_frames <= max(self.offsets)
        if too_few and self.on_stills:
            return (0,)
        return self.offsets

    def claim(self, name: str) -> Claim:
        """Its claim of this name; KeyError if it makes no such claim."""
        for claim in self.claims:
            if claim.name == name:
                return claim
        raise KeyError(f"the finding {self.name!r} makes no claim {name!r}")

    def __repr__(self) -> str:
        return f"Finding {self.name!r}: {self.question}"
