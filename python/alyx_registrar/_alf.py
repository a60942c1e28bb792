"""Names of sessions and datasets, as far as arguments and results need them. The program decides what is registered."""

from __future__ import annotations

import datetime
import itertools
import os
import re
from fnmatch import fnmatch
from pathlib import Path, PurePath
from typing import Any, Dict, Iterable, List, Mapping, Optional, Union

PathLike = Union[str, 'PurePath']
#: A path as JSON: text, or the list of its bytes if it is not UTF-8.
SentPath = Union[str, List[int]]

_ALF_NAME = re.compile(
    r'^(?:_(?P<namespace>[a-zA-Z0-9]+)_)?(?P<object>\w+)\.'
    r'(?P<attribute>(?:_[a-z]+_)?[a-zA-Z0-9]+(?:_times|_intervals)?)'
    r'(?:_(?P<timescale>\w+))?(?:\.(?P<extra>[.\w-]+))?\.(?P<extension>\w+)$'
)
_NUMBER = re.compile(r'^[0-9]{1,3}$')
_DAY = re.compile(r'^[0-9]{4}-[0-9]{2}-[0-9]{2}$')


class Record(Dict[str, Any]):
    """A dict whose keys are attributes too, as ``iblutil.util.Bunch``."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def session_folder(path: PathLike) -> Optional[Path]:
    """The session folder that a path is in: ``…/subject/YYYY-MM-DD/number``."""
    parts = PurePath(path).parts
    for at in range(len(parts) - 1, 1, -1):
        if _NUMBER.match(parts[at]) and _is_day(parts[at - 1]):
            return Path(*parts[: at + 1])
    return None


def _is_day(text: str) -> bool:
    try:
        return bool(_DAY.match(text) and datetime.date.fromisoformat(text))
    except ValueError:
        return False


def get_dataset_type(filename: PathLike, dtypes: Iterable[Any]) -> Any:
    """The dataset type of a file.

    A type with a pattern matches file names in either case; one without matches names whose ``object.attribute`` (of a name
    that is not ALF, its stem) is its own.

    Raises
    ------
    ValueError
        No type matches, or several do.

    """
    name = PurePath(filename).name
    found = []
    for dtype in (Record(of) if isinstance(of, dict) else of for of in dtypes):
        pattern = (dtype.filename_pattern or '').strip()
        if pattern:
            matches = fnmatch(name.casefold(), pattern.casefold())
        else:
            matches = dtype.name == _object_attribute(name)
        if matches:
            found.append(dtype)
    if not found:
        raise ValueError(f'No dataset type found for filename "{name}"')
    if len(found) > 1:
        names = ', '.join(str(dtype.name) for dtype in found)
        raise ValueError(f'Multiple matching dataset types found for filename "{name}": \n{names}')
    return found[0]


def _object_attribute(name: str) -> str:
    parts = _ALF_NAME.match(name)
    return f'{parts["object"]}.{parts["attribute"]}' if parts else PurePath(name).stem


def relation_folder(path: Path, content_type: str) -> Optional[Path]:
    """The folder that holds the one named after a model, such as ``Subjects`` for ``subject``."""
    parts = path.parts
    name = content_type.rsplit('.', 1)[-1]
    if name.capitalize() in parts:
        return Path(*parts[: parts.index(name.capitalize())])
    at = next((at for at, part in enumerate(parts) if part.casefold().startswith(name.casefold())), -1)
    return Path(*parts[:at]) if at > 0 else None


def iso_time(date: Union[None, str, datetime.date, datetime.datetime]) -> str:
    """A time in ISO 8601: of nothing, now; of a day, its midnight.

    Raises
    ------
    ValueError
        The text is no time.

    """
    if not date:
        date = datetime.datetime.now()
    if isinstance(date, str):
        date = datetime.datetime.fromisoformat(date)
    elif not isinstance(date, datetime.datetime):
        if not isinstance(date, datetime.date):
            raise TypeError(f'a time is a text, a date or a datetime, not {type(date).__name__}')
        date = datetime.datetime(date.year, date.month, date.day)
    return date.isoformat()


def next_revision(revision: str, reserved: Optional[Iterable[str]] = None, alpha: str = 'a') -> str:
    """The revision with the next free letter.

    Raises
    ------
    ValueError
        No letter is left.

    """
    if len(alpha) != 1:
        raise TypeError(f'`alpha` must be a character; received a string of length {len(alpha)}')
    taken = set(reserved or ())
    for code in itertools.count(ord(alpha)):
        # ALF has no other characters.
        if not chr(code).isalnum():
            break
        if revision + chr(code) not in taken:
            return revision + chr(code)
    raise ValueError(f'no letter is left after revision {revision}; name the revision folder yourself')


def sent_path(path: PathLike) -> SentPath:
    """An absolute path as JSON: text, or the list of its bytes if it is not UTF-8."""
    text = str(Path(path).absolute())
    try:
        text.encode()
    except UnicodeEncodeError:
        return list(os.fsencode(text))
    return text


def read_path(path: SentPath) -> Path:
    """A path from JSON."""
    if isinstance(path, list):
        return Path(os.fsdecode(bytes(path)))
    return Path(path)


def as_list(value: Any) -> List[Any]:
    """Several values, or one."""
    if value is None:
        return []
    if isinstance(value, (str, Mapping, PurePath)):
        return [value]
    return list(value)
