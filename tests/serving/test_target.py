"""Finding an app from a target string: every form, every way to fail, and what the failure says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support.serve_apps import ASGI, WSGI, failure, package, write

from bridge.serving.target import Call, Found, Target, explain, find, folders, parse
from bridge.translate.interface import Interface

# --- taking a target apart

TARGETS = [
    ("shop", Target("shop", "shop")),
    (" shop.web:app ", Target("shop.web:app", "shop.web", ("app",))),
    ("shop:api.v2.app", Target("shop:api.v2.app", "shop", ("api", "v2", "app"))),
    ("my-shop:app", Target("my-shop:app", "my-shop", ("app",))),
    ("shop:make()", Target("shop:make()", "shop", ("make",), Call((), {}, "make()"))),
    (
        'shop:Maker.make("a:b", [1], debug=True)',
        Target(
            'shop:Maker.make("a:b", [1], debug=True)',
            "shop",
            ("Maker", "make"),
            Call(("a:b", [1]), {"debug": True}, "Maker.make('a:b', [1], debug=True)"),
        ),
    ),
    ("shop.py", Target("shop.py", Path("shop.py"))),
    ("./web/shop.py:app", Target("./web/shop.py:app", Path("web/shop.py"), ("app",))),
    (
        'shop.py:make("x/y.py")',
        Target('shop.py:make("x/y.py")', Path("shop.py"), ("make",), Call(("x/y.py",), {}, "make('x/y.py')")),
    ),
    ("web/shop:app", Target("web/shop:app", Path("web/shop"), ("app",))),
    ("C:/web/shop.py:app", Target("C:/web/shop.py:app", Path("C:/web/shop.py"), ("app",))),
]


@pytest.mark.parametrize(("text", "expected"), TARGETS, ids=[case[0] for case in TARGETS])
def test_a_target_is_a_module_or_a_path_and_an_attribute(folder: Path, text: str, expected: Target) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", ":", ":app", "shop:", "shop.py:", "a b", "shop..web", ".shop", "1shop", "shop/:"]
)
def test_what_has_no_form_of_a_target_is_told_the_forms(folder: Path, text: str) -> None:
    error = failure(text)
    assert "module:attr" in str(error)
    assert "path/to/file.py" in str(error)


@pytest.mark.parametrize(
    "attribute",
    [
        "a b",
        "app(x)",
        "app(",
        "app:b",
        "1",
        "app[0]",
        "app()()",
        "app(**{'a': 1})",
        "app(*[1])",
        "f().app",
        "lambda: 1",
    ],
)
def test_an_attribute_is_a_name_or_a_call_with_literals(folder: Path, attribute: str) -> None:
    error = failure(f"shop:{attribute}")
    assert repr(attribute) in str(error)
    assert "create_app(" in str(error)


def test_a_target_gives_back_what_follows_the_module() -> None:
    assert parse("shop").rest == ""
    assert parse("shop:a.b").rest == ":a.b"
    assert parse('shop:f("x")').rest == ":f('x')"


# --- finding


def test_a_module_and_an_attribute(folder: Path) -> None:
    write(folder / "shop_a.py")
    found = find("shop_a:app")
    assert found == Found("shop_a:app", found.app, Interface.WSGI)
    assert found.app is sys.modules["shop_a"].app
    assert str(found) == "shop_a:app is a WSGI app (function)"


def test_a_dotted_attribute(folder: Path) -> None:
    write(
        folder / "shop_b.py",
        "class Site:\n    @staticmethod\n    async def app(scope, receive, send): ...\nsite = Site()\n",
    )
    found = find("shop_b:site.app")
    assert (found.name, found.interface) == ("shop_b:site.app", Interface.ASGI3)
    assert str(found) == "shop_b:site.app is an ASGI app (coroutine function)"


@pytest.mark.parametrize("name", ["app", "application", "asgi", "wsgi", "create_app", "make_app"])
def test_a_module_alone_gives_the_first_of_the_usual_names(folder: Path, name: str) -> None:
    text = (
        f"def {name}(): return lambda environ, start_response: []\n"
        if name.endswith("_app")
        else WSGI.format(name=name)
    )
    write(folder / f"shop_of_{name}.py", text)
    found = find(f"shop_of_{name}")
    assert found.picked
    assert found.name == f"shop_of_{name}:{name}" + ("()" if name.endswith("_app") else "")
    assert "(picked by its name)" in str(found)


def test_the_names_are_tried_in_their_order(folder: Path) -> None:
    write(
        folder / "shop_c.py",
        WSGI.format(name="wsgi") + ASGI.format(name="asgi") + WSGI.format(name="application"),
    )
    assert find("shop_c").name == "shop_c:application"


def test_a_usual_name_that_is_no_app_is_passed_over(folder: Path) -> None:
    """`app` is often a package's own submodule."""
    package(folder, "shop_d")
    write(folder / "shop_d/app.py")
    write(folder / "shop_d/__init__.py", "from . import app\napplication = 3\n" + WSGI.format(name="wsgi"))
    assert find("shop_d").name == "shop_d:wsgi"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("shop_e:make_shop", "shop_e:make_shop()"),
        ("shop_e:make_shop()", "shop_e:make_shop()"),
        ('shop_e:make_shop("test", debug=True)', "shop_e:make_shop('test', debug=True)"),
        ("shop_e:Shop", "shop_e:Shop()"),
        ("shop_e:Maker.make", "shop_e:Maker.make()"),
    ],
)
def test_a_factory_is_called(folder: Path, target: str, name: str) -> None:
    write(
        folder / "shop_e.py",
        """
        class Shop:
            def __init__(self, name="prod", debug=False):
                self.made_with = name, debug
            def __call__(self, environ, start_response): ...
        make_shop = lambda name="prod", debug=False: Shop(name, debug)
        class Maker:
            @classmethod
            def make(cls): return Shop()
        """,
    )
    found = find(target)
    assert (found.name, found.made, found.interface) == (name, True, Interface.WSGI)
    assert found.app.made_with == (("test", True) if "test" in target else ("prod", False))
    assert str(found) == f"{name} made a WSGI app (shop_e.Shop)"


