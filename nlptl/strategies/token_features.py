"""The vectors of tokens by a frozen body: computed once, in half precision, on disk and never held whole in memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlptl import processes
from nlptl.errors import RunFailed
from nlptl.nn.token_head import TokenHead
from nlptl.strategies.examples import Examples
from nlptl.training.batching import padded
from nlptl.training.inference import ROWS_A_BATCH, length_batches
from nlptl.training.models import LayeredClassifier
from nlptl.training.precision import Precision, autocast
from nlptl.training.progress import Reporter

HALF = np.dtype(np.float16)
LARGEST = float(np.finfo(HALF).max)
PARTIAL = ".partial-"
SPARE_BYTES = 64 * 2**20  # left free on the disk, for the model that the run will write


@dataclass(frozen=True)
class TokenForecast:
    """How much room the token vectors of some texts take.

    Attributes:
        texts, tokens: how many.
        shapes: of each head's vectors of one token, (layers, width).
    """

    texts: int
    tokens: int
    shapes: tuple[tuple[int, int], ...]

    @property
    def bytes(self) -> int:
        """On disk."""
        return sum(self.tokens * layers * width * HALF.itemsize for layers, width in self.shapes)

    def __str__(self) -> str:
        layers, width = self.shapes[0]
        heads = f"{len(self.shapes)} heads x " if len(self.shapes) > 1 else ""
        size = f"{heads}{layers} layer{'s' * (layers > 1)} x {width}"
        return (
            f"{self.texts:,} texts, {self.tokens:,} tokens x {size} in half precision = {_size(self.bytes)}"
        )


def token_forecast(classifier: LayeredClassifier, lengths: Sequence[int]) -> TokenForecast:
    """The room that texts of so many tokens each will take, of a classifier whose heads read tokens."""
    read = classifier.tokens_read(torch.tensor(lengths, dtype=torch.long))
    heads = [head for head in classifier.heads() if isinstance(head, TokenHead)]
    return TokenForecast(len(lengths), int(read.sum()), tuple((head.layers, head.width) for head in heads))


@dataclass(frozen=True)
class TokenVectors:
    """One head's vectors of the tokens of some texts, on disk.

    Attributes:
        file: float16, (tokens, layers, width), text after text.
        offsets: (texts + 1,), where each text begins.
        layers, width: of a token's vectors.
    """

    file: Path
    offsets: NDArray[np.int64]
    layers: int
    width: int

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text."""
        lengths: list[int] = np.diff(self.offsets).tolist()
        return lengths

    @property
    def bytes(self) -> int:
        """That the file has to hold."""
        return int(self.offsets[-1]) * self.layers * self.width * HALF.itemsize

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The vectors (rows, longest, layers, width) in full precision, zeros for padding, and their mask."""
        counts = self.offsets[np.asarray(rows) + 1] - self.offsets[rows]
        longest = max(1, int(counts.max()))
        whole = np.zeros((len(rows), longest, self.layers, self.width), dtype=np.float32)
        if counts.any():
            # Mapped anew for each batch, or the pages read so far would all count as this process's memory.
            stored = np.memmap(self.file, HALF, "r", shape=(int(self.offsets[-1]), self.layers, self.width))
            for place, row in zip(whole, rows, strict=True):
                text = stored[self.offsets[row] : self.offsets[row + 1]]
                place[: len(text)] = text
        mask = np.arange(longest) < counts[:, None]
        return torch.from_numpy(whole), torch.from_numpy(mask)


def token_features(
    classifier: LayeredClassifier,
    parts: Sequence[Examples],
    precision: Precision,
    folders: Sequence[Path],
    reporter: Reporter,
) -> list[list[TokenVectors]]:
    """The vectors of the tokens of each part's texts by the classifier's frozen body, one entry a head.

    Half precision takes half the room, and a head trained on it gives the same probabilities to about 1e-3. How much
    room that is is said before anything is computed.

    Args:
        folders: of each part, read where it is whole and made otherwise; its name has to tell model and texts.

    Raises:
        RunFailed: the disk has no room for it.
    """
    found = [_vectors(classifier, part, folder) for part, folder in zip(parts, folders, strict=True)]
    absent = processes.told([number for number, vectors in enumerate(found) if not _is_whole(vectors)])
    if absent:
        lengths = [length for number in absent for length in parts[number].lengths]
        forecast = token_forecast(classifier, lengths)
        processes.first(lambda: _check_room(forecast, folders[0].parent, reporter))
        for number in absent:
            _write(classifier, parts[number], precision, found[number], reporter)
    return found


def _vectors(classifier: LayeredClassifier, examples: Examples, folder: Path) -> list[TokenVectors]:
    """What is to be found in a folder."""
    read = classifier.tokens_read(torch.tensor(examples.lengths, dtype=torch.long)).numpy()
    offsets = np.concatenate([[0], np.cumsum(read)]).astype(np.int64)
    shapes = token_forecast(classifier, examples.lengths).shapes
    return [TokenVectors(folder / f"head-{n}.f16", offsets, *shape) for n, shape in enumerate(shapes)]


def _is_whole(vectors: Sequence[TokenVectors]) -> bool:
    """Whether a folder holds what it should; one that is damaged is made anew."""
    with contextlib.suppress(OSError, ValueError, EOFError):
        stored = np.load(vectors[0].file.with_name("offsets.npy"))
        return np.array_equal(stored, vectors[0].offsets) and all(
            head.file.stat().st_size == head.bytes for head in vectors
        )
    return False


def _check_room(forecast: TokenForecast, cache: Path, reporter: Reporter) -> None:
    reporter.note(f"token features: {forecast} in {cache}")
    there = next(path for path in (cache, *cache.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    if forecast.bytes + SPARE_BYTES > free:
        raise RunFailed(
            f"the token features take {_size(forecast.bytes)} and the disk has {_size(free)} left",
            str(cache),
            "choose another --head, cut the texts by --max-length, or set NLPTL_CACHE to a folder on a larger disk",
        )


def _write(
    classifier: LayeredClassifier,
    examples: Examples,
    precision: Precision,
    vectors: Sequence[TokenVectors],
    reporter: Reporter,
) -> None:
    """Compute the vectors, of several processes each its share, and write them, which the leader does."""
    batches = _represented(classifier, examples, precision)
    if processes.is_leader():
        _write_whole(batches, len(examples), vectors, reporter)
    else:
        for _ in batches:
            pass
    processes.wait()


def _write_whole(
    batches: Iterator[tuple[list[int], list[NDArray[np.float16]]]],
    texts: int,
    vectors: Sequence[TokenVectors],
    reporter: Reporter,
) -> None:
    folder, offsets = vectors[0].file.parent, vectors[0].offsets
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder.parent)
    partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{folder.name}-", dir=folder.parent))
    reporter.start("token features", texts)
    try:
        np.save(partial / "offsets.npy", offsets)
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(open(partial / head.file.name, "wb")) for head in vectors]
            for file, head in zip(files, vectors, strict=True):
                file.truncate(head.bytes)
            began, done = time.monotonic(), 0
            for rows, batch in batches:
                for file, head, x in zip(files, vectors, batch, strict=True):
                    for row, text in zip(rows, x, strict=True):
                        file.seek(int(offsets[row]) * head.layers * head.width * HALF.itemsize)
                        file.write(text[: offsets[row + 1] - offsets[row]].tobytes())
                done += len(rows)
                left = (time.monotonic() - began) / done * (texts - done)
                reporter.advance(done, f"{done:,} texts", left)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
    except OSError as error:
        raise RunFailed(
            f"the token features cannot be written: {error.strerror or error}",
            str(folder),
            "make room, or set NLPTL_CACHE to a folder on another disk",
        ) from error
    finally:
        reporter.finish()
        shutil.rmtree(partial, ignore_errors=True)


def _represented(
    classifier: LayeredClassifier, examples: Examples, precision: Precision
) -> Iterator[tuple[list[int], list[NDArray[np.float16]]]]:
    """Batch by batch the rows and each head's vectors, (rows, time, layers, width); the longest texts first."""
    classifier.eval()

    def represented(rows: list[int]) -> list[NDArray[np.float16]]:
        batch = padded([examples.encodings[row] for row in rows], classifier.config.pad_token_id or 0)
        ids, mask = (batch[key].to(classifier.device) for key in ("input_ids", "attention_mask"))
        with torch.inference_mode(), autocast(classifier.device, precision):
            vectors = classifier.represent(ids, mask)
        return [x.float().clamp(-LARGEST, LARGEST).half().cpu().numpy() for x in vectors]

    return processes.shared_out(length_batches(examples.encodings, ROWS_A_BATCH), represented)


def _remove_abandoned(cache: Path) -> None:
    """Remove what runs that were killed while they wrote have left, once it is a day old."""
    for left in cache.glob(f"{PARTIAL}*"):
        with contextlib.suppress(OSError):  # another process may have removed it
            if time.time() - left.stat().st_mtime > 24 * 3600:
                shutil.rmtree(left, ignore_errors=True)


def _size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
