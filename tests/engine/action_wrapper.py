"""The child process of a python action: load the class, call `run`, hand back its result.

Arguments: --pack, --file-path, --config (JSON), --parameters (JSON; on stdin when they are too
long), --log-level and --delimiter. It writes the result between two delimiters on stdout. A script,
not a module of the engine: it runs with the pack's paths and imports nothing that makes every
action slower.
"""

import importlib.util
import inspect
import os
import sys
import types

# The engine's own folder, which the interpreter put first, must not hide the pack's modules.
sys.path.pop(0)

import json  # noqa: E402

from st2common.runners.base_action import Action, get_action_logger  # noqa: E402

try:
    from orjson import dumps
except ImportError:

    def dumps(value):
        """JSON as bytes."""
        return json.dumps(value).encode()


INVALID_STATUS_EXIT_CODE = 220


class ActionService:
    """What an action reaches StackStorm with."""

    def __init__(self, wrapper):
        self._action_wrapper = wrapper

    def __getattr__(self, name):
        if name == "datastore_service":
            # Made at first use, because it imports st2client.
            from st2common.services.datastore import ActionDatastoreService

            wrapper = self._action_wrapper
            self.datastore_service = ActionDatastoreService(
                logger=get_action_logger(wrapper._class_name, wrapper._log_level),
                pack_name=wrapper._pack,
                class_name=wrapper._class_name,
                auth_token=os.environ.get("ST2_ACTION_AUTH_TOKEN"),
            )
            return self.datastore_service
        if name in ("get_user_info", "list_values", "get_value", "set_value", "delete_value"):
            return getattr(self.datastore_service, name)
        raise AttributeError(name)


def load(path):
    """The action class that the file defines. Raises what importing the file raises."""
    sys.path.append(os.path.dirname(os.path.realpath(path)))
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for _, found in inspect.getmembers(module, inspect.isclass):
        if found.__module__ == name and "run" in dir(found):
            return found
    raise Exception(f'File "{path}" has no action class or the file doesn\'t exist.')


def main():
    """Run the one action that the arguments ask for."""
    request = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
    parameters = json.loads(request.get("parameters") or sys.stdin.buffer.read())
    action_class = load(request["file-path"])
    wrapper = types.SimpleNamespace(
        _pack=request["pack"], _log_level=request["log-level"], _class_name=action_class.__name__
    )
    config = json.loads(request["config"])
    action = action_class(config=config, action_service=ActionService(wrapper))
    assert isinstance(action, Action), f"{action_class.__name__} is not an Action"
    output = action.run(**parameters)
    status = None
    if isinstance(output, tuple) and len(output) == 2:
        status, output = output
        if status is not None and not isinstance(status, bool):
            sys.stderr.write(
                "Status returned from the action run() method must either be True or False, "
                f"got: {status}\n"
            )
            sys.exit(INVALID_STATUS_EXIT_CODE)
        try:
            dumps(output)
        except TypeError:
            output = str(output) if status is not None else output
    result = {"result": output, "status": status}
    try:
        text = dumps(result)
    except TypeError:
        text = str(result).encode()
    delimiter = request["delimiter"].encode()
    sys.stdout.flush()
    sys.stdout.buffer.write(delimiter + text + b"\n" + delimiter)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
