"""The registration client: the methods of ``one.registration.RegistrationClient``."""

from __future__ import annotations

import itertools
import json as _json
import logging
import pathlib
from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union
from uuid import UUID

from alyx_registrar import _alf
from alyx_registrar._alf import PathLike, Record, SentPath, get_dataset_type
from alyx_registrar._process import Process
from alyx_registrar.errors import InvalidRequest, MemberNotFound, SubjectNotFound, error_of

__all__ = ['RegistrationClient']

#: A record of Alyx.
Json = Dict[str, Any]

_logger = logging.getLogger('alyx_registrar')

#: The fields of a session that are lists of names.
_LISTS = ('procedures', 'projects')
#: Those that are times.
_TIMES = ('start_time', 'end_time')
#: Those that are values.
_VALUES = ('location', 'n_correct_trials', 'n_trials', 'type', 'task_protocol', 'lab', 'narrative', 'qc')


class RegistrationClient:
    """Creates sessions and registers files on Alyx.

    Parameters
    ----------
    one : one.api.ONE
        Its address, user and token are used, and its cache folder is the default root of new sessions.
    url, user, password, token : str
        The address of Alyx and a login.
    config : str, pathlib.Path
        A configuration of alyx-registrar, with its address and login.
    one_settings : str, pathlib.Path
        A folder with the settings of ONE, such as ``~/.one``.
    program : str, pathlib.Path
        The program ``alyx-registrar``.

    Without any of them, the connection is that of the command line: the configuration that ``ALYX_REGISTRAR_CONFIG`` names, that in
    ``/etc/alyx-registrar``, or the settings in ``~/.one``.

    The client may be shared by threads; their calls run one after the other. It is a context manager, and is closed at its end.

    """

    def __init__(
        self,
        one: Any = None,
        *,
        url: Optional[str] = None,
        user: Optional[str] = None,
        password: Optional[str] = None,
        token: Optional[str] = None,
        config: Optional[PathLike] = None,
        one_settings: Optional[PathLike] = None,
        program: Optional[PathLike] = None,
    ) -> None:
        self.one = one
        self._cache_dir: Optional[Path] = None
        connection: Dict[str, Any] = {'url': url, 'user': user, 'password': password, 'token': token}
        connection['config'] = None if config is None else str(Path(config).absolute())
        connection['one_settings'] = None if one_settings is None else str(Path(one_settings).absolute())
        connection = {name: value for name, value in connection.items() if value is not None}
        if one is not None:
            if connection:
                raise InvalidRequest('one has the address and the login; give no other parameter')
            connection = _login_of(one)
            self._cache_dir = Path(one.alyx.cache_dir)
        self._process = Process(connection, str(program) if program is not None else None)
        self._process.connect()
        self._types: Optional[Tuple[List[Record], List[str]]] = None

    def __enter__(self) -> RegistrationClient:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process of the program. The next call starts another one."""
        self._process.close()

    @property
    def url(self) -> str:
        """The address of Alyx."""
        return str(self._process.connect()['url'])

    @property
    def user(self) -> str:
        """The user who is logged in."""
        return str(self._process.connect()['user'])

    @property
    def dtypes(self) -> List[Record]:
        """The dataset types of Alyx, with ``name`` and ``filename_pattern``."""
        return self._dataset_types()[0]

    @property
    def registration_patterns(self) -> List[str]:
        """The patterns of the dataset types."""
        return [dtype['filename_pattern'] for dtype in self.dtypes if dtype['filename_pattern']]

    @property
    def file_extensions(self) -> List[str]:
        """The extensions of the data formats."""
        return self._dataset_types()[1]

    def _dataset_types(self) -> Tuple[List[Record], List[str]]:
        if self._types is None:
            found = self._process.ask('dataset-types')
            self._types = (list(map(Record, found['dataset_types'])), found['file_extensions'])
        return self._types

    def create_sessions(
        self,
        root_data_folder: PathLike,
        glob_pattern: str = '**/create_me.flag',
        register_files: bool = False,
        dry: bool = False,
    ) -> Tuple[List[Path], List[Optional[Json]]]:
        """Create the session of every flag below a folder, and remove the flags.

        A session that fails keeps its flag, and the others are registered. At the end, its error is raised; its attributes
        ``paths`` and ``records`` are what would have been returned, with None for each session that failed.

        Returns
        -------
        list of pathlib.Path
            The session folders.
        list of dict
            Their records on Alyx; None if ``dry``.

        """
        found = self._process.ask(
            'create-sessions',
            {
                'root': _alf.sent_path(root_data_folder),
                'glob_pattern': str(glob_pattern),
                'register_files': bool(register_files),
                'protected': 'revise',
                'dry_run': bool(dry),
            },
        )
        paths = [_alf.read_path(session['folder']) for session in found['sessions']]
        records = [session['session'] for session in found['sessions']]
        failed = [session['error'] for session in found['sessions'] if session['error']]
        for session in found['sessions']:
            if session['gaps']:
                _logger.warning('%s: %s', session['folder'], session['gaps'])
        if failed and not dry:
            error: Any = error_of(failed[0], errors=failed)
            error.paths, error.records = paths, records
            raise error
        for error in failed:
            _logger.warning('%s', error['message'])
        if dry:
            # As in ONE.
            for path in paths:
                print(path)
        return paths, records

    def create_new_session(
        self,
        subject: str,
        session_root: Optional[PathLike] = None,
        date: Any = None,
        register: bool = True,
        **kwargs: Any,
    ) -> Tuple[Path, Optional[UUID]]:
        """Make the next free session folder of a day, and create its session on Alyx.

        Parameters
        ----------
        subject : str
            The subject, which must be on Alyx.
        session_root : str, pathlib.Path
            The folder in which subject/date/number is made; by default the cache folder of ONE.
        date : str, datetime.date, datetime.datetime
            The day; by default today.
        register : bool
            Whether the session is created on Alyx.
        kwargs
            The fields of the session, as in :meth:`register_session`.

        Returns
        -------
        pathlib.Path
            The session folder.
        uuid.UUID
            The id of the session, if it was registered.

        """
        # The folder is new and has no files.
        kwargs.pop('file_list', None)
        params = _details(kwargs.pop('users', None), kwargs)
        if session_root is None:
            root = self._cache_dir or _default_cache_dir(self.url)
            root.mkdir(parents=True, exist_ok=True)
        else:
            root = Path(session_root)
        params.update(
            subject=str(subject),
            root=_alf.sent_path(root),
            date=None if date is None else self.ensure_ISO8601(date),
            no_register=not register,
        )
        made = self._process.ask('new-session', params)
        return _alf.read_path(made['folder']), UUID(made['eid']) if made['eid'] else None

    def find_files(self, session_path: PathLike) -> Iterator[Path]:
        """The files of a session folder that are datasets.

        Yields
        ------
        pathlib.Path
            A file.

        """
        folder = Path(session_path)
        found = self._process.ask('find-files', {'folder': _alf.sent_path(folder)})
        for file in found['files']:
            yield folder / file['path']

    def assert_exists(
        self, member: Union[str, UUID, Iterable[Union[str, UUID]]], endpoint: str
    ) -> Union[Json, List[Json]]:
        """The record of a name, or the records of several.

        Parameters
        ----------
        member : str, uuid.UUID, list
            The name, or names.
        endpoint : str
            'subjects', 'users', 'labs', 'projects', 'procedures', 'locations', or 'repositories'.

        Raises
        ------
        SubjectNotFound, MemberNotFound
            Alyx does not know it.

        """
        single = isinstance(member, (str, UUID))
        names = [str(name) for name in ([member] if single else member)]  # type: ignore[union-attr]
        # Without a name, all are listed.
        found = self._process.ask('exists', {'endpoint': endpoint, 'names': names})['members'] if names else []
        for of in found:
            if of['exists']:
                continue
            near = f'; did you mean {", ".join(map(repr, of["near"]))}?' if of['near'] else ''
            cls = SubjectNotFound if endpoint == 'subjects' else MemberNotFound
            raise cls(
                f'Member "{of["name"]}" doesn\'t exist in {endpoint}{near}',
                kind='Missing',
                next_step='correct the name; create it on Alyx only if it is really new',
            )
        records = [of['record'] for of in found]
        return records[0] if single else records

    @staticmethod
    def ensure_ISO8601(date: Any) -> str:
        """A time in ISO 8601: of None, now; of a day, its midnight. Anything that is no time is a ValueError."""
        return _alf.iso_time(date)

    def register_session(
        self,
        ses_path: PathLike,
        users: Union[None, str, List[str]] = None,
        file_list: Union[bool, PathLike, List[PathLike]] = True,
        **kwargs: Any,
    ) -> Tuple[Json, Union[None, Json, List[Optional[Json]]]]:
        """Create a session on Alyx, or update the given fields of an existing one, and register its files.

        Parameters
        ----------
        ses_path : str, pathlib.Path
            The session folder.
        users : str, list
            The experimenters; by default, of a new session, the user who is logged in.
        file_list : bool, list
            The files to register. True: all datasets in the folder; False: none.
        kwargs
            location, procedures, n_correct_trials, n_trials, json, projects, type, task_protocol, lab, start_time, end_time,
            narrative, qc.

        Returns
        -------
        dict
            The session on Alyx.
        list of dict, None
            The datasets on Alyx; None if no files are registered.

        """
        params = _details(users, kwargs)
        params['folder'] = _alf.sent_path(ses_path)
        if not file_list:
            # As in ONE, the folder need not be on this computer.
            params['no_folder'] = True
            return self._process.ask('create-session', params)['session'], None
        params['protected'] = 'revise'
        single = isinstance(file_list, (str, pathlib.PurePath))
        if file_list is not True:
            params['file'] = [_alf.sent_path(file) for file in _alf.as_list(file_list)]
        done = self._process.ask('register-session', params)
        session, files = done['session'], done.get('files') or {}
        for missing in done.get('missing') or ():
            _logger.warning('%s: %s', ses_path, missing)
        records = _records(files)
        if any(records):
            session['data_dataset_session_related'] = [record for record in records if record]
        return session, records[0] if single and records else records

    def prepare_files(
        self,
        file_list: Union[PathLike, Iterable[PathLike]],
        versions: Union[None, str, List[str]] = None,
        content_type: str = 'session',
    ) -> Tuple[Dict[Path, List[Path]], Dict[Path, List[Optional[str]]], List[Path], bool]:
        """Group files by session, without those that are no datasets.

        Returns
        -------
        dict
            For each session folder its files, relative to the folder.
        dict
            For each session folder the versions of its files.
        list of pathlib.Path
            All files.
        bool
            Whether a single file was given.

        """
        single = isinstance(file_list, (str, pathlib.PurePath))
        files = [Path(file) for file in _alf.as_list(file_list)]
        tags = itertools.repeat(versions) if versions is None or isinstance(versions, str) else itertools.cycle(versions)
        grouped: Dict[Path, List[Path]] = defaultdict(list)
        versions_of: Dict[Path, List[Optional[str]]] = defaultdict(list)
        for file, version in zip(files, tags):
            is_session = content_type == 'session'
            folder = _alf.session_folder(file) if is_session else _alf.relation_folder(file, content_type)
            if folder is None:
                _logger.debug('%s is not in a folder of a %s', file, content_type)
                continue
            if file.suffix not in self.file_extensions:
                _logger.debug('%s: No matching extension "%s" in database', file.name, file.suffix)
                continue
            try:
                get_dataset_type(file, self.dtypes)
            except ValueError as error:
                _logger.debug('%s', error)
                continue
            grouped[folder].append(file.relative_to(folder))
            versions_of[folder].append(version)
        return grouped, versions_of, files, single

    def check_protected_files(
        self,
        file_list: Union[PathLike, Iterable[PathLike]],
        created_by: Optional[str] = None,
        **kwargs: Any,
    ) -> Union[Json, List[Json]]:
        """Whether files are protected on Alyx.

        Returns
        -------
        list of dict, dict
            For each session ``status_code``, 403 if a file is protected and otherwise 200; ``details``, for each file its
            revisions, the latest first, and whether each is protected; ``shared_path``, the session folder; and ``files``.
            Of a single file, one dict.

        """
        single = isinstance(file_list, (str, pathlib.PurePath))
        params = {'files': [_alf.sent_path(file) for file in _alf.as_list(file_list)], 'created_by': created_by}
        params.update(_relation(kwargs))
        # Alyx takes the repository from the files.
        kwargs.pop('name', None)
        kwargs.pop('hostname', None)
        _no_others('check_protected_files', kwargs)
        found = self._process.ask('check-protected', params) if params['files'] else {'sessions': [], 'left_out': []}
        _log_left_out(found)
        statuses = []
        for session in found['sessions']:
            status: Dict[str, Any] = {'status_code': 403 if session['protected'] else 200}
            if session['protected']:
                status['error'] = 'One or more datasets is protected'
            status['details'] = [
                {file['file']: [{of['revision']: of['protected']} for of in file['revisions']]}
                for file in session['details']
            ]
            status['shared_path'] = _alf.read_path(session['folder'])
            status['files'] = [_alf.read_path(file) for file in session['files']]
            statuses.append(status)
        if not single:
            return statuses
        if not statuses:
            raise _left_out_error(found)
        return statuses[0]

    def register_files(
        self,
        file_list: Union[PathLike, Iterable[PathLike]],
        versions: Union[None, str, List[str]] = None,
        default: bool = True,
        created_by: Optional[str] = None,
        server_only: bool = False,
        repository: Optional[str] = None,
        exists: bool = True,
        dry: bool = False,
        max_md5_size: Optional[int] = None,
        **kwargs: Any,
    ) -> Union[None, Json, List[Optional[Json]]]:
        """Register files of sessions that are on Alyx.

        A file whose dataset is protected on Alyx moves into a new revision folder beside it.

        Parameters
        ----------
        file_list : list, str, pathlib.Path
            Files, of one session or several.
        versions : str, list of str
            A version tag for all files, or tags that they get in turn.
        default : bool
            Whether the files become the default revision.
        created_by : str
            The user who registers; by default the one who is logged in.
        server_only : bool
            Whether the files are on the server only, not in a repository of the lab.
        repository : str
            The repository that holds the files.
        exists : bool
            Whether the files are in the repository already.
        dry : bool
            Whether nothing is changed, and the requests are returned.
        max_md5_size : int
            Files of this size in bytes, or larger ones, get no checksum.
        kwargs
            labs, qc; for files outside a session content_type and object_id; force, to send again what Alyx has.

        Returns
        -------
        list of dict, dict
            The dataset of each file, None for a file that is no dataset; if ``dry``, the request for each session. Of a single
            file, one dict.

        """
        single = isinstance(file_list, (str, pathlib.PurePath))
        listed = [Path(file) for file in _alf.as_list(file_list)]
        content_type = kwargs.get('content_type') or 'session'
        absent = [file for file in listed if not file.exists()]
        # As in ONE, a file that is no dataset need not exist. An absent dataset is an error of the program.
        grouped = self.prepare_files(absent, content_type=content_type)[0] if absent else {}
        wanted = {folder / file for folder, files in grouped.items() for file in files}
        sent = [at for at, file in enumerate(listed) if file not in absent or file in wanted]
        tags = [str(version) for version in _alf.as_list(versions)]
        params: Dict[str, Any] = {
            'files': [_alf.sent_path(listed[at]) for at in sent],
            'versions': [tags[at % len(tags)] for at in sent] if len(tags) > 1 else tags,
            'no_default': not default,
            'created_by': created_by,
            'server_only': bool(server_only),
            'repository': repository or kwargs.pop('name', None),
            'no_exists': not exists,
            'dry_run': bool(dry),
            'max_md5_size': max_md5_size,
            'protected': 'revise',
            'labs': [lab for given in _alf.as_list(kwargs.pop('labs', None)) for lab in str(given).split(',')],
            'qc': kwargs.pop('qc', None),
            'force': bool(kwargs.pop('force', False)),
        }
        params.update(_relation(kwargs))
        _no_others('register_files', kwargs)
        records: List[Optional[Json]] = [] if dry else [None] * len(listed)
        done = self._process.ask('register-files', params) if sent else {}
        if dry:
            _log_left_out(done)
            records = done.get('requests', [])
        for at, record in zip(sent, [] if dry else _records(done)):
            records[at] = record
        if single:
            return records[0] if records else None
        return records

    @staticmethod
    def _next_revision(revision: str, reserved: Optional[List[str]] = None, alpha: str = 'a') -> str:
        """The revision with the next free letter, from ``alpha`` to 'z'."""
        return _alf.next_revision(revision, reserved, alpha)

    def register_water_administration(self, subject: str, volume: Optional[float], **kwargs: Any) -> Json:
        """Record the water that a subject was given. What Alyx has already is not recorded twice.

        Parameters
        ----------
        subject : str
            The subject.
        volume : float
            Millilitres.
        kwargs
            date_time (by default now), water_type (by default 'Water'), user (by default the one who is logged in), session (its
            folder, id, address or record), adlib; force, to record a value that Alyx has already.

        Returns
        -------
        dict
            The record on Alyx.

        """
        adlib = bool(kwargs.pop('adlib', False))
        if volume is not None and not volume > 0:
            raise InvalidRequest('Water volume must be greater than zero', kind='Invalid')
        session = kwargs.pop('session', None)
        date_time = kwargs.pop('date_time', None)
        params = {
            'subjects': _one_subject(subject),
            'volume': None if volume is None else float(volume),
            'date_time': None if date_time is None else self.ensure_ISO8601(date_time),
            'water_type': kwargs.pop('water_type', None),
            'by': kwargs.pop('user', None),
            'session': _session(session) if session else None,
            'adlib': adlib,
            'any_unit': True,
            'force': bool(kwargs.pop('force', False)),
        }
        _no_others('register_water_administration', kwargs)
        return _measured(self._process.ask('water', params))

    def register_weight(
        self, subject: str, weight: float, date_time: Any = None, user: Optional[str] = None, force: bool = False
    ) -> Json:
        """Record the weight of a subject. What Alyx has already is not recorded twice.

        Parameters
        ----------
        subject : str
            The subject.
        weight : float
            Grams.
        date_time : str, datetime.date, datetime.datetime
            When; by default now.
        user : str
            Who; by default the user who is logged in.
        force : bool
            Whether to record a value that Alyx has already.

        Returns
        -------
        dict
            The record on Alyx.

        """
        if not weight > 0:
            raise InvalidRequest('Weight must be greater than 0', kind='Invalid')
        params = {
            'subjects': _one_subject(subject),
            'weight': float(weight),
            'date_time': None if date_time is None else self.ensure_ISO8601(date_time),
            'by': user,
            'any_unit': True,
            'force': bool(force),
        }
        return _measured(self._process.ask('weight', params))


def _login_of(one: Any) -> Dict[str, Any]:
    """Address, user and token of ONE."""
    alyx = getattr(one, 'alyx', None)
    if alyx is None or getattr(one, 'offline', False):
        raise InvalidRequest('ONE must be in online mode', kind='Invalid')
    if not alyx.is_logged_in:
        alyx.authenticate()
    token = alyx._token
    if isinstance(token, Mapping):
        token = next(iter(token.values()))
    return {'url': str(alyx.base_url), 'user': alyx.user, 'token': token}


def _default_cache_dir(url: str) -> Path:
    """The cache folder that the settings in ``~/.one`` name for an address, or that of ONE without settings."""
    home = Path.home()
    try:
        caches = _json.loads((home / '.one' / '.caches').read_text(encoding='utf-8'))['CLIENT_MAP']
        bare = url.split('://', 1)[-1].strip('/').lower()
        known = ''.join(c if c.isalnum() or c in '_.-' else '_' for c in bare)
        return Path(caches[known])
    except (OSError, ValueError, KeyError, TypeError):
        return home / 'Downloads' / 'ONE'


def _details(users: Union[None, str, List[str]], kwargs: Dict[str, Any]) -> Dict[str, Any]:
    """The fields of a session as parameters. Empties ``kwargs``."""
    for reserved in ('subject', 'number'):
        if reserved in kwargs:
            raise InvalidRequest(f'the {reserved} is that of the folder; it cannot be given', kind='Invalid')
    params: Dict[str, Any] = {'users': [str(user) for user in _alf.as_list(users)]}
    for name in _LISTS:
        params[name] = [str(value) for value in _alf.as_list(kwargs.pop(name, None))]
    for name in _TIMES:
        value = kwargs.pop(name, None)
        params[name] = _alf.iso_time(value) if value else None
    for name in _VALUES:
        params[name] = kwargs.pop(name, None)
    json = kwargs.pop('json', None)
    if isinstance(json, str):
        json = _json.loads(json)
    params['session_json'] = json
    _no_others('register_session', kwargs)
    return params


def _relation(kwargs: Dict[str, Any]) -> Dict[str, Any]:
    """The owner of files outside a session as parameters. Removes it from ``kwargs``."""
    content_type, object_id = kwargs.pop('content_type', None), kwargs.pop('object_id', None)
    if content_type is None or content_type == 'session' and object_id is None:
        return {}
    return {'content_type': content_type, 'object_id': None if object_id is None else str(object_id)}


def _no_others(method: str, kwargs: Mapping[str, Any]) -> None:
    for name in kwargs:
        raise TypeError(f'{method}() got an unexpected keyword argument {name!r}')


def _log_left_out(done: Mapping[str, Any]) -> None:
    for file in done.get('left_out') or ():
        _logger.info('left out: %s: %s', _alf.read_path(file['path']), file['reason'])


def _left_out_error(done: Mapping[str, Any]) -> InvalidRequest:
    reasons = [f'{_alf.read_path(file["path"])}: {file["reason"]}' for file in done.get('left_out') or ()]
    return InvalidRequest('; '.join(reasons) or 'no file was given', kind='Invalid')


def _records(done: Mapping[str, Any]) -> List[Optional[Json]]:
    """The datasets of the files in their order, None for one that was left out."""
    _log_left_out(done)
    for moved in done.get('moved') or ():
        _logger.warning('moved: %s -> %s', _alf.read_path(moved['from']), _alf.read_path(moved['to']))
    return [file['record'] for file in done.get('records') or ()]


def _one_subject(subject: str) -> str:
    if ',' in str(subject):
        raise InvalidRequest(f'{subject!r} is not the name of one subject', kind='Invalid')
    return str(subject)


def _session(session: Any) -> SentPath:
    """A session as parameter: its folder, id or address."""
    if isinstance(session, Mapping):
        session = session.get('id') or session.get('url') or ''
    if isinstance(session, pathlib.PurePath):
        return _alf.sent_path(session)
    return str(session)


def _measured(done: Mapping[str, Any]) -> Json:
    (of,) = done['measurements']
    for note in of['notes']:
        _logger.warning('%s', note)
    if of['error']:
        raise error_of(of['error'])
    record: Json = of['record']
    return record
