# my_pack/tests/test_clear_lock.py
import pathlib

from tests.engine import testing

MY_PACK = pathlib.Path(__file__).resolve().parent.parent


def test_a_stale_lock_is_removed_and_a_fresh_one_stays(tmp_path):
    locks = tmp_path / "locks"
    locks.mkdir()
    (locks / "stale.lock").write_text("999999999")
    (locks / "fresh.lock").write_text("1")
    engine = testing.start(tmp_path / "engine", [testing.ROOT, MY_PACK], {"poundcake": {"port": 0}})
    try:
        for name, outcome in (("stale", "remediated"), ("fresh", "not_needed")):
            done = engine.run("my_pack.clear_lock", name=name, lock_dir=str(locks))
            assert done["result"]["output"]["outcome"] == outcome, done["result"]
    finally:
        engine.stop()
    assert [path.name for path in locks.iterdir()] == ["fresh.lock"]


def test_a_name_that_leaves_the_folder_is_refused(tmp_path):
    engine = testing.start(tmp_path / "engine", [testing.ROOT, MY_PACK], {"poundcake": {"port": 0}})
    try:
        done = engine.run("my_pack.clear_lock", name="../x", lock_dir=str(tmp_path))
        output = done["result"]["output"]
        assert output["outcome"] == "escalated"
        assert 'name: "../x"; expected' in output["reason"]
    finally:
        engine.stop()
