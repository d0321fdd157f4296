"""Whose code raised an exception: cohaudit's, a library's, or the user's.

A scan calls the user's code in many places: a factory, a dataset, a transform, a model's forward, whatever
these define. Most calls name what they called if it fails. This is for the rest, and for exceptions that are
no errors, such as SystemExit: none of them may end a scan as if it had succeeded.
"""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

from cohaudit.errors import UserCodeError, describe_error
from cohaudit.untrusted import exits

_OURS = Path(__file__).parent.parent
"""Folder of the package."""
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
"""Folders of Python and of installed packages."""


def user_code_error(error: BaseException) -> UserCodeError | None:
    """Return the error to report for an exception that the user's code raised; None if it is a bug of ours.

    Args:
        error: Any exception but an error of cohaudit.
    """
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        # the frame that holds an exit is not whose code called it
        if Path(frame.filename).suffix == ".py" and frame.filename != exits.__file__
    ]
    # a call that fails inside torch was made by whoever comes before it
    callers = [frame for frame in frames if not _is_library(frame.filename)]
    is_users = bool(callers) and not Path(callers[-1].filename).is_relative_to(_OURS)
    # a library that ends the program does so in the name of whoever named it
    if not is_users and isinstance(error, Exception):
        return None
    culprits = callers if is_users else frames
    place = "the code that is called"
    if culprits:
        place = f"{Path(culprits[-1].filename).name}, line {culprits[-1].lineno}, in {culprits[-1].name}"
    verb = "raised" if isinstance(error, Exception) else "tried to end the program: it raised"
    return UserCodeError(
        place,
        f"{verb} {describe_error(error)}",
        "correct that code, which a scan calls: it must return a value"
        if not isinstance(error, Exception)
        else "correct that code, which a scan calls",
    )


def _is_library(filename: str) -> bool:
    """Tell whether a file belongs to Python or an installed package; cohaudit itself may be installed too."""
    path = Path(filename)
    return not path.is_relative_to(_OURS) and any(path.is_relative_to(folder) for folder in _LIBRARIES)
