"""Write what transformers 3.5.1 gives for the settings of `engine_cases.py`.

    python -m generators.make_engines_transformers3

needs Python 3.8, and

    pip install torch==2.0.1 numpy==1.23.5 safetensors==0.4.3
    pip install --no-deps transformers==3.5.1 tokenizers==0.9.3 sentencepiece==0.1.91 sacremoses filelock requests \
        packaging tqdm click joblib six urllib3 idna certifi charset-normalizer protobuf==3.20.3 regex
"""

from __future__ import annotations

import itertools

import torch

torch.optim.lr_scheduler.SAVE_STATE_WARNING = ""  # which this version of torch no longer has, and models do not need

import transformers  # noqa: E402

from generators import engine_cases  # noqa: E402
from generators.engine_cases import ENDINGS, FAMILIES, Candidates, setting  # noqa: E402
from generators.engine_torch import FIRST, NONE, ONE, array, inputs, record, tensors  # noqa: E402


def main() -> None:
    """Rewrite the file; a second run gives the same bytes on the same machine."""
    torch.set_num_threads(1)
    found = Candidates("transformers-3", transformers.__version__)
    for family, head, padding in itertools.product(FAMILIES, ENDINGS, ("right", "left")):
        name = setting(family, head, padding)
        kind = getattr(transformers, FAMILIES[family] + ENDINGS[head])
        told = {key: x for key, x in engine_cases.config(name).items() if key != "torch_dtype"}
        model = kind(kind.config_class(**told, return_dict=True))
        missing, unexpected = model.load_state_dict(tensors(engine_cases.with_prefix(name)), strict=False)
        assert not unexpected, unexpected
        assert all("position_ids" in key or "pooler" in key for key in missing), missing
        kept = FIRST if name == setting() else ONE if padding == "left" else NONE
        values, output = record(model.eval(), kept, **inputs(name))
        last = ("last_hidden_state", "pooler_output", "logits")
        values.update({key: array(output[key]) for key in last if output.get(key) is not None})
        found.add(f"transformers-3/{name}", name, values)
    found.save()


if __name__ == "__main__":
    main()
