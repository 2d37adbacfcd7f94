"""Write what engines of ONNX files give for transformers' models with the settings of `engine_cases.py`.

    python -m generators.make_engines_onnx [ENGINE ...]

needs

    pip install torch==2.13.0 transformers==4.48.3 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 tract==0.23.9 \
        tinygrad==0.14.0 opencv-python-headless==5.0.0.93 iree-base-compiler==3.13.0 iree-base-runtime==3.13.0
    npm install --ignore-scripts onnxruntime-node@1.30.0 onnxruntime-web@1.31.0-dev.20260914-8d85527a0

with torch's CPU build. tinygrad needs clang. `NODE_PATH` names the folder `node_modules`. ENGINE is the name of one of
the functions below; without any, all of them run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from generators import engine_cases
from generators.engine_cases import Candidates, setting
from generators.engine_onnx import Exported, export, models
from generators.engine_torch import FIRST

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[Exported, dict[str, np.ndarray]], Any]


def collect(found: Candidates, title: str, exported: list[Exported], run: Run, **told: Any) -> None:
    """Add what an engine gives for each model."""
    for model in exported:
        values = model.given(run(model, engine_cases.inputs(model.setting)))
        found.add(f"{title}/opset{model.opset}/{model.setting}", model.setting, values, **told)


def onnxruntime(exported: list[Exported]) -> list[Candidates]:
    """Each level of graph optimisation, on one thread and two; and dynamic int8."""
    import onnxruntime as ort

    levels = ort.GraphOptimizationLevel
    variants = [
        ("plain-1", levels.ORT_DISABLE_ALL, 1),
        ("basic-2", levels.ORT_ENABLE_BASIC, 2),
        ("extended-1", levels.ORT_ENABLE_EXTENDED, 1),
        ("all-2", levels.ORT_ENABLE_ALL, 2),
    ]
    found, int8 = Candidates("onnxruntime", ort.__version__), Candidates("onnxruntime-int8", ort.__version__)

    def session(file: str, level: Any = levels.ORT_ENABLE_ALL, threads: int = 1) -> Any:
        options = ort.SessionOptions()
        options.graph_optimization_level, options.intra_op_num_threads = level, threads
        return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    for i, (title, level, threads) in enumerate(variants):
        collect(
            found,
            f"onnxruntime/{title}",
            exported[i % 2 :: 2],
            lambda model, given, level=level, threads=threads: session(model.file, level, threads).run(None, given),
        )
    quantised(int8, session)
    return [found, int8]


def quantised(found: Candidates, session: Any) -> None:
    """Weights and activations of matrix products in int8, with a scale for a tensor or for each channel."""
    from onnxruntime.quantization import quantize_dynamic

    for name, per_channel in ((setting(), False), (setting(), True), (setting("xlm-roberta", "masked_lm"), False)):
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "f32.onnx"), Path(folder, "int8.onnx")
            model = Exported(name, 17, str(target), export(name, source, FIRST, 17))
            quantize_dynamic(source, target, per_channel=per_channel)
            title = f"onnxruntime-int8/{'channel' if per_channel else 'tensor'}"
            collect(
                found,
                title,
                [model],
                lambda model, given: session(model.file).run(None, given),
                mistakes=["int8-dynamic"],
            )


def openvino(exported: list[Exported]) -> list[Candidates]:
    """The CPU's plugin in float32 on one thread and two, and by its hint of bfloat16."""
    import openvino as ov

    def run(hint: str, threads: int) -> Run:
        told = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}

        def values(model: Exported, given: dict[str, np.ndarray]) -> list[np.ndarray]:
            compiled = ov.Core().compile_model(model.file, "CPU", told)
            result = compiled([given[x.get_any_name()] for x in compiled.inputs])
            return [result[i] for i in range(len(compiled.outputs))]

        return values

    found = Candidates("openvino", version("openvino"))
    half = Candidates("openvino-bfloat16", version("openvino"))
    collect(found, "openvino/1", exported[::2], run("f32", 1))
    collect(found, "openvino/2", exported[1::2], run("f32", 2))
    collect(half, "openvino-bfloat16", exported[:6], run("bf16", 1), precision="bfloat16")
    return [found, half]


