"""Where the latencies of a run are looked at. Imports nothing: what cannot import naquid reads this file, too."""

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9)  # bench/clock.h has the same for the programs in C
