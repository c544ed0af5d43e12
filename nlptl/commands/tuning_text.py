"""The text that `finetune` tunes its language model on."""

from __future__ import annotations

from collections.abc import Sequence

from datasets import Dataset

from nlptl.config import FinetuneConfig
from nlptl.data.datasets import Columns
from nlptl.data.lm_text import LmText, find_lm_text


def tuning_text(config: FinetuneConfig, train: Dataset | None = None) -> LmText:
    """The unlabelled text that the user names, and after it the training texts of the task.

    The text column is that of the labelled data; unlabelled text may keep its own elsewhere.

    Raises:
        DataError: as `find_lm_text`.
    """
    rows: Sequence[dict[str, str]] = train or ()
    return find_lm_text(
        config.lm_text,
        Columns(text=config.text_column),
        at_hand=[text for row in rows for text in (row["text"], row.get("text_pair")) if text],
        offline=config.offline,
        columns_if_present=True,
    )
