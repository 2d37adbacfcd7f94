"""The schedules: the golden cases under unusual ones, several threads for one call, and the state afterwards."""

import os
import platform
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import threadpoolctl
from hypothesis import given
from hypothesis import strategies as st
from support import CASES, Case, check, model_of, one_a_feature

import minroberta
from minroberta.backend import schedule as backend
from minroberta.backend import threads
from minroberta.trace import is_recording, recording

SCHEDULES = {
    "odd blocks": {"BLOCK": 77, "SCORES": 131, "FEW": 0},
    "few rows": {"FEW": 10**6},
    "one thread of BLAS": {"MANY": 1, "SHARE": 0},
    "four threads of BLAS": {"MANY": 1, "SHARE": 0},
    "three threads": {"BLOCK": 77, "WIDE": 150, "SCORES": 131, "FEW": 3, "FAIR": 0, "MANY": 1, "SHARE": 0},
    "two threads, by sequences": {"FAIR": 1.9, "MANY": 1, "SHARE": 0},
}
"""What is set for each: sizes that the tiny models of the golden cases exceed."""


needs_openblas = pytest.mark.skipif(
    threads._shareable() is None, reason="the threads of this matrix library are not to be steered: it is not OpenBLAS"
)


@pytest.fixture
def schedule(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in SCHEDULES[request.param].items():
        monkeypatch.setattr(threads if name == "SHARE" else backend, name, value)
    if count := {"three threads": 3, "two threads, by sequences": 2}.get(request.param):
        if threads._shareable() is None:
            pytest.skip(needs_openblas.kwargs["reason"])
        monkeypatch.setattr(threads, "count", lambda: 1 if threads.is_inside() else count)
    with threadpoolctl.threadpool_limits({"one": 1, "fou": 4}.get(request.param[:3]), user_api="blas"):
        yield request.param


def every_schedule() -> Iterator[Any]:
    """Each case in both dtypes under each schedule, all marked slow but a few that cover every feature.

    The few are run under every schedule, in float64 and in float32 by turns.
    """
    standing = {case.name for case in one_a_feature(CASES)}
    for number, case in enumerate(CASES):
        for turn, schedule in enumerate(SCHEDULES):
            for dtype in ("float64", "float32"):
                needed = case.name in standing and dtype == ("float64", "float32")[(number + turn) % 2]
                marks = () if needed else pytest.mark.slow
                yield pytest.param(case, dtype, schedule, id=f"{case.name}-{dtype}-{schedule}", marks=marks)


@pytest.mark.parametrize(("case", "dtype", "schedule"), [*every_schedule()], indirect=["schedule"])
def test_golden_under_every_schedule(case: Case, dtype: str, schedule: str) -> None:
    check(case, dtype, model_of(case, dtype))


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, int]]:
    """Names of the functions that ran in threads, each with its number of items: the test above needs some."""
    seen, once = set(), threads.each

    def each(function: Any, items: Any, nbytes: int) -> Any:
        if not threads.is_inside() and len(items) > 1:
            seen.add((function.__qualname__.split(".")[0], len(items)))
        return once(function, items, nbytes)

    monkeypatch.setattr(threads, "each", each)
    return seen


@pytest.mark.parametrize("schedule", ["three threads"], indirect=True)
def test_a_sequence_is_shared_among_threads(schedule: str, shared: set[tuple[str, int]]) -> None:
    minroberta.load(dtype="float64")([[0, *range(20, 60), 2]])
    assert {name for name, _ in shared} == {"placewise", "rowwise", "blockwise", "matrix_product"}
    assert ("placewise", 3) in shared


@pytest.mark.parametrize("schedule", ["two threads, by sequences"], indirect=True)
def test_sequences_are_shared_among_threads(schedule: str, shared: set[tuple[str, int]]) -> None:
    model = minroberta.load(head="encoder", dtype="float64")
    rows = [[0, *range(20, 20 + length), 2] for length in (3, 9, 4, 1, 12)]
    ids = np.array([row + [1] * (14 - len(row)) for row in rows])
    batch = {"input_ids": ids, "attention_mask": (ids != 1).astype(int)}
    found = [*model.on_rows(rows), *model.on_rows(rows, [[1], [], [0, 2], [], []])]
    found += model(**batch), model(**batch, skip_padding=True)
    assert {("encoder", 2), ("sequencewise", 2)} <= shared
    with threadpoolctl.threadpool_limits(1, user_api="blas"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "count", lambda: 1)
        plain = [*model.on_rows(rows), *model.on_rows(rows, [[1], [], [0, 2], [], []])]
        plain += model(**batch), model(**batch, skip_padding=True)
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_allclose(one["last_hidden_state"], other["last_hidden_state"], atol=1e-12)


