"""Train the embedded model from a data folder: tokenizer, masked language modelling, heads.

    python tools/tiny/train.py DATA OUT

The defaults are for a GPU. On a CPU, the first embedded model was trained with `--tokens 46_000_000 --batch 4096
--rate 3e-3 --causal 0.235 --head-steps 900 --head-rate 5e-4`.

After an interruption the same command resumes; training of the heads starts again. With a larger `--tokens` it resumes
from the step at which the rate began to fall.
"""

import json
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import click
import numpy
import tokenizers
import torch
from data import END, PAD, SENTIMENTS, START, TAGS, articles, pack, train_tokenizer
from heads import answer_examples, batches, head_loss, sentence_examples, word_examples
from network import Tiny
from rows import LENGTH, POSITIONS, VOCABULARY, Rows, mask_tokens, shifts
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

SLICES = 14  # in which the articles are packed
WARM_UP, FALL = 0.01, 0.3  # of all tokens
# Learning rates: Muon's, AdamW's, that of the heads. A higher second one drives the tied embeddings of all tokens into
# one direction.
RATES = (1.0, 0.3, 2.0)

# --- data -----------------------------------------------------------------------------------------------------------


def prepare(data: Path, out: Path) -> None:
    """Write tokenizer.json and the packed rows, each once."""
    path = out / "tokenizer.json"
    if not path.exists():
        train_tokenizer(data, VOCABULARY).save(str(path.with_suffix(".part")))
        path.with_suffix(".part").replace(path)
    library = tokenizers.Tokenizer.from_file(str(path))
    for name, held_out in (("train", False), ("held-out", True)):
        if not (out / f"{name}.npy").exists():
            numpy.save(out / "part.npy", pack_in_slices(library, list(articles(data, held_out))))
            (out / "part.npy").replace(out / f"{name}.npy")


def pack_in_slices(library: tokenizers.Tokenizer, texts: list[str]) -> numpy.ndarray:
    """Pack slices of the articles side by side: as many slices on every machine, so that the rows are the same."""
    slices = [texts[first::SLICES] for first in range(SLICES)]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return numpy.concatenate(list(pool.map(pack, repeat(library), slices, repeat(LENGTH))))


# --- optimisation ---------------------------------------------------------------------------------------------------


def optimizers(model: Tiny) -> list[torch.optim.Optimizer]:
    """Muon for the encoder's matrices, AdamW for the rest of the masked LM, and AdamW for the other heads."""
    matrices = [p for name, p in model.named_parameters() if "encoder" in name and p.ndim == 2]
    heads = [p for head in (model.sentences, model.words, model.qa_outputs) for p in head.parameters()]
    others = {id(p) for p in (*matrices, *heads)}
    rest = [p for p in model.parameters() if id(p) not in others]
    muon = torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return [muon, *(torch.optim.AdamW(x, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01) for x in (rest, heads))]


def share_of_rate(done: float) -> float:
    """Share of the learning rate after this share of all tokens: linear warm-up, a plateau, linear decay to 0."""
    return min(1.0, done / WARM_UP, (1 - done) / FALL)


