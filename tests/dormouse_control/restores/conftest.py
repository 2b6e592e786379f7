"""The fixtures of restores."""

from fixtures.restored import *  # noqa: F403  fixtures are found by their names here
