"""HTML: what a browser would show alike is alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.testing.comparison.html_bodies import html_differences, parse_html
from bridge.testing.comparison.markup import Unreadable
from bridge.testing.comparison.rules import Rules

ALIKE = [
    ("<p>a</p>", "<P>a</P>"),
    ("<p>a</p>", " <p>\n a\n</p>\r\n"),
    ("<p>a b</p>", "<p>a\n   b</p>"),
    ("<p>a <b>b</b> c</p>", "<p>a\n<b>b</b>\nc</p>"),
    ("<div><p>a</p><p>b</p></div>", "<div>\n\t<p>a</p>\n\t<p>b</p>\n</div>"),
    ('<a href="x" id="y">z</a>', "<a id=y href='x'>z</a>"),
    ('<a class="x y">z</a>', '<a class=" x\n y ">z</a>'),
    ("<br>", "<br/>"),
    ("<br>", "<br />"),
    ("a<br>b", "a <br>\n b"),
    ("<option selected>", '<option selected="">'),
    ("<p>&copy;&#33;</p>", "<p>©!</p>"),
    ("<a title='a&amp;b'>c</a>", '<a title="a&b">c</a>'),
    ("<p>a<p>b", "<p>a</p><p>b</p>"),
    ("<p>a<ul><li>b<li>c</ul>", "<p>a</p><ul><li>b</li><li>c</li></ul>"),
    ("<table><tr><td>a<td>b<tr><td>c</table>",
     "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>"),
    ("<dl><dt>a<dd>b<dt>c</dl>", "<dl><dt>a</dt><dd>b</dd><dt>c</dt></dl>"),
    ("<select><option>a<option>b</select>", "<select><option>a</option><option>b</option></select>"),
    ("<ul><li>a<ul><li>b</ul><li>c</ul>", "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>"),
    ("<html><head><title>a</title><body>b</html>",
     "<html><head><title>a</title></head><body>b</body></html>"),
    ("<!DOCTYPE html><p>a", "<!doctype   HTML>\n<p>a</p>"),
    ("<pre>\na</pre>", "<pre>a</pre>"),
    ("<pre>a\r\nb</pre>", "<pre>a\nb</pre>"),
    ("<script>\n a()\n</script>", "<script>a()</script>"),
    ("<p>a</b></p>", "<p>a</p>"),
    ("<svg><path d='x'/><g/></svg>", "<svg><path d='x'></path><g></g></svg>"),
    ("<a x=1 x=2>b</a>", "<a x=1>b</a>"),
    ("<!-- a --><p>", "<!--a--><p></p>"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), ALIKE)
def test_what_a_browser_shows_alike_is_alike(old: str, new: str) -> None:
    assert html_differences(old, new, Rules()) == []


DIFFERENT = [
    ("<p>a</p>", "<p>b</p>", "html/text", "p"),
    ("<p>a b</p>", "<p>ab</p>", "html/text", "p"),
    ("<p>a <b>b</b></p>", "<p>a<b>b</b></p>", "html/text", "p"),
    ("<p>a&nbsp;b</p>", "<p>a b</p>", "html/text", "p"),
    ("<p>a</p>", "<p>a<br></p>", "html/extra", "p > br"),
    ("<pre>a  b</pre>", "<pre>a b</pre>", "html/text", "pre"),
    ("<pre>\n\na</pre>", "<pre>\na</pre>", "html/text", "pre"),
    ("<pre><code>a\n b</code></pre>", "<pre><code>a\nb</code></pre>", "html/text", "pre > code"),
    ("<textarea> a</textarea>", "<textarea>a</textarea>", "html/text", "textarea"),
    ("<script>a()\nb()</script>", "<script>a() b()</script>", "html/text", "script"),
    ("<script>'<p>'</script>", "<script>'<b>'</script>", "html/text", "script"),
    ("<a href='/A'>b</a>", "<a href='/a'>b</a>", "html/attribute", "a @href"),
    ("<input checked>", "<input>", "html/attribute", "input @checked"),
    ("<a class='x y'>b</a>", "<a class='x'>b</a>", "html/attribute", "a @class"),
    ("<!doctype html><p>", "<p>", "html/doctype", "document"),
    ("<!-- a --><p>", "<!-- b --><p>", "html/comment", "document"),
    ("<b><i>a</i></b>", "<b>a</b>", "html/element", "b > i"),
    ("<ul><li>a<li>b</ul>", "<ul><li>b<li>a</ul>", "html/extra", "ul > li[1]"),
    ("<p>&lt;b&gt;</p>", "<p><b></p>", "html/element", "p"),
]


@pytest.mark.parametrize(("old", "new", "kind", "where"), DIFFERENT)
def test_what_a_browser_shows_otherwise_differs(old: str, new: str, kind: str, where: str) -> None:
    """The first difference says what and where."""
    found = html_differences(old, new, Rules())
    assert (found[0].kind, found[0].where) == (kind, where)
    assert html_differences(new, old, Rules())


def test_rules_clean_the_source() -> None:
    """So that they reach into attributes and scripts."""
    rules = Rules().ignore_text(r'value="\w{8}"')
    old, new = (f'<input name="csrf" value="{token}">' for token in ("abcdefgh", "12345678"))
    assert html_differences(old, new, rules) == []
    assert html_differences(old, new, Rules())[0].where == "input @value"


def test_what_is_too_deep_is_compared_as_text() -> None:
    deep = "<div>" * 5000
    with pytest.raises(Unreadable):
        parse_html(deep)
    assert html_differences(deep, deep, Rules()) == []
    assert [each.kind for each in html_differences(deep + "a", deep + "b", Rules())] == ["text"]
    assert [each.kind for each in html_differences("a", deep, Rules())] == ["text"]


@given(st.text(st.sampled_from("<>/!-ab \n\"'=&;[]?p")), st.text(st.sampled_from("<>/!-ab =&;[")))
def test_nothing_breaks_it(old: str, new: str) -> None:
    assert html_differences(old, old, Rules()) == []
    assert bool(html_differences(old, new, Rules())) == bool(html_differences(new, old, Rules()))
