"""Fine-tune one model on the same examples with `minroberta fine-tune` and with transformers' Trainer.

    pip install torch==2.13.0 transformers==4.48.3 accelerate==1.15.0
    python benchmarks/fine_tune.py EXAMPLES HELD_OUT --directory DIR

EXAMPLES, HELD_OUT: files with a label, a tab and a text in each line. Both begin with the same weights, the embedded
model's with a new head, and take the same number of steps with the same optimizer and rates; each orders the examples
in its own way. A process for each measures the accuracy on HELD_OUT, the time, and the peak of memory.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

BATCH, DECAY, WARM_UP = 16, 0.1, 0.06


def labelled(path: Path) -> tuple[list[str], list[str]]:
    """Texts and labels."""
    rows = [line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    return [text for _, text in rows], [label for label, _ in rows]


def by_minroberta(start: Path, examples: Path, held_out: Path, out: Path, options: dict[str, Any]) -> float:
    """The accuracy after the last epoch."""
    from click.testing import CliRunner

    from minroberta.cli import main

    arguments = [str(examples), "--held-out", str(held_out), "--model", str(start), "--output", str(out), "--json"]
    for name, value in options.items():
        arguments += [f"--{name}", str(value)]
    done = CliRunner().invoke(main, ["fine-tune", *arguments, "--head", "sequence_classification"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["history"][-1][1]["accuracy"]


def by_trainer(start: Path, examples: Path, held_out: Path, out: Path, options: dict[str, Any]) -> float:
    """The accuracy after the last epoch."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(start), AutoTokenizer.from_pretrained(start)

    class Rows(torch.utils.data.Dataset):
        def __init__(self, path: Path) -> None:
            self.texts, labels = labelled(path)
            self.labels = [model.config.label2id[label] for label in labels]

        def __len__(self) -> int:
            return len(self.texts)

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {**tokenizer(self.texts[index], truncation=True), "labels": self.labels[index]}

    settings = TrainingArguments(
        str(out), num_train_epochs=options["epochs"], learning_rate=options["learning-rate"], seed=options["seed"],
        per_device_train_batch_size=BATCH, per_device_eval_batch_size=32, weight_decay=DECAY, warmup_ratio=WARM_UP,
        group_by_length=True, eval_strategy="epoch", save_strategy="no", use_cpu=True, report_to="none",
        disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(
        model, settings, train_dataset=Rows(examples), eval_dataset=Rows(held_out),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())},
    )  # fmt: skip
    trainer.train()
    return trainer.evaluate()["eval_accuracy"]


WAYS = {"minroberta": by_minroberta, "trainer": by_trainer}


@click.command()
@click.argument("examples", type=click.Path(path_type=Path))
@click.argument("held_out", type=click.Path(path_type=Path))
@click.option("--directory", type=click.Path(path_type=Path), required=True, help="For the models.")
@click.option("--epochs", default=3)
@click.option("--learning-rate", default=6e-5)
@click.option("--seed", default=0)
@click.option("--way", type=click.Choice(list(WAYS)), hidden=True)
def main(examples: Path, held_out: Path, directory: Path, way: str | None, **options: Any) -> None:
    """Print the accuracy, time and memory of both."""
    options = {name.replace("_", "-"): value for name, value in options.items()}
    if way:
        start = time.monotonic()
        accuracy = WAYS[way](directory / "start", examples, held_out, directory / way, options)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{way:<12}accuracy {accuracy:.4f}, {time.monotonic() - start:.0f} s, {peak:.2f} GB")
        return
    import minroberta

    names, base = dict(enumerate(sorted(set(labelled(examples)[1])))), directory / "base"
    minroberta.load(head="masked_lm").save(base)  # without the head for the sentiment of reviews
    new = {"head": "sequence_classification", "missing": "init", "config": {"id2label": names}}
    minroberta.load(base, **new).save(directory / "start")
    for name in WAYS:
        subprocess.run([sys.executable, *sys.argv, "--way", name], check=True)


if __name__ == "__main__":
    main()
