"""Several processes: the same answers in the same order, from the same pages; and what is said when one dies."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import jax.numpy
import numpy as np
import pytest
from support import CASES, Case, check, model_of, raises

import minroberta
from minroberta import InputError, Model, WorkerError
from minroberta.weights import flat
from minroberta.workers import Workers, mapped, on_workers, share

TEXTS = [f"The {number} ships came to <mask>. " * (1 + number % 7) for number in range(60)]


@pytest.fixture(scope="module")
def model() -> Model:
    return minroberta.load()


def test_answers_are_the_same(model: Model) -> None:
    alone, together = (model.fill_mask(TEXTS, top_k=2, workers=workers) for workers in (None, 2))
    tokens = [[token["token"] for answer in answers for token in flattened(answer)] for answers in (alone, together)]
    assert tokens[0] == tokens[1]
    scores = [[token["score"] for answer in answers for token in flattened(answer)] for answers in (alone, together)]
    assert np.abs(np.subtract(*scores)).max() < 1e-5


def flattened(answer: list[Any]) -> list[dict[str, Any]]:
    return [token for item in answer for token in (item if isinstance(item, list) else [item])]


def test_each_task_takes_workers() -> None:
    for head, call in {
        "sequence_classification": lambda model, **given: model.classify(TEXTS[:5], **given),
        "token_classification": lambda model, **given: model.tag(TEXTS[:5], **given),
        "question_answering": lambda model, **given: model.answer(["who?"] * 3, TEXTS[:3], **given),
        "encoder": lambda model, **given: model.encode(TEXTS[:5], **given),
        "masked_lm": lambda model, **given: model.predict_all(TEXTS[:5], **given),
    }.items():
        model = minroberta.load(head=head)
        alone, together = call(model), call(model, workers=1)
        if head == "encoder":
            assert np.abs(alone - together).max() < 1e-5
        else:
            assert [len(x) for x in alone] == [len(x) for x in together]
            assert alone[0][0].keys() == together[0][0].keys()


def test_a_model_that_has_pads() -> None:
    """Relative positions have no packed form."""
    fields = {"position_embedding_type": "relative_key", "num_hidden_layers": 1}
    config = minroberta.load().config.replace(**fields)
    model = Model(config, minroberta.init(config, head="encoder").params, "encoder", minroberta.load().tokenizer)
    assert np.abs(model.encode(TEXTS[:5]) - model.encode(TEXTS[:5], workers=1)).max() < 1e-5


def test_they_stay_for_the_next_call(model: Model) -> None:
    processes = []
    for _ in range(2):
        model.fill_mask(TEXTS[0], workers=1)
        processes.append(child().pid)
    assert processes[0] == processes[1]


def test_one_that_dies_is_told_with_its_input(model: Model) -> None:
    rows = [[[0, 100 + number, 2]] for number in range(9)]
    with raises(
        WorkerError,
        RuntimeError,
        f"a worker process died with 1 inputs, the first of them {model.decode(rows[5][0])!r}",
    ):
        list(on_workers(model, die_at, [(row, 105) for row in rows], 2))
    assert len(model.fill_mask(TEXTS[:3], workers=2)) == 3


def die_at(model: Model, rows: list[list[int]], token: int) -> int:
    if rows[0][1] == token:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(rows)


def child() -> BaseProcess:
    """The newest process of this one."""
    return max(multiprocessing.active_children(), key=lambda process: int(process.name.split("-")[-1]))


def test_one_that_died_between_calls_is_replaced(model: Model) -> None:
    model.fill_mask(TEXTS[0], workers=1)
    child().kill()
    time.sleep(0.2)
    assert model.fill_mask(TEXTS[:2], workers=1) == model.fill_mask(TEXTS[:2], workers=1)


def test_nothing_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = minroberta.load()
    model.fill_mask(TEXTS[0], workers=1)
    (folder,) = tmp_path.iterdir()
    process = child()
    del model
    gc.collect()
    assert not folder.exists()
    wait_until(lambda: not process.is_alive())


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(100):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("waited for five seconds")


@pytest.mark.parametrize("seconds", [0.1, 2])
def test_an_interrupt_ends_all(seconds: float, tmp_path: Path) -> None:
    """While the second worker starts, and while both work."""
    program = tmp_path / "program.py"
    program.write_text(
        "import signal, minroberta\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job is deaf to it
        "if __name__ == '__main__':\n"
        "    model = minroberta.load()\n"
        "    model.fill_mask('A <mask>.', workers=2)\n"
        "    print('begun', flush=True)\n"
        "    model.fill_mask(['A <mask>.'] * 200000, workers=2)\n"
    )
    running = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)  # fmt: skip
    assert running.stdout is not None and running.stdout.readline() == "begun\n"
    time.sleep(seconds)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=20)  # until nobody can write to these pipes, so until the last worker is gone
    assert said.count("Traceback") == 1 and said.endswith("KeyboardInterrupt\n"), said


@pytest.mark.parametrize("count", [0, -1, 2.0, True, "2"])
def test_how_many(model: Model, count: Any) -> None:
    with raises(InputError, ValueError, "workers is a whole number of at least 1"):
        model.fill_mask("<mask>", workers=count)


def test_workers_are_numpy_s() -> None:
    with raises(InputError, ValueError, "workers compute with NumPy, and this model is on jax.numpy"):
        minroberta.load(xp=jax.numpy).fill_mask("<mask>", workers=1)


def test_mapped_weights_are_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minroberta.load().save(tmp_path)
    model = minroberta.load(tmp_path)
    changed = model.params["lm_head"]["bias"] = np.zeros_like(model.params["lm_head"]["bias"])
    places, take_away = share(model.params)
    others = [name for name, place in places.items() if place[0] != str(tmp_path / "model.safetensors")]
    assert others == ["lm_head.bias"]
    again = flat(mapped(places))
    assert all(np.array_equal(again[name], x) for name, x in flat(model.params).items())
    assert not again["lm_head.bias"].any() and changed.shape == again["lm_head.bias"].shape
    take_away()
    assert not Path(places["lm_head.bias"][0]).exists()


def add(start: int, number: int) -> int:
    if number == 5:
        raise ValueError("five")
    return start + number


def test_what_a_job_raises_is_raised() -> None:
    workers = Workers(2, int, ("10",), list)
    assert list(workers.map(add, [(1,), (2,), (3,)])) == [11, 12, 13]
    with pytest.raises(ValueError, match="five"):
        list(workers.map(add, [(1,), (5,), (3,)]))


def test_one_thread_each() -> None:
    workers = Workers(1, int, (), list)
    (names,) = workers.map(threads, [()])
    assert set(names) == {"1"}
    assert os.environ.get("OPENBLAS_NUM_THREADS") == BEFORE
    workers.close()


BEFORE = os.environ.get("OPENBLAS_NUM_THREADS")


def threads(_: int) -> list[str]:
    from minroberta.workers import THREADS

    return [os.environ.get(name, "") for name in THREADS]


@pytest.mark.parametrize("case", CASES[::9], ids=[case.name for case in CASES[::9]])
def test_golden_on_the_weights_of_a_worker(case: Case) -> None:
    model = model_of(case, "float64")
    places, take_away = share(model.params)
    check(case, "float64", Model(model.config, mapped(places), model.head))
    take_away()


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """They hold its pipe open, which ends when they do."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, signal, minroberta\n"
        "if __name__ == '__main__':\n"
        "    minroberta.load().fill_mask(['A <mask>.'] * 9, workers=2)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, program], capture_output=True, timeout=60).returncode == -signal.SIGKILL
