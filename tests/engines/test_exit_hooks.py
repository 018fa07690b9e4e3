"""Functions that are called at interpreter exit, while executors still work."""

from __future__ import annotations

from support.engines import script

USES_AN_EXECUTOR = """
import atexit
from concurrent.futures import ThreadPoolExecutor
from bridge.engines.exit_hooks import before_executors_end

executor = ThreadPoolExecutor(1)
executor.submit(int).result(5.0)  # Python 3.12 starts no more threads by then

def use(when):
    try:
        print(when, executor.submit(lambda: "works").result(5.0))
    except RuntimeError as error:
        print(when, type(error).__name__)

atexit.register(use, "atexit:")
assert before_executors_end(lambda: use("before:"))
assert before_executors_end(lambda: print("last registered, first called"))
"""


def test_an_executor_still_works_in_it() -> None:
    """An `atexit` function is refused by then, which shows that the order matters."""
    said = script(USES_AN_EXECUTOR).splitlines()
    assert said == ["last registered, first called", "before: works", "atexit: RuntimeError"]


COMES_DURING_THE_EXIT = """
import atexit
from bridge.engines.exit_hooks import before_executors_end

atexit.register(lambda: print(before_executors_end(lambda: print("called"))))
"""


def test_during_the_exit_it_is_not_taken_any_more() -> None:
    assert script(COMES_DURING_THE_EXIT).strip() == "False"
