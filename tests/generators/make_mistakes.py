"""Write `mistakes.safetensors`: the values of the models of `mistake_cases.py` with their mistakes.

    python -m generators.make_mistakes

needs torch 2.13.0 (the CPU build), numpy, safetensors 0.8.0 and transformers 4.48.3 with its "eager" attention. Every
mistake is planted into Hugging Face's own model: into its weights, its inputs, its modules or the functions that they
call. minroberta is not used.

Values are float32, from hooks on every module, and the outputs; each under

    {candidate}|{name of the module or output}

The candidate `{setting}` is the right model. Of the others only values that differ from the right model's are stored;
an empty array stands for a value that they lack.
"""

import copy
import math
import re
import sys
import types
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional as F
from transformers.modeling_outputs import ModelOutput

from generators import GOLDEN
from generators.cases import parameter
from generators.make import VERSION, to_torch, without_prefix
from generators.make import build as build_case
from generators.mistake_cases import MISTAKES, OUTPUTS, PAIRS, RIGHT, SETTINGS, STRANGERS, Planted, Setting

FILE = GOLDEN / "mistakes.safetensors"


@dataclass
class Port:
    """A model, the inputs of its call, and its patches, which end after the call."""

    model: transformers.PreTrainedModel
    inputs: dict[str, Any]
    mistakes: ExitStack
    pooled: bool = False
    renamed: dict[str, str] = field(default_factory=dict)
    """Patterns in modules' names, and what stands there instead; "" for a whole name that a port would not have."""

    @property
    def base(self) -> nn.Module:
        return self.model.base_model

    @property
    def layers(self) -> nn.ModuleList:
        return self.base.encoder.layer

    @property
    def config(self) -> Any:
        return self.model.config

    def modules(self, pattern: str) -> list[nn.Module]:
        """The modules whose names, without the base model's prefix, match."""
        found = [m for name, m in self.model.named_modules() if re.fullmatch(pattern, without_prefix(name, self.model))]
        assert found, pattern
        return found

    def patch(self, place: Any, name: str, value: Any) -> None:
        """Replace an attribute while the port runs."""
        self.mistakes.enter_context(mock.patch.object(place, name, value))

    @property
    def code(self) -> types.ModuleType:
        """The module of transformers that the model is from."""
        return sys.modules[type(self.model).__module__]


def build(setting: Setting) -> transformers.PreTrainedModel:
    """The right model in float32."""
    model = build_case(setting.case, torch.float32)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            exact = setting.weight(without_prefix(name, model), tuple(weight.shape))
            weight.copy_(torch.from_numpy(exact))
    return model


def record(port: Port) -> dict[str, np.ndarray]:
    """The outputs of all modules in float32, then those of the model."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, (tuple, ModelOutput)) else output
            if isinstance(first, torch.Tensor) and first.is_floating_point():
                found[name] = first.float().numpy().copy()

        return hook

    for name, module in port.model.named_modules():
        for pattern, other in port.renamed.items():
            name = re.sub(pattern, other, name)
        if name:
            module.register_forward_hook(keep(name))
    with torch.no_grad():
        output = port.model(**port.inputs)
    found.update((name, x.float().numpy().copy()) for name, x in output.items() if isinstance(x, torch.Tensor))
    return found


def run(setting: Setting, mistakes: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The model's values with these mistakes."""
    with ExitStack() as stack:
        port = Port(build(setting), to_torch(setting.inputs, torch.float32), stack, setting.pooled)
        with torch.no_grad():
            for name in mistakes:
                PLANTS[name](port)
        return record(port)


# --- the mistakes ---------------------------------------------------------------------------------------------------

Plant = Callable[[Port], None]
PLANTS: dict[str, Plant] = {}


def plant(name: str) -> Callable[[Plant], Plant]:
    """Register a mistake under this name."""

    def add(function: Plant) -> Plant:
        PLANTS[name] = function
        return function

    return add


# positions and token types


def places(port: Port) -> torch.Tensor:
    return torch.arange(port.inputs["input_ids"].shape[1]).expand(port.inputs["input_ids"].shape)


