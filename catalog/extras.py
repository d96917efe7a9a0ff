"""Optional dependencies: extras of the package, and the command that adds one."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from catalog.errors import InvalidSetting

Extra = Literal["bulk", "dashboard", "gpu", "insights", "otel", "postgres", "ray", "s3", "train"]


def install_command(extra: Extra) -> str:
    """The command that adds an extra to this interpreter, whichever is on the PATH."""
    return f'{sys.executable} -m pip install "marketlens[{extra}]"'


@contextmanager
def needs(extra: Extra, why: str = "") -> Iterator[None]:
    """Import what an extra brings inside of the block. Raises InvalidSetting where it is not installed.

    `why` is a sentence that goes before the message, where the user did not ask for that extra.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or str(error)).partition(".")[0]
        raise InvalidSetting(
            f"{why} {package} is not installed: it comes with the extra {extra}.".lstrip(),
            hint=f"Add it: {install_command(extra)}",
        ) from error
