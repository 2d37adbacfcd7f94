"""The weights of a model's head, which each task learns anew."""

from ..model import Network
from ..train import AnyNetwork, with_params
from ..weights import flat, head_shapes, move, random_weights, tree


def new_to_each_task(model: Network) -> list[str]:
    """The names of the head's weights; none for a language model, whose head is that of pre-training."""
    if model.head in ("masked_lm", "causal_lm"):
        return []
    return [name for name in head_shapes(model.config, model.head) if name in flat(model.params)]


def with_new_head(model: AnyNetwork, seed: int = 0) -> AnyNetwork:
    """The same model with random weights in its head, as `init` gives them. `load` keeps one with the same shapes."""
    weights = flat(model.params)
    shapes = {name: weights[name].shape for name in new_to_each_task(model)}
    own = move(random_weights(shapes, model.config, seed), model.dtype.name, model.xp)
    return with_params(model, tree({**weights, **own}), model.files)
