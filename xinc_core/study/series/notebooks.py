"""The notebook series as data.

To add a notebook: put the file into ``notebooks/`` and a row into ``SERIES``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xinc_core.util.paths import notebooks_folder
from xinc_core.util.suggest import unknown


@dataclass(frozen=True)
class Notebook:
    """One question of the series.

    Attributes
    ----------
    name : str
        The file's name without its ending; begins with two digits.
    question : str
        What it asks.
    claim : str
        What of the paper it looks at.
    needs_video : bool
        Whether it says nothing of image networks.
    reads_tables : bool
        Whether it reads the findings tables of the notebooks before it.
    cost : float
        Seconds to measure one frame of one network under both rules, on two CPU cores.
    captions : mapping of str to str
        Name of a figure that belongs to no finding, without what tells its copies apart → what is
        seen in it. Findings have their own.
    """

    name: str
    question: str
    claim: str = ""
    needs_video: bool = False
    reads_tables: bool = False
    cost: float = 0.0
    captions: Mapping[str, str] = field(default_factory=dict)

    @property
    def number(self) -> str:
        """Its place in the series: two digits."""
        return self.name[:2]

    @property
    def path(self) -> Path:
        """The committed notebook."""
        return notebooks_folder() / f"{self.name}.ipynb"


SERIES = (
    Notebook(
        "00_start_here",
        question="Which neuron paints which pixel?",
        claim="the contribution map (section 3)",
        captions={
            "00_start_here": "The frame, what the network makes of it, and the maps of three "
            "neurons: bright where a neuron contributes."
        },
    ),
    Notebook(
        "01_fit_a_network",
        question="How does a network learn a picture?",
        claim="the networks (section 4.1)",
        cost=1.4,
        captions={
            "01_fit_a_network": "A brief fit: quality against epochs; then the frame, what the "
            "brief fit paints, and what the finished network paints."
        },
    ),
    Notebook(
        "02_contribution_maps",
        question="What do a network's maps look like, and do they add up?",
        claim="the canvas (section 3)",
        cost=1.6,
        captions={
            "02_canvas": "A row per layer, from the input on: the contribution of all neurons "
            "together and of the strongest one, under both rules. Every map has its own scale.",
            "02_totals": "How evenly a layer's contribution is shared out: what the largest "
            "neurons hold of it. On the dotted diagonal all would contribute alike.",
        },
    ),
    Notebook(
        "03_distributed",
        question="How many neurons paint a pixel?",
        claim="the representation is distributed (section 4.2)",
        cost=7.5,
    ),
    Notebook(
        "04_intensity_and_edges",
        question="Do neurons care about more than brightness?",
        claim="heatmaps and edges (section 4.3)",
        cost=3.7,
    ),
    Notebook(
        "05_what_neurons_care_about",
        question="What do neurons care about: colour, edges or place?",
        claim="colour and edges over space (section 4.4)",
        cost=6.7,
    ),
    Notebook(
        "06_objects_over_time",
        question="Do neurons follow objects?",
        claim="objects over time (section 4.5)",
        needs_video=True,
        cost=5.0,
    ),
    Notebook(
        "07_motion",
        question="Is change over time dominated by motion?",
        claim="fluctuation and motion (section 4.6)",
        needs_video=True,
        cost=7.2,
    ),
    Notebook(
        "08_neuron_groups",
        question="Do neurons come in kinds?",
        claim="groups of neurons (section 4.7)",
        cost=5.8,
    ),
    Notebook(
        "09_faithfulness",
        question="Do the maps tell the truth?",
        claim="an audit against ablation (beyond the paper)",
        cost=6.6,
    ),
    Notebook(
        "10_compression",
        question="What can be left out?",
        claim="pruning, quantisation, files (beyond the paper)",
    ),
    Notebook(
        "11_diagnosis",
        question="What is wrong with this network?",
        claim="faults and errors (beyond the paper)",
    ),
    Notebook(
        "12_findings",
        question="Which of the paper's findings survive?",
        claim="all verdicts",
        reads_tables=True,
    ),
    Notebook(
        "13_your_own_network",
        question="How do I open a network of my own?",
        claim="nothing: how a family is added",
        captions={
            "13_your_own_network": "A network that is no family of the study, after a brief fit: "
            "the frame, what it paints, and what each of its layers contributes under both rules."
        },
    ),
)


def chosen_notebooks(names: Sequence[str] | None) -> list[Notebook]:
    """The notebooks whose names begin with one of ``names``, in the order of the series; all for
    None.

    Raises
    ------
    ValueError
        For a name that begins no notebook's, with the nearest that exists.
    """
    if not names:
        return list(SERIES)
    for name in names:
        if not any(notebook.name.startswith(name) for notebook in SERIES):
            raise ValueError(unknown("notebook", name, [notebook.name for notebook in SERIES]))
    return [notebook for notebook in SERIES if notebook.name.startswith(tuple(names))]
