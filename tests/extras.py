"""Tests of what optional packages do: ``make test-extras`` installs these, and runs the tests."""

from importlib.util import find_spec

import pytest


def needs(package, name=None):
    """Mark a test that is skipped where a package, whose distribution may have another name, is not installed."""
    why = f"{name or package} is not installed: make test-extras"

    def marked(test):
        return pytest.mark.extras(pytest.mark.skipif(find_spec(package) is None, reason=why)(test))

    return marked
