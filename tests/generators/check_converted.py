"""Convert every golden checkpoint, and compare transformers' outputs with those of the framework that it came from.

    PYTHONPATH=.. python -m generators.check_converted

needs torch, transformers 4.48.3, tokenizers, safetensors and click. Prints the largest difference at tokens.
"""

import tempfile

import torch
import transformers
from click.testing import CliRunner
from safetensors.numpy import load_file

from generators import GOLDEN
from minroberta.cli import app as cli

CHECKPOINTS = GOLDEN / "checkpoints"


def outputs(directory, expected):
    """The outputs of transformers from a directory, under the names of `expected`."""
    ids, mask = (torch.from_numpy(expected[name]) for name in ("input_ids", "attention_mask"))
    architecture = transformers.AutoConfig.from_pretrained(directory).architectures[0]
    model, report = getattr(transformers, architecture).from_pretrained(
        directory, attn_implementation="eager", output_loading_info=True
    )
    assert not report["unexpected_keys"] and not report["mismatched_keys"], report
    assert all("pooler" in name for name in report["missing_keys"]), report
    with torch.inference_mode():
        made = model.eval()(input_ids=ids, attention_mask=mask)
        # Multiple choice has no state in `expected`: its ids have one axis more.
        last = model.base_model(ids, mask).last_hidden_state if ids.ndim == 2 else None
    return {"features": last, "last_hidden_state": last, **made}


def main():
    """Check all checkpoints."""
    for path in sorted(CHECKPOINTS.glob("*/expected.safetensors")):
        if path.parent.name == "pytorch-tensors":
            continue
        with tempfile.TemporaryDirectory() as name:
            result = CliRunner().invoke(cli.main, ["convert", str(path.parent), name], catch_exceptions=False)
            assert result.exit_code == 0, result.output
            expected = load_file(path)
            found = outputs(name, expected)
        for output, its in expected.items():
            if output not in ("input_ids", "attention_mask"):
                ours = found[output].numpy()
                places = expected["attention_mask"] == 1
                if its.shape[:2] == places.shape:
                    ours, its = ours[places], its[places]
                print(f"{path.parent.name:28}{output:20}{abs(ours - its).max():.1e} of {abs(its).max():.2f}")


if __name__ == "__main__":
    main()
