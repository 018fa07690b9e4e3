"""Measures bridge beside its rivals, in one interleaved run: `python -m benchmarks --help`.

contenders.py   who is measured: adapters, the floor, the native app
apps.py         what they serve
exchange.py     the in-process client: every answer is checked before it counts
measure.py      rounds, slices, medians, ratios
inprocess.py    requests per second inside one process
streams.py      many small chunks, large bodies both ways, peak memory
convoy.py       a native endpoint beside CPU-heavy WSGI handlers
endtoend.py     real servers under an HTTP load generator
servers.py      starts and ends those servers; serve.py is what runs in them
load.py         the load generators: wrk, and one of our own
budgets.py      the ratios that bridge promises
report.py       tables for the terminal, JSON
docs_page.py    the page of the documentation; plot.py draws its figures
"""
