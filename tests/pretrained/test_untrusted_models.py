"""What a stranger's model can do to whoever loads it: nothing but end in one clear error, soon and in little memory.

Pickles have tests of their own, `tests/families/test_restricted_pickle.py`, and other checkpoints more rows in
`tests/bad_input/imports.py`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bad_input.making import MARKER
from tests.pretrained.attacks import ATTACKS, Attack, config

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests" / "fixtures" / "format-1"
NURSERY = Path(__file__).with_name("nursery.py")
SOUND = ("gpt", "elmo")  # that the limits leave room for what is good
as_linux_has_them = pytest.mark.skipif(sys.platform != "linux", reason="limits and forks as Linux has them")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """How each attack ended, by its name; all are run by one process."""
    place = tmp_path_factory.mktemp("attacks")
    lines = []
    for number, (source, damage, line) in enumerate(
        [(a.source, a.damage, a.line) for a in ATTACKS]
        + [(name, lambda folder: None, "predict --model m t.csv") for name in SOUND]
    ):
        folder = place / str(number)
        folder.mkdir()
        shutil.copytree(MODELS / source / "classifier", folder / "m") if source else (folder / "m").mkdir()
        damage(folder / "m")
        (folder / "t.csv").write_text("text\nmy soup was warm " + "a" * 60 + "!\n")
        lines.append([str(folder), [*line.split(), "--offline", "--device", "cpu"]])
    (place / "lines.json").write_text(json.dumps(lines))
    own = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    words = [sys.executable, str(NURSERY), str(place / "lines.json")]
    process = subprocess.run(
        words, env=own, cwd=place, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert process.returncode == 0, process.stderr
    ended = json.loads(process.stdout.splitlines()[-1])
    assert not list(place.rglob(MARKER))
    return dict(zip([*(attack.id for attack in ATTACKS), *SOUND], ended, strict=True))


@as_linux_has_them
@pytest.mark.timeout(600)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_an_attack_ends_in_one_clear_error(attack: Attack, outcomes: dict[str, dict[str, Any]]) -> None:
    outcome = outcomes[attack.id]
    assert outcome["code"] == 2, outcome
    (line,) = outcome["said"].strip().splitlines()
    assert re.fullmatch("error: (" + attack.message + ")", line), line
    assert outcome["seconds"] < 8


@as_linux_has_them
@pytest.mark.timeout(600)
@pytest.mark.parametrize("source", SOUND)
def test_a_sound_model_has_room_within_the_same_limits(
    source: str, outcomes: dict[str, dict[str, Any]]
) -> None:
    assert outcomes[source]["code"] == 0, outcomes[source]
    assert '"label"' in outcomes[source]["said"]


def test_a_label_cannot_steer_a_terminal(command: Callable[..., Any], tmp_path: Path) -> None:
    shutil.copytree(MODELS / "gpt" / "classifier", tmp_path / "m")
    names = {"0": "\x1b[2J\x9b2Jbad\u202e", "1": "\x1b]0;mine\x07good"}
    config(id2label=names, label2id={})(tmp_path / "m")
    (tmp_path / "t.csv").write_text("text,label\nmy soup,x\nyour soup,y\n")
    told_rows = command("predict", "--model", tmp_path / "m", tmp_path / "t.csv")
    refused = command("evaluate", "--model", tmp_path / "m", "--data", tmp_path / "t.csv")
    assert (told_rows.returncode, refused.returncode) == (0, 2)
    assert {json.loads(row)["label"] for row in told_rows.stdout.splitlines()} <= set(names.values())
    for text in (told_rows.stdout, told_rows.stderr, refused.stdout, refused.stderr):
        assert not any(character in text for character in "\x1b\x9b\x07\u202e")


def test_a_folder_of_the_hub_s_cache_is_of_links_into_it(tmp_path: Path) -> None:
    from nlptl.pretrained.models import check_model_folder

    snapshot, blobs = tmp_path / "snapshots" / "a1", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in (MODELS / "ulmfit" / "classifier").iterdir():
        shutil.copy(file, blobs / file.name)
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", file.name))
    found = check_model_folder(snapshot)
    assert len(found.load_tokenizer()) > 256
