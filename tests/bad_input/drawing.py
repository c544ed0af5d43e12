"""What hypothesis draws inputs from: texts of all that Unicode has, values of YAML, and configs by their schema."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

ODDITIES = (
    "", " ", "\t", "\u3000", "\ufeff", "\0", "\x1b[2J", "\r", "\n", "\r\n", "\u2028", "\x85", "\ud800", "\udc00",
    "\u202eabc", "e" + "\u0301" * 40, "👩‍👩‍👧‍👦", "🏳️‍🌈", "ﷺ", "İ", "ß", "½", "\U0010ffff",
    "한국어", "العربية", "देवनागरी", "<pad>", "<unk>", "<script>alert(1)</script>", "xxbos", "NaN", "null", "007", "1e5",
    "true", "'", '"', '""', '"a" b', ",", ";", "|", "\\", "{}", "[]", "x" * 3000, "a b " * 500,
)  # fmt: skip


def odd_texts() -> st.SearchStrategy[str]:
    """Any Unicode, oddities among it; lone surrogates too, which no file of UTF-8 can hold."""
    parts = st.lists(st.one_of(st.sampled_from(ODDITIES), st.text(st.characters(), max_size=20)), max_size=4)
    return parts.map("".join)


def odd_values() -> st.SearchStrategy[Any]:
    """What YAML has values for, and JSON not always."""
    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.dates(),
        st.datetimes(),
        st.binary(max_size=5),
        odd_texts(),
    )
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(odd_texts() | st.integers(), inner, max_size=3)
        ),
        max_leaves=6,
    )


def by_schema(node: dict[str, Any], definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a node of a JSON schema allows."""
    if "$ref" in node:
        return by_schema(definitions[node["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in node:
        return st.one_of([by_schema(one, definitions) for one in node["anyOf"]])
    if "enum" in node or "const" in node:
        return st.sampled_from(node.get("enum", [node.get("const")]))
    if "prefixItems" in node:
        return st.tuples(*(by_schema(one, definitions) for one in node["prefixItems"])).map(list)
    kind = node.get("type")
    if kind == "object":
        if "properties" not in node:
            return st.dictionaries(odd_texts(), odd_values(), max_size=3)
        properties = {key: by_schema(one, definitions) for key, one in node["properties"].items()}
        return st.fixed_dictionaries({}, optional=properties)
    if kind == "array":
        return st.lists(by_schema(node["items"], definitions), min_size=node.get("minItems", 0), max_size=3)
    low = node.get("minimum", node.get("exclusiveMinimum"))
    high = node.get("maximum", node.get("exclusiveMaximum"))
    if kind == "integer":
        return st.integers(low + ("exclusiveMinimum" in node), high - ("exclusiveMaximum" in node))
    if kind == "number":
        ends = {"exclude_min": "exclusiveMinimum" in node, "exclude_max": "exclusiveMaximum" in node}
        return st.floats(low, high, allow_nan=False, allow_infinity=False, **ends)
    if kind == "string":
        return st.from_regex(node["pattern"]) if "pattern" in node else odd_texts()
    return {"null": st.none(), "boolean": st.booleans()}[str(kind)]


def drawn(examples: int) -> settings:
    """A few examples are the same every time, so that what fails once fails again."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=examples < 100,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