@pytest.mark.parametrize("schedule", ["two threads, by sequences"], indirect=True)
def test_sequences_under_one_mask_for_all(schedule: str, shared: set[tuple[str, int]]) -> None:
    model = minroberta.load(dtype="float64", config={"is_decoder": True}, head="causal_lm")
    ids = np.random.default_rng(0).integers(5, 300, (4, 7))
    found = model(ids, use_cache=False).logits
    assert ("sequencewise", 2) in shared
    np.testing.assert_allclose(found, np.concatenate([model(row[None]).logits for row in ids]), atol=1e-12)


@pytest.mark.parametrize("schedule", ["two threads, by sequences"], indirect=True)
def test_a_recorder_sees_all_sequences(schedule: str, shared: set[tuple[str, int]]) -> None:
    seen = {}
    with recording(lambda name, value: seen.setdefault(name, value)):
        minroberta.load(head="encoder")([[0, 20, 30, 2]] * 4)
    assert seen["encoder"].shape[:2] == (4, 4)
    assert shared <= {("matmul", 2)}  # within a value


@pytest.mark.parametrize("schedule", ["three threads"], indirect=True)
def test_gradients_are_shared_among_threads(schedule: str, shared: set[tuple[str, int]]) -> None:
    """Within each value, since the values are recorded."""
    model, ids = minroberta.load(dtype="float64", head="masked_lm"), np.random.default_rng(0).integers(5, 300, (4, 7))
    found = minroberta.gradients(model, ids, labels=ids)
    assert {("matrix_product", 3), ("matmul", 2), ("rowwise", 3)} <= shared
    assert not {"encoder", "sequencewise", "placewise"} & {name for name, _ in shared}
    with threadpoolctl.threadpool_limits(1, user_api="blas"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "count", lambda: 1)
        plain = minroberta.gradients(model, ids, labels=ids)
    most = max(abs(g).max() for g in plain.values())  # not each one's: those of the keys' biases are rounding
    for name, g in plain.items():
        np.testing.assert_allclose(found[name], g, rtol=0, atol=1e-12 * most, err_msg=name)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=40), st.integers(1, 5))
def test_shares_of_sequences_are_fair(lengths: list[int], count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "count", lambda: count)
        parts = backend.sequence_shares(np.empty((1, sum(lengths), 768), np.float32), lengths)
    assert [i for part in parts for i in range(len(lengths))[part]] == [*range(len(lengths))]
    assert len(parts) in (1, count)
    if len(parts) > 1:
        assert max(sum(lengths[part]) for part in parts) <= backend.FAIR * sum(lengths) / count


@pytest.mark.parametrize("threads_of_blas", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 4))])
def test_real_sizes(threads_of_blas: int) -> None:
    """Enough rows for the real threads: values are the same to rounding, and to the bit under one schedule."""
    model = minroberta.init({"model_type": "roberta", "hidden_size": 768, "num_attention_heads": 12, "vocab_size": 99,
                             "num_hidden_layers": 1, "max_position_embeddings": 514})  # fmt: skip
    ids = np.random.default_rng(0).integers(5, 99, (2, 400))
    with threadpoolctl.threadpool_limits(threads_of_blas):
        one, other = (model(ids).last_hidden_state for _ in range(2))
        with recording(lambda _, value: value):
            plain = model(ids).last_hidden_state
    assert np.array_equal(one, other)
    np.testing.assert_allclose(one, plain, atol=2e-6)


@needs_openblas
def test_the_matrix_library_has_its_threads_back() -> None:
    before = threads.count()
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        assert threads.count() == 3
        seen = threads.each(lambda item: (item, threads.count(), library_threads()), range(7), 10**9)
        assert seen == [(item, 1, 1) for item in range(7)]
        with pytest.raises(ZeroDivisionError):
            threads.each(lambda item: 1 // item, range(3), 10**9)
        assert library_threads() == 3
        assert library_threads() == 3
    assert threads.count() == before


def library_threads() -> int:
    return max(one.num_threads for one in threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers)


@needs_openblas
def test_the_callers_state_holds_in_the_threads() -> None:
    with threadpoolctl.threadpool_limits(2, user_api="blas"), np.errstate(divide="raise"), recording(lambda _, x: x):
        assert threads.each(lambda _: (is_recording(), np.geterr()["divide"]), "ab", 10**9) == [(True, "raise")] * 2


def test_small_work_is_not_given_to_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "count", lambda: 1 / 0)  # so that asking fails
    assert threads.each(str, range(3), threads.SHARE - 1) == ["0", "1", "2"]
    assert backend.shares(10**6, 2 * threads.SHARE - 1) == [slice(0, 10**6)]
    assert backend.shares(2 * backend.MANY - 1, 10**9) == [slice(0, 2 * backend.MANY - 1)]


