"""Packed rows of text on the training device: their order, their masked tokens, their first positions."""

import numpy
import torch
from data import END
from torch import Tensor

VOCABULARY = 8000
LENGTH = 128  # tokens of a row
POSITIONS = 512


class Rows:
    """The rows of a table, read endlessly, in a new random order for each epoch. Table and order are on the device."""

    def __init__(self, table: numpy.ndarray, seed: int, device: str) -> None:
        self.table = torch.from_numpy(table.astype(numpy.int16)).to(device)  # (N, L); ids are less than 2^15
        self.seed, self.epoch = seed, -1

    def read(self, first: int, count: int) -> Tensor:
        """Rows `first` to `first + count` of the reading, (count, L)."""
        N = len(self.table)
        parts = [
            self._order(epoch)[max(0, first - epoch * N) : first + count - epoch * N]
            for epoch in range(first // N, (first + count - 1) // N + 1)
        ]
        return self.table[torch.cat(parts)].long()

    def _order(self, epoch: int) -> Tensor:
        if epoch != self.epoch:
            order = numpy.random.default_rng([self.seed, epoch]).permutation(len(self.table))
            self.epoch, self.order = epoch, torch.from_numpy(order).to(self.table.device)
        return self.order


def seeded(device: torch.device, seed: int) -> torch.Generator:
    """A generator on the device. With one seed, the CPU and a GPU draw different numbers."""
    return torch.Generator(device).manual_seed(seed)


def mask_tokens(ids: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Choose 15 % of the ordinary tokens to be predicted: 80 % of them become <mask>, 10 % another token, 10 % stay.

    Returns the changed ids and a mask of the chosen positions, both (B, L).
    """
    random, device = seeded(ids.device, seed), ids.device
    chosen = (torch.rand(ids.shape, generator=random, device=device) < 0.15) & (ids > END)
    kind = torch.rand(ids.shape, generator=random, device=device)
    other = torch.randint(END + 2, VOCABULARY - 1, ids.shape, generator=random, device=device)
    changed = torch.where(chosen & (kind < 0.8), VOCABULARY - 1, ids)
    return torch.where(chosen & (kind >= 0.9), other, changed), chosen


def shifts(ids: Tensor, seed: int) -> Tensor:
    """First position of each row, (B, 1): 0 for every other row, random for the rest, as far as the row fits.

    So all positions are learned from short rows, and the first ones most often, as in use.
    """
    random = seeded(ids.device, seed)
    result = torch.randint(POSITIONS - ids.shape[1] + 1, (len(ids), 1), generator=random, device=ids.device)
    result[::2] = 0
    return result
