"""`python -m bridge`: the same as the command `bridge`."""

from __future__ import annotations

import sys

from .cli import main

# Worker processes import this module too, under another name.
if __name__ == "__main__":
    sys.exit(main())
