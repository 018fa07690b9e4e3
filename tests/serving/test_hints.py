"""What somebody is told whose target names no app: looked for, found, to type."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.serve_apps import WSGI, failure, package, write


def test_no_such_module(folder: Path) -> None:
    write(folder / "shop_p.py")
    error = str(failure("shopp_p:app"))
    assert error.splitlines() == [
        f"there is no module 'shopp_p' in {folder} or elsewhere on the Python path",
        "  found: a module 'shop_p'",
        "  type:  bridge serve shop_p:app",
    ]


def test_no_such_module_and_nothing_like_it(folder: Path) -> None:
    package(folder, "store")
    write(folder / "store/web.py", "from flask import Flask\nstorefront = Flask(__name__)\n")
    write(folder / "src/inner.py")
    write(folder / "tests/web.py")
    write(folder / ".hidden/web.py")
    write(folder / "broken.py", "def (")
    error = str(failure("zebra")).splitlines()
    assert error[1:] == [
        "  found: the modules broken, src, store",
        "  found: src/inner.py with app",
        "  found: store/web.py with storefront",
        "  type:  bridge serve src/inner.py:app",
        "  type:  bridge serve store.web:storefront",
    ]


def test_files_nearby_are_read_but_not_imported(folder: Path) -> None:
    write(folder / "shop_q.py", "app = None\nraise SystemExit\n")
    assert "bridge serve shop_q:app" in str(failure("zebra"))
    assert "shop_q" not in sys.modules


def test_no_such_submodule(folder: Path) -> None:
    package(folder, "shop_r")
    write(folder / "shop_r/web.py")
    error = str(failure("shop_r.wbe:app")).splitlines()
    assert error == [
        "there is no module 'shop_r.wbe': shop_r is shop_r/__init__.py",
        "  found: a module 'shop_r.web'",
        "  type:  bridge serve shop_r.web:app",
    ]


def test_a_dot_where_a_colon_belongs(folder: Path) -> None:
    package(folder, "shop_s")
    write(folder / "shop_s/web.py")
    assert "bridge serve shop_s.web:app" in str(failure("shop_s.web.app"))
    assert "bridge serve shop_s.web:app.x" in str(failure("shop_s.web.app:x"))


def test_a_colon_where_a_dot_belongs(folder: Path) -> None:
    package(folder, "shop_t")
    write(folder / "shop_t/web.py")
    assert "  type:  bridge serve shop_t.web" in str(failure("shop_t:web")).splitlines()


def test_a_module_as_an_attribute(folder: Path) -> None:
    write(folder / "shop_u/__init__.py", "from . import web\n")
    write(folder / "shop_u/web.py")
    error = str(failure("shop_u:web"))
    assert "shop_u:web (module shop_u.web) is no WSGI or ASGI app" in error
    assert "bridge serve shop_u.web" in error


def test_no_such_attribute(folder: Path) -> None:
    write(folder / "shop_v.py", WSGI.format(name="shop") + "def make_it(): ...\nnumber = 3\n")
    error = str(failure("shop_v:shopp")).splitlines()
    assert error == [
        "shop_v (shop_v.py) has no attribute 'shopp'",
        "  found: shop_v:shop (function)",
        "  found: shop_v:make_it() (function)",
        "  type:  bridge serve shop_v:shop",
        "  type:  bridge serve 'shop_v:make_it()'",
    ]


def test_no_such_attribute_of_an_attribute(folder: Path) -> None:
    write(
        folder / "shop_w.py",
        "class Site:\n    async def app(self, scope, receive, send): ...\n    name = 'x'\nsite = Site()\n",
    )
    assert "bridge serve shop_w:site.app" in str(failure("shop_w:site.appp"))
    error = str(failure("shop_w:site.zebra"))
    assert "shop_w:site (shop_w.Site) has no attribute 'zebra'" in error
    assert "the attributes app, name" in error


def test_a_module_without_an_app(folder: Path) -> None:
    write(
        folder / "shop_x.py", "from flask import Flask, request\nshop = Flask(__name__)\ndef helper(x): ...\n"
    )
    error = str(failure("shop_x")).splitlines()
    assert error == [
        "shop_x (shop_x.py) has no app by the name of app, application, asgi, wsgi, create_app or make_app",
        "  found: shop_x:shop (flask.Flask)",
        "  type:  bridge serve shop_x:shop",
    ]


def test_a_package_without_an_app_has_it_elsewhere(folder: Path) -> None:
    package(folder, "shop_y", "shop_y/inner")
    write(folder / "shop_y/web.py")
    write(folder / "shop_y/inner/__init__.py")
    error = str(failure("shop_y"))
    assert "bridge serve shop_y.web:app" in error
    assert "bridge serve shop_y.inner:app" in error


def test_a_folder_that_is_no_package(folder: Path) -> None:
    write(folder / "plain_z/web.py")
    assert "bridge serve plain_z.web:app" in str(failure("plain_z"))
    assert "bridge serve plain_z/web.py:app" in str(failure("./plain_z"))
    assert "bridge serve plain_z/web.py:app" in str(failure("plain_z/"))


def test_a_module_with_nothing_to_offer(folder: Path) -> None:
    write(folder / "shop_aa.py", "number = 3\napp = None\napplication = 'x'\n")
    error = str(failure("shop_aa"))
    assert "shop_aa:application, which is no app (str)" in error
    assert "in it: number, app, application" in error
    assert "bridge serve shop_aa:NAME" in error


def test_no_such_file(folder: Path) -> None:
    write(folder / "web/shop.py")
    write(folder / "web/zoo.py", "")
    assert str(failure("web/shpo.py:app")).splitlines() == [
        "there is no file web/shpo.py",
        "  found: a file web/shop.py",
        "  type:  bridge serve web/shop.py:app",
    ]
    assert "bridge serve web/shop.py" in str(failure("web/shop"))
    assert "in " + str(folder / "web") + ": shop.py, zoo.py" in str(failure("web/quux.py"))
    assert f"no folder wbe in {folder}" in str(failure("wbe/shop.py"))


def test_an_object_that_holds_the_app(folder: Path) -> None:
    """Dash before version 3 is one."""
    write(
        folder / "shop_bb.py",
        "class Dash: ...\ndash = Dash()\ndash.server = lambda environ, start_response: []\n",
    )
    error = str(failure("shop_bb:dash"))
    assert "shop_bb:dash (shop_bb.Dash) is no WSGI or ASGI app: it cannot be called" in error
    assert "bridge serve shop_bb:dash.server" in error


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("anything", "bridge serve shop_cc:anything --interface wsgi"),
        ("anything", "bridge serve shop_cc:anything --interface asgi"),
        ("needs_config", "bridge serve 'shop_cc:needs_config(...)'"),
        ("later", "a factory must be a plain function"),
        ("request", "RuntimeError"),
    ],
)
def test_what_may_be_an_app_all_the_same(folder: Path, attribute: str, said: str) -> None:
    write(
        folder / "shop_cc.py",
        """
        from flask import request
        def anything(*args): ...
        def needs_config(config): ...
        async def later(): ...
        """,
    )
    assert said in str(failure(f"shop_cc:{attribute}"))


def test_a_long_list_is_cut(folder: Path) -> None:
    names = [f"name_{number}" for number in range(9)]
    write(folder / "shop_jj.py", "".join(f"{name} = 1\n" for name in names))
    assert "in it: name_0, name_1, name_2, name_3, name_4 and 4 more" in str(failure("shop_jj"))


def test_no_more_is_suggested_than_one_can_read(folder: Path) -> None:
    for number in range(9):
        write(folder / f"shop_kk_{number}.py")
    lines = str(failure("zebra")).splitlines()
    assert sum("type:" in line for line in lines) == 5
    assert sum("found:" in line for line in lines) == 5


def test_the_search_for_apps_nearby_ends(folder: Path) -> None:
    """In a home directory it must not read everything there is."""
    write(folder / "a/b/c/d/deep.py")
    for number in range(250):
        (folder / f"empty_{number:03}.py").touch()
    write(folder / "zzz.py")
    error = str(failure("quux"))
    assert "deep" not in error
    assert "bridge serve zzz:app" not in error
    write(folder / "big.py", "#" * 300_000 + "\napp = 1\n")
    assert "bridge serve big:app" not in str(failure("quux"))


def test_a_virtual_environment_is_not_searched(folder: Path) -> None:
    write(folder / "env/pyvenv.cfg", "")
    write(folder / "env/web.py")
    assert "env/web.py" not in str(failure("zebra"))
