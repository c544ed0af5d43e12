"""Several processes at one command, as torchrun and accelerate start them: who leads, and what they tell each other.

All processes run the same command on the same input. The first of them, the leader, writes, prints and decides; the
others do their part of every batch, and wait where the leader works alone. For a process that is alone, which leads,
each function here does what its name says without the others: a caller need not ask how many there are.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from nlptl.errors import FailedElsewhere, Interrupted, NlptlError, RunFailed, UsageError

if TYPE_CHECKING:
    from torch import Tensor

# A process that ends is noticed at once, by its connections and by what started it. These are for one that is stuck:
# in a step, or while the leader works alone, which may be the whole training of word vectors.
PATIENCE = timedelta(minutes=30)
PATIENCE_WITH_THE_LEADER = timedelta(days=7)
TOLD_AT_A_TIME = 512

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")


@dataclass
class _Meeting:
    """The processes that have met.

    Attributes:
        count: how many there are.
        talk: the group for all that is no part of a training step; on GPUs it has connections of its own.
        in_batch: whether what is computed now is this process's part of a batch that all share.
        counts: 0 where that part is a row that only stands in for none, else 1.
    """

    count: int = 1
    talk: Any = None
    in_batch: bool = False
    counts: int = 1


_meeting = _Meeting()


def number() -> int:
    """This process's number, from 0 on; known before they meet."""
    return int(os.environ.get("RANK", "0")) if started() > 1 else 0


def is_leader() -> bool:
    """Whether this process writes and speaks; known before they meet."""
    return number() == 0


def started() -> int:
    """How many processes were started for this command, whether they have met or not."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def count() -> int:
    """How many processes work together."""
    return _meeting.count


def meet(device: str) -> None:
    """Connect with the others, and take this process's GPU where it is to work on one.

    Args:
        device: as `--device` names it.

    Raises:
        UsageError: there are fewer GPUs than processes, or each is to hold a part of the model.
    """
    if started() < 2:
        return
    # Accelerate 1.15 parts a model over GPUs only (accelerate/state.py, where it turns MULTI_GPU into FSDP): on CPUs it
    # would train whole models and say nothing. And to save parts takes all processes, where here the leader writes.
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        cause = "models are trained whole on each GPU, and not in parts (FSDP)"
        raise UsageError(cause, "the config of accelerate", "use distributed_type: MULTI_GPU, or torchrun")
    import torch
    import torch.distributed as dist

    on_gpu = device.startswith(("auto", "cuda")) and torch.cuda.is_available()
    if on_gpu:
        beside, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
        if beside > gpus:
            cause = f"{beside} processes on a machine with {gpus} GPU{'s' * (gpus > 1)}"
            raise UsageError(cause, "--nproc-per-node", "start one a GPU, or use --device cpu")
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    _meeting.count = dist.get_world_size()
    _meeting.talk = dist.new_group(backend="gloo", timeout=PATIENCE_WITH_THE_LEADER)


def leave() -> None:
    """Disconnect, once all have come to their end."""
    if count() == 1:
        return
    import torch.distributed as dist

    wait()
    dist.destroy_process_group()
    _meeting.count, _meeting.talk = 1, None


def drop_out(exit_code: int) -> None:
    """End this process after a failure, where others may be waiting for it; one that is alone goes on to its end.

    To take leave of a group that is broken, or busy on a GPU, may take for ever.
    """
    if count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)


# -- the leader and the others


def told(value: Value) -> Value:
    """The leader's value, for all."""
    if count() == 1:
        return value
    import torch.distributed as dist

    box = [value]
    dist.broadcast_object_list(box, src=0, group=_meeting.talk)
    return box[0]


def first(work: Callable[[], Value]) -> Value:
    """What the leader's work comes to, for all: the others wait for it, and what it raises ends them, too.

    While it works the leader is alone.

    Raises:
        FailedElsewhere: on the others, where the leader has failed.
    """
    if count() == 1:
        return work()
    result: Any = None
    failure: int | None = None
    if is_leader():
        try:
            with _alone():
                result = work()
        except BaseException as error:
            told((None, _exit_code(error)))
            raise
    result, failure = told((result, failure))
    if failure is not None:
        raise FailedElsewhere(failure)
    found: Value = result
    return found


def in_turns(work: Callable[[], Value]) -> Value:
    """Each process's own result of work that leaves something behind for the next to find.

    The leader works first, then one process of each other machine, whose disk may be another, then all the rest.
    """
    on_machine = int(os.environ.get("LOCAL_RANK", "0"))
    turn = 0 if is_leader() else 1 if on_machine == 0 else 2
    results: list[Value] = []

    def mine() -> None:
        results.append(work())

    first(mine)
    for later in (1, 2):
        if turn == later:
            with _alone():
                results.append(work())
        if count() > 1:
            wait()
    return results[0]


@contextmanager
def _alone() -> Iterator[None]:
    together = _meeting.count
    _meeting.count = 1
    try:
        yield
    finally:
        _meeting.count = together


def wait() -> None:
    """Until all are here."""
    if count() > 1:
        import torch.distributed as dist

        dist.barrier(_meeting.talk)