def set_rate(chain: list[torch.optim.Optimizer], rate: float) -> None:
    for optimizer, share in zip(chain, RATES, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = share * rate


def compile_for_gpu(model: Tiny) -> None:
    """Compile the layers, and the head of masked tokens, whose number changes from step to step. Allow TF32."""
    torch.set_float32_matmul_precision("high")
    for layer in model.roberta.encoder.layer:
        layer.compile()
    model.lm_head.compile(dynamic=True)


# --- masked language modelling --------------------------------------------------------------------------------------


class Log:
    """A log file with a line of JSON for each call, which is also printed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, **values: object) -> None:
        line = json.dumps(values)
        click.echo(line)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def masked_loss(model: Tiny, ids: Tensor, seed: int, shift: Tensor | int = 0) -> tuple[Tensor, Tensor]:
    """The mean cross-entropy at the masked positions, and the share of right predictions."""
    changed, chosen = mask_tokens(ids, seed)
    with torch.autocast(ids.device.type, torch.bfloat16):
        logits = model.masked_lm(changed, chosen, shift=shift).float()  # (n, V)
    labels = ids[chosen]
    return functional.cross_entropy(logits, labels), (logits.argmax(-1) == labels).float().mean()


def causal_loss(model: Tiny, ids: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """The same for each next token, where a position sees only itself and those before it."""
    followed = torch.zeros_like(ids, dtype=torch.bool)
    followed[:, :-1] = ids[:, 1:] != PAD
    with torch.autocast(ids.device.type, torch.bfloat16):
        logits = model.masked_lm(ids, followed, causal=True, shift=shift).float()  # (n, V)
    labels = ids[:, 1:][followed[:, :-1]]
    return functional.cross_entropy(logits, labels), (logits.argmax(-1) == labels).float().mean()


def start_at_frequencies(model: Tiny, table: numpy.ndarray) -> None:
    """Start the bias of the masked LM at the logarithm of each token's share, which it would have to learn first."""
    counts = numpy.bincount(table.ravel(), minlength=VOCABULARY) + 1.0
    counts[: END + 2] = 1
    model.lm_head.bias.data.copy_(torch.from_numpy(numpy.log(counts / counts.sum())))


@torch.no_grad()
def validate(model: Tiny, table: Tensor) -> dict[str, float]:
    """Loss and accuracy on the same 512 held-out rows, masked the same way."""
    parts = table[:: max(1, len(table) // 512)][:512].long().split(64)
    results = [masked_loss(model, ids, seed) for seed, ids in enumerate(parts)]
    loss, right = (torch.stack(values).mean().item() for values in zip(*results, strict=True))
    return {"held_out_loss": round(loss, 4), "held_out_accuracy": round(right, 4)}


def pretrain(
    model: Tiny, out: Path, tokens: int, batch: int, rate: float, causal: float, seed: int, device: str, log: Log
) -> None:
    """Train until `tokens` are read, padding included. Keeps `latest.pt`, and `plateau.pt` from before the fall."""
    table, held_out = (numpy.load(out / f"{name}.npy") for name in ("train", "held-out"))
    rows, validation = Rows(table, seed, device), Rows(held_out, seed, device).table
    chain = optimizers(model)
    found = resume(model, chain, out, tokens)
    if not found:
        start_at_frequencies(model, table)
    step, done, turn = found or (0, 0, round(causal * tokens))
    saved = logged = time.monotonic()
    while done < tokens:
        if done / tokens < 1 - FALL <= (done + batch) / tokens:
            save(model, chain, out / "plateau.pt", step, done, turn, tokens)
        count = batch // LENGTH
        set_rate(chain, rate * share_of_rate((done + batch) / tokens))
        ids = rows.read(step * count, count)
        shift = shifts(ids, seed * 10**9 + step)
        if done < turn:
            loss, right = causal_loss(model, ids, shift)
        else:
            loss, right = masked_loss(model, ids, seed * 10**9 + step, shift)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in chain:
            optimizer.step()
            optimizer.zero_grad()
        step, done = step + 1, done + batch
        if step % 50 == 0:
            speed = 50 * batch / (time.monotonic() - logged)
            logged = time.monotonic()
            more = validate(model, validation) if step % 500 == 0 else {}
            log(step=step, tokens=done, loss=round(loss.item(), 4), accuracy=round(right.item(), 4),
                tokens_a_second=round(speed), **more)  # fmt: skip
        if time.monotonic() - saved > 300 or done >= tokens:
            save(model, chain, out / "latest.pt", step, done, turn, tokens)
            saved = time.monotonic()


def save(
    model: Tiny, chain: list[torch.optim.Optimizer], path: Path, step: int, done: int, turn: int, tokens: int
) -> None:
    """Save all that `resume` needs; `turn`: the tokens after which masked ones were predicted, not the next."""
    state = {"model": model.state_dict(), "chain": [o.state_dict() for o in chain]}
    torch.save({**state, "step": step, "done": done, "turn": turn, "tokens": tokens}, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def resume(model: Tiny, chain: list[torch.optim.Optimizer], out: Path, tokens: int) -> tuple[int, int, int] | None:
    """Resume from `latest.pt`; or from `plateau.pt`, if the rate had begun to fall towards another end.

    Returns the steps, the tokens read, and those after which masked ones are predicted; None if nothing was saved.
    """
    for name in ("latest.pt", "plateau.pt"):
        if (out / name).exists():
            state = torch.load(out / name, weights_only=True)
            if state["tokens"] == tokens or state["done"] <= (1 - FALL) * state["tokens"]:
                model.load_state_dict(state["model"])
                for optimizer, values in zip(chain, state["chain"], strict=True):
                    optimizer.load_state_dict(values)
                return state["step"], state["done"], state["turn"]
    return None


# --- heads ----------------------------------------------------------------------------------------------------------

ROWS = {"masked": 16, "sentences": 32, "words": 32, "answers": 64}  # of each task in a step
WEIGHTS = {"masked": 1.0, "sentences": 0.3, "words": 0.5, "answers": 1.0}


def train_heads(model: Tiny, data: Path, out: Path, steps: int, rate: float, seed: int, device: str, log: Log) -> None:
    """Train on a batch of each task and of masked rows in every step, at a rate that ends at 0."""
    library = tokenizers.Tokenizer.from_file(str(out / "tokenizer.json"))
    examples = {
        "sentences": sentence_examples(data, library),
        "words": word_examples(data, library),
        "answers": answer_examples(data, library, seed),
    }
    readers = {task: batches(found, ROWS[task], seed) for task, found in examples.items()}
    rows = Rows(numpy.load(out / "train.npy"), seed + 1, device)
    chain = optimizers(model)
    for step in range(steps):
        set_rate(chain, rate * min(1.0, (step + 1) / 50, (steps - step) / (0.7 * steps)))
        losses = {task: head_loss(model, task, next(reader), device) for task, reader in readers.items()}
        masked = rows.read(step * ROWS["masked"], ROWS["masked"])
        losses["masked"], _ = masked_loss(model, masked, seed * 10**9 - step)
        sum(WEIGHTS[task] * loss for task, loss in losses.items()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in chain:
            optimizer.step()
            optimizer.zero_grad()
        if step % 50 == 49:
            log(head_step=step + 1, **{task: round(loss.item(), 4) for task, loss in losses.items()})


# --- the files ------------------------------------------------------------------------------------------------------


def write_checkpoint(model: Tiny, out: Path) -> None:
    """Write `model.safetensors` and `config.json`, which with `tokenizer.json` are the embedded model."""
    save_file(model.checkpoint(), out / "model.safetensors", {"format": "pt"})
    body = model.roberta
    labels = {"text-classification": SENTIMENTS, "token-classification": TAGS}
    config = {
        "architectures": ["RobertaForMaskedLM"],
        "attention_probs_dropout_prob": 0.0,
        "bos_token_id": START,
        "eos_token_id": END,
        "hidden_dropout_prob": 0.0,
        "hidden_size": body.embeddings.word_embeddings.embedding_dim,
        "intermediate_size": body.encoder.layer[0].intermediate.dense.out_features,
        "layer_norm_eps": body.embeddings.LayerNorm.eps,
        "max_position_embeddings": body.embeddings.position_embeddings.num_embeddings,
        "model_type": "roberta",
        "num_attention_heads": body.encoder.layer[0].attention.self.heads,
        "num_hidden_layers": len(body.encoder.layer),
        "pad_token_id": PAD,
        "task_specific_params": {
            task: {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
            for task, names in labels.items()
        },
        "torch_dtype": "float16",
        "type_vocab_size": 1,
        "vocab_size": VOCABULARY,
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--tokens", default=2_360_000_000, show_default=True, help="Tokens to read before the heads, with padding."
)
@click.option("--batch", default=131_072, show_default=True, help="Tokens of a step.")
@click.option("--rate", default=5e-3, show_default=True, help="The highest learning rate.")
@click.option(
    "--causal", default=0.03, show_default=True, help="Share of the tokens to begin with next-token prediction."
)
@click.option("--head-steps", default=3500, show_default=True, help="Steps of the heads.")
@click.option(
    "--head-rate", default=1e-3, show_default=True, help="The highest learning rate while the heads are trained."
)
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
def main(
    data: Path, out: Path, tokens: int, batch: int, rate: float, causal: float, head_steps: int, head_rate: float,
    seed: int, device: str,
) -> None:  # fmt: skip
    """Train the embedded model on the files in DATA and write it to OUT."""
    out.mkdir(parents=True, exist_ok=True)
    prepare(data, out)
    torch.manual_seed(seed)
    model = Tiny(VOCABULARY, positions=POSITIONS).to(device)
    if device.startswith("cuda"):
        compile_for_gpu(model)
    log = Log(out / "log.jsonl")
    pretrain(model, out, tokens, batch, rate, causal, seed, device, log)
    train_heads(model, data, out, head_steps, head_rate, seed, device, log)
    write_checkpoint(model, out)


if __name__ == "__main__":
    main()
