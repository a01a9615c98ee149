"""Networks on disk, and back.

What lives here: the plain file (``plain``), the file that the authors published (``published``),
the compressed file (``compressed``). What does not: what a network computes.
"""

from .compressed import pack, quantise, read_facts, rounded, unpack, write
from .fitted import fit_and_save
from .headers import read_header
from .plain import load_model, save_model
from .registry import find_model, list_models, model_name

__all__ = [
    "find_model",
    "fit_and_save",
    "list_models",
    "load_model",
    "model_name",
    "pack",
    "quantise",
    "read_facts",
    "read_header",
    "rounded",
    "save_model",
    "unpack",
    "write",
]
