"""From texts to vectors: what goes in, what comes out, and the two pipelines."""

import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from modalkit.inference_pipeline import InferencePipeline
from modalkit.iomodel import AsyncInputModel, InputModel, OutputModel

CHUNKS_AT_ONCE = 8  # of a document: the first vectors come soon, and the model still works on batches


class Text(InputModel):
    """A sentence or a short paragraph; what is past 256 tokens is cut off."""

    text: str = Field(min_length=1, max_length=20_000)


class Embedding(OutputModel):
    """What the text means: texts that mean the same have vectors of nearly the same direction."""

    embedding: list[float]
    tokens: int
    is_truncated: bool


class Document(InputModel):
    """A long text, embedded in chunks of `words` words."""

    text: str = Field(min_length=1, max_length=1_000_000)
    words: int = Field(default=100, ge=10, le=180)


class Chunk(OutputModel):
    """`text[start:end]` of the document."""

    index: int
    start: int
    end: int
    embedding: list[float]


class Chunks(OutputModel):
    """A document's chunks, in order."""

    chunks: list[Chunk]


AsyncText = AsyncInputModel[Text]


class TextEmbedder(InferencePipeline):
    """Texts. `pooling` makes one vector of the tokens' vectors: their mean, or the first token's; `normalize` gives it the length 1."""

    def __init__(
        self,
        model_name: str,
        all_model_data_folder: str,
        common_settings: dict[str, Any],
        *,
        pooling: Literal["mean", "cls"] = "mean",
        normalize: bool = True,
    ) -> None:
        from minilm import MiniLM

        super().__init__(model_name, all_model_data_folder, common_settings)
        self.pooling = pooling
        self.normalize = normalize
        self.digits = int(common_settings.get("digits", 6))
        self.model = MiniLM()

    def warmup(self) -> None:
        self.embed(["warm"])  # brings the weights from the disk into memory

    def preprocess(self, inputs: list[Text]) -> Any:
        return self.model.tokenize([each.text for each in inputs])

    def predict(self, tokens: Any) -> Any:
        return tokens, self.pooled(tokens)

    def postprocess(self, raw: Any) -> list[Embedding]:
        tokens, vectors = raw
        parts = zip(vectors.tolist(), tokens.counts, tokens.is_truncated, strict=True)
        return [Embedding(embedding=vector, tokens=count, is_truncated=is_truncated) for vector, count, is_truncated in parts]

    def embed(self, texts: list[str]) -> list[list[float]]:
        """One vector for each text."""
        return self.pooled(self.model.tokenize(texts)).tolist()

    def pooled(self, tokens: Any) -> Any:
        import numpy as np
        from minilm import mean_pool

        states = self.model.encode(tokens)
        vectors = mean_pool(states, tokens.mask) if self.pooling == "mean" else states[:, 0]
        if self.normalize:
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float64).round(self.digits)


class DocumentEmbedder(TextEmbedder):
    """Documents, chunk by chunk: all at once by `predict`, or each as soon as it is there by `stream`."""

    def preprocess(self, inputs: list[Document]) -> list[Document]:
        return inputs

    def predict(self, documents: list[Document]) -> list[Chunks]:
        return [Chunks(chunks=list(self.stream(document))) for document in documents]

    def postprocess(self, raw: list[Chunks]) -> list[Chunks]:
        return raw

    def stream(self, document: Document) -> Iterator[Chunk]:
        spans = chunk_spans(document.text, document.words)
        for first in range(0, len(spans), CHUNKS_AT_ONCE):
            some = spans[first : first + CHUNKS_AT_ONCE]
            vectors = self.embed([document.text[start:end] for start, end in some])
            for index, ((start, end), vector) in enumerate(zip(some, vectors, strict=True), first):
                yield Chunk(index=index, start=start, end=end, embedding=vector)


def chunk_spans(text: str, words: int) -> list[tuple[int, int]]:
    """Where each chunk of so many words begins and ends; one chunk for a text without words."""
    found = [match.span() for match in re.finditer(r"\S+", text)]
    if not found:
        return [(0, len(text))]
    return [(found[i][0], found[min(i + words, len(found)) - 1][1]) for i in range(0, len(found), words)]
