"""Measure the embedded model, by minroberta alone, on text that it was not trained on.

python tools/tiny/evaluate.py DATA

It needs scikit-learn.
"""

import re
import string
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import click
import numpy
from data import END, PAD, TAGS, articles, pack, pieces_of_words, questions, sentiments, tagged
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

import minroberta

LENGTH = 128


def masked_tokens(data: Path, rows: int) -> dict[str, float]:
    """Accuracy and perplexity at 15 % of the positions of held-out articles, beside two models of counts.

    The bigram model was counted on 4,000 articles. It knows the true token to the left, even if that is masked too,
    and is smoothed by the shares of single tokens with a weight of 100.
    """
    model = minroberta.load(head="masked_lm")
    mask, V = model.config.vocab_size - 1, model.config.vocab_size
    held_out = pack(model.tokenizer.library, articles(data, True), LENGTH)
    ids = held_out[:: max(1, len(held_out) // rows)][:rows].astype(int)  # (B, L)
    chosen = (numpy.random.default_rng(0).random(ids.shape) < 0.15) & (ids > END)
    given = numpy.where(chosen, mask, ids)
    labels, before = ids[chosen], numpy.roll(ids, 1, 1)[chosen]
    logits = numpy.concatenate([_logits(model, part, where) for part, where in _parts(given, chosen, 16)])  # (n, V)
    own = _log_softmax(logits)

    seen = pack(model.tokenizer.library, islice(articles(data, False), 4000), LENGTH).astype(int)
    pairs = numpy.bincount((seen[:, :-1] * V + seen[:, 1:]).ravel(), minlength=V * V).reshape(V, V)
    pairs[:, [PAD, END]] = 0
    single = pairs.sum(0) + 1.0
    single /= single.sum()
    two = numpy.log((pairs[before] + 100 * single) / (pairs[before].sum(1, keepdims=True) + 100))  # (n, V)
    one = numpy.broadcast_to(numpy.log(single), two.shape)
    return {
        f"{name} {measure}": value
        for name, scores in (("masked token", own), ("commonest token", one), ("bigram", two))
        for measure, value in (
            ("accuracy", float((scores.argmax(1) == labels).mean())),
            ("perplexity", float(numpy.exp(-scores[numpy.arange(len(labels)), labels].mean()))),
        )
    } | {"masked positions": float(len(labels))}


def _parts(given: numpy.ndarray, chosen: numpy.ndarray, size: int) -> list[tuple[numpy.ndarray, numpy.ndarray]]:
    return [(given[i : i + size], chosen[i : i + size]) for i in range(0, len(given), size)]


def _logits(model: minroberta.Model, given: numpy.ndarray, chosen: numpy.ndarray) -> numpy.ndarray:
    return model(given, attention_mask=given != PAD).logits[chosen]


def _log_softmax(scores: numpy.ndarray) -> numpy.ndarray:
    scores = scores - scores.max(1, keepdims=True)
    return scores - numpy.log(numpy.exp(scores).sum(1, keepdims=True))


def sentiment(data: Path) -> dict[str, float]:
    """Accuracy on the held-out tenth."""
    examples = sentiments(data, held_out=True)
    model = minroberta.load(head="sequence_classification")
    found = model.classify([e.text for e in examples])
    right = [best["label"] == e.label for [best], e in zip(found, examples, strict=True)]
    commonest = Counter(e.label for e in examples).most_common(1)[0][1]
    return {
        "sentiment accuracy": float(numpy.mean(right)),
        "always the commonest label": commonest / len(examples),
        "reviews": float(len(examples)),
    }


def parts_of_speech(data: Path) -> dict[str, float]:
    """Accuracy on the words of UD's dev set: each is predicted at the piece that holds its first character.

    A word that shares the piece of the word before it, as in "don't", counts as wrong.
    """
    model = minroberta.load(head="token_classification")
    sentences = tagged(data, "dev")
    right = words = 0
    for first in range(0, len(sentences), 64):
        batch = sentences[first : first + 64]
        inputs = model.tokenize([s.text for s in batch])
        best = model(**inputs).logits.argmax(-1)  # (B, L)
        for sentence, row in zip(batch, best, strict=True):
            offsets = model.tokenizer.library.encode(sentence.text).offsets[: len(row)]
            pieces = pieces_of_words(sentence, offsets)
            right += sum(p is not None and TAGS[row[p]] == tag for p, tag in zip(pieces, sentence.tags, strict=True))
            words += len(sentence.tags)
    return {"UPOS accuracy": right / words, "words": float(words)}


def answers(data: Path, most: int) -> dict[str, float]:
    """Exact match and F1 on SQuAD's dev (Rajpurkar et al. 2016, section 6.1), the best over the given answers."""
    model = minroberta.load(head="question_answering")
    found = questions(data, "dev")
    found = found[:: max(1, len(found) // most)]
    exact, f1 = [], []
    given = model.answer([q.question for q in found], [q.context for q in found])
    for q, [best] in zip(found, given, strict=True):
        answer = normalised(best["answer"])
        exact.append(max(answer == normalised(a) for a in q.answers))
        f1.append(max(overlap(answer.split(), normalised(a).split()) for a in q.answers))
    return {"exact match": float(numpy.mean(exact)), "F1": float(numpy.mean(f1)), "questions": float(len(found))}


def normalised(text: str) -> str:
    """The text in small letters, without punctuation, articles and needless spaces."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def overlap(found: list[str], wanted: list[str]) -> float:
    """F1 of two bags of words."""
    common = (Counter(found) & Counter(wanted)).total()
    return 2 * common / (len(found) + len(wanted)) if common else float(found == wanted)


def embeddings(data: Path) -> dict[str, float]:
    """Separation of the ten articles that 500 questions are about by the questions' vectors, and by tf-idf.

    NMI: of ten clusters by k-means with the articles, the mean of ten runs. Probe: accuracy of a logistic regression
    on standardised channels, in five folds.
    """
    texts, about = _questions_of_ten_articles(data)
    model = minroberta.load(head="encoder")
    states = [model(**model.tokenize(text), output_hidden_states=True).hidden_states for text in texts]
    vectors = {"tf-idf": TfidfVectorizer(sublinear_tf=True).fit_transform(texts).toarray()}
    for pooling in ("mean", "max", "cls"):
        vectors[f"last layer, {pooling}"] = model.encode(texts, pooling=pooling, normalize=True)
    for layer in range(model.config.num_hidden_layers):
        vectors[f"layer {layer}, mean"] = normalize([state[layer][0].mean(0) for state in states])
    found = {}
    for name, values in vectors.items():
        runs = [KMeans(10, n_init=10, random_state=seed).fit_predict(values) for seed in range(10)]
        found[f"{name}: NMI"] = float(numpy.mean([normalized_mutual_info_score(about, run) for run in runs]))
        scaled = [] if name == "tf-idf" else [StandardScaler()]
        probe = make_pipeline(*scaled, LogisticRegression(max_iter=1000))
        found[f"{name}: probe"] = float(cross_val_score(probe, values, about, cv=5).mean())
    return found


def _questions_of_ten_articles(data: Path) -> tuple[list[str], list[int]]:
    """The first 50 questions of each of the first ten articles of SQuAD's dev that have as many; and their articles."""
    by_article: dict[str, list[str]] = {}
    for q in questions(data, "dev"):
        by_article.setdefault(q.article, []).append(q.question)
    chosen = [found[:50] for found in by_article.values() if len(found) >= 50][:10]
    return [text for found in chosen for text in found], [number for number in range(10) for _ in range(50)]


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rows", default=1000, show_default=True, help="Rows of held-out articles.")
@click.option("--questions", "most", default=100_000, show_default=True, help="At most about this many of SQuAD's dev.")
def main(data: Path, rows: int, most: int) -> None:
    """Print the figures of the model card."""
    parts: list[Callable[[], dict[str, float]]] = [
        lambda: masked_tokens(data, rows),
        lambda: sentiment(data),
        lambda: parts_of_speech(data),
        lambda: answers(data, most),
        lambda: embeddings(data),
    ]
    for part in parts:
        for name, value in part().items():
            click.echo(f"{name:<28} {value:10,.0f}" if value == int(value) else f"{name:<28} {value:10.4g}")


if __name__ == "__main__":
    main()
