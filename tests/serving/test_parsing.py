"""Using the parsers of other programs."""

from __future__ import annotations

import argparse
import sys
import types

import pytest

from bridge.serving.parsing import program, replaced


def test_a_parser_speaks_in_the_name_of_its_program() -> None:
    before = sys.argv[0]
    with program("hypercorn"):
        parser = argparse.ArgumentParser()
    assert parser.prog == "hypercorn"
    assert sys.argv[0] == before


def test_a_value_is_replaced_for_a_while() -> None:
    holder = types.SimpleNamespace(run=1)
    with replaced(holder, "run", 2):
        assert holder.run == 2
    assert holder.run == 1
    with pytest.raises(ZeroDivisionError), replaced(holder, "run", 2):
        holder.run // 0
    assert holder.run == 1


def test_what_is_replaced_must_be_there() -> None:
    """Else a version that has renamed it would start a server."""
    with pytest.raises(AttributeError), replaced(types.SimpleNamespace(), "run", 2):
        pass
