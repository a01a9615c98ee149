"""The ``xinc`` command: a file per subcommand with its words and what it does.

What lives here: parsing (``parsing``), all subcommands together (``words``), and one short function
per subcommand. What does not: anything that a program would call.
"""

from .words import main

__all__ = ["main"]