PLANTS["positions-from-0"] = lambda port: port.inputs.update(position_ids=places(port))
PLANTS["positions-from-1"] = lambda port: port.inputs.update(position_ids=places(port) + 1)
PLANTS["positions-by-place"] = lambda port: port.inputs.update(position_ids=places(port) + 2)
PLANTS["cache-position-off-by-one"] = lambda port: port.inputs.update(position_ids=places(port) + 2 + 3 + 1)


@plant("positions-from-mask")
def _(port: Port) -> None:
    mask = port.inputs["attention_mask"]
    port.inputs["position_ids"] = mask.cumsum(1) * mask + 1


@plant("token-types-missing")
def _(port: Port) -> None:
    port.base.embeddings.token_type_embeddings.weight.zero_()
    port.renamed[r".*token_type_embeddings"] = ""


@plant("token-types-row-1")
def _(port: Port) -> None:
    port.inputs["token_type_ids"] = torch.ones_like(port.inputs["input_ids"])


# norms


@plant("embedding-norm-missing")
def _(port: Port) -> None:
    port.base.embeddings.LayerNorm = nn.Identity()
    port.renamed[r".*embeddings\.LayerNorm"] = ""


def twice(module: nn.Module) -> None:
    module.register_forward_hook(lambda module, inputs, output: module.forward(output))


PLANTS["embedding-norm-doubled"] = lambda port: twice(port.base.embeddings.LayerNorm)


def norms(port: Port) -> list[nn.LayerNorm]:
    return [module for module in port.model.modules() if isinstance(module, nn.LayerNorm)]


def eps(value: float) -> Plant:
    def give(port: Port) -> None:
        for module in norms(port):
            module.eps = value

    return give


for exponent in (5, 6, 12):
    PLANTS[f"eps-1e-{exponent}"] = eps(10.0**-exponent)