def test_all_threads_or_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows for three of four threads would leave one idle."""
    monkeypatch.setattr(threads, "count", lambda: 4)
    assert len(backend.shares(4 * backend.MANY - 1, 10**9)) == 1
    assert backend.shares(4 * backend.MANY, 10**9) == backend.blocks(slice(0, 4 * backend.MANY), backend.MANY)


def test_without_openblas(monkeypatch: pytest.MonkeyPatch) -> None:
    """A matrix library that cannot be limited for all threads keeps its threads, and the call uses one."""
    monkeypatch.setattr(threads, "_shareable", lambda: None)
    assert threads.count() == 1
    assert threads.each(lambda _: threading.current_thread(), range(2), 10**9) == [threading.current_thread()] * 2


@needs_openblas
def test_two_calls_at_once() -> None:
    """One call uses the threads, the other runs in one thread meanwhile, and afterwards all is as before."""
    first, second = threading.Event(), threading.Event()

    def slow(item: int) -> int:
        first.set()
        assert second.wait(20)
        return item

    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        found: list[Any] = []
        call = threading.Thread(target=lambda: found.append(threads.each(slow, range(4), 10**9)))
        call.start()
        assert first.wait(20)
        here = threads.each(lambda _: threading.current_thread(), range(4), 10**9)
        second.set()
        call.join()
        assert (here, found) == ([threading.current_thread()] * 4, [[0, 1, 2, 3]])
        assert library_threads() == 3
        assert threading.current_thread() not in threads.each(lambda _: threading.current_thread(), range(4), 10**9)


@needs_openblas
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_a_fork() -> None:
    """A child process has none of its parent's threads, and starts new ones."""
    program = (
        "import os, threadpoolctl\n"
        "from minroberta.backend import threads\n"
        "threadpoolctl.threadpool_limits(2, user_api='blas')\n"
        "share = lambda: threads.each(lambda item: item + 1, range(4), 10**9)\n"
        "assert share() == [1, 2, 3, 4]\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os._exit(share() != [1, 2, 3, 4])\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], timeout=60, check=True)


@pytest.mark.slow
def test_memory_grows_with_the_length() -> None:
    """Less than 60 MB in a pass of 512 tokens at the base size, whose scores alone would be 12.6 MB a copy."""
    model = minroberta.init({"model_type": "roberta", "hidden_size": 768, "num_attention_heads": 12, "vocab_size": 99,
                             "num_hidden_layers": 1, "intermediate_size": 3072,
                             "max_position_embeddings": 4098})  # fmt: skip
    peaks = {}
    for length in (512, 2048):
        ids = np.full((1, length), 7)
        model(ids)
        tracemalloc.start()
        model(ids)
        peaks[length] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[512] < 60e6
    assert peaks[2048] < 6 * peaks[512]  # growth with the square of the length would be 16


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that keeps memory so")
def test_a_second_call_uses_the_memory_of_the_first() -> None:
    """Run in a new process, since memory freed by other tests would count. Without reuse there are 10,000 faults."""
    program = (
        "import resource, numpy, minroberta\n"
        "model = minroberta.init({'model_type': 'roberta', 'hidden_size': 768, 'num_attention_heads': 12,\n"
        "    'vocab_size': 99, 'num_hidden_layers': 1, 'intermediate_size': 3072, 'max_position_embeddings': 514})\n"
        "ids = numpy.full((2, 512), 7)\n"
        "faults = lambda: (model(ids), resource.getrusage(resource.RUSAGE_SELF).ru_minflt)[1]\n"
        "faults(), faults(), print(faults() - faults())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=True, capture_output=True, text=True)
    assert abs(int(done.stdout)) < 2000, done.stdout


@needs_openblas
def test_products_too_small_for_threads_run_in_one() -> None:
    """With many short sequences, products are too small for the matrix library's threads too."""
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        seen = threads.each(lambda _: (threading.current_thread(), library_threads()), range(9), threads.SHARE)
        assert seen == [(threading.current_thread(), 1)] * 9
        assert library_threads() == 2


@needs_openblas
def test_one_thread_of_blas_for_a_whole_pass() -> None:
    """`each` still uses several; and the limit ends with the last of its users, in whatever order they end."""
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        one, other = threads.limited(), threads.limited()
        one.__enter__()
        assert library_threads() == 1 and threads.count() == 3
        here = threads.each(lambda _: (threading.current_thread(), library_threads()), range(9), 10**9)
        assert (threading.current_thread(), 1) not in here and {count for _, count in here} == {1}
        other.__enter__()
        one.__exit__(None, None, None)
        assert library_threads() == 1 and threads.count() == 3
        other.__exit__(None, None, None)
        assert library_threads() == 3 and threads.count() == 3
