"""Benchmarks against peers and against the ceiling: `make bench`, or `python -m bench --help`. See README.md."""
