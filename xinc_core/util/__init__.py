"""Small helpers that know nothing of networks: files and folders, progress, memory.

What lives here: what more than one room needs and no library offers. What does not: anything that
knows what a clip, a network or a map is.
"""

from .files import (
    digest,
    hash_bytes,
    hash_file,
    hash_folder,
    held_alone,
    locked,
    replace_file,
    scratch_beside,
)
from .lazy import lazy_names
from .machine import free_bytes, return_unused_memory
from .memo import cached_per_object
from .paths import (
    checkout,
    data_folder,
    environment,
    figures,
    import_folder,
    no_data,
    notebooks_folder,
    results,
    run_folder,
    shelves,
    shipped_folder,
)
from .progress import progress_bar
from .suggest import unknown
from .text import as_file_name, as_html, as_plain, tell

__all__ = [
    "as_file_name",
    "as_html",
    "as_plain",
    "cached_per_object",
    "checkout",
    "data_folder",
    "digest",
    "environment",
    "figures",
    "free_bytes",
    "hash_bytes",
    "hash_file",
    "hash_folder",
    "held_alone",
    "import_folder",
    "lazy_names",
    "locked",
    "no_data",
    "notebooks_folder",
    "progress_bar",
    "replace_file",
    "results",
    "return_unused_memory",
    "run_folder",
    "scratch_beside",
    "shelves",
    "shipped_folder",
    "tell",
    "unknown",
]
