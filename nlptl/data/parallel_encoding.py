"""Tokenising on all cores, also by a tokenizer that is Python and so holds the interpreter of one process."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from nlptl.children import end_with_parent
from nlptl.training.windows import CorpusEncoder

Ids = list[NDArray[np.int64]]
AHEAD = 2  # batches that wait for each process

_encoder: CorpusEncoder | None = None  # of a worker


def encoded(batches: Iterable[list[str]], encoder: CorpusEncoder) -> Iterator[tuple[list[str], Ids]]:
    """Each batch of texts with the ids of each text, in order; a bounded number of batches is held.

    Workers are forked, so that they find the tokenizer as it is. Where a system cannot fork, where there is one core or
    one batch alone, and where the encoder learns spellings or runs on all cores by itself, this process does it all.
    """
    todo, first = iter(batches), list[list[str]]()
    workers = _cores() if encoder.in_python and encoder.spellings is None else 1
    if workers > 1 and "fork" in multiprocessing.get_all_start_methods():
        first = list(itertools.islice(todo, 2))
    todo = itertools.chain(first, todo)
    if len(first) < 2:
        for batch in todo:
            yield batch, _ids(encoder, batch)
        return
    context = multiprocessing.get_context("fork")
    with _without_threads(), ProcessPoolExecutor(workers, context, _start, (encoder,)) as pool:
        waiting: deque[tuple[list[str], Future[Ids]]] = deque()
        for batch in todo:
            waiting.append((batch, pool.submit(_by_worker, batch)))
            if len(waiting) > workers * AHEAD:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


@contextmanager
def _without_threads() -> Iterator[None]:
    """`tokenizers` is told to start no threads, for after a fork those of the first process are not there."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ids(encoder: CorpusEncoder, batch: list[str]) -> Ids:
    found = encoder.encode(batch)
    for ids in found:
        if len(ids) and not isinstance(ids[0], (int, np.integer)):
            raise TypeError("a corpus holds one number a token: the family needs a corpus_encoder")
    return [np.asarray(ids, dtype=np.int64) for ids in found]


def _start(encoder: CorpusEncoder) -> None:
    global _encoder
    _encoder = encoder
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this process decides


def _by_worker(batch: list[str]) -> Ids:
    assert _encoder is not None
    return _ids(_encoder, batch)
