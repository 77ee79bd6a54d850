"""``python -m tests.export.matrix``."""

import sys

from .command import main

sys.exit(main())
