"""What Linux tells of a process that a test has started."""

from __future__ import annotations

import re
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether a process has not ended, whether or not its parent has noticed."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def handles(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal by now."""
    # SigCgt is a mask of the signals that are caught (proc(5)).
    caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert caught is not None
    return bool(int(caught[1], 16) >> (number - 1) & 1)