def test_a_factory_that_looks_like_none_needs_the_flag(folder: Path) -> None:
    write(
        folder / "shop_f.py", "def build(*args, **kwargs):\n    return lambda environ, start_response: []\n"
    )
    assert "bridge serve 'shop_f:build()'  if it makes the app" in str(failure("shop_f:build"))
    assert find("shop_f:build", factory=True).name == "shop_f:build()"
    assert find("shop_f:build()").made


def test_the_flag_with_an_app_is_a_mistake(folder: Path) -> None:
    write(folder / "shop_g.py")
    assert "Leave --factory out" in str(failure("shop_g:app", factory=True))
    assert "Leave --factory out" in str(failure("shop_g", factory=True))


def test_the_user_may_know_the_interface_better(folder: Path) -> None:
    write(
        folder / "shop_h.py",
        """
        def app(*args): ...
        def double(scope): ...
        def make(): return app
        number = 3
        """,
    )
    assert find("shop_h:app", interface=Interface.WSGI).interface is Interface.WSGI
    assert find("shop_h:app", interface=Interface.ASGI3).interface is Interface.ASGI3
    assert find("shop_h", interface=Interface.ASGI3).interface is Interface.ASGI3
    assert find("shop_h:double", interface=Interface.ASGI3).interface is Interface.ASGI2
    assert find("shop_h:make", interface=Interface.WSGI).made
    assert "cannot be called" in str(failure("shop_h:number", interface=Interface.WSGI))


def test_the_current_directory_comes_first_on_the_path(folder: Path) -> None:
    write(folder / "elsewhere/shop_i.py", "")
    sys.path.insert(0, str(folder / "elsewhere"))
    write(folder / "shop_i.py")
    assert find("shop_i").name == "shop_i:app"


def test_another_directory_may_be_named(folder: Path) -> None:
    write(folder / "src/shop_j.py")
    assert find("shop_j", directory="src").name == "shop_j:app"
    assert sys.path[0] == str(folder / "src")


def test_a_file_is_imported_from_its_folder(folder: Path) -> None:
    write(folder / "deep/down/shop_k.py", "import helper_k\n" + WSGI.format(name="app"))
    write(folder / "deep/down/helper_k.py", "")
    found = find("deep/down/shop_k.py")
    assert found.name == "shop_k:app"
    assert sys.path[0] == str(folder / "deep/down")
    assert str(folder) in sys.path


def test_a_file_in_a_package_is_imported_from_the_top_of_it(folder: Path) -> None:
    package(folder, "src/shop_l", "src/shop_l/web")
    write(folder / "src/shop_l/web/site.py", "from .. import web\n" + WSGI.format(name="app"))
    assert find("./src/shop_l/web/site.py:app").name == "shop_l.web.site:app"
    assert sys.path[0] == str(folder / "src")


def test_the_init_file_of_a_package_is_the_package(folder: Path) -> None:
    write(folder / "shop_m/__init__.py")
    assert find("shop_m/__init__.py").name == "shop_m:app"


