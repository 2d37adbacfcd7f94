"""Mistakes that concern some of the layers, and those that are a permutation: of layers, heads or rows of a table."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy

from ..backend.arrays import Array
from ..config import Config
from .candidate import Candidate, Judged, kind_of, layer_of
from .changes import CONTEXT, INTERMEDIATE, Change, Edit, Here, Params, activated, normed_with
from .mistakes import Mistake

# --- some of the layers ---------------------------------------------------------------------------------------------

LAYER_NORMS = r"encoder\.layer\.\d+\..*LayerNorm"


AS_EDITS: Mapping[str, tuple[str, Callable[..., Edit]]] = {
    "hidden_act": (INTERMEDIATE, activated),
    "layer_norm_eps": (LAYER_NORMS, normed_with),
}
"""Fields of the configuration that concern every layer, each with an edit of the values that it affects."""


def within(way: Change, layers: Sequence[int]) -> Change | None:
    """The change in these layers alone; None if it does not concern single layers."""
    if way.inputs or way.rounded or not way.config.keys() <= AS_EDITS.keys():
        return None
    values = dict(way.values)
    for name, value in way.config.items():
        pattern, edit = AS_EDITS[name]
        values[pattern] = edit(value)
    here = rf"(?=encoder\.layer\.(?:{'|'.join(map(str, layers))})(?:\.|$))"
    values = {f"{here}(?:{pattern})": edit for pattern, edit in values.items() if _concerns_layers(pattern)}
    params = _within(way.params, here) if way.params else None
    return Change(params=params, values=values) if params or values else None


def _concerns_layers(pattern: str) -> bool:
    """False if a pattern matches no value of a layer, so that restricting it to some layers means nothing."""
    return any(re.fullmatch(pattern, f"encoder.layer.0{part}") for part in OF_A_LAYER)


OF_A_LAYER = (
    "",
    *(f".attention.self{part}" for part in ("", ".query", ".key", ".value", ".scores", ".probs")),
    *(f".attention.output{part}" for part in ("", ".dense", ".sum", ".LayerNorm")),
    *(".intermediate", ".intermediate.dense"),
    *(f".output{part}" for part in ("", ".dense", ".sum", ".LayerNorm")),
)
"""The values of a layer."""


def _within(params: Callable[[Params, Config], Params], here: str) -> Callable[[Params, Config], Params]:
    """The changed parameters whose names begin as the pattern says."""

    def some(held: Params, config: Config) -> Params:
        return {name: array for name, array in params(held, config).items() if re.match(here, name)}

    return some


def sets_of_layers(candidate: Candidate, before: Judged) -> list[tuple[int, ...]]:
    """The sets of layers that may have a mistake of their own.

    If the candidate has values of the same kind in other layers, the wrong ones tell which layers these are. Otherwise
    they are single layers, all layers from one on, and all before one, within the stretch of layers whose values the
    candidate does not have.
    """
    count, first = candidate.model.config.num_hidden_layers, before.bad[0]
    everything = tuple(range(count))
    kind, layer = kind_of(first), layer_of(first)
    alike = {layer_of(name) for name in before.multiples if kind_of(name) == kind}
    wrong = tuple(i for i in everything if kind.replace("*", str(i), 1) in before.bad)
    start = max((i for name in _good_before(before) if (i := layer_of(name)) is not None), default=-1) + 1
    if layer is not None and (len(alike) > 1 or start == layer):
        found = [wrong]
    else:
        end = count if layer is None else layer + 1
        singles = [(i,) for i in range(start, end)]
        found = [*singles, *(everything[i:] for i in everything), *(everything[:i] for i in everything)]
    return [one for one in dict.fromkeys(found) if one and one != everything]


def _good_before(before: Judged) -> Iterator[str]:
    """The names of whole layers whose outputs are right and precede the first bad value."""
    names = itertools.takewhile(lambda name: name not in before.bad, before.multiples)
    return (name for name in names if re.fullmatch(r"encoder\.layer\.\d+", name))


def in_words(layers: Sequence[int], count: int) -> str:
    """Some of the layers in words, such as `in layer 1 only`."""
    if len(layers) == 1:
        return f"in layer {layers[0]} only"
    if tuple(layers) == tuple(range(layers[0], count)):
        return f"in layers from {layers[0]} on"
    return f"in layers {', '.join(map(str, layers[:-1]))} and {layers[-1]} only"


# --- layers ---------------------------------------------------------------------------------------------------------


def layers_reordered(candidate: Candidate, before: Judged) -> Iterator[Mistake]:
    """Layers that use the weights of other layers: the order that the candidate's values show, or likely ones."""
    count = candidate.model.config.num_hidden_layers
    orders = [_order_shown(candidate, before)] if layer_of(before.bad[0]) is not None else _likely_orders(count)
    for order in orders:
        if order != tuple(range(count)):
            yield Mistake(
                "layers-reordered",
                f"The layers use the weights of layers {', '.join(map(str, order))}, in this order.",
                "Give each layer the weights with its own number.",
                (Change(params=_reordered(order)),),
            )


