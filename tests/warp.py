"""CuPy's kernels on a processor: their bodies are compiled as C++, and 32 lanes that take turns stand in for a warp.

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
#include <cmath>
#include <cstddef>
#include <ucontext.h>
using namespace std;

ucontext_t scheduler, lanes[32];
char stacks[32][1 << 16];
double passed[32];
int own, ended;

void meet() { swapcontext(&lanes[own], &scheduler); }

template <typename N> N __shfl_xor_sync(unsigned mask, N number, int distance) {
    passed[own] = number;
    meet();
    N other = passed[own ^ distance];
    meet();
    return other;
}

template <typename F> F *work;
template <typename F> void lane() {
    (*work<F>)(own);
    ended++;
}

template <typename F> bool warp(F run) {
    work<F> = &run;
    for (own = 0; own < 32; own++) {
        getcontext(&lanes[own]);
        lanes[own].uc_stack = {stacks[own], 0, sizeof stacks[own]};
        lanes[own].uc_link = &scheduler;
        makecontext(&lanes[own], lane<F>, 0);
    }
    for (ended = 0; ended == 0;)
        for (own = 0; own < 32; own++) swapcontext(&scheduler, &lanes[own]);
    return ended == 32;
}
"""
"""A warp: 32 lanes that take turns, each until it meets the others. False if some end while others wait for them.

They share a thread, as 32 threads would spend most of their time in waking each other.
"""

HALF = r"""
#include <immintrin.h>

struct half {
    unsigned short bits;
    explicit half(float x) : bits(_cvtss_sh(x, 0)) {}
    explicit operator float() const { return _cvtsh_ss(bits); }
};
"""
"""For float16 alone: this header takes most of the time of a kernel's compilation."""

KERNEL = """
namespace kernel_%(number)d {
typedef %(type)s T;
void body(ptrdiff_t i, %(parameters)s) {
%(body)s
}
}
extern "C" bool run_%(number)d(%(outer)s, ptrdiff_t size) {
    return warp([=](int lane) { for (ptrdiff_t i = lane; i < size; i += 32) kernel_%(number)d::body(i, %(names)s); });
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
        head = HEAD + HALF * any(kernel.dtype == "float16" for kernel in kernels)
        source.write_text(head + "".join(_code(number, kernel) for number, kernel in enumerate(kernels)))
        flags = ["-std=c++20", "-O1", "-mf16c", "-fPIC", "-shared", "-Werror=narrowing"]
        subprocess.run(["g++", *flags, str(source), "-o", str(library)], check=True)
        loaded = ctypes.CDLL(str(library))
    for number, kernel in enumerate(kernels):
        MADE[kernel] = getattr(loaded, f"run_{number}")
        MADE[kernel].restype = ctypes.c_bool


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
    assert MADE[kernel](*passed, ctypes.c_ssize_t(size)), "some threads of a warp wait for others that have ended"


class ElementwiseKernel:
    """CuPy's class for kernels, as far as it is used: compiled for a dtype when it is called."""

    def __init__(self, inputs: str, output: str, body: str, name: str) -> None:
        self.parts, self.name = (inputs, output, body), name

    def __call__(self, *arguments: Any, size: int) -> None:
        call(Kernel(*self.parts, arguments[0].dtype.name), *arguments, size=size)
