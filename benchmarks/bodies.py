"""The long bodies that are sent in both directions, and what checks that they arrived whole.

What an app or a client sends is a pattern whose blocks differ, so a block that is lost, doubled or out of
its place is a wrong answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

from benchmarks.answers import WrongAnswer

MIB = 1 << 20
PIECE = 1 << 16
PIECES_A_MIB = MIB // PIECE

CHUNKS = 10_000

BLOCKS = tuple(
    number.to_bytes(4, "big") + Random(number).randbytes(PIECE - 4) for number in range(PIECES_A_MIB)
)
"""One MiB that no two blocks of are alike; the pattern repeats it."""
_CYCLE = b"".join(BLOCKS)
_TWO_CYCLES = _CYCLE * 2


class Pattern:
    """Checks that what it takes is the pattern of `BLOCKS`, however it is cut."""

    def __init__(self) -> None:
        self.size = 0
        self.wrong_at: int | None = None

    def take(self, piece: bytes) -> None:
        offset = self.size % MIB
        self.size += len(piece)
        if len(piece) == PIECE and offset % PIECE == 0:
            block = BLOCKS[offset // PIECE]
            # Mostly the very object that was sent, and then nothing is compared.
            right = piece is block or piece == block
        else:
            right = self._compare(piece, offset)
        if not right and self.wrong_at is None:
            self.wrong_at = self.size - len(piece)

    @staticmethod
    def _compare(piece: bytes, offset: int) -> bool:
        for start in range(0, len(piece), MIB):
            part = piece[start : start + MIB]
            if _TWO_CYCLES[offset : offset + len(part)] != part:
                return False
        return True

    def check(self, size: int) -> None:
        if self.wrong_at is not None:
            raise WrongAnswer(f"wrong bytes in the piece at {self.wrong_at}")
        if self.size != size:
            raise WrongAnswer(f"{self.size} bytes, expected {size}")

    def told(self) -> str:
        """What an app answers that has received the pattern: its size, or -1 if it was wrong."""
        return str(self.size if self.wrong_at is None else -1)


def repeated(mebibytes: int) -> Iterator[bytes]:
    """The pattern in pieces of 64 KiB, without making any."""
    for _ in range(mebibytes):
        yield from BLOCKS


def fresh(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """A copy of each block, as new memory."""
    return (bytes(bytearray(block)) for block in blocks)


def small_chunks(count: int) -> list[bytes]:
    """Chunks of 100 bytes, no two alike."""
    return [b"%098d\r\n" % number for number in range(count)]
