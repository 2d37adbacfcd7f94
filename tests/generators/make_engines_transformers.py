"""Write what transformers gives for the settings of `engine_cases.py`, with either attention, compiled, and in int8.

    python -m generators.make_engines_transformers

needs torch 2.13.0 (the CPU build), numpy, safetensors, and transformers. With 4.48.3 it writes `transformers-4`,
`torch-compile`, `torch-script`, `torch-autocast`, `torch-half` and `torch-int8`, with 5.24.0 `transformers-5`.
Compiling needs a C++ compiler.
"""

from __future__ import annotations

import itertools
import tempfile

import torch
import transformers

from generators import engine_cases
from generators.engine_cases import ENDINGS, FAMILIES, Candidates, setting
from generators.engine_torch import FIRST, NONE, ONE, STATES, STEPS, array, inputs, outputs, record, tensors

MAJOR = transformers.__version__[0]


def build(name: str, attention: str = "eager") -> torch.nn.Module:
    """transformers' model with the setting's weights."""
    told = engine_cases.config(name)
    model_class = getattr(transformers, told["architectures"][0])
    config = model_class.config_class(**{**told, "attn_implementation": attention})
    model = model_class(config)
    missing, unexpected = model.load_state_dict(tensors(engine_cases.with_prefix(name)), strict=False)
    assert all("position_ids" in x or "token_type_ids" in x for x in missing), missing
    assert not unexpected, unexpected
    return model.eval()


def values(model: torch.nn.Module, name: str, kept: str) -> dict:
    """The values of the modules, then the outputs."""
    found, output = record(model, kept, **inputs(name))
    return {**found, **outputs(output)}


def every() -> list[str]:
    return [setting(*which) for which in itertools.product(FAMILIES, ENDINGS, ("right", "left"))]


def plain(engine: str) -> Candidates:
    """Every setting by both attentions: all values of two, a state of the other eager ones, and the outputs."""
    found = Candidates(engine, transformers.__version__)
    for i, (name, attention) in enumerate(itertools.product(every(), ("eager", "sdpa"))):
        if MAJOR == "5" and i % 4 in (1, 2):  # one attention for each padding is enough there
            continue
        full = name in ("roberta/encoder/right", "roberta/masked_lm/left") and attention == "eager"
        kept = STEPS if full else ONE if attention == "eager" else NONE
        found.add(f"{engine}/{attention}/{name}", name, values(build(name, attention), name, kept))
    return found


def quirks(found: Candidates) -> None:
    """`from_pretrained` of 4.48.3 leaves out the bias of a language-model head whose file has it once."""
    name = setting(head="masked_lm")
    with tempfile.TemporaryDirectory() as folder:
        engine_cases.write(name, folder, tied=True)
        model = transformers.RobertaForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()
    lost = bool((model.lm_head.decoder.bias == 0).all())
    mistakes = ["lm-bias-missing"] if lost else []
    found.add(f"{found.engine}/from_pretrained/{name}", name, values(model, name, STATES), mistakes=mistakes)


def compiled() -> Candidates:
    """Models by torch's inductor."""
    found = Candidates("torch-compile", torch.__version__)
    for name in (setting(), setting(head="masked_lm", padding="left"), setting("xlm-roberta", "token_classification")):
        model = torch.compile(build(name, "sdpa"))
        with torch.no_grad():
            output = model(**inputs(name), output_hidden_states=True)
        states = dict(zip(["embeddings", *(f"encoder.layer.{i}" for i in range(3))], output.hidden_states, strict=True))
        given = {key: x.numpy() for key, x in states.items()}
        found.add(f"torch-compile/{name}", name, {**given, **outputs(output)})
    return found


def scripted() -> Candidates:
    """Models traced by torch.jit, frozen and optimised, and those that torch.export gives."""
    found = Candidates("torch-script", torch.__version__)
    heads = ("encoder", "masked_lm", "sequence_classification", "token_classification")
    for head, padding, way in itertools.product(heads, ("right", "left"), ("jit", "export")):
        name = setting("camembert" if way == "jit" else "xlm-roberta", head, padding)
        ids, mask = inputs(name).values()
        model = Tuple(build(name, "eager"))
        with torch.no_grad():
            if way == "jit":
                ready = torch.jit.optimize_for_inference(torch.jit.trace(model, (ids, mask), check_trace=False))
            else:
                ready = torch.export.export(model, (ids, mask)).module()
            state, *last = ready(ids, mask)
        names = ("last_hidden_state", "pooler_output") if head == "encoder" else ("logits",)
        given = {"encoder.layer.1": array(state), **dict(zip(names, map(array, last), strict=True))}
        found.add(f"torch-{way}/{name}", name, given)
    return found


class Tuple(torch.nn.Module):
    """A model of two tensors, which gives the state after the second layer, and its outputs."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        last = [output[key] for key in ("last_hidden_state", "pooler_output", "logits") if key in output]
        return (output.hidden_states[2], *last)


def half() -> tuple[Candidates, Candidates]:
    """Models in half precision, and float32 models under autocast."""
    by_dtype, by_autocast = Candidates("torch-half", torch.__version__), Candidates("torch-autocast", torch.__version__)
    names = [setting(), setting(padding="left"), setting("xlm-roberta", "sequence_classification")]
    for name, attention in itertools.product(names, ("eager", "sdpa")):
        kept = FIRST if (name, attention) == (names[0], "eager") else ONE
        for dtype in ("float16", "bfloat16"):
            model = build(name, attention).to(getattr(torch, dtype))
            title = f"torch-{dtype}/{attention}/{name}"
            by_dtype.add(title, name, values(model, name, kept), precision=dtype)
        with torch.autocast("cpu", torch.bfloat16):
            given = values(build(name, attention), name, kept)
        by_autocast.add(f"torch-autocast/{attention}/{name}", name, given, precision="bfloat16")
    return by_dtype, by_autocast


def int8() -> Candidates:
    """Dynamic int8 of torch.ao: weights and activations of linear modules."""
    found = Candidates("torch-int8", torch.__version__)
    for name in (setting(), setting(head="sequence_classification"), setting(padding="left")):
        model = torch.ao.quantization.quantize_dynamic(build(name), {torch.nn.Linear}, dtype=torch.qint8)
        kept = STEPS if name == setting() else NONE
        found.add(f"torch-int8/{name}", name, values(model, name, kept), mistakes=["int8-dynamic"])
    return found


def main() -> None:
    """Rewrite the files; a second run gives the same bytes on the same machine."""
    torch.set_num_threads(1)
    found = plain(f"transformers-{MAJOR}")
    quirks(found)
    found.save()
    if MAJOR == "4":
        for other in (compiled(), scripted(), *half(), int8()):
            other.save()


if __name__ == "__main__":
    main()
