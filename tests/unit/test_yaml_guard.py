"""YAML that unfolds without end is refused, whichever library has composed it."""

import pytest
import yaml
from poundcake import yaml_guard
from poundcake.errors import UnsafeYaml
from ruamel.yaml import YAML

BOMB = "a0: &a0 [x, x]\n" + "".join(
    "a{}: &a{} [{}]\n".format(n, n, ", ".join(["*a%d" % (n - 1)] * 9)) for n in range(1, 12)
)
COMPOSERS = [
    pytest.param(lambda text: yaml.compose(text, yaml.SafeLoader), id="pyyaml"),
    pytest.param(lambda text: YAML(typ="safe", pure=True).compose(text), id="ruamel"),
]


@pytest.mark.parametrize("compose", COMPOSERS)
@pytest.mark.parametrize(
    "text, problem, line",
    [
        (BOMB, "more than 200000 values", 1),
        ("a:\n  b: &b [*b]\n", "contains itself; remove the alias", 2),
        ("a: &a {b: {c: *a}}\n", "contains itself; remove the alias", 1),
    ],
)
def test_an_unsafe_document_is_refused_with_its_line(compose, text, problem, line):
    """Before any value of it is built."""
    with pytest.raises(UnsafeYaml, match=problem) as caught:
        yaml_guard.check(compose(text))
    assert caught.value.line == line


@pytest.mark.parametrize("compose", COMPOSERS)
@pytest.mark.parametrize("text", ["", "a", "[]", "{a: &a {b: 1}, c: *a, d: *a, <<: *a}"])
def test_a_usual_document_is_accepted(compose, text):
    """Aliases included."""
    yaml_guard.check(compose(text))
