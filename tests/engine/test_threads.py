"""The engine runs many workflows at once in threads, which StackStorm's processes do not."""

from concurrent.futures import ThreadPoolExecutor

from tests.engine.orquesta_compat import expressions


def test_expressions_are_evaluated_in_many_threads():
    """YAQL's parser has state; without care an expression fails with another one's grammar."""

    def evaluate(number):
        return expressions.evaluate("<%% ctx().one + %d %%>" % number, {"one": 1})

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(evaluate, range(3000))) == [number + 1 for number in range(3000)]
