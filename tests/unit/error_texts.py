"""What the source can say in an error: the texts in the calls of `PenjingError` and its subclasses, with samples."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import penjing

SOURCE = Path(penjing.__file__).parent
PIECES = ("what", "expected", "next_step")
# Besides errors: why an index did not give a file, which an error quotes.
ROOTS = {"PenjingError", "Unavailable"}
# Functions that return a reason, which an error quotes.
REASONS = re.compile("why_.*|supports|_missing_roles")
# How numbers look, by what is in their format.
NUMBERS = {"%": "20%", "x": "e9", ",": "1,234", ".0": "12"}

# A text is a sequence of parts, each with the samples that may stand there: one for what the source spells out.
Text = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Piece:
    """A piece of an error.

    Args:
        place: file and line.
        source: the expression.
        texts: what it can say; None: only its callers know.
    """

    place: str
    source: str
    texts: tuple[Text, ...] | None

    @property
    def key(self) -> str:
        return f"{self.place.partition(':')[0]}: {self.source}"


def samples(text: Text) -> list[str]:
    return ["".join(parts) for parts in product(*text)]


def is_code(text: str) -> bool:
    """Whether this is the same in every language: JSON, an address, a file's name or ending, a bare number."""
    try:
        json.loads(text)
    except ValueError:
        return not re.search(r"\s", text) and not text.isalpha()
    return True


def error_pieces(known: Mapping[str, Sequence[str]]) -> list[Piece]:
    """Every piece of every error.

    Args:
        known: "file: expression" → what stands in that place of a text, where any word or number is not right.
    """
    trees = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")}
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    names = set(ROOTS)
    while found := {c.name for c in classes if c.name not in names and names & {ast.unparse(b) for b in c.bases}}:
        names |= found
    return [piece for place, tree in sorted(trees.items()) for piece in _Module(place, tree, names, known).pieces()]


class _Module:
    def __init__(self, place: str, tree: ast.Module, names: set[str], known: Mapping[str, Sequence[str]]) -> None:
        self.place, self.tree, self.names, self.known = place, tree, names, known
        self.parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self.resolving: set[ast.AST] = set()

    def pieces(self) -> Iterator[Piece]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                for value in self._arguments(node):
                    yield self._piece(value)
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "usual_next_step":
                yield self._piece(node.value)
            elif isinstance(node, ast.Return) and node.value is not None:
                function = self._above(node, ast.FunctionDef)
                reason = self.place.startswith("tasks/") and REASONS.fullmatch(function.name)
                if reason and self._texts(node.value) is not None:
                    yield self._piece(node.value)

    def _arguments(self, call: ast.Call) -> list[ast.expr]:
        """What is said in a call, where it makes an error, refuses a setting, or notes what was left."""
        name = ast.unparse(call.func).rpartition(".")[2]
        if name == "Left":
            return call.args[1:2] + [word.value for word in call.keywords if word.arg == "what"]
        if name == "ValueError" and self.place.endswith("config.py"):
            function = self._above(call, ast.FunctionDef)
            validates = function and any("validator" in ast.unparse(mark) for mark in function.decorator_list)
            return call.args if validates else []
        makes = name in self.names and name != "MissingExtraError"  # whose arguments are names; it says the rest itself
        if ast.unparse(call.func) == "super().__init__":
            owner = self._above(call, ast.ClassDef)
            makes = owner is not None and owner.name in self.names - ROOTS
        return call.args[:1] + [word.value for word in call.keywords if word.arg in PIECES] if makes else []

    def _piece(self, value: ast.expr) -> Piece:
        texts = self._texts(value)
        return Piece(f"{self.place}:{value.lineno}", ast.unparse(value), None if texts is None else tuple(texts))

    def _texts(self, node: ast.expr) -> list[Text] | None:
        """The texts an expression can be; None where it is no text of the source's own."""
        known = self.known.get(f"{self.place}: {ast.unparse(node)}")
        if known is not None:
            return [((text,),) for text in known]
        if isinstance(node, ast.Constant):
            return [((node.value,),)] if isinstance(node.value, str) else [] if node.value is None else None
        if isinstance(node, ast.IfExp):
            return self._all([node.body, node.orelse])
        if isinstance(node, ast.JoinedStr):
            return _joined([self._part(part) for part in node.values])
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            sides = [self._texts(node.left), self._texts(node.right)]
            return None if sides == [None, None] else _joined([side or [(("column_a",),)] for side in sides])
        if isinstance(node, ast.Name) and node not in self.resolving:
            self.resolving.add(node)
            try:
                return self._all(self._values(node))
            finally:
                self.resolving.remove(node)
        return None

    def _all(self, nodes: list[ast.expr]) -> list[Text] | None:
        found = [self._texts(node) for node in nodes]
        return None if not nodes or None in found else [text for texts in found for text in texts or ()]

    def _part(self, node: ast.expr) -> list[Text]:
        """What can stand in one place of an f-string."""
        if not isinstance(node, ast.FormattedValue):
            return self._texts(node) or []
        if node.conversion == ord("r"):
            return [(("'column_a'",),)]
        if node.format_spec is not None:
            form = ast.unparse(node.format_spec)
            return [((next((shown for sign, shown in NUMBERS.items() if sign in form), "0.5"),),)]
        return self._texts(node.value) or [(("column_a", "3"),)]

    def _values(self, name: ast.Name) -> list[ast.expr]:
        """What a name was given: in its function, by the callers of that function, or at the top of the module."""
        function = self._above(name, ast.FunctionDef)
        while function is not None:
            found = _assigned(name.id, ast.walk(function))
            arguments = [argument.arg for argument in function.args.args]
            if not found and name.id in arguments:
                found = self._given(function.name, arguments.index(name.id))
            if found or name.id in arguments:
                return found
            function = self._above(function, ast.FunctionDef)
        return _assigned(name.id, self.tree.body)

    def _given(self, function: str, position: int) -> list[ast.expr]:
        calls = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        calls = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == function]
        return [call.args[position] for call in calls if position < len(call.args)]

    def _above(self, node: ast.AST, kind: type[ast.AST]) -> ast.AST | None:
        above = self.parents.get(node)
        while above is not None and not isinstance(above, kind):
            above = self.parents.get(above)
        return above


def _joined(parts: list[list[Text]]) -> list[Text]:
    return [tuple(piece for text in chosen for piece in text) for chosen in product(*parts)]


def _assigned(name: str, nodes: Iterator[ast.AST] | list[ast.stmt]) -> list[ast.expr]:
    found = []
    for node in nodes:
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            both = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            pairs = zip(target.elts, value.elts, strict=True) if both else [(target, value)]
            found += [given for to, given in pairs if isinstance(to, ast.Name) and to.id == name]
    return found
