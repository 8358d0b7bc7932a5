"""Base class of python actions, with StackStorm's constructor and attributes."""

import abc
import logging


class PackConfig(dict):
    """Pack config whose missing item raises a ValueError that says what to do."""

    def __init__(self, pack, *args):
        super().__init__(*args)
        self._pack = pack

    def __missing__(self, key):
        raise ValueError(
            f'Config for pack "{self._pack}" is missing key "{key}". Add it to '
            f"configs/{self._pack}.yaml and register the configs again."
        )


def get_action_logger(name, level="DEBUG"):
    """The logger of an action class: everything from `level` up goes to stderr."""
    logger = logging.getLogger(f"actions.python.{name}")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(name)-12s: %(levelname)-8s %(message)s"))
        logger.addHandler(handler)
        # StackStorm's AUDIT level is unknown to the standard library.
        logger.setLevel(getattr(logging, level.upper(), logging.DEBUG))
    return logger


class Action(abc.ABC):
    """Python action: subclasses implement `run(**parameters)`.

    `run` returns a result, or `(True | False, result)` to say whether it succeeded.
    """

    description = None

    def __init__(self, config=None, action_service=None):
        wrapper = getattr(action_service, "_action_wrapper", None)
        self.action_service = action_service
        self.config = PackConfig(getattr(wrapper, "_pack", "unknown"), config or {})
        self.logger = get_action_logger(
            type(self).__name__, getattr(wrapper, "_log_level", "DEBUG")
        )

    @abc.abstractmethod
    def run(self, **kwargs):
        """Do the work; the arguments are the action's parameters."""
