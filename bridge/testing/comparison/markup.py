"""Trees of elements, and the differences between two of them: what HTML and XML have in common. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from html import escape
from typing import Any, TypeAlias

from .result import ABSENT, Difference

# Real pages nest some dozens deep. What is deeper is compared as text: walking it would need more of
# Python's stack than a test may have left.
DEEPEST = 150
# Lists of children whose lengths multiply to more than this are compared one by one by their position:
# matching them takes time that grows with the product.
_LARGEST_MATCH = 4_000_000


class Unreadable(Exception):
    """Markup that cannot be read as a tree, or that is nested too deep."""


@dataclass
class Comment:
    """A comment, or another thing that is neither text nor element; `sort` says which."""

    text: str
    sort: str = "comment"


@dataclass
class Element:
    """An element; the outermost one of a tree has no tag and stands for the document."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)


Node: TypeAlias = "Element | Comment | str"


class Builder:
    """Makes a tree of what a parser reports."""

    def __init__(self) -> None:
        self.document = Element("")
        self.open: list[Element] = [self.document]

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        if len(self.open) > DEEPEST:
            raise Unreadable(f"nested deeper than {DEEPEST} elements")
        element = Element(tag, attributes)
        self.open[-1].children.append(element)
        self.open.append(element)

    def end(self) -> None:
        """The innermost element ends."""
        if len(self.open) > 1:
            self.open.pop()

    def add(self, node: Comment | str) -> None:
        """Text or a comment stands here; adjacent texts become one."""
        children = self.open[-1].children
        if isinstance(node, str) and children and isinstance(children[-1], str):
            children[-1] += node
        else:
            children.append(node)


def tree_differences(old: Element, new: Element, family: str) -> list[Difference]:
    """What differs between two trees, in the order of the document.

    Args:
        old: the old document.
        new: the new document.
        family: the first part of the kinds, "html" or "xml".
    """
    walk = _Walk(family)
    walk.elements(old, new, "")
    return walk.found


class _Walk:
    def __init__(self, family: str) -> None:
        self.family = family
        self.found: list[Difference] = []
        # One number for all subtrees that are alike, on both sides: cheap to compare.
        self.numbers: dict[Hashable, int] = {}
        self.known: dict[int, int] = {}

    def add(self, kind: str, where: str, old: Any, new: Any) -> None:
        self.found.append(Difference(f"{self.family}/{kind}", where or "document", old, new))

    def number(self, node: Node) -> int:
        """The number of a subtree."""
        if not isinstance(node, Element):
            key: Hashable = node if isinstance(node, str) else (node.sort, node.text)
            return self.numbers.setdefault(key, len(self.numbers))
        if id(node) not in self.known:
            inner = tuple(self.number(child) for child in node.children)
            key = (node.tag, frozenset(node.attributes.items()), inner)
            self.known[id(node)] = self.numbers.setdefault(key, len(self.numbers))
        return self.known[id(node)]

    def elements(self, old: Element, new: Element, path: str) -> None:
        for name in dict.fromkeys((*old.attributes, *new.attributes)):
            was, now = old.attributes.get(name, ABSENT), new.attributes.get(name, ABSENT)
            if was != now:
                self.add("attribute", f"{path} @{name}", was, now)
        paths = list(_paths(old, path)), list(_paths(new, path))
        for before, after in self._pairs(old.children, new.children):
            if before is None and after is not None:
                self._alone("extra", new.children[after], paths[1][after], path)
            elif after is None and before is not None:
                self._alone("missing", old.children[before], paths[0][before], path)
            elif before is not None and after is not None:
                self._nodes(old.children[before], new.children[after], paths[0][before], path)

    def _nodes(self, old: Node, new: Node, path: str, parent: str) -> None:
        if self.number(old) == self.number(new):
            return
        if isinstance(old, Element) and isinstance(new, Element) and old.tag == new.tag:
            self.elements(old, new, path)
        elif isinstance(old, str) and isinstance(new, str):
            self.add("text", parent, old, new)
        elif isinstance(old, Comment) and isinstance(new, Comment) and old.sort == new.sort:
            self.add(old.sort, parent, old.text, new.text)
        else:
            self.add("element", path if isinstance(old, Element) else parent, source(old), source(new))

    def _alone(self, kind: str, node: Node, path: str, parent: str) -> None:
        sides = (source(node), ABSENT) if kind == "missing" else (ABSENT, source(node))
        if isinstance(node, Element):
            self.add(kind, path, *sides)
        else:
            self.add("text" if isinstance(node, str) else node.sort, parent, *sides)

    def _pairs(self, old: list[Node], new: list[Node]) -> Iterator[tuple[int | None, int | None]]:
        """Which child is to be compared with which, by their positions; `None` where it has no partner."""
        olds, news = [self.number(each) for each in old], [self.number(each) for each in new]
        start = 0
        while start < min(len(olds), len(news)) and olds[start] == news[start]:
            start += 1
        end = 0
        while end < min(len(olds), len(news)) - start and olds[-1 - end] == news[-1 - end]:
            end += 1
        a, b = (start, len(olds) - end), (start, len(news) - end)
        if (a[1] - a[0]) * (b[1] - b[0]) > _LARGEST_MATCH:
            yield from _in_step(*a, *b)
            return
        matcher = SequenceMatcher(None, olds[slice(*a)], news[slice(*b)], autojunk=False)
        for operation, i, j, k, m in matcher.get_opcodes():
            if operation == "replace":
                labels = [
                    [_label(each) for each in side]
                    for side in (old[start + i : start + j], new[start + k : start + m])
                ]
                inner = SequenceMatcher(None, labels[0], labels[1], autojunk=False)
                for _, i2, j2, k2, m2 in inner.get_opcodes():
                    yield from _in_step(start + i + i2, start + i + j2, start + k + k2, start + k + m2)
            elif operation != "equal":
                yield from _in_step(start + i, start + j, start + k, start + m)


def _in_step(i: int, j: int, k: int, m: int) -> Iterator[tuple[int | None, int | None]]:
    for step in range(max(j - i, m - k)):
        yield (i + step if i + step < j else None), (k + step if k + step < m else None)


def _label(node: Node) -> str:
    if isinstance(node, Element):
        return node.tag
    return "#text" if isinstance(node, str) else f"#{node.sort}"


def _paths(element: Element, path: str) -> Iterator[str]:
    """The path of each child: numbered from 1 among those of one tag, if there are several."""
    tags = [_label(each) for each in element.children]
    seen: dict[str, int] = {}
    many = {tag for tag in tags if tags.count(tag) > 1} if len(tags) < 50 else set(tags)
    for tag in tags:
        seen[tag] = seen.get(tag, 0) + 1
        name = f"{tag}[{seen[tag]}]" if tag in many else tag
        yield f"{path} > {name}" if path else name


def source(node: Node) -> str:
    """A node written as markup."""
    if isinstance(node, str):
        return node
    if isinstance(node, Comment):
        return f"<!--{node.text}-->" if node.sort == "comment" else f"<!{node.text}>"
    attributes = "".join(f' {name}="{escape(value)}"' for name, value in node.attributes.items())
    inner = "".join(source(child) for child in node.children)
    return f"<{node.tag}{attributes}>{inner}</{node.tag}>" if inner else f"<{node.tag}{attributes}/>"
