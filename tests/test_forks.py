"""Tests of a process that is forked while its other threads work, as some web servers and pools do."""

import os
import subprocess
import sys
import threading

import pytest

from minroberta.backend.locks import Lock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")

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


def test_a_lock_is_free_in_a_forked_process() -> None:
    """In a process of its own: JAX, which other tests use, warns of forks."""
    said = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True, timeout=100).stdout
    assert said == "0 False\n"
