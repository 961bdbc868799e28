"""Strict YAML 1.2 in which every value knows its place, and the words for what is wrong with it.

Text becomes a tree of nodes, the tree is fitted to a pydantic model, and everything wrong on the
way becomes a finding, so that one run tells all of it. The reader works on parser events, never on
objects: tags, anchors, aliases, merge keys and directives are findings, and no text can make it
build anything but dict, list and scalars. Sizes are limited before parsing. Lines and columns count
from 1. The reasons stand in docs/adr/0006-strict-yaml.md.

Longer than 400 lines: reading, fitting and wording share the nodes and their places, and nothing
here knows a key of the configuration. In order: faults, scalars, reading, fitting, words, writing.
"""

from __future__ import annotations

import codecs
import difflib
import json
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from stochbess.errors import ConfigError

MAX_BYTES = 65_536
MAX_DEPTH = 12
MAX_NODES = 5_000
MAX_FINDINGS = 1_000
MAX_LISTED = 100
_MAX_DIGITS = 40

KeyPath = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)

# --------------------------------------------------------------------------------------- faults


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where it stands, which key, what was found, what to do.

    `where` is ``file:line:column`` or ``--set key=value``; `key` is dotted, empty for a whole file.
    """

    where: str
    key: str
    found: str
    expected: str
    advice: str

    def __str__(self) -> str:
        named = self.key and not self.where.startswith("--set ")
        place = f"{self.where} {self.key}" if named else self.where
        return f"{place}: found {self.found}; expected {self.expected}; {self.advice}"


class ConfigFaultsError(ConfigError):
    """All faults of a configuration at once, one line each, in the order of the text."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        lines = [str(fault) for fault in self.faults[:MAX_LISTED]]
        if len(self.faults) > MAX_LISTED:
            lines.append(f"... and {len(self.faults) - MAX_LISTED} more faults")
        super().__init__("\n".join(lines))


@dataclass(frozen=True, order=True)
class Mark:
    """A place: `order` sorts sources (0 = file, then overrides), line 0 = the source as a whole."""

    order: int
    line: int
    column: int
    source: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Finding:
    """A fault before it is put into words for the reader: keys as a path, place as a mark."""

    mark: Mark
    path: KeyPath
    found: str
    expected: str
    advice: str

    def fault(self) -> Fault:
        return Fault(str(self.mark), dotted(self.path), self.found, self.expected, self.advice)


@dataclass(frozen=True)
class Odd:
    """A scalar that is refused whatever the key expects; `advice` says what to write instead."""

    advice: str


@dataclass
class Node:
    """A value with its place. `value` is a scalar, an `Odd`, a list or a dict of nodes."""

    mark: Mark
    key_mark: Mark
    value: Any
    text: str = ""
    quoted: bool = False
    reported: bool = False

    @classmethod
    def empty(cls, source: str, order: int = 0) -> Node:
        """A section without keys."""
        mark = Mark(order, 1, 1, source)
        return cls(mark, mark, {})

    def child(self, step: str | int) -> Node | None:
        if isinstance(self.value, dict):
            return self.value.get(step)
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            found: Node = self.value[step]
            return found
        return None

    def plain(self) -> Any:
        """The value as dict, list and scalars; an `Odd` stays one, no schema accepts it."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        return [node.plain() for node in self.value] if isinstance(self.value, list) else self.value

    def at(self, path: KeyPath) -> tuple[Node, bool]:
        """The node at `path` and True, or the last one on the way to it and False."""
        node = self
        for step in path:
            below = node.child(step)
            if below is None:
                return node, False
            node = below
        return node, True

    @property
    def shown(self) -> str:
        """What was read, for a message."""
        if isinstance(self.value, dict):
            return "a section"
        if isinstance(self.value, list):
            return f"a list of {len(self.value)}"
        if self.quoted:
            return f'"{shown(self.text)}" (text in quotes)'
        return f"{shown(self.text)}{' (text)' if isinstance(self.value, str) else ''}" or "nothing"


def shown(text: str, limit: int = 60) -> str:
    """`text` cut to `limit` characters, with unprintable characters escaped."""
    cut = text if len(text) <= limit else text[:limit] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def dotted(path: KeyPath) -> str:
    """``("a", "b", 0, "c")`` as ``a.b[0].c``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return shown(text.removeprefix("."), 120)


