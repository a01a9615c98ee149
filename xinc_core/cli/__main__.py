"""``python -m xinc_core.cli``: the ``xinc`` command where no entry point is installed."""

import sys

from .words import main

sys.exit(main())
