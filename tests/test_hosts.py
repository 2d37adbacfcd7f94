"""Tests of a model in a host such as a web server: many threads, an event loop, interrupts, forks beside threads."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import minroberta
from minroberta.backend.locks import Lock

forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")

TEXTS = [f"A cat sat on the mat number {index}. " * (1 + index % 5) for index in range(8)]
LONG = "The quick brown fox. " * 60


def answers(model: minroberta.Model) -> Callable[[str], tuple[Any, ...]]:
    """A function of a text whose result depends on all of it: its ids, windows, and the model's answer."""

    def answer(text: str) -> tuple[Any, ...]:
        ids = model.tokenize(text)["input_ids"].tolist()
        windows = [window.ids for window in model.tokenizer.windows(text + LONG, stride=8)]
        return ids, len(windows), windows[-1], np.round(model(**model.tokenize(text)).logits, 3).tolist()

    return answer


def test_threads_share_a_model() -> None:
    """Every thread has the answers that a call alone has, also while another cuts long texts into windows."""
    answer = answers(minroberta.load(head="sequence_classification"))
    expected = [answer(text) for text in TEXTS]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, TEXTS * 2)) == expected * 2


def test_an_event_loop() -> None:
    answer = answers(minroberta.load(head="sequence_classification"))

    async def all_at_once() -> list[tuple[Any, ...]]:
        return await asyncio.gather(*(asyncio.to_thread(answer, text) for text in TEXTS[:4]))

    assert asyncio.run(all_at_once()) == [answer(text) for text in TEXTS[:4]]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers on this system")
def test_after_an_interrupt_the_next_call_is_right() -> None:
    """An interrupt at any moment of a call leaves nothing behind."""
    model = minroberta.load(head="sequence_classification")
    answer = answers(model)
    expected, interrupted = answer(TEXTS[0]), 0

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for index in range(12):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.001 + 0.003 * index)
                answer(LONG)
                model.classify([LONG[:600]] * 8)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
            assert answer(TEXTS[0]) == expected
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 3


FORKED = """
import os, signal, sys, threading, time, warnings
import minroberta

warnings.simplefilter("ignore")  # of newer Pythons, about forking beside threads
model = minroberta.load()
text = "A cat sat on the mat. " * 2000
expected = model.tokenize("A cat.")["input_ids"].tolist()
stop = threading.Event()

def work():
    while not stop.is_set():
        model.tokenize(text)
        model.tokenizer.windows(text, stride=8)

threading.Thread(target=work).start()
failed = 0
for _ in range(int(sys.argv[1])):
    time.sleep(0.01)
    child = os.fork()
    if child == 0:
        signal.alarm(5)  # ends the process if it hangs
        os._exit(model.tokenize("A cat.")["input_ids"].tolist() != expected)
    failed += os.waitpid(child, 0)[1] != 0
stop.set()
print(failed)
"""


@forking
@pytest.mark.parametrize("count", [5, pytest.param(40, marks=pytest.mark.slow)])
def test_a_fork_beside_a_thread_that_tokenizes(count: int) -> None:
    """The thread holds the tokenizer's lock nearly always."""
    command = [sys.executable, "-c", FORKED, str(count)]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=500).stdout == "0\n"


def test_a_lock() -> None:
    lock, seen = Lock(), []
    with lock:
        assert not lock.acquire(blocking=False)
        thread = threading.Thread(target=lambda: seen.append(lock.acquire()))
        thread.start()
        assert not seen
    thread.join()
    assert seen == [True]
    lock.free()
    assert lock.acquire(blocking=False)
    lock.release()


HELD = """
import os
from minroberta.backend.locks import Lock

lock = Lock()
with lock:
    child = os.fork()
    if child == 0:
        os._exit(not lock.acquire(blocking=False))
    print(os.waitpid(child, 0)[1], lock.acquire(blocking=False))
"""


@forking
def test_a_lock_is_free_in_a_forked_process() -> None:
    """In a process of its own: JAX, which other tests use, warns of forks."""
    said = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True, timeout=100).stdout
    assert said == "0 False\n"
