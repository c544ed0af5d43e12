"""Whatever stops a command, as one of the errors that a user can mend; what is none of them is ours to mend."""

from __future__ import annotations

import errno
import re
from typing import Any

from nlptl.errors import Interrupted, NlptlError, RunFailed, UsageError

# No room, no quota left, and a file as large as one may be here.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# How PyTorch, Arrow and oneDNN tell that memory is short, beside a MemoryError.
SHORT_OF_MEMORY = re.compile(
    "can't allocate memory|Cannot allocate memory|could not (create|execute) a primitive$"
)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
FORBIDDEN_IN_NATIVE_CODE = ("Permission denied", "Read-only file system")
# How safetensors (Rust) and torch.save (C++) tell it, neither by an OSError.
FULL_IN_NATIVE_CODE = (
    "No space left on device",
    "File too large",
    "Disk quota exceeded",
    "file write failed",
    "unexpected pos",
    "iostream error",
)


def expected_error(error: BaseException) -> NlptlError:
    """What went wrong, as the command line says it."""
    if isinstance(error, NlptlError):
        return error
    said = " ".join(str(error).split())[:300]
    if hasattr(error, "format_message"):  # what Typer finds wrong with the command line
        return _usage_error(error)
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("stopped")
    # PyTorch has a class for a GPU that is full and a sentence for a host that is.
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or SHORT_OF_MEMORY.search(said)
    ):
        return RunFailed("out of memory", None, "lower --batch-size or --max-length")
    if "can't start new thread" in said:
        remedy = "free memory, or raise the limit on processes (ulimit -u)"
        return RunFailed("no room for another thread", None, remedy)
    if isinstance(error, OSError) and error.errno in FULL:
        where = None if error.filename is None else str(error.filename)
        return RunFailed("the disk is full", where, "make room, then go on with --resume")
    if isinstance(error, OSError) and error.errno in FORBIDDEN:
        where = None if error.filename is None else str(error.filename)
        remedy = "mend its permissions, then go on with --resume"
        return RunFailed(f"it may not be read or written ({error.strerror})", where, remedy)
    if any(words in said for words in FORBIDDEN_IN_NATIVE_CODE):
        return RunFailed(said, None, "mend the permissions, then go on with --resume")
    if any(words in said for words in FULL_IN_NATIVE_CODE):
        return RunFailed("the disk is full", None, "make room, then go on with --resume")
    said = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return RunFailed(f"internal: {said}", None, "run again with --debug and report it")


def _usage_error(error: Any) -> UsageError:
    context = getattr(error, "ctx", None)
    remedy = f"see `{context.command_path if context is not None else 'nlptl'} --help`"
    if type(error).__name__ == "NoSuchOption":
        near = f" (did you mean {error.possibilities[0]}?)" if error.possibilities else ""
        return UsageError(f"no such option: {error.option_name}{near}", None, remedy)
    message = error.format_message().replace("Value error, ", "").rstrip(".")
    cause, question, suggestion = message.partition(". Did you mean ")
    near = f" (did you mean {suggestion.rstrip('?')}?)" if question else ""
    return UsageError(cause[:1].lower() + cause[1:] + near, None, remedy)
