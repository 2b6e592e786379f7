"""The fixtures of a whole control plane."""

from fixtures.accounts import *  # noqa: F403  fixtures are found by their names here
from fixtures.administration import *  # noqa: F403  fixtures are found by their names here
from fixtures.control_plane import *  # noqa: F403  fixtures are found by their names here
