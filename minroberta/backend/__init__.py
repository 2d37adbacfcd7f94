"""Running the mathematics on a machine: array libraries, dtypes, scheduling, threads, memory. No mathematics here.

- `arrays.py`: the library that an array belongs to, and its dtypes;
- `memory.py`: memory that is kept for the next call;
- `threads.py`: several threads for one call;
- `schedule.py`: decorators that determine in which pieces a function is computed, and matrix products.
"""
