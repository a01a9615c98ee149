"""A study's place and memory: where its files lie, and what was read and computed for it.

Everything that is remembered is keyed by content (the clip's identity, the weights' checksum), so
that a clip with other names of segments, or a model saved again under the same name, is never
mistaken for the old one.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from xinc_core.clips import Clip
from xinc_core.editing.sampling import HUGE_NEURONS, channels_of
from xinc_core.fitting import untrained
from xinc_core.storage import find_model, load_model, read_header, weights_checksum
from xinc_core.study.statistics.scene import Scene, at_audited_pixels
from xinc_core.tracing import Canvas, trace
from xinc_core.util.paths import results

from .recent import Recent
from .store import Store
from .units import Variant

# How many are remembered. Rules and findings that are measured together share them.
NETWORKS = 2
PICTURES = 2
CANVASES = 4
TRUTHS = 2


class Memory:
    """Scenes, networks and canvases of one study, and its store of results.

    Parameters
    ----------
    folder : path, optional
        Where results are stored; by default ``XINC_RESULTS``, else the run's, else the project's.
    workers : int, optional
        How many processes may measure side by side; by default as many as torch has threads.
    huge_neurons : int
        A network of more neurons than that is measured in samples.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        workers: int | None = None,
        huge_neurons: int = HUGE_NEURONS,
    ):
        self.store = Store(Path(folder) if folder is not None else results())
        self.workers = torch.get_num_threads() if workers is None else workers
        self.huge_neurons = huge_neurons
        self._scenes: dict[str, Scene] = {}
        self._checksums: dict[tuple, str] = {}
        self._channels: dict[str, int] = {}
        self._networks: Recent[nn.Module] = Recent(NETWORKS)
        self._pictures: Recent[Canvas] = Recent(PICTURES)
        self._canvases: Recent[Canvas] = Recent(CANVASES)
        self._truths: Recent[tuple[Canvas, Canvas]] = Recent(TRUTHS)

    def scene(self, clip: Clip) -> Scene:
        """The scene of a clip, made once."""
        if clip.identity not in self._scenes:
            self._scenes[clip.identity] = Scene(clip, self.store.folder)
        return self._scenes[clip.identity]

    def checksum(self, name: str) -> str:
        """16 hex digits of a network's weights on disk; read again when the file has changed.

        What else its header tells, such as versions, does not matter.

        Raises
        ------
        FileNotFoundError
            If there is no network of this name.
        """
        path = find_model(name)
        if path is None:
            raise FileNotFoundError(f"no model {name!r} lies among the study's models")
        facts = path.stat()
        state = (str(path), facts.st_mtime_ns, facts.st_size, facts.st_ino)
        if state not in self._checksums:
            self._checksums[state] = weights_checksum(path)[:16]
        return self._checksums[state]

    def network(self, name: str, untrained: bool = False) -> nn.Module:
        """A network by its name, or the same network before its first step."""

        def load() -> nn.Module:
            return _before_training(name) if untrained else load_model(name)

        return self._networks.get((self.checksum(name), untrained), load)

    def channels(self, name: str) -> int:
        """How many output channels represent a layer of this network that is sampled."""
        checksum = self.checksum(name)
        if checksum not in self._channels:
            self._channels[checksum] = channels_of(self.network(name), self.huge_neurons)
        return self._channels[checksum]

    def canvas(self, name: str, variant: Variant, rule: str, frame: int) -> Canvas:
        """A network's canvas; the rules share the picture itself."""

        def compute() -> Canvas:
            canvas = self._traced(name, variant.is_untrained, frame).with_rule(rule)
            return canvas.without_bias() if variant.is_without_bias else canvas

        key = (self.checksum(name), variant, rule, frame)
        return self._canvases.get(key, compute)

    def truths(self, name: str, frame: int) -> tuple[Canvas, Canvas]:
        """The ablation canvases under baselines "zero" and "mean", at audited pixels where these
        can be looked at alone; every rule is compared with the same.
        """

        def compute() -> tuple[Canvas, Canvas]:
            whole = self._traced(name, False, frame)
            canvas, _ = at_audited_pixels(whole, whole.image)
            return canvas.with_rule("ablation", "zero"), canvas.with_rule("ablation", "mean")

        return self._truths.get((self.checksum(name), frame), compute)

    def _traced(self, name: str, untrained: bool, frame: int) -> Canvas:
        key = (self.checksum(name), untrained, frame)
        return self._pictures.get(key, lambda: trace(self.network(name, untrained), frame))

    def forget_canvases(self) -> None:
        """Give up canvases and truths, and the sums that hang on them."""
        for recent in (self._canvases, self._pictures, self._truths):
            recent.clear()


def _before_training(name: str) -> nn.Module:
    """The network as it was before its first step: same family, configuration and seed."""
    model = load_model(name)
    seed = read_header(find_model(name)).get("seed", 1)
    fresh = untrained(model.family, model.config, seed).requires_grad_(False)
    if not model.for_video:
        fresh.frame = model.frame
    return fresh


def settings() -> dict[str, str]:
    """The environment variables that say where a study's files lie, for processes that it
    starts.
    """
    return {name: value for name, value in os.environ.items() if name.startswith("XINC_")}