# -------------------------------------------------------------------------------------- scalars

_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_ODD = (
    (r"", "give a value or delete the line"),
    (r"~|Null|NULL", "write null, or quotes around it if text is meant"),
    (r"True|TRUE|False|FALSE", "write true or false in small letters"),
    (r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "write a finite number"),
    (r"0o[0-7]+|0x[0-9a-fA-F]+", "write the number in decimal digits, or quotes if text is meant"),
    (
        r"[-+]?0[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?",
        "write the number without leading zeros, or quotes if text is meant",
    ),
)


def resolve(text: str) -> Any:
    """Value of a plain scalar by the YAML 1.2 core schema, in one spelling per value.

    Spellings that the core schema or other readers of YAML take for something else (`~`, `True`,
    `0o17`, `.nan`, `012`) come back as `Odd`; what is left is text, `NO` and `12:30` included.
    """
    if text in ("null", "true", "false"):
        return {"null": None, "true": True, "false": False}[text]
    for pattern, advice in _ODD:
        if re.fullmatch(pattern, text):
            return Odd(advice)
    if not _NUMBER.fullmatch(text):
        return text
    if len(text) > _MAX_DIGITS:
        return Odd(f"write the number with at most {_MAX_DIGITS} characters")
    if _INTEGER.fullmatch(text):
        return int(text)
    number = float(text) + 0.0  # -0.0 becomes 0.0: equal configurations hash equally
    return number if abs(number) != float("inf") else Odd("write a finite number")


def write_scalar(value: Any) -> str:
    """`value` (None, bool, int, float or str) as YAML that `resolve` reads back unchanged."""
    if not isinstance(value, str):
        return json.dumps(value, allow_nan=False)
    word = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*|20\d\d-\d\d-\d\d", value)
    doubtful = value.lower() in ("y", "n", "yes", "no", "on", "off")
    plain = word and not doubtful and resolve(value) == value
    return value if plain else json.dumps(value, ensure_ascii=False)


# -------------------------------------------------------------------------------------- reading


def read_file(path: Path, source: str) -> tuple[str, list[Finding]]:
    """Text of a UTF-8 file of at most `MAX_BYTES`; findings instead of an exception."""
    place = Mark(0, 0, 0, source)
    wanted = f"a YAML file in UTF-8 of at most {MAX_BYTES:,} bytes"
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return "", [Finding(place, (), f"no readable file ({reason})", wanted, "check the path")]
    if len(data) > MAX_BYTES:
        found, advice = f"more than {MAX_BYTES:,} bytes", "keep data in files of their own"
    elif data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        found, advice = "UTF-16 text", "save the file as UTF-8 without byte order mark"
    elif data.startswith(codecs.BOM_UTF8):
        found, advice = "a byte order mark", "save the file as UTF-8 without byte order mark"
    else:
        try:
            return data.decode("utf-8"), []
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            place = Mark(0, line, error.start - data.rfind(b"\n", 0, error.start), source)
            found, advice = f"byte 0x{data[error.start]:02x}, not UTF-8", "save the file as UTF-8"
    return "", [Finding(place, (), found, wanted, advice)]