def _reordered(order: Sequence[int]) -> Callable[[Params, Config], Params]:
    def params(held: Params, _: Config) -> Params:
        result = {}
        for name in held:
            layer = layer_of(name)
            if layer is not None and order[layer] != layer:
                result[name] = held[name.replace(f".{layer}.", f".{order[layer]}.", 1)]
        return result

    return params


def _order_shown(candidate: Candidate, before: Judged) -> tuple[int, ...]:
    """For each wrong layer, the layer whose weights give the smallest error of its first wrong step.

    In the run number n, every wrong layer uses the weights of the n-th layer after it.
    """
    count = candidate.model.config.num_hidden_layers
    first = {layer: name for name in reversed(before.bad) if (layer := layer_of(name)) is not None}
    least = {layer: before.errors[name] for layer, name in first.items()}
    order = list(range(count))
    for step in range(1, count):
        tried = [(i + step) % count if i in first else i for i in range(count)]
        judged = candidate.judged([*before.ways, Change(params=_reordered(tried))])
        for layer, name in first.items():
            error = judged.errors.get(name, numpy.inf) if judged else numpy.inf
            if error < least[layer]:
                least[layer], order[layer] = error, tried[layer]
    return tuple(order)


def _likely_orders(count: int) -> Iterator[tuple[int, ...]]:
    """All orders of up to four layers; of more, two exchanged, all reversed, and all shifted."""
    if count <= 4:
        yield from itertools.permutations(range(count))
        return
    yield tuple(reversed(range(count)))
    yield from (tuple((i + step) % count for i in range(count)) for step in (1, count - 1))
    for i, j in itertools.combinations(range(count), 2):
        yield tuple(j if k == i else i if k == j else k for k in range(count))


# --- heads ----------------------------------------------------------------------------------------------------------

OF_HEADS = r".*attention\.self(\.query|\.key|\.value)?"


def heads_reordered(candidate: Candidate, before: Judged) -> Iterator[Mistake]:
    """Heads in another order: the one that the first bad value shows, or likely ones of the merged heads."""
    name, config = before.bad[0], candidate.model.config
    is_shown = re.fullmatch(OF_HEADS, name) is not None
    pattern = re.sub(r"\\\*|\*", r"\\d+", re.escape(kind_of(name))) if is_shown else CONTEXT
    for order in [_heads_shown(candidate, before)] if is_shown else _likely_heads(config.num_attention_heads):
        if order is not None and order != tuple(range(len(order))) and len(set(order)) == len(order):
            yield Mistake(
                "heads-reordered",
                f"The heads are in another order: {', '.join(map(str, order))}.",
                "Keep the order of the heads: head h takes channels h·E to (h + 1)·E - 1.",
                (Change(values={pattern: _permuted(order, config.head_size)}),),
            )


def _permuted(order: Sequence[int], E: int) -> Edit:
    def edit(value: Array, here: Here) -> Array:
        if value.shape[-1] != len(order) * E:  # a layer with other heads pruned
            return value
        heads = value.reshape(*value.shape[:2], len(order), -1)  # (B, L, D) -> (B, L, H, E)
        return heads[:, :, list(order)].reshape(value.shape)

    return edit


