"""The search for a sequence of tokens, given logits: greedy, random and beam search, and rules for the scores.

The tokens are those of transformers 4.48.3, whose details are not in any paper. Scores are (N, V) NumPy arrays on the
host: a row for each of N sequences.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy

from .. import ops
from ..backend.arrays import quietly
from .generation import Generation
from .running import best

Ids = list[int]

Step = Callable[[Sequence[Ids], Sequence[int]], numpy.ndarray]
"""From sequences, and the index of the earlier sequence that each of them extends, to logits (N, V) in float32."""


@dataclass(frozen=True)
class Task:
    """One search: its settings, and where it starts and ends.

    prompt: the ids to begin with. most, least: maximum and minimum length, including the prompt. ends: the ids of
    end-of-sequence tokens. random: the generator for sampling.
    """

    settings: Generation
    prompt: Ids
    most: int
    ends: Ids
    random: "numpy.random.Generator"  # a str, since importing numpy.random takes 7 MB

    @property
    def least(self) -> int:
        """Minimum length, including the prompt."""
        new = self.settings.min_new_tokens
        return self.settings.min_length if new is None else len(self.prompt) + new


def search(step: Step, task: Task) -> Ids:
    """The prompt and its continuation, without the end-of-sequence token."""
    return beam_search(step, task) if task.settings.num_beams > 1 else one_by_one(step, task)


# --- rules ----------------------------------------------------------------------------------------------------------


@quietly
def apply_rules(scores: numpy.ndarray, rows: Sequence[Ids], task: Task) -> numpy.ndarray:
    """The scores, changed by the rules in the order of transformers: (N, V) -> (N, V). -inf forbids a token."""
    settings, length = task.settings, len(rows[0])
    scores = scores.copy()
    if settings.repetition_penalty != 1:
        penalize_repetition(scores, rows, settings.repetition_penalty)
    if settings.no_repeat_ngram_size:
        forbid_repetition(scores, rows, settings.no_repeat_ngram_size)
    if length < task.least:
        scores[:, task.ends] = -numpy.inf
    for tokens, position in ((settings.forced_bos_token_id, 1), (settings.forced_eos_token_id, task.most - 1)):
        if tokens and length == position:
            scores[:] = -numpy.inf
            scores[:, list(tokens)] = 0
    if not settings.do_sample:
        return scores
    return keep_likely(scores, settings, least=1 if settings.num_beams == 1 else 1 + len(task.ends))


def penalize_repetition(scores: numpy.ndarray, rows: Sequence[Ids], penalty: float) -> None:
    """Make tokens that have occurred in a sequence less likely (Keskar et al. 2019, section 4.1)."""
    for score, row in zip(scores, rows, strict=True):
        seen = list(set(row))
        score[seen] = numpy.where(score[seen] < 0, score[seen] * penalty, score[seen] / penalty)


def forbid_repetition(scores: numpy.ndarray, rows: Sequence[Ids], n: int) -> None:
    """Forbid each token that would complete an n-gram a second time (Paulus et al. 2017, section 2.5)."""
    for score, row in zip(scores, rows, strict=True):
        last = row[len(row) - n + 1 :]
        score[[row[i + n - 1] for i in range(len(row) - n + 1) if row[i : i + n - 1] == last]] = -numpy.inf


def keep_likely(scores: numpy.ndarray, settings: Generation, least: int) -> numpy.ndarray:
    """Divide by the temperature, and forbid all but the likeliest tokens, of which at least `least` are kept.

    These are the `top_k` likeliest tokens, and among them the fewest whose probabilities sum to at least `top_p`
    (Holtzman et al. 2020).
    """
    scores = scores.astype(float) / max(settings.temperature, 1e-300)
    for score in scores:
        order = best(score, max(settings.top_k or len(score), least))
        if settings.top_p < 1:
            p = ops.softmax(score[order])
            order = order[: max(least, int((p.cumsum() - p < settings.top_p).sum()))]
        kept = score[order]
        score[:] = -numpy.inf
        score[order] = kept
    return scores


# --- one sequence ---------------------------------------------------------------------------------------------------


def one_by_one(step: Step, task: Task) -> Ids:
    """Extend one sequence by the likeliest token, or by a random one, until it ends or is as long as allowed."""
    row = task.prompt
    while len(row) < task.most:
        scores = apply_rules(step([row], [0]), [row], task)[0]
        token = int((sampled(scores, task) if task.settings.do_sample else scores).argmax())
        if token in task.ends:
            break
        row = [*row, token]
    return row


# --- several sequences ----------------------------------------------------------------------------------------------


def beam_search(step: Step, task: Task) -> Ids:
    """Extend several sequences at once, keep those with the largest log-probability, and return the best finished one.

    As in transformers, at least twice as many candidates as beams are considered, so that enough of them do not end. A
    candidate that ends counts only if it is one of the best `num_beams` candidates.
    """
    beams = task.settings.num_beams
    rows, parents = [task.prompt] * beams, list(range(beams))
    totals = numpy.full(beams, -1e9, numpy.float32)  # at first, all beams are equal, so only one is extended
    totals[0] = 0
    finished = Finished(task)
    while len(rows[0]) < task.most and not finished.are_enough:
        scores = apply_rules(ops.log_softmax(step(rows, parents)), rows, task) + totals[:, None]  # (N, V)
        candidates = _candidates(scores.reshape(-1), task)
        length, chosen = len(rows[0]) + 1, []
        for rank, index in enumerate(candidates):
            parent, token = divmod(int(index), scores.shape[1])
            if token not in task.ends:
                chosen.append((parent, token))
            elif rank < beams:
                finished.add(rows[parent], float(scores[parent, token]), length)
            if len(chosen) == beams:
                break
        finished.compare(float(scores.reshape(-1)[candidates[0]]), length)
        totals = numpy.array([scores[place] for place in chosen])
        parents = [parent for parent, _ in chosen]
        rows = [[*rows[parent], token] for parent, token in chosen]
    if not finished.are_enough:
        for row, total in zip(rows, totals, strict=True):
            finished.add(row, float(total), len(row))
    return finished.best


def _candidates(scores: numpy.ndarray, task: Task) -> numpy.ndarray:
    """Indices of the candidates, best first: those with the largest scores, or a sample: (N·V,) -> (count,)."""
    count = max(2, 1 + len(task.ends)) * task.settings.num_beams
    if not task.settings.do_sample:
        return best(scores, count)
    some = best(sampled(scores, task), count)
    return some[numpy.argsort(-scores[some], kind="stable")]


def sampled(scores: numpy.ndarray, task: Task) -> numpy.ndarray:
    """Scores plus noise. The n largest are n samples from softmax(scores) without replacement (Kool et al. 2019)."""
    return scores + task.random.gumbel(size=scores.shape)


@dataclass
class Finished:
    """The best finished sequences of a beam search, at most as many as there are beams."""

    task: Task
    sequences: list[tuple[float, Ids]] = field(default_factory=list)
    are_enough: bool = False
    """True if the search ends, as `early_stopping` says."""

    def add(self, row: Ids, total: float, length: int) -> None:
        """Add a sequence with its log-probability, and its length including the prompt and the end."""
        score = self._score(total, length)
        if len(self.sequences) < self.task.settings.num_beams:
            self.sequences.append((score, row))
        elif score > self._worst[0]:
            self.sequences.remove(self._worst)
            self.sequences.append((score, row))

    def compare(self, total: float, length: int) -> None:
        """Decide whether the search ends, given the log-probability and the length of the best candidate."""
        if len(self.sequences) < self.task.settings.num_beams:
            return
        settings = self.task.settings
        if settings.early_stopping == "never" and settings.length_penalty > 0:
            length = self.task.most
        self.are_enough = settings.early_stopping is True or self._worst[0] >= self._score(total, length)

    @property
    def best(self) -> Ids:
        """The sequence with the largest score; of equal ones, the last."""
        return max(reversed(self.sequences), key=lambda one: one[0])[1]

    @property
    def _worst(self) -> tuple[float, Ids]:
        return min(self.sequences, key=lambda one: one[0])

    def _score(self, total: float, length: int) -> float:
        return float(total / (length - len(self.task.prompt)) ** self.task.settings.length_penalty)
