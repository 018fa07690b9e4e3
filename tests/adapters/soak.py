"""The long soak: many requests of every kind in one process, and what grows.

    python tests/adapters/soak.py --requests 100000                 what Python holds, to the byte
    python tests/adapters/soak.py --requests 100000 --no-trace      faster, and resident memory counts

Prints figures every 10 000 requests; ends with 1 if something has grown beyond the bounds. The suite
runs the same for a few thousand requests (test_soak.py).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.drive import LOOPS
from support.soaking import Soak, growth


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="soak.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000, help="how many, after the warm-up")
    parser.add_argument("--warm-up", type=int, default=10_000, help="how many before the first look")
    parser.add_argument("--loop", choices=LOOPS, default="asyncio")
    parser.add_argument("--no-trace", action="store_true", help="without tracemalloc, which slows all down")
    options = parser.parse_args(arguments)
    logging.disable()  # the errors of the requests are on purpose
    soak = Soak(options.loop, trace=not options.no_trace)
    before, after = soak.run(options.requests, options.warm_up, say=lambda line: print(line, flush=True))
    faults = growth(before, after)
    print(*(faults or ["nothing has grown"]), sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
