"""What a person reads at the end of a command: what came out, where it is, what to type next; or what went wrong."""

from __future__ import annotations

import json
import math
import shlex
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from nlptl import processes
from nlptl.commands.expected_errors import expected_error
from nlptl.commands.model_lines import list_lines, show_lines, size
from nlptl.config import RunConfig
from nlptl.errors import UsageError, legible


def print_report(
    config: RunConfig, report: Mapping[str, Any], *, as_json: bool, plan: bool, file: TextIO
) -> None:
    """Print what a command came to.

    Args:
        report: as CONTRACT names its keys; the plan of a dry run where `plan` is true.
        as_json: one JSON object in one line, and nothing else.
    """
    if as_json:
        print(legible(json.dumps(json_values(report), ensure_ascii=False, allow_nan=False)), file=file)
        return
    lines = _plain_lines(config, report) if plan else _lines(config, report)
    print(legible("\n".join(lines)), file=file)


def print_error(error: BaseException, *, debug: bool) -> int:
    """Print one error to standard error and return the exit code that it stands for.

    Of several processes the leader speaks, and each other one of what has befallen it alone.
    """
    if type(error).__name__ == "NoArgsIsHelpError":  # Typer's: its message is the help
        print(error, file=sys.stderr)
        return UsageError.exit_code
    if debug:
        traceback.print_exception(error)
    expected = expected_error(error)
    if processes.says(expected):
        who = "" if processes.is_leader() else f"process {processes.number()}: "
        print(legible(f"{who}error: {expected}"), file=sys.stderr)
    return expected.exit_code


def json_values(value: Any) -> Any:
    """A report as JSON can hold it, without infinity and NaN: the perplexity of a model that diverged is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): json_values(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_values(inner) for inner in value]
    return value


def _lines(config: RunConfig, report: Mapping[str, Any]) -> Iterator[str]:
    """A report for people, its best news first."""
    kinds = {
        "pretrain": _pretrain_lines,
        "finetune": _finetune_lines,
        "evaluate": _evaluate_lines,
        "compare": _compare_lines,
        "predict": _predict_lines,
        "quickstart": _quickstart_lines,
        "models list": lambda config, report: list_lines(report),
        "models show": lambda config, report: show_lines(report),
        "models download": _download_lines,
    }
    yield from kinds.get(config.command, _plain_lines)(config, report)
    place = str(report.get("output"))
    finetune = "nlptl finetune --model {} --data reviews.csv -o runs/first"
    model = (
        place if config.output is not None else str(getattr(config, "name", None))
    )  # in the cache: by its name
    following = {
        "pretrain": finetune.format(shlex.quote(place)),
        "finetune": f"nlptl predict --model {shlex.quote(place)} texts.csv",
        "models import": finetune.format(shlex.quote(place)),
        "models download": finetune.format(shlex.quote(model)),
        "quickstart": finetune.format("wordvectors-mini --strategy freeze --ngrams 2"),
    }
    if config.command in following:
        yield f"next: {following[config.command]}"


def _pretrain_lines(config: RunConfig, report: Mapping[str, Any]) -> Iterator[str]:
    figures = report["validation"]
    if figures["loss"] is not None:  # word vectors predict no text
        bits = figures["bits_per_character"]  # none of a model that predicts a part of its text alone
        yield (
            f"validation: perplexity {figures['perplexity']:,.2f}, {figures['loss']:.4f} nats a token, "
            f"{'' if bits is None else f'{bits:.3f} bits a character, '}on {figures['tokens']:,} tokens"
        )
    yield f"model: {report['output']} ({report['family']}, {report['parameters']:,} parameters)"
    yield f"{report['steps']:,} steps over {report['train_tokens']:,} tokens in {_effort(report)}"


def _finetune_lines(config: RunConfig, report: Mapping[str, Any]) -> Iterator[str]:
    from nlptl.evaluation.metrics import format_headline

    for part in ("validation", "test"):
        if report[part] is not None:
            yield f"{part}: {format_headline(report[part])}"
    yield f"classifier: {report['output']} ({report['family']}, {report['strategy']}, {len(report['labels'])} labels)"
    yield f"{report['train_examples']:,} examples, {report['epochs']:g} epochs in {_effort(report)}"


def _evaluate_lines(config: RunConfig, report: Mapping[str, Any]) -> Iterator[str]:
    from nlptl.evaluation.metrics import format_headline

    yield format_headline(report)
    area = f", ROC AUC {report['roc_auc']:.3f}" if report.get("roc_auc") is not None else ""
    yield f"MCC {report['mcc']:.3f}, log loss {report['log_loss']:.3f}, calibration error {report['ece']:.3f}{area}"
    if "comparison" in report:
        yield _difference(report["comparison"], str(getattr(config, "compare", None)))
    if config.output is not None:
        yield f"report: {config.output / 'report.html'}"


def _compare_lines(config: RunConfig, report: Mapping[str, Any]) -> Iterator[str]:
    from nlptl.commands.comparison_results import table_lines

    yield report["summary"]
    yield from table_lines(report)
    for point in report["points"]:
        yield from (
            f"failed at {point['labels']:,} labels: {cell['system']}: {cell['error']}"
            for cell in point["cells"]
            if cell["error"] is not None
        )
    yield f"report: {report['output']}/report.html"


def _predict_lines(config: RunConfig, report: Mapping[str, Any]) -> Iterator[str]:
    place = "" if report["output"] is None else f": {report['output']}"
    rows = f"{report['rows']:,} text{'' if report['rows'] == 1 else 's'}"
    labelled = "labelled"
    if "abstained" in report:
        labelled = f"read, {report['rows'] - report['abstained']:,} labelled"
    yield f"{rows} {labelled}, {report['rows_per_second']:,.1f} a second{place}"


def _quickstart_lines(config: RunConfig, report: Mapping[str, Any]) -> Iterator[str]:
    yield f"fine-tuned: {_said(report['test'])}"
    yield f"TF-IDF:     {_said(report['tfidf'])}"
    yield _difference(report["comparison"], "TF-IDF")
    for row in report["predictions"]:
        yield f"  {row['label']} ({row['probability']:.2f}): {row['text']}"
    yield f"classifier: {report['model']}"


def _download_lines(config: RunConfig, report: Mapping[str, Any]) -> Iterator[str]:
    yield f"model: {report['output']} ({report['family']}, {report['parameters']:,} parameters)"
    yield f"{size(report['bytes'])} downloaded, verified by: {report['verified']}"


def _difference(found: Mapping[str, Any], other: str) -> str:
    low, high = found["interval"]
    return (
        f"accuracy {found['accuracy_difference']:+.3f} (95 % {low:+.3f} to {high:+.3f}) against {other}, "
        f"McNemar p = {found['mcnemar_p']:.3g}"
    )


def _plain_lines(config: RunConfig, report: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{key.replace('_', ' ')}: {_said(value)}" for key, value in report.items())


def _said(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, Mapping) and "accuracy_interval" in value:
        from nlptl.evaluation.metrics import format_headline

        return format_headline(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_said(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "none" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _effort(report: Mapping[str, Any]) -> str:
    from nlptl.training.progress import duration

    return (
        f"{duration(report['seconds'])}, {report['tokens_per_second']:,.0f} tokens/s, "
        f"at most {report['peak_memory_mb']:,.0f} MB"
    )
