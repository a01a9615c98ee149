"""The ``xinc`` command: its words (``words``) and what they do (``commands``).

What lives here: parsing, and one short function per subcommand. What does not: anything that a
program would call.
"""

from .words import main

__all__ = ["main"]
