"""HTML compared as parsed: the order and the quotes of attributes, entities and layout mean nothing.

White space is what a browser shows: runs of it are one space, and beside block elements it is
nothing; in `pre` and `textarea` it stays. The class of an element is compared without layout. Elements
whose end may be left out (`li`, `p`, `td` and the like) end where the next one begins. Pure.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from .markup import Builder, Comment, Element, Node, Unreadable, tree_differences
from .result import Difference
from .rules import Rules
from .text_bodies import text_differences


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VOID = _names("area base br col embed hr img input link meta source track wbr")
# Beside these, white space is layout: they begin a line of their own, or show nothing.
_BLOCKS = _names(
    "address article aside base blockquote body br center col colgroup dd details dialog dir div dl "
    "dt fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup "
    "hr html legend li link main menu meta nav noscript ol optgroup option p pre script search "
    "section select style summary table tbody td template tfoot th thead title tr ul"
)
_KEEP_SPACE = frozenset({"pre", "textarea", "listing"})
_RAW = frozenset({"script", "style"})
# Element -> the open elements that it ends, and those beyond which it ends nothing (HTML section 13.1.2.4).
_ROWS = ("tr", "td", "th")
_ENDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "li": (frozenset({"li", "p"}), frozenset({"ul", "ol", "menu"})),
    "dt": (frozenset({"dt", "dd", "p"}), frozenset({"dl"})),
    "dd": (frozenset({"dt", "dd", "p"}), frozenset({"dl"})),
    "option": (frozenset({"option"}), frozenset({"select", "datalist"})),
    "optgroup": (frozenset({"option", "optgroup"}), frozenset({"select"})),
    "td": (frozenset({"td", "th", "p"}), frozenset({"table"})),
    "th": (frozenset({"td", "th", "p"}), frozenset({"table"})),
    "tr": (frozenset({*_ROWS, "p"}), frozenset({"table"})),
    "tbody": (frozenset({*_ROWS, "thead", "tbody", "p"}), frozenset({"table"})),
    "tfoot": (frozenset({*_ROWS, "thead", "tbody", "p"}), frozenset({"table"})),
    "body": (frozenset({"head"}), frozenset({"html"})),
}
_ENDS_P = _names(
    "address article aside blockquote details div dl fieldset figcaption figure footer form h1 h2 h3 "
    "h4 h5 h6 header hgroup hr main menu nav ol p pre search section table ul"
)
_SPACE = re.compile(r"[ \t\n\f\r]+")
_SPACES = " \t\n\f\r"


def html_differences(old: str, new: str, rules: Rules) -> list[Difference]:
    """What differs between two HTML documents or fragments.

    Raises:
        RuleFailed: a function that makes a replacement raised.
    """
    old, new = rules.clean(old), rules.clean(new)
    try:
        return tree_differences(parse_html(old), parse_html(new), "html")
    except Unreadable:
        return text_differences(old, new, Rules.strict())


def parse_html(text: str) -> Element:
    """The tree of a document or fragment, its layout removed.

    Raises:
        Unreadable: the parser of the standard library refuses it, or it is nested too deep.
    """
    parser = _Parser()
    try:
        # HTML section 13.2.3.5: all line endings are one.
        parser.feed(text.replace("\r\n", "\n").replace("\r", "\n"))
        parser.close()
    except AssertionError as exc:  # what html.parser raises for some broken declarations
        raise Unreadable(str(exc)) from exc
    _tidy(parser.builder.document, False)
    return parser.builder.document


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.builder = Builder()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._end_what_it_ends(tag)
        attributes: dict[str, str] = {}
        for name, value in attrs:
            text = value or ""  # `disabled` is the same as `disabled=""`
            # The first of two wins (HTML section 13.2.5.33).
            attributes.setdefault(name, " ".join(text.split()) if name == "class" else text)
        self.builder.start(tag, attributes)
        if tag in _VOID:
            self.builder.end()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # In HTML the slash of "<div/>" means nothing; SVG and MathML are close enough to XML.
        self.handle_starttag(tag, attrs)
        if tag not in _VOID and any(each.tag in ("svg", "math") for each in self.builder.open):
            self.builder.end()

    def handle_endtag(self, tag: str) -> None:
        for depth in range(len(self.builder.open) - 1, 0, -1):
            if self.builder.open[depth].tag == tag:
                del self.builder.open[depth:]
                return

    def handle_data(self, data: str) -> None:
        self.builder.add(data)

    def handle_comment(self, data: str) -> None:
        self.builder.add(Comment(data.strip()))

    def handle_decl(self, decl: str) -> None:
        self.builder.add(Comment(_SPACE.sub(" ", decl).strip().lower(), "doctype"))

    def unknown_decl(self, data: str) -> None:
        self.builder.add(Comment(data))

    def handle_pi(self, data: str) -> None:
        self.builder.add(Comment(data))

    def _end_what_it_ends(self, tag: str) -> None:
        ended, barriers = _ENDS.get(tag, (frozenset[str](), frozenset[str]()))
        open_elements = self.builder.open
        if tag in _ENDS_P and open_elements[-1].tag == "p":
            open_elements.pop()
        for depth in range(len(open_elements) - 1, 0, -1):
            if open_elements[depth].tag in barriers:
                return
            if open_elements[depth].tag in ended:
                # The outermost of them up to the barrier: a new row ends the cell and the row.
                while depth > 1 and open_elements[depth - 1].tag in ended:
                    depth -= 1
                del open_elements[depth:]
                return


def _tidy(element: Element, keep: bool) -> None:
    """Remove the layout below an element; `keep`: white space stays as it is."""
    keep = keep or element.tag in _KEEP_SPACE
    nodes = element.children
    for index, node in enumerate(nodes):
        if isinstance(node, Element):
            _tidy(node, keep)
        elif isinstance(node, str):
            if element.tag in _RAW:
                nodes[index] = node.strip(_SPACES)
            elif keep:
                # HTML section 13.1.2.5: a newline right after the start tag is dropped.
                nodes[index] = node.removeprefix("\n") if index == 0 and element.tag in _KEEP_SPACE else node
            else:
                nodes[index] = _shown(_SPACE.sub(" ", node), nodes, index, element)
    element.children = [node for node in nodes if node != ""]


def _shown(text: str, nodes: list[Node], index: int, parent: Element) -> str:
    before = nodes[index - 1] if index else parent
    after = nodes[index + 1] if index + 1 < len(nodes) else parent
    if _is_edge(before):
        text = text.lstrip(_SPACES)
    if _is_edge(after):
        text = text.rstrip(_SPACES)
    return text


def _is_edge(node: Node) -> bool:
    if isinstance(node, Element):
        return node.tag in _BLOCKS or not node.tag
    return isinstance(node, Comment) and node.sort == "doctype"
