"""CuPy's kernels on a processor: their bodies are compiled as C++, and 32 threads stand in for a warp.

`ElementwiseKernel` stands in for CuPy's. It takes arrays of `strict`, and of NumPy.
"""

import ctypes
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from strict import StrictArray

AVAILABLE = (sys.platform, platform.machine()) == ("linux", "x86_64") and shutil.which("g++") is not None

HEAD = r"""
#include <barrier>
#include <cmath>
#include <cstddef>
#include <immintrin.h>
#include <thread>
#include <vector>
using namespace std;

struct half {
    unsigned short bits;
    explicit half(float x) : bits(_cvtss_sh(x, 0)) {}
    explicit operator float() const { return _cvtsh_ss(bits); }
};

barrier<> meeting(32);
double passed[32];
thread_local int own;

template <typename N> N __shfl_xor_sync(unsigned mask, N number, int distance) {
    passed[own] = number;
    meeting.arrive_and_wait();
    N other = passed[own ^ distance];
    meeting.arrive_and_wait();
    return other;
}

template <typename F> void warp(F run, ptrdiff_t size) {
    vector<thread> threads;
    for (int lane = 0; lane < 32; lane++)
        threads.emplace_back([=] { own = lane; for (ptrdiff_t i = lane; i < size; i += 32) run(i); });
    for (thread &one : threads) one.join();
}
"""

KERNEL = """
namespace kernel_%(number)d {
typedef %(type)s T;
void body(ptrdiff_t i, %(parameters)s) {
%(body)s
}
}
extern "C" void run_%(number)d(%(outer)s, ptrdiff_t size) {
    warp([=](ptrdiff_t i) { kernel_%(number)d::body(i, %(names)s); }, size);
}
"""


class Kernel(NamedTuple):
    """The code that CuPy's ElementwiseKernel is made from, and the dtype that T stands for."""

    inputs: str
    output: str
    body: str
    dtype: str


MADE: dict[Kernel, Any] = {}
"""The kernels that have been compiled, which takes seconds, with a function (*arguments, size) for each."""


def compile_all(kernels: Sequence[Kernel]) -> None:
    """Compile kernels at once, for `MADE`."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "kernels.cpp", Path(folder) / "kernels.so"
        source.write_text(HEAD + "".join(_code(number, kernel) for number, kernel in enumerate(kernels)))
        flags = ["-std=c++20", "-O1", "-mf16c", "-fPIC", "-shared", "-pthread", "-Werror=narrowing"]
        subprocess.run(["g++", *flags, str(source), "-o", str(library)], check=True)
        loaded = ctypes.CDLL(str(library))
    MADE.update({kernel: getattr(loaded, f"run_{number}") for number, kernel in enumerate(kernels)})


def _code(number: int, kernel: Kernel) -> str:
    kind = {"float16": "half", "float32": "float", "float64": "double"}[kernel.dtype]
    given = [part.split() for part in kernel.inputs.split(", ")]
    parameters = [f"const T *{part[-1]}" if part[0] == "raw" else f"long long {part[-1]}" for part in given]
    (output,) = [kernel.output.split()[-1]]
    return KERNEL % {
        "number": number,
        "type": kind,
        "parameters": ", ".join([*parameters, f"T *{output}"]),
        "outer": ", ".join([*parameters, f"T *{output}"]).replace("T *", f"{kind} *"),
        "names": ", ".join([*(part[-1] for part in given), output]),
        "body": kernel.body,
    }


def call(kernel: Kernel, *arguments: Any, size: int) -> None:
    """Run a kernel for i = 0 ... size - 1. The last argument is the output.

    In CuPy, x[i] of a raw array is its element i whatever its strides, so that arrays need not be contiguous.
    """
    if kernel not in MADE:
        compile_all([kernel])
    arrays = [x.values if isinstance(x, StrictArray) else x for x in arguments]
    arrays = [np.ascontiguousarray(x) if isinstance(x, np.ndarray) else x for x in arrays[:-1]] + arrays[-1:]
    assert arrays[-1].flags.c_contiguous
    passed = [ctypes.c_void_p(x.ctypes.data) if isinstance(x, np.ndarray) else ctypes.c_longlong(x) for x in arrays]
    MADE[kernel](*passed, ctypes.c_ssize_t(size))


class ElementwiseKernel:
    """CuPy's class for kernels, as far as it is used: compiled for a dtype when it is called."""

    def __init__(self, inputs: str, output: str, body: str, name: str) -> None:
        self.parts, self.name = (inputs, output, body), name

    def __call__(self, *arguments: Any, size: int) -> None:
        call(Kernel(*self.parts, arguments[0].dtype.name), *arguments, size=size)