def _heads_shown(candidate: Candidate, before: Judged) -> tuple[int, ...] | None:
    """For each head of the first bad value, the head of the reference's value that is nearest to it."""
    name, E = before.bad[0], candidate.model.config.head_size
    value = before.computed[name]
    array, kept = candidate.laid_out(name, value), candidate.kept(name, value)
    if array is None:
        return None
    theirs, ours = (numpy.where(kept, x, 0).reshape(-1, value.shape[-1] // E, E) for x in (array, value))
    heads = theirs.swapaxes(0, 1)[:, :, None]  # (N, H, E) -> (H, N, 1, E): all pairs of heads at once take H times more
    return tuple(int(abs(head - ours).max((0, 2)).argmin()) for head in heads)  # (N, 1, E) - (N, H, E) -> (H,)


def _likely_heads(H: int) -> Iterator[tuple[int, ...]]:
    """All orders of up to four heads; of more, all reversed and all shifted."""
    if H <= 4:
        yield from itertools.permutations(range(H))
        return
    yield tuple(reversed(range(H)))
    yield from (tuple((i + step) % H for i in range(H)) for step in (1, H - 1))


# --- rows of a table ------------------------------------------------------------------------------------------------

TABLES = {
    "embeddings.word_embeddings": ("word embeddings", "id"),
    "embeddings.position_embeddings": ("position embeddings", "position"),
}
"""Values that are rows of a table, with names of the table and of what selects its rows."""


def rows_reordered(candidate: Candidate, before: Judged) -> Iterator[Mistake]:
    """Rows of a table exchanged or shifted, as the candidate's first bad value shows."""
    name = before.bad[0]
    if name not in TABLES:
        return
    table, unit = TABLES[name]
    used, shown = _rows(candidate, before, name)
    moved = {int(i): int(j) for i, j in zip(used, shown, strict=True)}
    if len(set(zip(used.tolist(), shown.tolist(), strict=True))) != len(moved):
        return  # one id has several rows: no table of rows does this
    wrong = {i: j for i, j in moved.items() if i != j}
    if wrong:
        yield Mistake(
            f"rows-moved-{table.replace(' ', '-')}",
            f"Rows of the {table} are exchanged or shifted: {_mapping(wrong, unit)}.",
            f"Look up row i for {unit} i.",
            (Change(params=_rows_moved(f"{name}.weight", moved)),),
        )


def _rows(candidate: Candidate, before: Judged, name: str) -> tuple[Array, Array]:
    """The rows that the reference looks up, and those that the candidate's value shows, of the compared tokens."""
    value = before.computed[name]
    array, weight = (
        candidate.laid_out(name, value),
        before.setting.model.params["embeddings"][name.split(".")[1]]["weight"],
    )
    kept = candidate.kept(name, value)[..., 0]
    if array is None:
        return numpy.zeros(0, int), numpy.zeros(0, int)
    return _nearest(value[kept], weight), _nearest(array[kept], weight)


def _nearest(vectors: Array, table: Array) -> Array:
    """The index of the row of the table that is nearest to each vector: (N, D), (V, D) -> (N,)."""
    squares, rows = (table * table).sum(-1), []
    for start in range(0, len(vectors), BLOCK):
        x = vectors[start : start + BLOCK].astype(float)
        rows.append((squares - 2 * x @ table.T).argmin(-1))  # (n, V) -> (n,)
    return numpy.concatenate([numpy.zeros(0, int), *rows])


BLOCK = 64
"""Number of vectors that are compared with a table at once, to limit memory."""


def _rows_moved(name: str, moved: Mapping[int, int]) -> Callable[[Params, Config], Params]:
    def params(held: Params, _: Config) -> Params:
        return {name: held[name][_all_rows(len(held[name]), moved)]}

    return params


def _all_rows(count: int, moved: Mapping[int, int]) -> Array:
    """A row for each id, given those of some ids.

    If all are shifted by the same number, an id that is not among them is shifted as the nearest id below it is,
    and the rows that are left over fill the gaps. Otherwise the other ids have their own rows.
    """
    if len({j - i for i, j in moved.items() if i != j}) > 1:
        return numpy.array([moved.get(i, i) for i in range(count)])
    rows, step = numpy.full(count, -1), 0
    for i, j in moved.items():
        rows[i] = j
    free = set(range(count)) - set(moved.values())
    for i in range(count):
        step = rows[i] - i if i in moved else step
        if i not in moved and i + step in free:
            rows[i] = i + step
            free.remove(i + step)
    rest = iter(sorted(free))
    return numpy.array([next(rest, i) if row < 0 else row for i, row in enumerate(rows.tolist())])


SHOWN = 4
"""Number of moved rows that a finding lists."""


def _mapping(moved: Mapping[int, int], unit: str) -> str:
    steps = {j - i for i, j in moved.items()}
    if len(moved) > 1 and len(steps) == 1:
        return (
            f"each {unit} of these inputs from {min(moved)} to {max(moved)} has the row {steps.pop():+d} from its own"
        )
    listed = [f"{unit} {i} has row {j}" for i, j in itertools.islice(sorted(moved.items()), SHOWN)]
    more = f" and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
    return ", ".join(listed) + more
