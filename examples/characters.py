"""A small GPT that reads the manual of Python character by character."""

import argparse
import math
from pydoc_data.topics import topics  # what help() shows, in every installation of Python

import torch
from torch import Tensor, nn

import lrsearch

LENGTH, WIDTH, HEADS, BLOCKS = 32, 32, 2, 2
CHARACTERS = 128  # those of ASCII


class Block(nn.Module):
    """Attention to the characters before, and a perceptron, each beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _each in range(2))
        self.attention = nn.Linear(WIDTH, 3 * WIDTH)
        self.projection = nn.Linear(WIDTH, WIDTH)
        self.perceptron = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, values: Tensor) -> Tensor:
        """Return values of the same shape, [examples, LENGTH, WIDTH]."""
        parts = self.attention(self.norms[0](values)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        heads = nn.functional.scaled_dot_product_attention(*parts, is_causal=True)
        values = values + self.projection(heads.transpose(1, 2).flatten(2))
        return values + self.perceptron(self.norms[1](values))


class Transformer(nn.Module):
    """Reads characters [examples, LENGTH] and scores what follows each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(CHARACTERS, WIDTH)
        self.positions = nn.Parameter(torch.randn(LENGTH, WIDTH) / 10)
        self.blocks = nn.Sequential(*(Block() for _each in range(BLOCKS)), nn.LayerNorm(WIDTH))
        self.head = nn.Linear(WIDTH, CHARACTERS)

    def forward(self, characters: Tensor) -> Tensor:
        """Return scores, shape [examples, LENGTH, CHARACTERS]."""
        return self.head(self.blocks(self.characters(characters) + self.positions))


def cross_entropy(scores: Tensor, characters: Tensor) -> Tensor:
    """Return the mean loss of a character, in nats."""
    return nn.functional.cross_entropy(scores.flatten(0, 1), characters.flatten())


def bits(scores: Tensor, characters: Tensor) -> Tensor:
    """Return how many bits a character would take if the scores were used to compress it."""
    return cross_entropy(scores, characters) / math.log(2)


def windows(text: str) -> tuple[Tensor, Tensor]:
    """Return pieces of a text [examples, LENGTH], and the same pieces one character further on."""
    characters = torch.tensor(list(text.encode("ascii", "replace")))
    examples = (len(characters) - 1) // LENGTH
    read, following = characters[: examples * LENGTH], characters[1 : examples * LENGTH + 1]
    return read.reshape(examples, LENGTH), following.reshape(examples, LENGTH)


manual = "\n".join(topics[name] for name in sorted(topics))
task = lrsearch.Task.from_tensors(
    Transformer,
    train=windows(manual[:60_000]),
    valid=windows(manual[60_000:80_000]),
    loss=cross_entropy,
    metrics={"bits": bits},
    name="characters-gpt",
    epochs=8,
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int)
    result = lrsearch.optimize(task, optimizer="AdamW", **vars(parser.parse_args()))
    print(result)
    print(result.code())