def is_any(*flags: bool) -> list[bool]:
    """Of each flag whether it is set on any process."""
    if count() == 1:
        return list(flags)
    import torch
    import torch.distributed as dist

    raised = torch.tensor(flags, dtype=torch.int32)
    dist.all_reduce(raised, dist.ReduceOp.MAX, group=_meeting.talk)
    return [bool(flag) for flag in raised.tolist()]


def gathered(value: Value) -> list[Value]:
    """The values of all processes, in their order, for the leader; nothing for the others."""
    if count() == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] | None = [None] * count() if is_leader() else None
    dist.gather_object(value, values, dst=0, group=_meeting.talk)
    return values or []


def shared_out(items: Iterable[Item], work: Callable[[Item], Result]) -> Iterator[tuple[Item, Result]]:
    """Each item with what `work` makes of it, in order, for the leader; the others do their share of the work.

    Args:
        items: the same for all processes. Each works on one of so many as there are processes, and no more of them
            are held at a time.
    """
    todo = iter(items)
    while turn := list(itertools.islice(todo, count())):
        own = [work(item) for item in turn[number() :][:1]] if count() > 1 else [work(turn[0])]
        for item, results in zip(turn, gathered(own), strict=False):
            yield item, results[0]


def read_by_leader(items: Iterable[Item | None]) -> Iterator[Item | None]:
    """What only the leader can read, for all; at a None, which is a pause, all have what was read so far."""
    if count() == 1:
        yield from items
        return
    todo = iter(items)

    def some() -> list[Item | None]:
        read: list[Item | None] = []
        for item in todo:
            read.append(item)
            if item is None or len(read) == TOLD_AT_A_TIME:
                break
        return read

    while read := first(some):
        yield from read


# -- a batch of which each process has a part


def own_part(rows: int) -> slice:
    """Which of so many rows are this process's: so many consecutive ones, of small batches none."""
    if count() == 1:
        return slice(0, rows)
    return slice(number() * rows // count(), (number() + 1) * rows // count())


@contextmanager
def part_of_batch(*, counts: bool) -> Iterator[None]:
    """Within it what is computed is this process's part of a batch.

    Args:
        counts: False where the rows only stand in for those that this process has none of, because a step takes
            every process.
    """
    _meeting.in_batch, _meeting.counts = count() > 1, int(counts)
    try:
        yield
    finally:
        _meeting.in_batch, _meeting.counts = False, 1


def in_batch() -> bool:
    """Whether other processes compute other parts of the same batch at this moment."""
    return _meeting.in_batch


def weighed(mean: Tensor, amount: Tensor | float) -> Tensor:
    """A mean over this process's part of a batch -> what it adds to the mean over the batch.

    Its average over all processes, which is what becomes of gradients and of the loss that is logged, is the mean over
    the whole batch. Outside of a batch, or alone, a mean is what it was.

    Args:
        mean: a scalar.
        amount: of what it is the mean: rows, tokens, or the sum of their weights.
    """
    if not _meeting.in_batch:
        return mean
    own = mean.new_zeros((), dtype=mean.dtype) + amount * _meeting.counts
    whole = batch_total(own)
    return mean * (own * count() / whole.clamp(min=1e-12)).to(mean.dtype)


def batch_total(values: Tensor) -> Tensor:
    """The sum over all parts of a batch, without a gradient; of rows that stand in the caller has to give zeros."""
    import torch.distributed as dist

    total = values.detach().clone()
    if _meeting.count > 1:
        dist.all_reduce(total)
    return total


def counts() -> int:
    """0 where this process's part of the batch only stands in, else 1."""
    return _meeting.counts


def total(amount: int) -> int:
    """The sum over all processes."""
    if count() == 1:
        return amount
    import torch
    import torch.distributed as dist

    summed = torch.tensor(amount)
    dist.all_reduce(summed, group=_meeting.talk)
    return int(summed)


def most(amount: int) -> int:
    """The largest over all processes."""
    if count() == 1:
        return amount
    import torch
    import torch.distributed as dist

    largest = torch.tensor(amount)
    dist.all_reduce(largest, dist.ReduceOp.MAX, group=_meeting.talk)
    return int(largest)


# -- failures


def reported_once(error: NlptlError) -> NlptlError:
    """An error that all processes come upon: itself for the leader, and for the others one that says nothing."""
    return error if is_leader() else FailedElsewhere(error.exit_code)


def says(error: BaseException) -> bool:
    """Whether this process prints an error; what a command line, data or a model has wrong is so on a whole machine."""
    if is_leader() or not isinstance(error, NlptlError):
        return True
    if isinstance(error, (Interrupted, FailedElsewhere)):
        return False
    return error.exit_code == RunFailed.exit_code or os.environ.get("LOCAL_RANK") == "0"


def lost_another(error: RuntimeError) -> NlptlError | None:
    """What an error of a connection means, which is that another process has ended; None of any other error."""
    if started() == 1:
        return None
    import torch.distributed as dist

    said = str(error)
    if not isinstance(error, dist.DistError) and "gloo" not in said and "by peer" not in said:
        return None
    cause = "another process of this command has ended or is out of reach"
    return reported_once(RunFailed(cause, None, "see what it said; a training run goes on with --resume"))


def _exit_code(error: BaseException) -> int:
    if isinstance(error, NlptlError):
        return error.exit_code
    return Interrupted.exit_code if isinstance(error, KeyboardInterrupt) else RunFailed.exit_code
