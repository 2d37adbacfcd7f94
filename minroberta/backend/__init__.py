"""Running the mathematics on a machine: array libraries, dtypes, schedule, threads, memory. No mathematics here.

- `arrays.py`: the library that an array belongs to, and its dtypes;
- `memory.py`: memory that is kept for the next call;
- `threads.py`: several threads for one call;
- `schedule.py`: the decorators that say in which pieces a function is computed, and matrix products.
"""
