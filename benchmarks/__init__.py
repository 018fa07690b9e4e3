"""Measures bridge beside its rivals, in one interleaved run: `python -m benchmarks --help`.

wsgi_under_asgi/    a WSGI app under an ASGI server: what is measured, and against whom
asgi_under_wsgi/    an ASGI app under a WSGI server: likewise
    adapters.py     the adapters
    apps.py         what they serve
    exchange.py     the in-process client: every answer is checked before it counts
    inprocess.py    requests per second inside one process
    streams.py      many small chunks, large bodies both ways
    memory.py       peak memory of these
    endtoend.py     which servers serve what
    engine.py       (WSGI under ASGI) bridge's pool and hand-over alone
    convoy.py       (WSGI under ASGI) a native endpoint beside CPU-heavy handlers
    mixed.py        (WSGI under ASGI) handlers that wait beside one that computes
shim/               blocking and async code that call each other
    to_async.py     calls of blocking code from a loop
    to_sync.py      calls of async code from threads
    iterators.py    iterators that cross
    facade.py       a method of a facade
    loops.py        a loop that waits in a thread while others are measured
    rounds.py       the rounds of these scenarios
testing/            the clients that tests use
imports.py          what an import costs

Common to all:

scenarios.py        every scenario, by direction
measure.py          rounds, slices, medians, ratios
contenders.py       their names and labels
clients.py          clients that ask again as soon as they are answered, as tasks or as threads
eventloop.py        event loops, in this thread or one of their own
answers.py          the expected answers; bodies.py the long ones
memory.py           peak memory of a child process
endtoend.py         real servers under an HTTP load generator
servers.py          starts and ends those servers; serve.py is what runs in them
load.py             the load generators: wrk, and one of our own
budgets.py          the ratios that bridge promises
report.py           tables for the terminal, JSON
docs_page.py        the page of the documentation: prose.py is what it says, plot.py draws its figures
"""
