"""Which StackStorm the tests have."""

import importlib.util
import os

STACKSTORM_INSTALLED = importlib.util.find_spec("st2common") is not None
REAL_API = os.environ.get("ST2_API_URL")
