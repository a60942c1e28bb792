"""What goes wrong, as exceptions.

Each one is also an exception that callers of ``one.registration`` catch today: of Python (``ValueError``, ``AssertionError``,
``ConnectionError``, ``OSError``) and, where these packages are installed, of ``requests`` (``HTTPError``, ``ConnectionError``)
and of ``one.alf.exceptions`` (``ALFError``, ``AlyxSubjectNotFound``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence, Type

__all__ = [
    'AmbiguousSession',
    'FileMissing',
    'FileProblem',
    'InvalidRequest',
    'LoginRefused',
    'MemberNotFound',
    'ProcessDied',
    'ProtectedDatasets',
    'RegistrarError',
    'RequestRefused',
    'ServerBusy',
    'ServerUnreachable',
    'SubjectNotFound',
]

if TYPE_CHECKING:

    class _HTTPError(OSError):
        pass

    class _RequestsConnectionError(OSError):
        pass

    class _ALFError(Exception):
        pass

    class _AlyxSubjectNotFound(_ALFError):
        pass

else:
    try:
        from requests.exceptions import ConnectionError as _RequestsConnectionError
        from requests.exceptions import HTTPError as _HTTPError
    except ImportError:

        class _HTTPError(OSError):
            """Takes the place of the exception of requests."""

        class _RequestsConnectionError(OSError):
            """Takes the place of the exception of requests."""

    try:
        from one.alf.exceptions import ALFError as _ALFError
        from one.alf.exceptions import AlyxSubjectNotFound as _AlyxSubjectNotFound
    except ImportError:

        class _ALFError(Exception):
            """Takes the place of the exception of ONE."""

        class _AlyxSubjectNotFound(_ALFError):
            """Takes the place of the exception of ONE."""


#: The next step of errors whose message has it.
_FOLLOW_MESSAGE = 'do what the message says'


class Response:
    """The answer of Alyx to a refused request, as far as it is known: what ``error.response`` has in requests."""

    def __init__(self, status_code: int, text: str) -> None:
        self.status_code = status_code
        self.text = text
        self.reason = text
        self.ok = False

    def json(self) -> Dict[str, Any]:
        """Status and message in the form that Alyx uses."""
        return {'status_code': self.status_code, 'error': self.text, 'detail': self.text}


class RegistrarError(Exception):
    """An error that alyx-registrar reports."""

    def __init__(
        self,
        message: str = '',
        *,
        kind: str = 'Unknown',
        next_step: str = _FOLLOW_MESSAGE,
        exit_code: int = 1,
        retryable: bool = False,
        session: Optional[str] = None,
        path: Any = None,
        errors: Sequence[Mapping[str, Any]] = (),
        response: Optional[Response] = None,
    ) -> None:
        Exception.__init__(self, message)
        #: What is wrong.
        self.message = message
        #: The kind of error, as ``docs/errors.md`` lists them.
        self.kind = kind
        #: What to do about it.
        self.next_step = next_step
        #: The exit code that the command would have had.
        self.exit_code = exit_code
        #: Whether the same call may succeed later although nothing is changed.
        self.retryable = retryable
        #: The session that it concerns: ``subject/date/number``, or its folder.
        self.session = session
        #: The file or folder that it concerns.
        self.path = path
        #: Everything that went wrong, as ``docs/json.md`` describes it.
        self.errors = list(errors)
        #: The answer of Alyx, if it refused a request.
        self.response = response
        self.request = None
        # As one.alf.exceptions.ALFError has them.
        self.terse = True

    def __str__(self) -> str:
        if not self.next_step or self.next_step == _FOLLOW_MESSAGE:
            return self.message
        return f'{self.message}\nNext step: {self.next_step}'

    def __reduce__(self) -> Any:
        return _again, (type(self), self.message, self.__dict__.copy())


def _again(kind: Type[RegistrarError], message: str, state: Dict[str, Any]) -> RegistrarError:
    error = kind(message)
    error.__dict__.update(state)
    return error


class InvalidRequest(RegistrarError, ValueError, AssertionError):
    """An argument is not valid, or contradicts the folder or Alyx."""


class AmbiguousSession(InvalidRequest):
    """Alyx has several sessions of this subject, day and number."""


class MemberNotFound(InvalidRequest, _ALFError):
    """Alyx does not know a user, lab, project, procedure, location or repository."""


class SubjectNotFound(MemberNotFound, _AlyxSubjectNotFound):
    """Alyx does not know the subject."""


class RequestRefused(RegistrarError, _HTTPError):
    """Alyx refuses a request, or fails at it; ``response.status_code`` is the status."""


class ProtectedDatasets(RequestRefused):
    """Datasets that are protected on Alyx would be overwritten."""


class LoginRefused(RequestRefused):
    """Alyx refuses the user, the password or the token, or there is none."""


class ServerUnreachable(RegistrarError, _RequestsConnectionError, ConnectionError):
    """Alyx does not answer, or what answers is not Alyx."""


class ServerBusy(ServerUnreachable, _HTTPError):
    """Alyx, or the proxy in front of it, is overloaded or down."""


class ProcessDied(RegistrarError, ConnectionError):
    """The process of alyx-registrar has ended, cannot be started, or does not answer in its language.

    ``maybe_done``: whether the request may have been carried out.
    """

    maybe_done = False


class FileProblem(RegistrarError, OSError):
    """A file or folder cannot be used, or is still being written."""


class FileMissing(FileProblem, FileNotFoundError):
    """A file or folder does not exist."""


_CLASSES: Dict[str, Type[RegistrarError]] = {
    'Usage': InvalidRequest,
    'Invalid': InvalidRequest,
    'NotASession': InvalidRequest,
    'Metadata': InvalidRequest,
    'Clock': InvalidRequest,
    'Implausible': InvalidRequest,
    'Options': InvalidRequest,
    'Configuration': InvalidRequest,
    'Flag': InvalidRequest,
    'Missing': MemberNotFound,
    'Ambiguous': AmbiguousSession,
    'Login': LoginRefused,
    'Forbidden': RequestRefused,
    'Protected': ProtectedDatasets,
    'NotFound': RequestRefused,
    'Refused': RequestRefused,
    'Server': RequestRefused,
    'FilesRefused': RequestRefused,
    'Busy': ServerBusy,
    'Unreachable': ServerUnreachable,
    'NotAlyx': ServerUnreachable,
    'Unreadable': FileProblem,
    'Vanished': FileMissing,
    'StillChanging': FileProblem,
    'CopyInProgress': FileProblem,
    'NoFilesYet': FileProblem,
    'NeverQuiet': FileProblem,
    'CannotMove': FileProblem,
    'CannotMake': FileProblem,
    'FlagStays': FileProblem,
}

#: The status of errors whose message does not have it.
_STATUS = {
    'Login': 401,
    'Forbidden': 403,
    'Protected': 403,
    'NotFound': 404,
    'Refused': 400,
    'FilesRefused': 400,
    'Server': 500,
    'Busy': 503,
}


def error_of(
    report: Mapping[str, Any],
    *,
    exit_code: int = 1,
    errors: Sequence[Mapping[str, Any]] = (),
    missing: Sequence[Mapping[str, str]] = (),
) -> RegistrarError:
    """The exception for an error as ``docs/json.md`` describes it."""
    kind = report.get('kind') or 'Unknown'
    message = report.get('message') or 'the request failed'
    cls = _CLASSES.get(kind, RegistrarError)
    if cls is MemberNotFound and any(name.get('endpoint') == 'subjects' for name in missing):
        cls = SubjectNotFound
    if kind == 'Unreadable' and 'No such file' in message:
        cls = FileMissing
    response = None
    if kind in _STATUS:
        found = re.search(r'\(HTTP (\d{3})', message)
        response = Response(int(found[1]) if found else _STATUS[kind], message)
    path = report.get('path')
    return cls(
        message,
        kind=kind,
        next_step=report.get('next_step') or _FOLLOW_MESSAGE,
        exit_code=exit_code,
        retryable=bool(report.get('retryable')),
        session=report.get('session'),
        path=bytes(path) if isinstance(path, list) else path,
        errors=errors or [report],
        response=response,
    )