@pytest.mark.parametrize("name", ["my-shop.py", "shop.wsgi", "shop.v2.py", "shop"])
def test_a_file_whose_name_no_import_can_write(folder: Path, name: str) -> None:
    write(folder / "web" / name)
    assert find(f"web/{name}").interface is Interface.WSGI
    assert find(f"web/{name}:app").app.__module__ in sys.modules


def test_a_file_is_not_mistaken_for_the_module_of_its_name(folder: Path) -> None:
    """`string.py` is in the standard library and loaded long since: that would be served instead."""
    write(folder / "string.py")
    error = str(failure("string.py"))
    assert "'string'" in error
    assert "rename the file" in error


def test_a_file_target_tells_a_reloader_where_to_look(folder: Path) -> None:
    package(folder, "shop_n")
    assert folders("shop_n/web.py:app") == [folder]
    assert folders("../else/web.py") == [folder.parent / "else"]
    assert folders("shop_n.web:app") == []
    assert folders("a b") == []


def test_flasks_own_server_is_not_started_by_a_script(folder: Path) -> None:
    write(folder / "shop_o.py", "from flask import Flask\napp = Flask(__name__)\napp.run(port=1)\n")
    before = os.environ.get("FLASK_RUN_FROM_CLI")
    assert find("shop_o").interface is Interface.WSGI
    assert os.environ.get("FLASK_RUN_FROM_CLI") == before


# --- failing


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("shop_dd:nothing", "shop_dd:nothing() returned None, which cannot be called"),
        ("shop_dd:nested", "shop_dd:nested() returned function, which can be called without arguments"),
        ("shop_dd:later()", "shop_dd:later() is a coroutine"),
        (
            "shop_dd:needs_config()",
            "missing a required argument: 'config'. It is defined as needs_config(config)",
        ),
        ("shop_dd:nothing(1)", "too many positional arguments"),
        ("shop_dd:number()", "shop_dd:number cannot be called: it is int"),
    ],
)
def test_a_factory_that_makes_no_app(folder: Path, target: str, said: str) -> None:
    write(
        folder / "shop_dd.py",
        """
        def nothing(): ...
        def nested(): return nothing
        async def later(): ...
        def needs_config(config): ...
        number = 3
        """,
    )
    error = failure(target)
    assert said in str(error)
    assert error.__cause__ is None


# --- failing: the user's own code


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("import not_there_at_all\n", ModuleNotFoundError),
        ("import shop_ee.deeper\n", ModuleNotFoundError),
        ("def broken(:\n", SyntaxError),
        ("1 / 0\n", ZeroDivisionError),
        ("raise SystemExit(4)\n", SystemExit),
    ],
)
@pytest.mark.parametrize("target", ["shop_ee", "shop_ee.py:app"])
def test_a_module_that_raises_is_not_missing(
    folder: Path, text: str, kind: type[BaseException], target: str
) -> None:
    write(folder / "shop_ee.py", text)
    error = failure(target)
    assert type(error.__cause__) is kind
    explained = explain(error)
    assert explained.startswith(str(error))
    assert f'File "{folder / "shop_ee.py"}", line 1' in explained
    assert "importlib" not in explained
    assert os.path.join("bridge", "serving") not in explained


def test_a_program_that_exits_is_told_where_such_code_belongs(folder: Path) -> None:
    write(folder / "shop_ff.py", "raise SystemExit(4)\n")
    error = failure("shop_ff")
    assert "exit status 4" in str(error)
    assert '`if __name__ == "__main__":`' in str(error)


def test_ctrl_c_during_an_import_is_no_failure_of_the_module(folder: Path) -> None:
    write(folder / "shop_gg.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        find("shop_gg")


def test_a_factory_that_raises(folder: Path) -> None:
    write(folder / "shop_hh.py", "def make():\n    raise LookupError('no configuration')\n")
    error = failure("shop_hh:make")
    assert str(error) == "calling shop_hh:make() raised LookupError: no configuration"
    assert "in make\n    raise LookupError" in explain(error)


def test_an_attribute_that_raises(folder: Path) -> None:
    write(folder / "shop_ii.py", "def __getattr__(name):\n    raise LookupError(name)\n")
    assert isinstance(failure("shop_ii:app").__cause__, LookupError)


def test_a_failed_import_leaves_no_module_behind(folder: Path) -> None:
    write(folder / "shop.wsgi", "1 / 0\n")
    failure("shop.wsgi")
    assert "shop_wsgi" not in sys.modules


def test_an_error_of_ours_is_explained_without_a_traceback(folder: Path) -> None:
    error = failure("zebra")
    assert explain(error) == str(error)