def other_norm(formula: Callable[[torch.Tensor, float], torch.Tensor]) -> Plant:
    """Norms that divide by another number."""

    def give(port: Port) -> None:
        def forward(module: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
            return (x - x.mean(-1, keepdim=True)) / formula(x, module.eps) * module.weight + module.bias

        for module in norms(port):
            module.forward = types.MethodType(forward, module)

    return give


PLANTS["variance-unbiased"] = other_norm(lambda x, eps: (x.var(-1, keepdim=True) + eps).sqrt())
PLANTS["eps-outside-root"] = other_norm(lambda x, eps: x.std(-1, keepdim=True, correction=0) + eps)


def final_norm(port: Port) -> nn.Module:
    """The module that holds the last norm."""
    return port.base if hasattr(port.base, "LayerNorm") else port.base.encoder


@plant("final-norm-missing")
def _(port: Port) -> None:
    final_norm(port).LayerNorm = nn.Identity()
    port.renamed[r"\w+(\.encoder)?\.LayerNorm"] = ""


PLANTS["final-norm-doubled"] = lambda port: twice(final_norm(port).LayerNorm)


@plant("norm-order")
def _(port: Port) -> None:
    """Run the other family's code with this one's weights, under this one's names."""
    moved = {"attention.output.LayerNorm": "attention.LayerNorm", "1.output.LayerNorm": "1.intermediate.LayerNorm"}
    moved["0.output.LayerNorm"] = "0.intermediate.LayerNorm"
    own, to_pre = f"{port.model.base_model_prefix}.", port.config.model_type == "roberta"
    family = transformers.RobertaPreLayerNormForMaskedLM if to_pre else transformers.RobertaForMaskedLM
    settings = {**port.config.to_dict(), "model_type": family.config_class.model_type}
    model = family(family.config_class.from_dict(settings, attn_implementation="eager")).eval()
    other = f"{model.base_model_prefix}."
    names = {own: other} | (moved if to_pre else {there: here for here, there in moved.items()})
    weights = {}
    for name, weight in port.model.state_dict().items():
        for mine, theirs in names.items():
            name = name.replace(mine, theirs)
        weights[name] = weight
    last = port.base.LayerNorm if hasattr(port.base, "LayerNorm") else None
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert {"LayerNorm" in name for name in [*missing, *unexpected]} == {True}
    if last is None:
        model.base_model.LayerNorm = nn.Identity()
        port.renamed[r"\w+\.LayerNorm"] = ""
    else:
        model.lm_head.register_forward_pre_hook(lambda module, inputs: (last(inputs[0]),))
    port.renamed |= {rf"\b{re.escape(theirs)}": mine for mine, theirs in names.items()}
    port.model = model


@plant("residual-from-norm")
def _(port: Port) -> None:
    """x = norm(x) + f(norm(x)) around attention and feed-forward."""

    def after(norm: nn.Module, dense: nn.Module) -> None:
        made: list[torch.Tensor] = []
        norm.register_forward_hook(lambda module, inputs, output: made.append(output))
        dense.register_forward_pre_hook(lambda module, inputs: (inputs[0], made.pop()))

    for layer in port.layers:
        xl = hasattr(layer, "LayerNorm")
        after(layer.attention.self_attn_layer_norm if xl else layer.attention.LayerNorm, layer.attention.output)
        after(layer.LayerNorm if xl else layer.intermediate.LayerNorm, layer.output)


# activations


class Activation(nn.Module):
    """A formula as a module."""

    def __init__(self, formula: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.forward = formula


def gelu(formula: Callable[[torch.Tensor], torch.Tensor]) -> Plant:
    """Another activation everywhere, in the language-model head too."""

    def give(port: Port) -> None:
        for layer in port.layers:
            layer.intermediate.intermediate_act_fn = Activation(formula)
        port.patch(port.code, "gelu", formula)

    return give


PLANTS["gelu-tanh"] = gelu(lambda x: F.gelu(x, approximate="tanh"))
PLANTS["gelu-erf"] = gelu(F.gelu)
PLANTS["gelu-quick"] = gelu(lambda x: x * torch.sigmoid(1.702 * x))
PLANTS["gelu-relu"] = gelu(F.relu)
PLANTS["gelu-float16"] = gelu(lambda x: F.gelu(x.half()).float())

# attention


def divisor(number: Callable[[int, int], float]) -> Plant:
    """Scores divided by another number of E and D."""

    def give(port: Port) -> None:
        changed = types.SimpleNamespace(sqrt=lambda E: number(E, port.config.hidden_size))
        port.patch(port.code, "math", changed)

    return give


PLANTS["scores-unscaled"] = divisor(lambda E, D: 1)
PLANTS["scores-scaled-twice"] = divisor(lambda E, D: E)
PLANTS["scores-scaled-by-hidden"] = divisor(lambda E, D: math.sqrt(D))

softmax = F.softmax
PLANTS["softmax-over-queries"] = lambda port: port.patch(F, "softmax", lambda x, dim: softmax(x, dim=-2))
PLANTS["softmax-over-heads"] = lambda port: port.patch(F, "softmax", lambda x, dim: softmax(x, dim=1))


@plant("mask-ignored")
def _(port: Port) -> None:
    port.inputs["attention_mask"] = torch.ones_like(port.inputs["attention_mask"])


@plant("mask-inverted")
def _(port: Port) -> None:
    port.inputs["attention_mask"] = 1 - port.inputs["attention_mask"]


def additive(change: Callable[[torch.Tensor], Any]) -> Plant:
    """Another way to apply the additive mask, of zeros and lowest numbers."""

    def give(port: Port) -> None:
        right = port.base.get_extended_attention_mask
        port.patch(port.base, "get_extended_attention_mask", lambda *args, **kwargs: change(right(*args, **kwargs)))

    return give


class Factor:
    """Ones and zeros that multiply the scores that they are added to."""

    def __init__(self, mask: torch.Tensor) -> None:
        self.mask = (mask == 0).float()

    def __radd__(self, scores: torch.Tensor) -> torch.Tensor:
        return scores * self.mask


PLANTS["mask-multiplied"] = additive(Factor)


class Nothing:
    """A mask that leaves the scores unchanged when it is added."""

    def __radd__(self, scores: torch.Tensor) -> torch.Tensor:
        return scores


@plant("mask-after-softmax")
def _(port: Port) -> None:
    """Set probabilities of hidden keys to 0, so that their sum is not 1."""
    mask = port.inputs["attention_mask"][:, None, None, :]
    additive(lambda mask: Nothing())(port)
    port.patch(F, "softmax", lambda x, dim: softmax(x, dim=dim) * mask)


PLANTS["mask-1e4"] = additive(lambda mask: mask.clamp(min=-1e4))
PLANTS["mask-inf"] = additive(lambda mask: torch.where(mask < 0, -torch.inf, 0.0))


def causal(diagonal: int | None) -> Plant:
    """A query sees keys up to this many after it, or all."""

    def give(port: Port) -> None:
        right = port.inputs["attention_mask"][:, None, :]
        L = right.shape[-1]
        seen = torch.ones(L, L) if diagonal is None else torch.ones(L, L).tril(diagonal)
        port.inputs["attention_mask"] = (right * seen).long()

    return give


PLANTS["causal-missing"] = causal(None)
PLANTS["causal-off-by-one"] = causal(1)


def interleaved(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Head h from channels h, h + H, h + 2H ..."""
    return x.view(*x.shape[:-1], self.attention_head_size, self.num_attention_heads).permute(0, 3, 1, 2)


@plant("heads-interleaved")
def _(port: Port) -> None:
    for layer in port.layers:
        own = layer.attention.self
        own.transpose_for_scores = types.MethodType(interleaved, own)

        def merged(module: nn.Module, inputs: Any, output: Any) -> Any:
            H, E = module.num_attention_heads, module.attention_head_size
            B, L, D = output[0].shape
            return (output[0].view(B, L, H, E).transpose(2, 3).reshape(B, L, D), *output[1:])

        own.register_forward_hook(merged)


def order(letters: str) -> Plant:
    """Query, key and value from these parts of the fused matrix, which was meant as q, k, v."""
    parts = {"q": "query", "k": "key", "v": "value"}

    def give(port: Port) -> None:
        for layer in port.layers:
            own = layer.attention.self
            found = [(getattr(own, parts[x]).weight.clone(), getattr(own, parts[x]).bias.clone()) for x in letters]
            for name, (weight, bias) in zip(parts.values(), found, strict=True):
                getattr(own, name).weight.copy_(weight)
                getattr(own, name).bias.copy_(bias)

    return give


PLANTS["query-key-swapped"] = order("kqv")
for letters in ("qvk", "kvq", "vqk", "vkq"):
    PLANTS[f"qkv-order-{letters}"] = order(letters)


@plant("distance-sign")
def _(port: Port) -> None:
    for layer in port.layers:
        table = layer.attention.self.distance_embedding.weight
        table.copy_(table.flip(0))


# weights

PARTS = {
    "query": r".*\.self\.query",
    "key": r".*\.self\.key",
    "value": r".*\.self\.value",
    "attention-output": r".*\.attention\.output\.dense",
    "intermediate": r".*\.intermediate\.dense",
    "output": r"encoder\.layer\.\d+\.output\.dense",
    "attention-norm": r".*\.attention\.(output\.LayerNorm|LayerNorm|self_attn_layer_norm)",
    "output-norm": r"encoder\.layer\.\d+\.(output\.LayerNorm|intermediate\.LayerNorm|LayerNorm)",
    "embedding-norm": r"embeddings\.LayerNorm",
    "final-norm": r"LayerNorm|encoder\.LayerNorm",
    "pooler": r"pooler\.dense",
    "classifier-dense": r"classifier\.dense",
    "classifier-out": r"classifier\.out_proj",
    "classifier": r"classifier",
    "qa-outputs": r"qa_outputs",
    "lm-dense": r"lm_head\.dense",
    "lm-norm": r"lm_head\.layer_norm",
}


def without_bias(pattern: str) -> Plant:
    def give(port: Port) -> None:
        for module in port.modules(pattern):
            module.bias.zero_()

    return give


def transposed(pattern: str) -> Plant:
    def give(port: Port) -> None:
        for module in port.modules(pattern):
            module.weight.copy_(module.weight.T.clone())

    return give


for part, pattern in PARTS.items():
    PLANTS[f"bias-missing-{part}"] = without_bias(pattern)
    PLANTS[f"weight-transposed-{part}"] = transposed(pattern)


@plant("lm-bias-missing")
def _(port: Port) -> None:
    port.model.lm_head.bias.zero_()


@plant("lm-bias-doubled")
def _(port: Port) -> None:
    port.model.lm_head.bias.mul_(2)


@plant("lm-decoder-untied")
def _(port: Port) -> None:
    port.model.lm_head.decoder.weight.copy_(port.base.embeddings.word_embeddings.weight)


# layers


def only(indices: Callable[[int], list[int]]) -> Plant:
    """Some of the layers, in this order."""

    def give(port: Port) -> None:
        port.base.encoder.layer = nn.ModuleList(copy.deepcopy(port.layers[i]) for i in indices(len(port.layers)))

    return give


PLANTS["layers-in-text-order"] = only(lambda n: sorted(range(n), key=str))
PLANTS["layer-missing-0"] = only(lambda n: list(range(1, n)))
PLANTS["layer-missing-1"] = only(lambda n: [0, *range(2, n)])
PLANTS["layer-missing-2"] = only(lambda n: [0, 1, *range(3, n)])

# heads


@plant("pooler-for-classifier")
def _(port: Port) -> None:
    """The pooler's weights where the checkpoint has them; else BERT's head of a single layer, on the state itself."""
    head, D = port.model.classifier, port.config.hidden_size
    if port.pooled:
        head.dense.weight.copy_(torch.from_numpy(parameter("pooler.dense.weight", (D, D))))
        head.dense.bias.copy_(torch.from_numpy(parameter("pooler.dense.bias", (D,))))
    else:
        head.forward = lambda x: head.out_proj(x[:, 0])


@plant("classifier-for-pooler")
def _(port: Port) -> None:
    """Take the first token's state as the pooled one."""
    port.base.pooler.forward = lambda x: x[:, 0]


PLANTS["tanh-missing-pooler"] = lambda port: setattr(port.base.pooler, "activation", nn.Identity())
PLANTS["tanh-missing-classifier"] = lambda port: port.patch(torch, "tanh", lambda x: x)


@plant("last-token")
def _(port: Port) -> None:
    head = getattr(port.base, "pooler", None) or port.model.classifier
    head.register_forward_pre_hook(lambda module, inputs: (inputs[0].flip(1),))


# not in the catalogue

PLANTS["silu"] = gelu(F.silu)
PLANTS["norm-over-tokens"] = lambda port: [setattr(norm, "forward", over_tokens(norm)) for norm in norms(port)]


def over_tokens(norm: nn.LayerNorm) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        variance = x.var(1, keepdim=True, correction=0)
        return (x - x.mean(1, keepdim=True)) / (variance + norm.eps).sqrt() * norm.weight + norm.bias

    return forward


@plant("head-1-zeroed")
def _(port: Port) -> None:
    port.inputs["head_mask"] = torch.tensor([1.0, 0.0, 1.0])


@plant("key-bias-doubled")
def _(port: Port) -> None:
    for module in port.modules(PARTS["key"]):
        module.bias.mul_(2)


def after(pattern: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Plant:
    """The output of these modules changed."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    return lambda port: [module.register_forward_hook(hook) for module in port.modules(pattern)]


PLANTS["word-embeddings-scaled"] = after(r"embeddings\.word_embeddings", lambda x: x * math.sqrt(x.shape[-1]))
PLANTS["layers-clamped"] = after(r"encoder\.layer\.\d+", lambda x: x.clamp(-1, 1))
PLANTS["attention-times-0.9"] = after(r".*\.attention\.output\.dropout", lambda x: 0.9 * x)
PLANTS["keys-rolled"] = lambda port: port.patch(F, "softmax", lambda x, dim: softmax(x, dim=dim).roll(1, dim))


@plant("last-key-dropped")
def _(port: Port) -> None:
    port.inputs["attention_mask"][0, -1] = 0


@plant("weights-of-one-decimal")
def _(port: Port) -> None:
    for module in port.model.modules():
        if isinstance(module, nn.Linear):
            module.weight.copy_(module.weight.mul(10).round() / 10)


@plant("residual-halved")
def _(port: Port) -> None:
    for module in port.modules(r".*\.output"):
        module.register_forward_pre_hook(lambda module, inputs: (inputs[0], inputs[1] / 2))


PLANTS["lm-gelu-missing"] = lambda port: port.patch(port.code, "gelu", lambda x: x)
PLANTS["positions-doubled"] = after(r"embeddings\.position_embeddings", lambda x: 2 * x)
PLANTS["layer-1-repeated"] = only(lambda n: [0, 1, 1])

# precision


def precision(dtype: torch.dtype) -> Plant:
    def give(port: Port) -> None:
        port.model.to(dtype)

    return give


PLANTS["float16"] = precision(torch.float16)
PLANTS["bfloat16"] = precision(torch.bfloat16)


def shortened(x: torch.Tensor) -> torch.Tensor:
    """x with ten bits after the first, rounded to nearest."""
    bits = x.view(torch.int32)
    return ((bits + (1 << 12)) >> 13 << 13).view(torch.float32)


@plant("tf32")
def _(port: Port) -> None:
    linear, matmul = F.linear, torch.matmul
    port.patch(F, "linear", lambda x, w, b=None: linear(shortened(x.contiguous()), shortened(w), b))
    port.patch(torch, "matmul", lambda a, b: matmul(shortened(a.contiguous()), shortened(b.contiguous())))


@plant("int8-weights")
def _(port: Port) -> None:
    for module in port.model.modules():
        if isinstance(module, nn.Linear) and module is not port.model.get_output_embeddings():
            scale = module.weight.abs().amax(1, keepdim=True) / 127
            module.weight.copy_((module.weight / scale).round() * scale)


# no mistake


@plant("sdpa")
def _(port: Port) -> None:
    """Torch's fused attention."""
    config = copy.deepcopy(port.config)
    config._attn_implementation_internal = None
    model = type(port.model)._from_config(config, attn_implementation="sdpa").eval()
    model.load_state_dict(port.model.state_dict())
    assert "Sdpa" in type(model.base_model.encoder.layer[0].attention.self).__name__
    port.model = model


# --- the file -------------------------------------------------------------------------------------------------------


def short(name: str) -> str:
    """A name without the base model's prefix."""
    return re.sub(r"^(roberta|roberta_prelayernorm|data2vec_text)\.", "", name)


def unrepeated(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The values without modules that only pass on another's output; outputs of layers and of the model stay."""
    result = {name: x for name, x in values.items() if re.fullmatch(OUTPUTS, short(name))}
    for name, value in values.items():
        if not any(np.array_equal(value, other) for other in result.values()):
            result[name] = value
    return result


def own_values(planted: Planted, right: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The values that differ from the right model's."""
    values = run(SETTINGS[planted.setting], planted.mistakes)
    names = [name for name in right if re.fullmatch(planted.kept, short(name))]
    found = {name: values.get(name, np.zeros(0, np.float32)) for name in names}
    changed = {name: x for name, x in found.items() if not np.array_equal(x, right[name])}
    assert changed, planted.name
    return changed


def main() -> None:
    """Rewrite the file; a second run gives the same bytes."""
    if transformers.__version__ != VERSION:
        raise SystemExit(f"the golden files need transformers {VERSION}, this is {transformers.__version__}")
    torch.set_num_threads(1)
    right = {name: unrepeated(run(setting)) for name, setting in SETTINGS.items()}
    values = {f"{setting}|{name}": x for setting, found in right.items() for name, x in found.items()}
    for planted in [*MISTAKES, *PAIRS, *STRANGERS, *RIGHT]:
        found = own_values(planted, right[planted.setting])
        print(f"{planted.name:<45} {len(found):4} {sum(x.nbytes for x in found.values()):8}")
        values.update((f"{planted.name}|{name}", x) for name, x in found.items())
    assert all(x.flags.c_contiguous for x in values.values())  # safetensors does not check that
    save_file(values, FILE)


if __name__ == "__main__":
    main()
