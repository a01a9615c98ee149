"""Networks on disk, and back.

What lives here: the plain file (``plain``), the file that the authors published (``published``),
the compressed file (``compressed``). What does not: what a network computes.

Each name is imported when it is first asked for: listing models loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xinc_core.util.lazy import lazy_names

if TYPE_CHECKING:  # the same names, for type checkers and editors; a test holds the two equal
    from .compressed import pack as pack
    from .compressed import quantise as quantise
    from .compressed import read_facts as read_facts
    from .compressed import rounded as rounded
    from .compressed import unpack as unpack
    from .compressed import write as write
    from .fitted import fit_and_save as fit_and_save
    from .headers import read_header as read_header
    from .headers import weights_checksum as weights_checksum
    from .plain import load_model as load_model
    from .plain import save_model as save_model
    from .registry import TWIN_ENDING as TWIN_ENDING
    from .registry import find_model as find_model
    from .registry import is_own_fit as is_own_fit
    from .registry import list_models as list_models
    from .registry import model_name as model_name

PLACES = {
    "TWIN_ENDING": "registry",
    "find_model": "registry",
    "fit_and_save": "fitted",
    "is_own_fit": "registry",
    "list_models": "registry",
    "load_model": "plain",
    "model_name": "registry",
    "pack": "compressed",
    "quantise": "compressed",
    "read_facts": "compressed",
    "read_header": "headers",
    "rounded": "compressed",
    "save_model": "plain",
    "unpack": "compressed",
    "weights_checksum": "headers",
    "write": "compressed",
}
__all__ = [*PLACES]
__getattr__, __dir__ = lazy_names(__name__, PLACES)
