"""Write a model in Hugging Face's format, for transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..backend.arrays import to_host
from ..config import BODY, HEADS, Config
from ..weights import flat
from .files import write_json
from .formats import safetensors


def write(directory: Path, params: Any, config: Config, head: str) -> None:
    """Write `config.json` and `model.safetensors`, so that outputs in transformers 4.48.3 are equal. Raises OSError."""
    arrays, fields = own_arrays(params, config, head), own_fields(config, head)
    write_files(directory, arrays, {**fields, "torch_dtype": next(iter(arrays.values())).dtype.name})


def write_files(directory: Path, arrays: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    """Write the arrays and the configuration of a model; transformers needs the metadata `format: pt`."""
    directory.mkdir(parents=True, exist_ok=True)
    safetensors.write(directory / "model.safetensors", arrays, {"format": "pt"})
    write_json(directory / "config.json", dict(sorted(fields.items())), indent=2)


def own_arrays(params: Any, config: Config, head: str) -> dict[str, Any]:
    """A model's arrays on the host, under its family's names.

    transformers needs `lm_head.decoder.bias` in addition to `lm_head.bias`; otherwise it sets both to zero.
    """
    arrays = {name_in_file(name, config, head): to_host(array) for name, array in flat(params).items()}
    if "lm_head.bias" in arrays:
        arrays["lm_head.decoder.bias"] = arrays["lm_head.bias"].copy()
    return arrays


def name_in_file(name: str, config: Config, head: str) -> str:
    """The name of a weight in a file of this head, from its canonical name."""
    prefix = f"{config.family.prefix}." if head != "encoder" and name.split(".")[0] in BODY else ""
    return prefix + config.family.own_name(name)


def own_fields(config: Config, head: str) -> dict[str, Any]:
    """The fields of a model's `config.json`, without its dtype."""
    values = config.to_dict()
    values["architectures"] = [config.family.architecture + HEADS[head].ending]
    values.pop("auto_map", None)  # the code is not saved
    tasks = values.get("task_specific_params")
    if isinstance(tasks, Mapping):  # this head's labels may have changed since
        values["task_specific_params"] = {task: fields for task, fields in tasks.items() if task != HEADS[head].task}
    return values