def read_tree(text: str, source: str, order: int = 0) -> tuple[Node | None, list[Finding]]:
    """Nodes of one YAML document and what is wrong with it; None where reading had to stop.

    An empty document is an empty section. Faults of a single value (a tag, a duplicate key) do not
    stop the reading; a syntax fault, a limit or a second document do.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    builder = _Builder(source, order)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except _Stop:
        return None, builder.findings
    except YAMLError as error:
        line = column = 0
        if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
            line, column = error.problem_mark.line + 1, error.problem_mark.column + 1
        elif isinstance(error, ReaderError):
            line = text.count("\n", 0, error.position) + 1
            column = error.position - text.rfind("\n", 0, error.position)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        advice = "check indentation (spaces only), quotes and brackets near this place"
        place = Mark(order, line, column, source)
        builder.findings.append(Finding(place, (), shown(str(problem), 120), "YAML 1.2", advice))
        return None, builder.findings
    root = builder.root
    blank = root is None or (isinstance(root.value, Odd) and not root.text and not root.reported)
    return Node.empty(source, order) if root is None or blank else root, builder.findings


class _Stop(Exception):
    """Reading cannot go on; the reason is the last finding."""


@dataclass
class _Frame:
    """An open section or list; `key` waits for its value, a `dead` frame is read and dropped."""

    node: Node
    path: KeyPath
    dead: bool
    key: tuple[str, Mark, bool] | None = None


@dataclass
class _Builder:
    """Builds the tree from parser events, with an explicit stack: depth costs no recursion."""

    source: str
    order: int
    root: Node | None = None
    findings: list[Finding] = field(default_factory=list)
    _stack: list[_Frame] = field(default_factory=list)
    _documents: int = 0
    _nodes: int = 0

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "DocumentStartEvent":
            self._open_document(event)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._stack.pop()
        elif kind in ("MappingStartEvent", "SequenceStartEvent", "ScalarEvent", "AliasEvent"):
            self._nodes += 1
            if self._nodes > MAX_NODES:
                self._stop(event, f"more than {MAX_NODES:,} values", "a shorter file")
            frame = self._stack[-1] if self._stack else None
            if frame and isinstance(frame.node.value, dict) and frame.key is None:
                self._take_key(frame, event, kind)
            else:
                self._take_value(frame, event, kind)

    def _open_document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop(event, "a second document", "one document", "delete from this --- on")
        if event.version or event.tags:
            self._add(event, (), "a % directive", "no directives", "delete the line: YAML 1.2 here")

    def _take_key(self, frame: _Frame, event: Any, kind: str) -> None:
        mark = self._mark(event)
        name = event.value if kind == "ScalarEvent" else ""
        path = (*frame.path, name)
        dead = True
        if frame.dead:
            pass
        elif kind != "ScalarEvent":
            self._add(event, frame.path, "a key that is no word", "a key", "write key: value")
        elif name == "<<" and not event.style:
            self._add(event, path, "a merge key", "no merge keys", "write the values out")
        elif name in frame.node.value:
            first = frame.node.value[name].key_mark.line
            advice = "keep one of the two"
            found = f"the key a second time (first in line {first})"
            self._add(event, path, found, "each key once", advice)
        else:
            dead = False
            self._reject_decoration(event, kind, path)
        frame.key = (name, mark, dead)
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._push(Node(mark, mark, {} if kind[0] == "M" else []), path, event, dead=True)

    def _take_value(self, frame: _Frame | None, event: Any, kind: str) -> None:
        mark = key_mark = self._mark(event)
        path: KeyPath = ()
        dead = False
        if frame and frame.key is not None:
            name, key_mark, dead = frame.key
            path, dead, frame.key = (*frame.path, name), dead or frame.dead, None
        elif frame:
            path, dead = (*frame.path, len(frame.node.value)), frame.dead
        reported = not dead and self._reject_decoration(event, kind, path)
        if kind == "ScalarEvent":
            value = event.value if event.style else resolve(event.value)
            value = Odd("") if reported else value
            mark = mark if event.value or event.style else key_mark  # nothing stands nowhere
            node = Node(mark, key_mark, value, event.value, bool(event.style), reported)
        elif kind == "AliasEvent":
            node = Node(mark, key_mark, Odd(""), reported=True)
        else:
            node = Node(mark, key_mark, {} if kind[0] == "M" else [])
        if not dead:
            self._attach(frame, path, node)
        if kind.endswith("StartEvent"):
            self._push(node, path, event, dead)

    def _attach(self, frame: _Frame | None, path: KeyPath, node: Node) -> None:
        if frame is None:
            self.root = node
        elif isinstance(frame.node.value, dict):
            frame.node.value[path[-1]] = node
        else:
            frame.node.value.append(node)

    def _push(self, node: Node, path: KeyPath, event: Any, dead: bool) -> None:
        if len(self._stack) >= MAX_DEPTH:
            self._stop(event, f"more than {MAX_DEPTH} levels of nesting", "a flatter file")
        self._stack.append(_Frame(node, path, dead))

    def _reject_decoration(self, event: Any, kind: str, path: KeyPath) -> bool:
        if kind == "AliasEvent":
            found = f"the alias *{shown(event.anchor)}"
            self._add(event, path, found, "no aliases", "write the value out at each place")
            return True
        if event.anchor:
            found = f"the anchor &{shown(event.anchor)}"
            self._add(event, path, found, "no anchors", "write the value out at each place")
        if event.tag:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!", 1)
            self._add(event, path, f"the tag {shown(tag)}", "no tags", "delete the tag")
        return bool(event.tag)

    def _mark(self, event: Any) -> Mark:
        at = event.start_mark
        return Mark(self.order, at.line + 1, at.column + 1, self.source)

    def _add(self, event: Any, path: Iterable[str | int], *words: str) -> None:
        found, expected, advice = words
        mark = self._mark(event)
        self.findings.append(Finding(mark, tuple(path), found, expected, advice))

    def _stop(self, event: Any, found: str, expected: str, advice: str = "shorten it") -> None:
        self._add(event, (), found, expected, advice)
        raise _Stop


def put(tree: Node, override: str, order: int, schema: dict[str, Any]) -> list[Finding]:
    """Put the override ``dotted.key=value`` into the tree; `schema` tells sections from values.

    Keys may be written with hyphens, as options are.
    """
    mark = Mark(order, 0, 0, f"--set {shown(override, 200)}")
    key, equals, text = override.partition("=")
    path = _spelt(tuple(key.strip().split(".")), schema)
    if not equals or not all(path):
        advice = "write it like --set battery.power_mw=1"
        return [Finding(mark, (), "no key=value", "a dotted key, = and a value", advice)]
    for depth in range(1, len(path) + 1):
        known = schema_at(schema, path[:depth])
        section = known is not None and "properties" in known
        if known is not None and section == (depth == len(path)):
            found = "a section" if section else f"a key below the value {dotted(path[:depth])}"
            advice = "set its keys one by one" if section else "give the whole value"
            return [Finding(mark, path, found, "the key of a value", advice)]
    value, inner = read_tree(text, mark.source, order)
    findings = [Finding(mark, path + f.path, f.found, f.expected, f.advice) for f in inner]
    if value is None:
        return findings
    value = value if text.strip() else Node(mark, mark, resolve(""))
    _move(value, mark)
    node = tree
    for step in path[:-1]:
        if isinstance(node.value, dict):
            node = node.value.setdefault(step, Node(mark, mark, {}))
    if isinstance(node.value, dict):  # else the file has a value for a section, reported there
        node.value[path[-1]] = value
    return findings


def _spelt(path: tuple[str, ...], schema: dict[str, Any]) -> KeyPath:
    """The path with underscores for hyphens where the schema knows the key so only."""
    spelt: KeyPath = ()
    for step in path:
        other = (*spelt, step.replace("-", "_"))
        known = schema_at(schema, (*spelt, step)) is not None or schema_at(schema, other) is None
        spelt = (*spelt, step) if known else other
    return spelt


def _move(node: Node, mark: Mark) -> None:
    node.mark = node.key_mark = mark
    if isinstance(node.value, dict | list):
        for below in node.value.values() if isinstance(node.value, dict) else node.value:
            _move(below, mark)


# -------------------------------------------------------------------------------------- fitting


class Rule(Protocol):
    """A rule between keys that does not hold; the first override is blamed, or the first key."""

    @property
    def keys(self) -> tuple[str, ...]: ...
    @property
    def found(self) -> str: ...
    @property
    def expected(self) -> str: ...
    @property
    def advice(self) -> str: ...


class Fit(Generic[M]):
    """A tree fitted to a model.

    Values that do not fit become `findings` and are left out of `value`, so that rules can judge
    the rest: their keys fall back to the defaults, and items of a list disappear.
    """

    def __init__(self, model: type[M], tree: Node) -> None:
        self.tree = tree
        self.findings: list[Finding] = []
        self._kept: dict[KeyPath, list[int]] = {}  # per list: which items are left
        self._dropped: set[KeyPath] = set()
        while True:
            self._kept.clear()
            try:
                self.value = model.model_validate(self._usable(tree, ()))
                return
            except ValidationError as error:
                problems = error.errors(include_url=False, include_context=False)
                before = len(self._dropped)
                self._drop(model, [(problem["loc"], problem["type"]) for problem in problems])
                if len(self._dropped) == before:
                    raise  # a defect of this module: nothing left to leave out

    def _usable(self, node: Node, path: KeyPath) -> Any:
        if path in self._dropped:
            return {}  # only the root gets here
        if isinstance(node.value, dict):
            stay = {key: (*path, key) for key in node.value if (*path, key) not in self._dropped}
            return {key: self._usable(node.value[key], below) for key, below in stay.items()}
        if isinstance(node.value, list):
            kept = [i for i in range(len(node.value)) if (*path, i) not in self._dropped]
            self._kept[path] = kept
            return [self._usable(node.value[i], (*path, i)) for i in kept]
        return node.value

    def _drop(self, model: type[M], problems: list[tuple[KeyPath, str]]) -> None:
        errors: dict[KeyPath, str] = {}
        for loc, kind in problems:
            errors.setdefault(self._locate(loc), kind)
        inner = {path[:n] for path in errors for n in range(len(path))}
        errors = {path: kind for path, kind in errors.items() if path not in inner}
        if not self._dropped:  # later rounds see only consequences of what was dropped
            schema = words(model)
            for path, kind in errors.items():
                node, exact = self.tree.at(path)
                if not (exact and node.reported) and len(self.findings) < MAX_FINDINGS:
                    self.findings.append(_explain(self.tree, path, kind, schema))
        for path in errors:
            item = next((i for i, step in enumerate(path) if isinstance(step, int)), len(path))
            self._dropped.add(path[: item + 1])

    def _locate(self, loc: KeyPath) -> KeyPath:
        """Path of the node that an error speaks of; names of union branches are passed over."""
        path: KeyPath = ()
        node = self.tree
        for position, step in enumerate(loc):
            origin = (
                self._kept[path][step] if isinstance(step, int) and path in self._kept else step
            )
            below = node.child(origin)
            if below is not None:
                node, path = below, (*path, origin)
            elif position == len(loc) - 1 and isinstance(node.value, dict):
                path = (*path, step)  # a missing key
        return path

    def judge(self, broken: Iterable[Rule], faulty: Iterable[KeyPath]) -> Iterator[Finding]:
        """Findings for broken rules, except where a key that the rule looked at is faulty."""
        known = [path for path in faulty if path]
        for rule in broken:
            paths = [self._path(key) for key in rule.keys]
            if any(p[: len(f)] == f[: len(p)] for p in paths for f in known):
                continue
            written = [path for path in paths if self.tree.at(path)[1]] or paths
            # What was typed on the command line is what somebody looks at.
            typed = [path for path in written if self.tree.at(path)[0].mark.order]
            blamed = (typed or written)[0]
            mark, found = self.tree.at(blamed)[0].mark, rule.found
            if blamed != paths[0] and re.fullmatch(r"[-+.0-9e]+", found):
                found = f"{dotted(paths[0])} {found}"  # the number of another key than the blamed
            yield Finding(mark, blamed, found, rule.expected, rule.advice)

    def _path(self, key: str) -> KeyPath:
        """``a.b[0].c`` as a path, with the item's number in the file."""
        path: KeyPath = ()
        for step in re.findall(r"[^.\[\]]+", key):
            path = (*path, self._kept[path][int(step)] if path in self._kept else step)
        return path


