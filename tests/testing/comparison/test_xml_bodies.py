"""XML: what a parser would read alike is alike."""

from __future__ import annotations

import pytest

from bridge.testing.comparison.markup import Unreadable
from bridge.testing.comparison.rules import Rules
from bridge.testing.comparison.xml_bodies import parse_xml, xml_differences


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<a/>", "<a></a>"),
        ("<a b='1' c='2'/>", '<a c="2" b="1"/>'),
        ("<a><b/><c/></a>", "<?xml version='1.0' encoding='utf-8'?>\n<a>\n  <b/>\n  <c/>\n</a>\n"),
        ("<a>&lt;&#233;</a>", "<a><![CDATA[<é]]></a>"),
        ("<x:a xmlns:x='u'/>", "<a xmlns='u'/>"),
        ("<a><!-- c --><b/></a>", "<a><b/></a>"),
        ("<?xml version='1.0' encoding='latin-1'?><a>é</a>", "<a>é</a>"),
    ],
)
def test_what_a_parser_reads_alike_is_alike(old: str, new: str) -> None:
    assert xml_differences(old, new, Rules()) == []


@pytest.mark.parametrize(
    ("old", "new", "kind", "where"),
    [
        ("<a>1</a>", "<a>2</a>", "xml/text", "a"),
        ("<a> 1</a>", "<a>1</a>", "xml/text", "a"),
        ("<a> </a>", "<a/>", "xml/text", "a"),
        ("<a>x <b/></a>", "<a>x<b/></a>", "xml/text", "a"),
        ("<a b='1'/>", "<a b='2'/>", "xml/attribute", "a @b"),
        ("<a xmlns='u'/>", "<a xmlns='v'/>", "xml/element", "{u}a"),
        ("<a><b/><c/></a>", "<a><c/><b/></a>", "xml/extra", "a > c"),
        ("<a><b>1</b><b>2</b></a>", "<a><b>1</b><b>3</b></a>", "xml/text", "a > b[2]"),
        ("<a/>", "<a>", "xml/invalid", "document"),
        ("<a>", "<b>", "text", "line 1"),
    ],
)
def test_what_it_reads_otherwise_differs(old: str, new: str, kind: str, where: str) -> None:
    found = xml_differences(old, new, Rules())
    assert (found[0].kind, found[0].where) == (kind, where)


def test_entities_are_not_expanded() -> None:
    """What they expand to has no bound; such documents are compared as text."""
    laughs = '<!DOCTYPE a [<!ENTITY x "xxxxxxxx"><!ENTITY y "&x;&x;&x;">]><a>&y;</a>'
    with pytest.raises(Unreadable, match="entities"):
        parse_xml(laughs)
    assert xml_differences(laughs, laughs, Rules()) == []
    assert [each.kind for each in xml_differences(laughs, laughs.replace("&y;<", "&x;<"), Rules())] == [
        "text"
    ]


def test_what_is_too_deep_is_compared_as_text() -> None:
    deep = ("<a>" * 999 + "1" + "</a>" * 999, "<a>" * 999 + "2" + "</a>" * 999)
    assert [each.kind for each in xml_differences(*deep, Rules())] == ["text"]


def test_rules_clean_the_source() -> None:
    assert xml_differences("<a id='1'/>", "<a id='2'/>", Rules().ignore_text(r"\d")) == []