def tract(exported: list[Exported]) -> list[Candidates]:
    """tract, which is written in Rust."""
    import tract as engine

    def run(model: Exported, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        runnable = engine.onnx().load(model.file).into_model().into_runnable()
        return [x.to_numpy() for x in runnable.run([given["input_ids"], given["attention_mask"]])]

    found = Candidates("tract", version("tract"))
    collect(found, "tract", exported, run)
    return [found]


def tinygrad(exported: list[Exported]) -> list[Candidates]:
    """tinygrad, by its own reader of ONNX."""
    from tinygrad import Tensor
    from tinygrad.nn.onnx import OnnxRunner

    def run(model: Exported, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        result = OnnxRunner(model.file)({name: Tensor(x) for name, x in given.items()})
        return [x.numpy() for x in result.values()]

    found = Candidates("tinygrad", version("tinygrad"))
    collect(found, "tinygrad", exported[:16], run)
    return [found]


def reference(exported: list[Exported]) -> list[Candidates]:
    """The evaluator of the ONNX project, in NumPy."""
    from onnx.reference import ReferenceEvaluator

    found = Candidates("onnx-reference", version("onnx"))
    collect(
        found, "onnx-reference", exported[:16], lambda model, given: ReferenceEvaluator(model.file).run(None, given)
    )
    return [found]


def opencv(exported: list[Exported]) -> list[Candidates]:
    """The networks of OpenCV, which give no output that another output needs."""
    import cv2

    def run(model: Exported, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        network = cv2.dnn.readNetFromONNX(model.file)
        for name, x in given.items():
            network.setInput(x, name)
        return network.forward([f"out.{name}" for name in model.names])

    found = Candidates("opencv", version("opencv-python-headless"))
    collect(found, "opencv", exported[2::2], run)
    return [found]


def iree(exported: list[Exported]) -> list[Candidates]:
    """IREE: compiled by MLIR and LLVM."""
    import iree.compiler
    import iree.runtime

    def run(model: Exported, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        text = model.file + ".mlir"
        importer = [sys.executable, "-m", "iree.compiler.tools.import_onnx", model.file, "-o", text]
        subprocess.run(importer, check=True)
        binary = iree.compiler.compile_file(
            text, target_backends=["llvm-cpu"], input_type="onnx", extra_args=["--iree-llvmcpu-target-cpu=generic"]
        )
        context = iree.runtime.SystemContext(config=iree.runtime.Config("local-task"))
        module = iree.runtime.VmModule.copy_buffer(context.instance, binary)
        context.add_vm_module(module)
        result = context.modules[module.name]["main_graph"](*given.values())
        return list(result) if len(model.names) > 1 else [result]

    found = Candidates("iree", version("iree-base-compiler"))
    collect(found, "iree", exported[:12], run)
    return [found]


JAVASCRIPT = """
const [library, told] = process.argv.slice(1);
const ort = require(library);
const { readFileSync } = require("fs");
if (ort.env.wasm) ort.env.wasm.numThreads = 1;
(async () => {
  const found = [];
  for (const { file, ids, mask } of JSON.parse(readFileSync(told))) {
    const shape = [ids.length, ids[0].length];
    const tensor = (rows) => new ort.Tensor("int64", BigInt64Array.from(rows.flat().map(BigInt)), shape);
    const session = await ort.InferenceSession.create(file);
    const output = await session.run({ input_ids: tensor(ids), attention_mask: tensor(mask) });
    found.push(session.outputNames.map((name) => ({ shape: output[name].dims, data: Array.from(output[name].data) })));
  }
  console.log(JSON.stringify(found));
})();
"""


def javascript(exported: list[Exported]) -> list[Candidates]:
    """onnxruntime in node, by its binding and by WebAssembly."""
    result = []
    for library in ("onnxruntime-node", "onnxruntime-web"):
        chosen = exported[:16]
        told = [{"file": x.file, **_lists(engine_cases.inputs(x.setting))} for x in chosen]
        with tempfile.TemporaryDirectory() as folder:
            about = Path(folder, "told.json")
            about.write_text(json.dumps(told))
            command = ["node", "-e", JAVASCRIPT, library, str(about)]
            given = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        package = Path(os.environ["NODE_PATH"], library, "package.json")
        found = Candidates(library, json.loads(package.read_text())["version"])
        arrays = [[np.array(x["data"], np.float32).reshape(x["shape"]) for x in outputs] for outputs in given]
        by_file = {model.file: values for model, values in zip(chosen, arrays, strict=True)}
        collect(found, library, chosen, lambda model, _, by_file=by_file: by_file[model.file])
        result.append(found)
    return result


def _lists(inputs: dict[str, np.ndarray]) -> dict[str, list[list[int]]]:
    return {"ids": inputs["input_ids"].tolist(), "mask": inputs["attention_mask"].tolist()}


ENGINES = (onnxruntime, openvino, tract, tinygrad, reference, opencv, iree, javascript)


def main(wanted: list[str]) -> None:
    """Rewrite the files; a second run gives the same bytes on the same machine."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        exported = models(Path(folder))
        for engine in ENGINES:
            if not wanted or engine.__name__ in wanted:
                for found in engine(exported):
                    found.save()


if __name__ == "__main__":
    main(sys.argv[1:])
