"""What each process has of a batch and what it says, with the others left out; tests/distributed has them meet."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from nlptl import processes
from nlptl.errors import DataError, FailedElsewhere, Interrupted, RunFailed, UsageError
from nlptl.nn.batch_norm import batch_norm
from nlptl.training.batching import STANDS_IN, own_batches
from nlptl.training.recurrent_state import joined, own_streams

Become = Callable[[int, int], None]


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Become:
    """Makes this process one of several that have met, without a connection."""

    def number_of(number: int, count: int) -> None:
        monkeypatch.setenv("RANK", str(number))
        monkeypatch.setenv("LOCAL_RANK", str(number))
        monkeypatch.setenv("WORLD_SIZE", str(count))
        monkeypatch.setattr(processes._meeting, "count", count)

    return number_of


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [0, 1, 5, 8, 17])
def test_every_row_is_one_process_s_and_the_parts_are_even(become: Become, count: int, rows: int) -> None:
    parts = []
    for number in range(count):
        become(number, count)
        parts.append(list(range(rows))[processes.own_part(rows)])
    assert [row for part in parts for row in part] == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_process_without_a_row_stands_in(become: Become) -> None:
    def collate(rows: list[int]) -> dict[str, list[int]]:
        return {"rows": rows}

    found = []
    for number in range(2):
        become(number, 2)
        found.append(list(own_batches(DataLoader(range(10, 14), batch_size=3, collate_fn=collate))))
    assert found[0] == [{"rows": [10], STANDS_IN: False}, {"rows": [13], STANDS_IN: True}]
    assert found[1] == [{"rows": [11, 12], STANDS_IN: False}, {"rows": [13], STANDS_IN: False}]


def test_states_of_streams_are_parted_and_joined_again(become: Become) -> None:
    whole = ((torch.randn(1, 5, 3), torch.randn(1, 5, 4)), (torch.randn(2, 5, 3), torch.randn(2, 5, 3)))
    parts = []
    for number in range(3):
        become(number, 3)
        parts.append(own_streams(whole))
    torch.testing.assert_close(joined(parts), whole)
    assert joined([None, None]) is None
    torch.testing.assert_close(joined([None, parts[1]]), parts[1])


def test_the_weighed_means_of_parts_have_the_mean_of_the_whole_as_their_average(
    become: Become,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = torch.arange(5.0)
    parts = [losses[:1], losses[1:], losses[:1]]  # the last only stands in
    become(0, 3)
    monkeypatch.setattr(processes, "batch_total", lambda own: torch.tensor(5.0))
    weighed = []
    for part, counts in zip(parts, (True, True, False), strict=True):
        with processes.part_of_batch(counts=counts):
            weighed.append(processes.weighed(part.mean(), len(part)))
    torch.testing.assert_close(torch.stack(weighed).mean(), losses.mean())
    assert processes.weighed(losses.mean(), 5) == losses.mean()


def test_batch_normalisation_of_a_shared_batch_is_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch of which this process happens to have all rows."""
    torch.manual_seed(0)
    own, torchs = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    x = torch.randn(7, 4, dtype=torch.float32)
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    monkeypatch.setattr(processes._meeting, "in_batch", True)
    (batch_norm(own, one).square() * x).sum().backward()
    (torchs(other).square() * x).sum().backward()
    torch.testing.assert_close(one.grad, other.grad)
    torch.testing.assert_close(own.weight.grad, torchs.weight.grad)
    torch.testing.assert_close(dict(own.named_buffers()), dict(torchs.named_buffers()))


@pytest.mark.parametrize(
    ("error", "numbers"),
    [
        (UsageError("x"), [0, 2]),  # the third is the first of another machine
        (DataError("x"), [0, 2]),
        (Interrupted("x"), [0]),
        (FailedElsewhere(1), [0]),
        (RunFailed("x"), [0, 1, 2]),
        (ValueError("x"), [0, 1, 2]),
    ],
)
def test_who_says_what_went_wrong(
    become: Become,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    numbers: list[int],
) -> None:
    said = []
    for number, on_machine in ((0, 0), (1, 1), (2, 0)):
        become(number, 3)
        monkeypatch.setenv("LOCAL_RANK", str(on_machine))
        said += [number] if processes.says(error) else []
    assert said == numbers


def test_a_lost_connection_is_told_from_other_errors(become: Become) -> None:
    lost = RuntimeError("[.../gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:3981")
    assert processes.lost_another(lost) is None  # of a process that is alone
    become(0, 2)
    assert isinstance(processes.lost_another(lost), RunFailed)
    assert processes.lost_another(RuntimeError("shapes do not fit")) is None
    become(1, 2)
    assert isinstance(processes.lost_another(lost), FailedElsewhere)


def test_alone_everything_is_this_process_s() -> None:
    assert processes.is_leader()
    assert processes.count() == 1
    assert processes.told(3) == processes.first(lambda: 3) == processes.in_turns(lambda: 3) == 3
    assert list(processes.shared_out([1, 2], lambda item: -item)) == [(1, -1), (2, -2)]
    assert list(processes.read_by_leader([1, None, 2])) == [1, None, 2]
    assert processes.gathered("x") == ["x"]
    assert processes.is_any(True, False) == [True, False]
    assert processes.total(4) == processes.most(4) == 4


def test_a_number_without_others_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some schedulers set RANK for everything that they start."""
    monkeypatch.setenv("RANK", "3")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert processes.is_leader()


def test_the_command_line_need_not_wait_for_torch() -> None:
    code = "import sys; sys.argv = ['nlptl']; import nlptl.processes; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_model_in_parts_is_refused(become: Become, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checkpoints take every process, and the leader alone writes them."""
    become(0, 2)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UsageError, match="FSDP"):
        processes.meet("cpu")
