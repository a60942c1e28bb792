"""Asks ONE-api what it makes of some thousand names, paths, patterns, times and revisions.

Writes its answers to crates/alf/tests/fixtures/one-3.6.1.json, which crates/alf/src/agrees_with_one.rs compares with ours.
The questions come from a seeded generator, so that a second run writes the same file.

    pip install ONE-api==3.6.1
    python tests/python/alf_answers.py [--types data.datasettype.json --formats data.dataformat.json]

The dataset types and data formats are those of Alyx (alyx/data/fixtures, cortex-lab/alyx 3.6.1); without the
options, those of the existing file are kept.
"""

import argparse
import contextlib
import datetime
import io
import json
import logging
import pathlib
import random
import tempfile
from fnmatch import fnmatch
from importlib.metadata import version
from types import SimpleNamespace
from unittest import mock

import requests

import one.registration as registration
from one.alf.exceptions import ALFInvalid
from one.alf.path import ALFPath, filename_parts, folder_parts, rel_path_parts, session_path_parts
from one.alf.spec import is_valid

OUT = pathlib.Path(__file__).parents[2] / 'crates/alf/tests/fixtures/one-3.6.1.json'
SESSION = 'KS014/2024-05-01/001'
TODAY = '2024-05-01'
ZONE = datetime.timezone(datetime.timedelta(hours=-5))

NAMESPACES = ['ibl', 'iblrig', 'phy', 'spikeglx', 'ks2', 'IBL', 'a', 'ns_x', 'é']
OBJECTS = ['spikes', 'clusters', 'trials', 'ephysData_g0_t0', 'wheel', 'ROIData', 'x', 'Größe', '中文', 'o²', 'a\u0301', '1']
ATTRIBUTES = ['times', 'intervals', 'goCue_times', 'laser_intervals', '_phy_ids', 'imec0', 'raw', 'timestamps', 'A1', 'a_times_times',
              'feedback_type', '_NS_x', 'é', 'x_timesy']
TIMESCALES = ['ephysClock', 'bpod', 'nidq_2', 'times', 'intervals', '', 'a-b', 'ÄÖ']
EXTRAS = ['part1', 'lf', 'ap.x', '2622b17c-9408-4910-99cb-abf16d9225b9', '', '.', '-', 'a b', 'é', 'times']
EXTENSIONS = ['npy', 'csv', 'NPY', 'pqt', 'tar.gz', 'json', 'cbin', 'ch', '', 'n-y', 'é', 'nidq.meta', 'bak', 'sparse_npz']
CHARACTERS = list('._-# /\\:,+()[]!*?~&|@$%^="\'`;<>{}') + list('aZ0') + ['é', '\u0301', '\u093e', '²', '½', 'Ⅷ', 'Ⓐ', '‿', '中',
                                                                    '٣', 'ß', 'İ', '\u200d', '\xa0', '\t', '\n', '😀']
FOLDERS = ['alf', 'probe00', 'raw_ephys_data', 'raw-video', 'v1.0', 'Größe', '2024-05-02', '003', 'my probe', 'probe+1', 'a,b', '.phy',
           '..', '...', '.', '', 'a\u0301', '²', 'a#b', 'Subjects', 'a:b', 'a\\b', 'x' * 130]
REVISIONS = ['#2024-05-01#', '#v1.0#', '#a_b-c#', '#é#', '##', '#', '#a', 'a#', '#a b#', '#a#b#', '#a/b#', '#.#']
FILES = ['spikes.times.npy', '_ibl_trials.intervals.npy', 'notes.txt', 'README', '._spikes.times.npy', 'my spikes.times.npy',
         'a:b.c.d', 'a\\b.c.d', '#x.y.z#', 'spikes.times.npy\n']


