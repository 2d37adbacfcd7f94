"""RoBERTa (post-LN) in PyTorch, to train the embedded model: Hugging Face's names, four heads on one body."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

PAD = 1


def rates_of_waves(width: int) -> Tensor:
    """The angle by which each pair of a sinusoidal embedding rotates from one position to the next, (D / 2,)."""
    return torch.exp(-math.log(10_000) * torch.arange(0, width, 2) / width)


class Embeddings(nn.Module):
    def __init__(self, vocabulary: int, width: int, positions: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(positions + PAD + 1, width)
        self.token_type_embeddings = nn.Embedding(1, width)
        self.LayerNorm = nn.LayerNorm(width)

    def start_as_waves(self) -> None:
        """Start the positions as sinusoids (Vaswani et al. 2017, section 3.5), in which a shift is a rotation."""
        rows, width = self.position_embeddings.weight.shape
        angles = torch.arange(rows)[:, None] * rates_of_waves(width)  # (P, D / 2)
        waves = torch.stack((angles.sin(), angles.cos()), 2).reshape(rows, width)
        nn.init.zeros_(self.position_embeddings.weight)
        self.position_embeddings.weight.data += 0.02 * math.sqrt(2) * waves

    def forward(self, ids: Tensor, shift: Tensor | int = 0) -> Tensor:
        """Embed ids; `shift`, (B, 1), is added to all positions of a row."""
        mask = (ids != PAD).long()
        x = self.word_embeddings(ids) + self.position_embeddings((mask.cumsum(1) + shift) * mask + PAD)
        return self.LayerNorm(x + self.token_type_embeddings.weight[0])  # (B, L) -> (B, L, D)


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def start_beside(self) -> None:
        """Start with each head looking at one relative position, from -H / 2 to H / 2.

        From random heads, masked LM predicts only the most frequent tokens for millions of tokens.
        """
        width = len(self.query.weight)
        size = width // self.heads
        shifts = [shift for shift in range(-self.heads // 2, self.heads // 2 + 1) if shift]
        for head, shift in enumerate(shifts):
            turn = shift * rates_of_waves(width)[: size // 2]
            for pair, (sine, cosine) in enumerate(zip(turn.sin(), turn.cos(), strict=True)):
                row, column = head * size + 2 * pair, 2 * pair
                block = torch.stack((torch.stack((cosine, sine)), torch.stack((-sine, cosine))))
                self.query.weight.data[row : row + 2, column : column + 2] = 1.5 * block
                self.key.weight.data[row : row + 2, column : column + 2] = 1.5 * torch.eye(2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        B, L, D = x.shape
        q, k, v = (f(x).view(B, L, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        if x.is_cuda or L > 256:
            context = functional.scaled_dot_product_attention(q, k, v, mask)
        else:  # three times faster on a CPU in bfloat16 than the fused kernel
            context = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(D // self.heads) + mask, -1).to(v.dtype) @ v
        return context.transpose(1, 2).reshape(B, L, D)


class Output(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(inputs, width), nn.LayerNorm(width)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(residual + self.dense(x))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self, self.output = SelfAttention(width, heads), Output(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.output(self.self(x, mask), x)


class Intermediate(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(self.dense(x))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.intermediate, self.output = Intermediate(width, 4 * width), Output(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class Encoder(nn.Module):
    def __init__(self, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(width, heads) for _ in range(layers))


class Body(nn.Module):
    def __init__(self, vocabulary: int, layers: int, width: int, heads: int, positions: int) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocabulary, width, positions)
        self.encoder = Encoder(layers, width, heads)

    def forward(self, ids: Tensor, causal: bool = False, shift: Tensor | int = 0) -> Tensor:
        x = self.embeddings(ids, shift)
        hidden = (ids == PAD)[:, None, None]  # (B, L) -> (B, 1, 1, L)
        if causal:
            L = ids.shape[1]
            hidden = hidden | torch.ones(L, L, dtype=torch.bool, device=ids.device).triu(1)
        mask = torch.where(hidden, -30000.0, 0.0).to(torch.bfloat16)
        for layer in self.encoder.layer:
            x = layer(x, mask)
        return x


class MaskedLM(nn.Module):
    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.dense, self.layer_norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, x: Tensor, embeddings: Tensor) -> Tensor:
        x = self.layer_norm(functional.gelu(self.dense(x)))
        return functional.linear(x, embeddings, self.bias)  # (..., D) -> (..., V)


class Classifier(nn.Module):
    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.dense, self.out_proj = nn.Linear(width, width), nn.Linear(width, labels)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(torch.tanh(self.dense(x[:, 0])))


class Tiny(nn.Module):
    """One body, and the heads for masked tokens, sentences, words and answers."""

    def __init__(
        self,
        vocabulary: int,
        *,
        layers: int = 6,
        width: int = 256,
        heads: int = 8,
        positions: int = 512,
        tags: int = 17,
    ) -> None:
        super().__init__()
        self.roberta = Body(vocabulary, layers, width, heads, positions)
        self.lm_head = MaskedLM(width, vocabulary)
        self.sentences = Classifier(width, 2)
        self.words = nn.Linear(width, tags)
        self.qa_outputs = nn.Linear(width, 2)
        self.apply(_initialise)
        self.roberta.embeddings.start_as_waves()
        self.roberta.encoder.layer[0].attention.self.start_beside()

    def masked_lm(self, ids: Tensor, where: Tensor, causal: bool = False, shift: Tensor | int = 0) -> Tensor:
        """The logits (n, V) of the n positions of (B, L) that `where` marks."""
        return self.lm_head(self.roberta(ids, causal, shift)[where], self.roberta.embeddings.word_embeddings.weight)

    def checkpoint(self) -> dict[str, Tensor]:
        """The weights in float16 under Hugging Face's names: the heads of sentences and words are both `classifier`.

        transformers 4.48.3 sets `lm_head.bias` to zero if there is no `lm_head.decoder.bias`.
        """
        names = {"sentences": "classifier", "words": "classifier"}
        weights = {}
        for name, weight in self.state_dict().items():
            first, _, rest = name.partition(".")
            weights[f"{names.get(first, first)}.{rest}"] = weight.cpu().half().contiguous()
        return {**weights, "lm_head.decoder.bias": weights["lm_head.bias"].clone()}


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
