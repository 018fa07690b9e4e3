"""The long storm: many threads, requests of which most go wrong, and what is left afterwards.

    python tests/adapters/soak_asgi.py --seconds 30 --threads 64 --seed 1
    python tests/adapters/soak_asgi.py --requests 150 --threads 16 --seed 1

Ends with 1 if a thread hangs, a request does not go as it should, a kind of request was left out, or
something is left behind. The suite runs the second (test_asgi_faults.py).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.faults import FAILS_FIRST, FAILS_LATE, NEVER_ENDS, WHOLE, Storm


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="soak_asgi.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, help="for how long; 30 if nothing is said")
    parser.add_argument("--requests", type=int, help="how many from each thread, instead")
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    options = parser.parse_args(arguments)
    logging.disable()  # the errors of the requests are on purpose
    loop_factory = asyncio.new_event_loop
    if options.loop == "uvloop":
        import uvloop

        loop_factory = uvloop.new_event_loop
    seconds = 30.0 if options.seconds is options.requests is None else options.seconds
    result = Storm(options.threads, options.seed, loop_factory).run(
        seconds=seconds, requests=options.requests
    )
    print(f"{result.requests} requests of {len(result.kinds)} kinds in {result.seconds:.1f} s")
    faults = result.faults
    if options.requests is not None and seconds is None:
        wanted = options.threads * options.requests
        faults += [f"{wanted} were to be sent"] if result.requests != wanted else []
    missing = {*WHOLE, *FAILS_FIRST, *FAILS_LATE, *NEVER_ENDS} - {kind.split()[0] for kind in result.kinds}
    faults += [f"{path} was left out" for path in sorted(missing)]
    print(*(faults or ["nothing is left behind"]), sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
