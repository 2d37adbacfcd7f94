"""Support for running the mathematics on a machine: array libraries, dtypes, scheduling, threads and memory.

- `arrays.py`: the library that an array belongs to, and its dtypes;
- `precision.py`: the precision of matrix products;
- `memory.py`: freed memory that is kept for the next call;
- `devices.py`: several devices of JAX;
- `fused.py`: attention on JAX, by cuDNN or head by head;
- `threads.py`: several threads for one call;
- `kernels.py`: CuPy's kernels and products of float16;
- `schedule.py`: decorators that compute a function in pieces, and matrix products.
"""