def mutated(rng, text):
    """The text with one or two small accidents."""
    for _ in range(rng.choice((1, 1, 2))):
        i = rng.randrange(len(text) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            text = text[:i] + rng.choice(CHARACTERS) + text[i:]
        elif kind == 1:
            text = text[:i] + text[i + 1:]
        elif kind == 2:
            text = text[:i] + rng.choice('._') + text[i:]
        elif kind == 3:
            text = text[:i] + text[i:i + 1].swapcase() + text[i + 1:]
        else:
            text = text[:i] + text[i:i + 1] * 2 + text[i + 1:]
    return text


def file_name(rng):
    """A file name by the grammar of ALF, its parts good and bad."""
    name = rng.choice(('', '', '', '_' + rng.choice(NAMESPACES) + '_', '_', '__', '.', rng.choice(NAMESPACES) + '_'))
    name += rng.choice(OBJECTS) + '.' + rng.choice(ATTRIBUTES)
    if rng.random() < .3:
        name += '_' + rng.choice(TIMESCALES)
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        name += '.' + rng.choice(EXTRAS)
    return name + '.' + rng.choice(EXTENSIONS) + ('\n' if rng.random() < .01 else '')


def unique(make, count):
    """So many different answers of a generator, in the order of their first appearance."""
    found = {}
    while len(found) < count:
        found.setdefault(make())
    return list(found)


def names(rng):
    return unique(lambda: file_name(rng) if rng.random() < .5 else mutated(rng, file_name(rng)), 2500)


def name_case(name):
    parts = filename_parts(name) if is_valid(name) else None
    return [name, parts]


def relative_path(rng):
    folders = FOLDERS[:8] if rng.random() < .6 else FOLDERS
    parts = [rng.choice(folders) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
    if rng.random() < .4:
        revisions = REVISIONS[:4] if rng.random() < .6 else REVISIONS
        parts.insert(rng.choice((len(parts), len(parts), rng.randrange(len(parts) + 1))), rng.choice(revisions))
        if rng.random() < .15:
            parts.append(rng.choice(REVISIONS))
    parts.append(rng.choice(FILES) if rng.random() < .6 else file_name(rng))
    path = '/'.join(parts)
    return mutated(rng, path) if rng.random() < .3 else path


def path_case(path):
    """Path, collection and revision under which Alyx files it (None: it refuses), and as ONE reads it alone."""
    full = pathlib.PurePosixPath(SESSION).joinpath(path)
    try:
        info = folder_parts(full.parent, as_dict=True)
        stored = [info['collection'], info['revision']]
        # The rule of the server, on top of what it asks ONE.
        if info['revision'] and full.parent.parts.index(f'#{info["revision"]}#') != len(full.parent.parts) - 1:
            stored = None
    except (ALFInvalid, ValueError):
        stored = None
    alone = rel_path_parts(path, assert_valid=False)
    return [path, stored, None if alone[3] is None else alone[:2]]


def session_path(rng):
    if rng.random() < .3:
        root = rng.choice(('', '/', '/data/', '/mnt/cortexlab/Subjects/', 'lab_1/Subjects/', '/Größe/Subjects/', '/a b/c/'))
        return f'{root}{rng.choice(("KS014", "m.1-a", "Größe", "x_"))}/20{rng.randrange(10, 30)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29)}/{rng.randrange(1000):03}'
    subject = rng.choice(('KS014', 'SWC_001', 'm.1-a', 'my mouse', 'Größe', 'a\u0301', '001', '2024-05-01', 'mouse#1', '-x', 'Subjects'))
    date = rng.choice(('2024-05-01', '2024-05-01', '2024-05-01', '2020-02-29', '2024-02-30', '2024-5-1', '0000-01-01', '20240501',
                       '2024-05-01b', 'b2024-05-01', '2024-05-1'))
    number = rng.choice(('001', '001', '1', '12', '999', '0001', '1000', '', 'a1', '001a', '1 ', '٣'))
    path = f'{subject}/{date}/{number}'
    path = rng.choice(('', '/', '/data/', '/data/cortexlab/Subjects/', 'lab_1/Subjects/', '/my lab/Subjects/', '/d/lab/subjects/',
                       '/a/2024-01-01/5/', '/data/../', '/Subjects/')) + path
    return mutated(rng, path) if rng.random() < .25 else path


def session_case(folder):
    """Folder, its parts, the session of a file below it, and the parts of that session."""
    parts = session_path_parts(folder, assert_valid=False)
    session = ALFPath(folder, 'alf', 'spikes.times.npy').session_path()
    of_file = session and session_path_parts(session.as_posix(), assert_valid=False)
    found = [None if p is None or p[1] is None else p for p in (parts, of_file)]
    return [folder, found[0], session and session.as_posix(), found[1]]


def typed_name(rng, types):
    """A file name close to what some dataset type wants."""
    name, pattern = rng.choice(types)
    if rng.random() < .3:
        # Two at once, to match several.
        pattern = pattern.replace('.npy', '*') + rng.choice(types)[1]
    text = pattern.strip() or name + rng.choice(('.npy', '_bpod.npy', '.a.csv', '', '.NPY'))
    while '*' in text:
        text = text.replace('*', rng.choice(('', '', '_ibl_', '.npy', '_g0.imec', 'x')), 1)
    text = rng.choice(('', '', '', '_ibl_', '.', '_')) + text + rng.choice(('', '', '', '', '.npy', '.csv', '.', '.bak'))
    if rng.random() < .15:
        text = text.upper()
    return mutated(rng, text) if rng.random() < .3 else text


def type_case(name, types, extensions):
    """Name, whether its extension is known, and the indices of the matching types."""
    matching = []
    for i, (kind, pattern) in enumerate(types):
        with contextlib.suppress(ValueError):
            registration.get_dataset_type(name, [{'name': kind, 'filename_pattern': pattern}])
            matching.append(i)
    return [name, int(ALFPath(name).suffix in extensions), matching]


def pattern_case(rng):
    alphabet = 'abcABC[]!^-*?.&|~\\{}()ßſİΣς09'
    if rng.random() < .6:
        pattern = '[' + ''.join(rng.choice('abcdB[]!^---&|~\\9') for _ in range(rng.randrange(7))) + rng.choice((']', ']', ']*', ''))
        pattern = rng.choice(('', '*', 'a')) + pattern
        name = ''.join(rng.choice('abcdeB[]!^-&|~\\9') for _ in range(rng.choice((0, 1, 1, 2))))
    else:
        pattern = ''.join(rng.choice(alphabet) for _ in range(rng.randrange(8)))
        name = rng.choice((pattern.swapcase(), ''.join(rng.choice(alphabet + 'sS') for _ in range(rng.randrange(6)))))
    return pattern, name


def time_text(rng):
    text = rng.choice(('2024-05-01', '2024-05-01', '2024-02-29', '2023-02-29', '1999-12-31', '0001-01-01', '9999-12-31', '20240501', '2024-5-1',
                       '2024-13-01', '0000-01-01', '2024-W18-3', ''))
    if rng.random() < .8:
        text += rng.choice('TTTTTT  tx_')
        text += rng.choice(('10:00', '10:00:00', '23:59:59', '00:00:00', '24:00:00', '10:00:60', '10', '100000', '1000', '10:0', '1:00', ''))
        if rng.random() < .4:
            text += rng.choice('.....,') + rng.choice(('1', '12', '123', '123456', '000000', '1234567', '1234567890123', '000001', ''))
        if rng.random() < .4:
            text += rng.choice(('Z', 'z', '+00:00', '-00:00', '-05:00', '+0530', '+05', '+14:00', '-23:59', '+24:00', '+05:30:15', ' +05:30',
                                '+5', '[UTC]', '+01:00[Europe/London]', '-0500'))
    return mutated(rng, text) if text and rng.random() < .1 else text


def time_case(text):
    """Text, ONE's answer, and the naive time five hours west of Greenwich."""
    try:
        iso = registration.RegistrationClient.ensure_ISO8601(text) if text else None
    except ValueError:
        iso = None
    local = iso
    if iso:
        when = datetime.datetime.fromisoformat(iso)
        if when.tzinfo:
            try:
                local = when.astimezone(ZONE).replace(tzinfo=None).isoformat()
            except OverflowError:
                local = None
    return [text, iso, local]


def next_case(rng):
    revision = rng.choice((TODAY, 'v1', 'a', '2020-01-01'))
    alpha = rng.choice('aaaabcyz019AZ')
    count = rng.choice((0, 1, 2, 5, 26, 30))
    reserved = [revision + chr(ord(alpha) + i) for i in range(count)]
    if rng.random() < .5:
        rng.shuffle(reserved)
        reserved = reserved[:len(reserved) // 2] + ['x']
    answer = registration.RegistrationClient._next_revision(revision, reserved, alpha)
    return [revision, reserved, alpha, answer]


def protection(rng):
    """A file, and what Alyx may say of its revisions."""
    own = rng.choice(('', '', '', 'v1', TODAY, TODAY + 'a'))
    pool = ['', TODAY, TODAY + 'a', TODAY + 'b', TODAY + 'z', '2022-10-31', '2022-10-31c', '2022-1-2', '2022-1-2b', 'v1', 'v1a', 'v2',
            'x' + TODAY, TODAY + '-v2', '2022-02-30', '20221031']
    revisions = rng.sample(pool, rng.choice((0, 1, 1, 2, 2, 3, 5)))
    file = ('alf/' if rng.random() < .5 else '') + (f'#{own}#/' if own else '') + 'spikes.times.npy'
    return file, tuple((name, rng.random() < .6) for name in revisions)


class Server:
    """The part of a ONE that register_files talks to: refuses the first request as protected, takes the second."""

    user = 'user'
    cache_mode = None

    def __init__(self, details):
        self.details = details
        self.requests = []
        self.alyx = self

    def rest(self, endpoint, *_, **__):
        return ([{'name': 'spikes.times', 'filename_pattern': '*spikes.times*'}] if endpoint == 'dataset-types' else [{'file_extension': '.npy'}])

    def post(self, _, data):
        self.requests.append(json.loads(json.dumps(data)))
        if len(self.requests) == 1:
            answer = {'status_code': 403, 'error': 'One or more datasets is protected', 'details': self.details}
            raise requests.exceptions.HTTPError(response=SimpleNamespace(json=lambda: answer))
        return [None] * len(data['filenames'])


class Today(datetime.datetime):
    @classmethod
    def today(cls):
        return cls.fromisoformat(TODAY)


def protection_case(file, revisions):
    """File, revisions, and the path under which ONE registers it in its second request (None: it fails)."""
    server = Server([{file: [{name: protected} for name, protected in revisions]}])
    clock = SimpleNamespace(datetime=Today, date=datetime.date)
    with tempfile.TemporaryDirectory() as root, mock.patch.object(registration, 'datetime', clock):
        path = pathlib.Path(root, SESSION, file)
        path.parent.mkdir(parents=True)
        path.touch()
        with contextlib.suppress(ValueError):
            # It cannot list the record of a file that it has moved.
            registration.RegistrationClient(server).register_files([path], max_md5_size=0)
    answer = server.requests[1]['filenames'][0] if len(server.requests) == 2 else None
    return [file, revisions, answer]


def alyx_fixture(path, *fields):
    return [tuple(record['fields'][field] or '' for field in fields) for record in json.loads(pathlib.Path(path).read_text())]


def main():
    options = argparse.ArgumentParser()
    options.add_argument('--types')
    options.add_argument('--formats')
    options = options.parse_args()
    known = json.loads(OUT.read_text()) if OUT.exists() else {}
    types = alyx_fixture(options.types, 'name', 'filename_pattern') if options.types else known['types']
    formats = [e for (e,) in alyx_fixture(options.formats, 'file_extension')] if options.formats else known['extensions']
    logging.disable(logging.CRITICAL)

    rng = random.Random('alf')
    answers = {'one': version('ONE-api'), 'types': types, 'extensions': formats, 'session': SESSION, 'today': TODAY}
    answers['names'] = [name_case(name) for name in names(rng)]
    answers['paths'] = [path_case(path) for path in unique(lambda: relative_path(rng), 1200)]
    answers['sessions'] = [session_case(path) for path in unique(lambda: session_path(rng), 1000)]
    typed = unique(lambda: typed_name(rng, types), 1300)
    answers['typed'] = [type_case(name, types, formats) for name in typed if name and '/' not in name]
    patterns = unique(lambda: pattern_case(rng), 1500)
    answers['patterns'] = [[p, name, int(fnmatch(name.casefold(), p.casefold()))] for p, name in patterns]
    answers['times'] = [time_case(text) for text in unique(lambda: time_text(rng), 900)]
    answers['next'] = [next_case(rng) for _ in range(150)]
    with contextlib.redirect_stdout(io.StringIO()):
        answers['protected'] = [protection_case(*case) for case in unique(lambda: protection(rng), 400)]

    def line(case):
        return json.dumps(case, ensure_ascii=False, separators=(',', ':'))
    text = ',\n'.join(f'"{key}":' + ('[\n' + ',\n'.join(map(line, value)) + '\n]' if isinstance(value, list) else line(value))
                      for key, value in answers.items())
    OUT.write_text('{' + text + '}\n')


if __name__ == '__main__':
    main()