# ---------------------------------------------------------------------------------------- words

_UNITS = {
    "_eur_mwh_h": "EUR/MWh per hour",
    "_eur_kw_year": "EUR/kW per year",
    "_eur_kwh": "EUR/kWh",
    "_eur_mwh": "EUR/MWh",
    "_mwh": "MWh",
    "_mw": "MW",
    "_per_h": "1/h",
    "_per_day": "1/day",
    "_frac": "fraction",
    "_days": "days",
    "_s": "s",
}


@cache
def words(model: type[BaseModel]) -> dict[str, Any]:
    """JSON schema of a model with references resolved and a `unit` where the key names one.

    The result is shared: read it, do not change it.
    """
    raw = model.model_json_schema()
    resolved: dict[str, Any] = _resolved(raw, raw.pop("$defs", {}), "")
    return resolved


def _resolved(node: Any, definitions: dict[str, Any], name: str) -> Any:
    if isinstance(node, list):
        return [_resolved(entry, definitions, "") for entry in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _resolved(definitions[node["$ref"].rpartition("/")[2]], definitions, "")
    result = {k: _resolved(v, definitions, "") for k, v in node.items() if k != "title"}
    if "properties" in node:
        below = node["properties"].items()
        result["properties"] = {key: _resolved(v, definitions, key) for key, v in below}
    if isinstance(result.get("description"), str):
        result["description"] = " ".join(result["description"].split())
    unit = next((unit for suffix, unit in _UNITS.items() if f"_{name}".endswith(suffix)), None)
    return {**result, "unit": unit} if unit else result


def schema_at(schema: dict[str, Any], path: KeyPath) -> dict[str, Any] | None:
    """Part of the schema for a key, None for an unknown one; items of a list inherit the unit."""
    node = schema
    for step in path:
        if isinstance(step, int):
            branches = [branch for branch in (node, *node.get("anyOf", ())) if "items" in branch]
            unit = {"unit": node["unit"]} if "unit" in node else {}
            node = {**branches[0]["items"], **unit} if branches else {}
        else:
            node = node.get("properties", {}).get(step, {})
        if not node:
            return None
    return node


def expected(schema: dict[str, Any]) -> str:
    """What a key takes, in words, such as ``a number > 0 (MW)``."""
    unit = f" ({schema['unit']})" if "unit" in schema else ""
    kind = schema.get("type")
    if "anyOf" in schema:
        inherited = {"unit": schema["unit"]} if unit else {}
        return " or ".join(expected({**branch, **inherited}) for branch in schema["anyOf"])
    if "expected" in schema or "const" in schema:
        return str(schema.get("expected", schema.get("const")))
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    if kind in ("number", "integer"):
        return ("a number" if kind == "number" else "a whole number") + _bounds(schema) + unit
    if kind == "array":
        return f"a list, each item {expected(schema['items'])}{unit}"
    if kind == "object":
        return "a section with " + ", ".join(schema["properties"])
    return {"boolean": "true or false", "null": "null"}.get(str(kind), "text")


def _bounds(schema: dict[str, Any]) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']:,.10g} to {schema['maximum']:,.10g}"
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    parts = [f"{sign} {schema[name]:,.10g}" for name, sign in signs.items() if name in schema]
    return " " + " and ".join(parts) if parts else ""


def _explain(tree: Node, path: KeyPath, kind: str, schema: dict[str, Any]) -> Finding:
    """Finding for a validation error of type `kind` at `path`."""
    node, exact = tree.at(path)
    if kind == "extra_forbidden":
        siblings = list((schema_at(schema, path[:-1]) or {}).get("properties", {}))
        wanted = f"one of {', '.join(siblings)}"
        advice = _near(str(path[-1])[:80], siblings, schema)
        return Finding(node.key_mark, path, "an unknown key", wanted, advice)
    known = (schema_at(schema, path) if path else schema) or {}
    if not exact:
        return Finding(node.mark, path, "nothing", expected(known), "add the key")
    wanted = expected(known)
    if kind == "too_long":
        wanted += f", at most {known.get('maxItems', 0):,} items"
    return Finding(node.mark, path, node.shown, wanted, _advice(node, known))


def _near(name: str, siblings: list[str], schema: dict[str, Any]) -> str:
    elsewhere = [full for full in _names(schema, "") if full.rpartition(".")[2] == name]
    near = elsewhere[:3] or difflib.get_close_matches(name.lower(), siblings, n=1)
    near = near or [sibling for sibling in siblings if name and sibling.startswith(name.lower())]
    if name.isdigit():
        return "write a decimal point, not a comma"
    return f"did you mean {' or '.join(near)}?" if near else "correct or delete the key"


def _names(schema: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, node in schema.get("properties", {}).items():
        yield f"{prefix}{name}"
        yield from _names(node, f"{prefix}{name}.")


_HINTS = (
    (r"(?i)y|yes|on", "write true: YAML 1.2 reads this as text"),
    (r"(?i)n|no|off", "write false: YAML 1.2 reads this as text"),
    (r"(?i)[-+]?(nan|inf|infinity)", "write a finite number"),
    (r"-?[0-9]+(:[0-9]+)+", "write a decimal number: YAML 1.2 reads this as text, not in base 60"),
    (r"[-+]?[0-9][0-9_]*_[0-9_.]*", "write the digits without underscores"),
    (r"[-+]?[0-9.]+,[0-9.]+", "write a decimal point, and no thousands separator"),
    (r"[-+]?[0-9.]+ *%", "write a fraction, not percent, such as 0.95"),
    (r"[-+]?[0-9.]+ *[A-Za-z€/]+", "write the number alone, in the unit that the key names"),
)


def _advice(node: Node, schema: dict[str, Any]) -> str:
    value, branches = node.value, schema.get("anyOf", [schema])
    kinds = {branch.get("type") for branch in branches}
    numeric = kinds & {"number", "integer"}
    advice = ""
    if isinstance(value, Odd):
        advice = value.advice
        if not node.text and "null" in kinds:
            advice = "write null if no value is meant"
    elif isinstance(value, str):
        advice = _advice_on_text(node, branches, bool(numeric) or "boolean" in kinds)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if "string" in kinds and not numeric:
            advice = "put it in quotes if text is meant"
        elif numeric:
            advice = _rescaled(value, branches, schema.get("unit"))
    if advice or "default" not in schema:
        return advice or "correct the value"
    return f"correct the value, or delete the line for the default {_flow(schema['default'])}"


def _advice_on_text(node: Node, branches: list[dict[str, Any]], no_text: bool) -> str:
    text = node.value[:80]
    if no_text and node.quoted and not isinstance(resolve(text), str | Odd):
        return "remove the quotes"
    hints = [hint for pattern, hint in _HINTS if no_text and re.fullmatch(pattern, text)]
    choices = [choice for b in branches for choice in (*b.get("enum", ()), b.get("const", ""))]
    near = difflib.get_close_matches(text.lower(), choices, n=1)
    if near and near[0]:
        return f"did you mean {near[0]}?"
    if any(branch.get("format") == "local-date-time" for branch in branches):
        return "give an existing time, local in the zone, without Z or +02:00"
    return hints[0] if hints else ""


def _rescaled(value: float, branches: list[dict[str, Any]], unit: str | None) -> str:
    """Advice if the value fits after a slip of unit: percent, or a factor of 1000."""
    for branch in branches:
        low = branch.get("minimum", branch.get("exclusiveMinimum", -math.inf))
        high = branch.get("maximum", branch.get("exclusiveMaximum", math.inf))
        if branch.get("type") == "integer" and float(value).is_integer() and low <= value <= high:
            return f"write {value:.0f}"
        if branch.get("type") != "number" or value <= 0 or math.isinf(high):
            continue
        if high <= 1 and max(low, 1e-9) <= value / 100 <= high:
            return f"a fraction, not percent: write {value / 100:g}, not {value:g}"
        for factor in (1e-3, 1e3):
            if unit and unit != "fraction" and low <= value * factor <= high:
                return f"wrong by a factor of 1000? {value * factor:g} {unit} would be accepted"
    return ""


# -------------------------------------------------------------------------------------- writing


def written(schema: dict[str, Any], values: dict[str, Any], indent: int = 0) -> Iterator[str]:
    """Lines of a section: for each key a comment, then key and value."""
    pad = " " * indent
    for name, node in schema["properties"].items():
        text, value = node.get("description", ""), values[name]
        if "properties" in node:
            yield from () if indent else ("",)
            yield from _comment(text, pad)
            yield f"{pad}{name}:"
            yield from written(node, value, indent + 2)
            continue
        yield from _comment(f"{text} [{expected(node)}]", pad)
        for key, item in node.get("items", {}).get("properties", {}).items():
            text = item.get("description", "")
            yield from _comment(f"{key}: {text} [{expected(item)}]", pad, 2)
        yield f"{pad}{name}: {_flow(value)}"


def _comment(text: str, pad: str, deeper: int = 0) -> list[str]:
    first = f"{pad}# {' ' * deeper}"
    return textwrap.wrap(text, 100, initial_indent=first, subsequent_indent=first)


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    return write_scalar(value)
