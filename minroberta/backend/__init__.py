"""Array libraries, dtypes, the schedule of a computation, threads and memory; no mathematics."""
