"""Trees of elements, and the differences between two of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.testing.comparison import markup
from bridge.testing.comparison.markup import DEEPEST, Builder, Comment, Element, Node, Unreadable
from bridge.testing.comparison.result import ABSENT, Difference

E = Element


def found(old: list[Node], new: list[Node]) -> list[tuple[str, str, object, object]]:
    differences = markup.tree_differences(E("", {}, old), E("", {}, new), "html")
    return [(each.kind.removeprefix("html/"), each.where, each.old, each.new) for each in differences]


def item(text: str, tag: str = "li", **attributes: str) -> Element:
    return E(tag, attributes, [text] if text else [])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([item("a")], [item("a")], []),
        ([item("a")], [item("b")], [("text", "li", "a", "b")]),
        ([item("a", x="1")], [item("a", x="2")], [("attribute", "li @x", "1", "2")]),
        ([item("a", x="1")], [item("a")], [("attribute", "li @x", "1", ABSENT)]),
        ([item("a")], [item("a", "p")], [("element", "li", "<li>a</li>", "<p>a</p>")]),
        ([item("a")], ["a"], [("element", "li", "<li>a</li>", "a")]),
        (["a"], ["b"], [("text", "document", "a", "b")]),
        (["a"], [], [("text", "document", "a", ABSENT)]),
        ([Comment("a")], [Comment("b")], [("comment", "document", "a", "b")]),
        ([Comment("a")], [], [("comment", "document", "<!--a-->", ABSENT)]),
        ([Comment("a", "doctype")], [Comment("a")], [("element", "document", "<!a>", "<!--a-->")]),
        (
            [item("a"), item("b"), item("c")],
            [item("a"), item("c")],
            [("missing", "li[2]", "<li>b</li>", ABSENT)],
        ),
        ([item("a")], [item("a"), item("b")], [("extra", "li[2]", ABSENT, "<li>b</li>")]),
        (
            [item("a"), item("b"), item("c"), item("d")],
            [item("x"), item("b"), item("y"), item("d")],
            [("text", "li[1]", "a", "x"), ("text", "li[3]", "c", "y")],
        ),
        ([item("a"), item("a")], [item("a")] * 3, [("extra", "li[3]", ABSENT, "<li>a</li>")]),
        (
            [item(each) for each in "axpqyd"],
            [item(each) for each in "azpyd"],
            [("text", "li[2]", "x", "z"), ("missing", "li[4]", "<li>q</li>", ABSENT)],
        ),
        (
            [item(each) for each in "azpyd"],
            [item(each) for each in "axpqyd"],
            [("text", "li[2]", "z", "x"), ("extra", "li[4]", ABSENT, "<li>q</li>")],
        ),
        (
            [item("a", "p"), item("b", "h1")],
            [item("n", "hr"), item("A", "p"), item("b", "h1")],
            [("extra", "hr", ABSENT, "<hr>n</hr>"), ("text", "p", "a", "A")],
        ),
        (
            [E("div", {}, [item("a"), E("p", {}, [item("x", "b")])])],
            [E("div", {}, [item("a"), E("p", {}, [item("y", "b")])])],
            [("text", "div > p > b", "x", "y")],
        ),
    ],
)
def test_what_differs_and_where(
    old: list[Node], new: list[Node], expected: list[tuple[str, str, object, object]]
) -> None:
    assert found(old, new) == expected


def test_children_too_many_to_match_are_compared_by_their_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markup, "_LARGEST_MATCH", 3)
    old: list[Node] = [item(each) for each in "ab"]
    new: list[Node] = [item(each) for each in "xay"]
    assert [(kind, where) for kind, where, *_ in found(old, new)] == [
        ("text", "li[1]"), ("text", "li[2]"), ("extra", "li[3]")
    ]  # fmt: skip


def test_a_builder_follows_a_parser() -> None:
    builder = Builder()
    builder.start("a", {"x": "1"})
    builder.add("b")
    builder.add("c")
    builder.add(Comment("d"))
    builder.end()
    builder.end()
    builder.end()
    builder.add("e")
    assert builder.document == E("", {}, [E("a", {"x": "1"}, ["bc", Comment("d")]), "e"])


def test_a_builder_does_not_go_too_deep() -> None:
    builder = Builder()
    for _ in range(DEEPEST):
        builder.start("a", {})
    with pytest.raises(Unreadable, match="deeper than"):
        builder.start("a", {})


def test_nodes_are_written_as_markup() -> None:
    node = E("a", {"x": '<"&'}, ["t", E("br"), Comment("c"), Comment("doctype x", "doctype")])
    assert markup.source(node) == '<a x="&lt;&quot;&amp;">t<br/><!--c--><!doctype x></a>'


def test_the_family_is_in_the_kind() -> None:
    assert markup.tree_differences(E("", {}, ["a"]), E("", {}, ["b"]), "xml") == [
        Difference("xml/text", "document", "a", "b")
    ]


NODES = st.recursive(
    st.sampled_from(["a", "b"]).map(str),
    lambda inner: st.builds(
        lambda tag, children: E(tag, {}, children), st.sampled_from("pq"), st.lists(inner, max_size=4)
    ),
    max_leaves=10,
)


@given(st.lists(NODES, max_size=5), st.lists(NODES, max_size=5))
def test_trees_differ_exactly_if_they_are_not_equal(old: list[Node], new: list[Node]) -> None:
    assert (found(old, new) == []) is (old == new)
