"""XML compared as parsed: the order and the quotes of attributes, prefixes of namespaces, entities and
indentation mean nothing.

White space alone, in an element that else holds only elements, is taken for indentation. Comments and
processing instructions are left out. A document with a declaration of entities is compared as text:
what such a one expands to has no bound. Pure.
"""

from __future__ import annotations

from xml.etree.ElementTree import ParseError, XMLParser

from .markup import Builder, Comment, Element, Unreadable, tree_differences
from .result import Difference
from .rules import Rules
from .text_bodies import text_differences


def xml_differences(old: str, new: str, rules: Rules) -> list[Difference]:
    """What differs between two XML documents; one that is well-formed differs from one that is not.

    Raises:
        RuleFailed: a function that makes a replacement raised.
    """
    old, new = rules.clean(old), rules.clean(new)
    trees, reasons = [], []
    for side, text in (("old", old), ("new", new)):
        try:
            trees.append(parse_xml(text))
        except Unreadable as exc:
            reasons.append(f"{side} side: {exc}")
    if len(trees) == 2:
        return tree_differences(trees[0], trees[1], "xml")
    if len(reasons) == 1:
        return [Difference("xml/invalid", "document", old, new, reasons[0])]
    return text_differences(old, new, Rules.strict())


def parse_xml(text: str) -> Element:
    """The tree of a document, its indentation removed; names with a namespace as `{namespace}name`.

    Raises:
        Unreadable: it is not well-formed, declares entities, or is nested too deep.
    """
    if "<!ENTITY" in text:
        raise Unreadable("it declares entities")
    builder = Builder()
    parser = XMLParser(target=_Target(builder))
    try:
        parser.feed(text)
        parser.close()
    except (ParseError, ValueError) as exc:
        raise Unreadable(str(exc)) from exc
    _tidy(builder.document)
    return builder.document


class _Target:
    """What ElementTree's parser reports to."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.builder.start(tag, dict(attributes))

    def end(self, tag: str) -> None:
        self.builder.end()

    def data(self, data: str) -> None:
        self.builder.add(data)

    def close(self) -> None:
        """Nothing is left to do."""


def _tidy(element: Element) -> None:
    inner = [each for each in element.children if isinstance(each, (Element, Comment))]
    texts = [each for each in element.children if isinstance(each, str)]
    if inner and not any(text.strip() for text in texts):
        element.children = list(inner)
    for each in inner:
        if isinstance(each, Element):
            _tidy(each)
