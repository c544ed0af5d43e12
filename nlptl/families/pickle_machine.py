"""A stack machine that reads a pickle as data: it runs nothing that the pickle names.

A pickle is a program, and the standard library's machine calls whatever the program asks for. This one knows
only the instructions that describe data, and answers a given list of names with stand-ins; any other name
ends the reading. It allocates nothing that a file merely claims, such as lengths and memo slots. The
instructions and their arguments are parsed, and documented, by `pickletools` of the standard library.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any


class Refused(Exception):
    """The pickle asks for a name that is not allowed; the message is that name."""


class Inert:
    """Stands for an object of no use here, such as a hyper-parameter of an optimizer."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINBYTES", "BINBYTES"}
_NUMBERS = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "BINFLOAT", "FLOAT"}
_PYTHON_2_NAMES = {"__builtin__.long": "builtins.int"}  # protocols 0 to 2 use Python 2's names
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def _no_storage(identity: object) -> object:
    raise ValueError("a reference to data outside the pickle")


def interpret(
    stream: Any, names: Mapping[str, object], storage: Callable[[Any], object] = _no_storage
) -> Any:
    """Read one pickle, from the stream's position to its end.

    Args:
        stream: an `mmap` or a `BytesIO`: their reads stop at the end, whatever length is asked for.
        names: what each allowed name stands for; functions and classes among it are all that is ever called.
        storage: what a persistent id stands for.

    Raises:
        Refused: the pickle asks for another name.
        Exception: of almost any kind, where the pickle is damaged or needs more than these instructions.
    """
    stack: list[Any] = []
    marks: list[int] = []  # heights of the stack
    memo: dict[int, Any] = {}  # not a list, so that a slot's number allocates nothing

    def pop_to_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    def extend(items: list[Any]) -> None:
        if type(stack[-1]) is not list:
            raise ValueError("an item for something other than a list")
        stack[-1].extend(items)

    def update(pairs: list[Any]) -> None:
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            # The hash of nested tuples can take for ever, and plain keys are all there are.
            if type(stack[-1]) is not dict or not isinstance(key, str | int):
                raise ValueError("an entry for something other than a plain dictionary")
            stack[-1][key] = value

    def find(module: str, name: str) -> object:
        full_name = _PYTHON_2_NAMES.get(f"{module}.{name}", f"{module}.{name}")
        full_name = full_name.replace("__builtin__.", "builtins.")
        if full_name not in names:
            raise Refused(
                full_name if full_name.isprintable() else ascii(full_name)
            )  # it may go to a terminal
        return names[full_name]

    for opcode, value, _ in pickletools.genops(stream):
        argument: Any = value
        match opcode.name:
            case kind if kind in _TEXTS or kind in _NUMBERS:
                stack.append(argument)
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(memo[argument])
            case "SHORT_BINSTRING" | "BINSTRING" | "STRING":  # Python 2's byte strings
                stack.append(argument.encode("latin1").decode("utf-8"))
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append(_CONSTANTS[opcode.name])
            case "MARK":
                marks.append(len(stack))
            case "EMPTY_LIST":
                stack.append([])
            case "LIST":
                stack.append(pop_to_mark())
            case "APPEND":
                extend([stack.pop()])
            case "APPENDS":
                extend(pop_to_mark())
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                pairs = pop_to_mark()
                stack.append({})
                update(pairs)
            case "SETITEM":
                update([stack.pop(-2), stack.pop()])
            case "SETITEMS":
                update(pop_to_mark())
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "GLOBAL" | "INST":
                stack.append(find(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(find(stack.pop(-2), stack.pop()))
            case "REDUCE" | "NEWOBJ":
                function, arguments = stack.pop(-2), stack.pop()
                stack.append(function(*arguments))
            case "BUILD":  # attributes of an OrderedDict (torch's _metadata) or of a stand-in: not used
                stack.pop()
                if not isinstance(stack[-1], dict | Inert):
                    raise ValueError("attributes for something that has none")
            case "BINPERSID":
                stack.append(storage(stack.pop()))
            case "PROTO":
                if argument > pickle.HIGHEST_PROTOCOL:
                    raise ValueError(f"pickle protocol {argument}")
            case "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case other:
                raise ValueError(f"data does not need the pickle instruction {other}")
