"""Optional dependencies: extras of the package, and the command that installs one."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from catalog.errors import InvalidSetting

Extra = Literal["bulk", "dashboard", "gpu", "insights", "otel", "postgres", "ray", "s3", "train"]


def install_command(extra: Extra) -> str:
    """Return the command that installs an extra for this interpreter, whichever Python is on the PATH."""
    return f'{sys.executable} -m pip install "marketlens[{extra}]"'


@contextmanager
def needs(extra: Extra, why: str = "") -> Iterator[None]:
    """Import packages of an extra inside the block. Raises InvalidSetting if one is not installed.

    `why` is a sentence put before the message, for an extra that the user did not ask for.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or str(error)).partition(".")[0]
        raise InvalidSetting(
            f"{why} {package} is not installed: it comes with the extra {extra}.".lstrip(),
            hint=f"Install it: {install_command(extra)}",
        ) from error
