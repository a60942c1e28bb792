"""Registers one tree twice, with the Python client and with alyx-registrar, and compares what the server then holds.

Usage: python side_by_side.py PROGRAM [--url URL]

PROGRAM is the built alyx-registrar; without URL its own sandbox is started. The tree is built under two subjects of one
lab. Each scene below is played by both, then every session, dataset, file record, water administration and weighing
of the two subjects is read back and compared field by field. What identifies a record (ids, addresses, the time at
which it was made, the subject's name) is put aside.

The differences that are meant are in DELIBERATE, each with its reason. The script fails where there is another one, and
where one of these does not occur any more. HOME is temporary: no settings are read or left behind.
Needs ONE-api, see requirements.txt.
"""
import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

USER, PASSWORD = 'test_user', 'TapetesBloc18'
LAB, REPOSITORY = 'mainenlab', 'flatiron_mainenlab'
SUBJECTS = {'one': 'ZM_1743', 'ours': 'ZM_1085'}
MONTH = '2024-05'
NEW_DAY = '2024-06-01'

KEPT = 'a session that is there keeps what it has; the Python client resets it to the user who logs in and to midnight'
LATEST = 'of revisions that are registered together, the latest is the default; with the Python client the last in its walk is'
DELIBERATE = {
    ('again: a session', 'users'): KEPT,
    ('again: a session', 'start_time'): KEPT,
    ('again: a session', 'json.first'):
        'the json is merged key by key; the Python client replaces all of it',
    ('again: judged datasets, alf/spikes.times.npy', 'qc'):
        'what Alyx holds already is not posted again; posting takes back the QC outcome that was set meanwhile',
    ('again: an unchanged protected dataset, alf/#TODAY#/spikes.times.npy', 'is there'):
        'a protected dataset that has not changed is not a new revision',
    ('again: an unchanged protected dataset, alf/spikes.times.npy', 'default_dataset'):
        'there is no new revision that would take its place',
    ('on disk, again: an unchanged protected dataset, alf/#TODAY#/spikes.times.npy', 'content'):
        'so it does not move',
    ('on disk, again: an unchanged protected dataset, alf/spikes.times.npy', 'content'):
        'so it does not move',
    ('leftovers, alf/._spikes.times.npy', 'is there'):
        'macOS leftovers and other hidden files are not datasets',
    ('leftovers, alf/my trials.intervals.npy', 'is there'):
        'a name with a space is not an ALF name',
    ('revisions in the tree, alf/#2024-05-02#/spikes.times.npy', 'default_dataset'): LATEST,
    ('revisions in the tree, alf/spikes.times.npy', 'default_dataset'): LATEST,
    ('a time with an offset', 'start_time'):
        'it is converted to local time, which is what Alyx stores; the Python client sends it as it is',
}


class One:
    """The Python client."""

    def __init__(self, url, root):
        from one.api import ONE
        from one.registration import RegistrationClient
        self.one = ONE(base_url=url, username=USER, password=PASSWORD, silent=True, cache_dir=root / 'cache',
                       cache_rest=None)
        self.client = RegistrationClient(one=self.one)

    def register_session(self, folder, files=True, **details):
        self.client.register_session(folder, file_list=files, **details)

    def register_files(self, files, **options):
        self.client.register_files([Path(f) for f in files], **options)

    def create_sessions(self, root, register_files):
        self.client.create_sessions(root, register_files=register_files)

    def new_session(self, subject, root, register):
        return str(self.client.create_new_session(subject, session_root=root, date=NEW_DAY, register=register)[0])

    def water(self, subject, volume, **options):
        self.client.register_water_administration(subject, volume, **options)

    def weight(self, subject, weight, **options):
        self.client.register_weight(subject, weight, **options)


class Ours:
    """The command line of alyx-registrar, allowed to move protected files, as the Python client always does."""

    MAY_MOVE = ('--protected', 'revise')

    def __init__(self, url, program):
        self.url, self.program = url, program

    def run(self, command, *words):
        words = [self.program, command, *map(str, words), '--url', self.url, '--user', USER, '--json']
        env = {**os.environ, 'ALYX_PASSWORD': PASSWORD}
        ended = subprocess.run(words, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if ended.returncode != 0:
            raise RuntimeError(f'{words} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}')
        return json.loads(ended.stdout)

    @staticmethod
    def flags(options):
        names = {'content_type': 'content-type', 'json': 'session-json', 'user': 'by'}
        for name, value in options.items():
            flag = '--' + names.get(name, name.replace('_', '-'))
            if isinstance(value, bool):
                # What Python calls exists=False is --no-exists here.
                negative = name in ('default', 'exists')
                if negative != value:
                    yield flag if value else '--no-' + name
            elif isinstance(value, (list, tuple)):
                for one in value:
                    yield from (flag, one)
            elif isinstance(value, dict):
                yield from (flag, json.dumps(value))
            else:
                yield from (REPOSITORY_FLAG if name == 'repository' else flag, value)

    def register_session(self, folder, files=True, **details):
        some = ['--no-files'] if files is False else []
        if isinstance(files, list):
            some = [word for file in files for word in ('--file', file)]
        self.run('register-session', folder, *some, *self.MAY_MOVE, *self.flags(details))

    def register_files(self, files, **options):
        self.run('register-files', *files, *self.MAY_MOVE, *self.flags(options))

    def create_sessions(self, root, register_files):
        self.run('create-sessions', root, *self.MAY_MOVE, *(['--register-files'] if register_files else []))

    def new_session(self, subject, root, register):
        words = [] if register else ['--no-register']
        return self.run('new-session', subject, root, '--date', NEW_DAY, *words)['folder']

    def water(self, subject, volume, **options):
        self.run('water', subject, volume, *self.flags(options))

    def weight(self, subject, weight, **options):
        self.run('weight', subject, weight, *self.flags(options))


REPOSITORY_FLAG = '--repository'


class Stage:
    """One of the two: a client, a tree on disk, and a subject; and the server, seen by neither client's code."""

    def __init__(self, client, root, subject, alyx):
        self.client, self.root, self.subject, self.alyx = client, root, subject, alyx
        self.scenes = {}

    def session(self, scene, *files, number='001'):
        """A session with files that hold their names.

        Each has a day of its own: of several sessions of a day, Alyx makes one the parent of the others, and which one
        is chance.
        """
        day = f'{MONTH}-{len(self.scenes) + 1:02}'
        assert len(self.scenes) < 31, 'the month has no more days'
        folder = self.root / LAB / 'Subjects' / self.subject / day / number
        folder.mkdir(parents=True)
        self.scenes[(day, int(number))] = scene
        self.write(folder, *files)
        return folder

    def write(self, folder, *files, content=None):
        for name in files:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content or name)
        return [str(folder / name) for name in files]

    def eid(self, folder):
        day = folder.parent.name
        found = self.alyx.rest('sessions', 'list', subject=self.subject, date_range=[day, day])
        assert len(found) == 1, found
        return found[0]['id']

    def datasets(self, folder):
        return {path_of(d): d['url'].rstrip('/').split('/')[-1]
                for d in self.alyx.rest('datasets', 'list', session=self.eid(folder))}

    def protect(self, folder, *paths):
        there = self.datasets(folder)
        for path in paths or there:
            self.alyx.rest('datasets', 'partial_update', id=there[path], data={'tags': ['side_by_side']})


def play(stage):
    """Every scene, the same words for both."""
    client, subject = stage.client, stage.subject

    folder = stage.session('plain files', 'alf/spikes.times.npy', 'alf/probe00/spikes.clusters.npy', 'wheel.position.npy',
                           'raw_behavior_data/_iblrig_taskData.raw.jsonable', 'alf/unknown.type.npy', 'notes.txt',
                           'alf/trials.intervals.exe', 'alf/a.trials.npy')
    client.register_session(folder)

    for number in ('1', '02'):
        folder = stage.session(f'a folder {number}', 'alf/spikes.times.npy', number=number)
        client.register_session(folder)
        client.register_session(folder)

    folder = stage.session('revisions in the tree', 'alf/spikes.times.npy', 'alf/#2024-05-02#/spikes.times.npy',
                           'alf/#v1#/spikes.clusters.npy')
    client.register_session(folder)

    folder = stage.session('all details')
    client.register_session(
        folder, files=False, users=['rig_user', 'test_user'], location='rig1_mainenlab',
        procedures=['Behavior training/tasks', 'Imaging'], n_correct_trials=7, n_trials=12, json={'rig': 2, 'a': [1]},
        projects=['practice', 'ibl_training'], type='Base', task_protocol='hop', lab=LAB,
        start_time=f'{folder.parent.name}T10:11:12', end_time=f'{folder.parent.name}T11:00:00', narrative='a good day', qc='PASS')

    folder = stage.session('named files', 'alf/spikes.times.npy', 'alf/spikes.clusters.npy')
    client.register_session(folder, files=[str(folder / 'alf/spikes.times.npy')])

    names = ['alf/spikes.times.npy', 'alf/spikes.clusters.npy', 'alf/spikes.amps.npy']

    def with_options(scene, **options):
        folder = stage.session(scene, *names)
        client.register_session(folder, files=False)
        client.register_files([str(folder / name) for name in names], **options)

    with_options('versions in turn', versions=['1.0', '2.0'])
    with_options('one version', versions='1.2.3')
    with_options('a repository without the files', repository=REPOSITORY, exists=False)
    with_options('a repository with the files', repository=REPOSITORY)
    with_options('server only', server_only=True)
    with_options('no default', default=False)
    with_options('judged and by another user', qc='FAIL', created_by='rig_user')
    with_options('without checksums', max_md5_size=1)
    with_options('some without checksums', max_md5_size=len(names[0]) + 1)
    with_options('a lab that is named', labs=LAB)

    folder = stage.session('again: files that have changed', *names)
    client.register_session(folder)
    stage.write(folder, names[0], content='something else')
    client.register_session(folder)

    folder = stage.session('again: a session', names[0])
    client.register_session(folder, users=['rig_user'], start_time=f'{folder.parent.name}T10:11:12', json={'first': 1},
                            projects=['practice'], narrative='kept')
    client.register_session(folder, json={'second': 2})

    folder = stage.session('again: judged datasets', names[0])
    client.register_session(folder)
    stage.alyx.rest('datasets', 'partial_update', id=stage.datasets(folder)[names[0]], data={'qc': 'PASS'})
    client.register_files([str(folder / names[0])])

    folder = stage.session('protected datasets that have changed', *names)
    client.register_session(folder)
    for content in ('second', 'third', 'fourth'):
        # Only what was registered so far is protected; the third time, one of two datasets is.
        stage.protect(folder, *([names[0]] if content == 'second' else []))
        changed = stage.write(folder, names[0], names[1], content=content)
        client.register_files(changed)

    folder = stage.session('a protected revision', 'alf/#2024-05-02#/spikes.times.npy', 'alf/#v1#/spikes.amps.npy')
    client.register_session(folder)
    stage.protect(folder)
    client.register_files(stage.write(folder, 'alf/#2024-05-02#/spikes.times.npy', 'alf/#v1#/spikes.amps.npy',
                                      content='second'))

    folder = stage.session('a revision that is not protected', names[0], 'alf/#2024-04-30#/spikes.times.npy')
    client.register_session(folder)
    stage.protect(folder, names[0])
    (folder / 'alf/#2024-04-30#/spikes.times.npy').unlink()
    client.register_files(stage.write(folder, names[0], content='second'))

    folder = stage.session('again: an unchanged protected dataset', names[0])
    client.register_session(folder)
    stage.protect(folder)
    client.register_files([str(folder / names[0])])

    folder = stage.session('leftovers', names[0], 'alf/._spikes.times.npy', 'alf/my trials.intervals.npy')
    client.register_session(folder)

    folder = stage.session('a time with an offset')
    client.register_session(folder, files=False, start_time=f'{folder.parent.name}T10:00:00+02:00')

    flagged = [stage.session('flagged with files', *names), stage.session('flagged, of two', names[0])]
    for folder in flagged:
        (folder / 'create_me.flag').touch()
    client.create_sessions(stage.root, register_files=True)
    assert not list(stage.root.rglob('create_me.flag'))
    folder = stage.session('flagged without files', *names)
    (folder / 'create_me.flag').touch()
    client.create_sessions(stage.root, register_files=False)
    assert not list(stage.root.rglob('create_me.flag'))

    subjects = stage.root / LAB / 'Subjects'
    made = [client.new_session(subject, subjects, register) for register in (True, False, True)]
    assert [Path(folder).name for folder in made] == ['001', '002', '003'], made
    stage.scenes.update({(NEW_DAY, n): f'new session {n}' for n in (1, 2, 3)})

    object_id = stage.alyx.rest('subjects', 'read', id=subject)['id']
    files = stage.write(stage.root, f'Subjects/{LAB}/{subject}/wheel.position.npy', content='of the subject')
    client.register_files(files, content_type='subject', object_id=object_id, repository=REPOSITORY)

    eid = stage.eid(stage.root / LAB / 'Subjects' / subject / f'{MONTH}-01' / '001')
    client.water(subject, 35.10000000235, date_time='2024-05-01T10:00:00')
    client.water(subject, 0.123456, date_time='2024-05-01', water_type='Hydrogel', user='rig_user', session=eid, adlib=True)
    client.weight(subject, 21.23456, date_time='2024-05-01T09:00:00')
    client.weight(subject, 20, date_time='2024-05-02', user='rig_user')


def path_of(dataset):
    revision = dataset['revision'] and f"#{dataset['revision']}#"
    return '/'.join(filter(None, (dataset['collection'], revision, dataset['name'])))


UUID = re.compile('[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}')


def put_aside(value, subject, key=None):
    """A value without what tells two equal records apart."""
    if key in ('auto_datetime', 'created_datetime') and value is not None:
        return 'TIME'
    if isinstance(value, dict):
        return {k: put_aside(v, subject, k) for k, v in value.items()}
    if isinstance(value, list):
        # Lists of Alyx are sets: they come in any order.
        return sorted((put_aside(v, subject) for v in value), key=lambda v: json.dumps(v, sort_keys=True))
    if isinstance(value, str):
        return UUID.sub('UUID', value).replace(subject, 'SUBJECT').replace(today(), 'TODAY')
    return value


def held(stage):
    """All that the server holds of a subject: {where: record}."""
    rest, subject = stage.alyx.rest, stage.subject
    records = {}
    for found in rest('sessions', 'list', subject=subject):
        session = rest('sessions', 'read', id=found['id'])
        scene = stage.scenes[(session['start_time'][:10], session['number'])]
        # They are compared one by one.
        session.pop('data_dataset_session_related')
        records[scene] = session
        for dataset in rest('datasets', 'list', session=found['id']):
            records[f'{scene}, {path_of(dataset).replace(today(), "TODAY")}'] = dataset
    for dataset in rest('datasets', 'list', object_id=rest('subjects', 'read', id=subject)['id']):
        records['of the subject, ' + path_of(dataset).replace(subject, 'SUBJECT')] = dataset
    for endpoint in ('water-administrations', 'weighings'):
        for record in rest(endpoint, 'list', nickname=subject):
            records[f"{endpoint}, {record['date_time']}"] = record
    assert records, 'nothing was registered'
    return {where: put_aside(record, subject) for where, record in records.items()}


def fields(record):
    """The fields of a record, those of its json one by one."""
    for name, value in record.items():
        if name == 'json' and isinstance(value, dict):
            for key, inner in value.items():
                yield f'json.{key}', inner
        else:
            yield name, value


def differences(one, ours):
    """{(where, field): (Python's, ours)}, and how many fields were compared."""
    found, compared = {}, 0
    for where in sorted({*one, *ours}):
        if (where in one) != (where in ours):
            found[(where, 'is there')] = (where in one, where in ours)
            continue
        theirs, mine = dict(fields(one[where])), dict(fields(ours[where]))
        for field in sorted({*theirs, *mine}):
            compared += 1
            if field not in theirs or field not in mine or theirs[field] != mine[field]:
                found[(where, field)] = (theirs.get(field), mine.get(field))
    return found, compared


def today():
    return datetime.date.today().isoformat()


def files_on_disk(stage):
    """What lies where afterwards: protected files have moved."""
    subject = stage.root / LAB / 'Subjects' / stage.subject
    files = {}
    for path in subject.rglob('*'):
        if path.is_file():
            day, number, *inside = path.relative_to(subject).parts
            scene = stage.scenes[(day, int(number))]
            files[f'{scene}, {"/".join(inside)}'.replace(today(), 'TODAY')] = path.read_text()
    return files


def compare(url, program, folder):
    from one.webclient import AlyxClient
    alyx = AlyxClient(base_url=url, username=USER, password=PASSWORD, silent=True, cache_rest=None)
    alyx.rest('tags', 'create', data={'name': 'side_by_side', 'protected': True})
    clients = {'one': lambda root: One(url, root), 'ours': lambda root: Ours(url, program)}
    stages = {}
    for name, client in clients.items():
        root = folder / name
        root.mkdir()
        stages[name] = Stage(client(root), root, SUBJECTS[name], alyx)
        play(stages[name])
    found, compared = differences(held(stages['one']), held(stages['ours']))
    one, ours = map(files_on_disk, (stages['one'], stages['ours']))
    for path in sorted({*one, *ours}):
        compared += 1
        if one.get(path) != ours.get(path):
            found[(f'on disk, {path}', 'content')] = (one.get(path), ours.get(path))
    return found, compared


def judge(found, compared):
    """Says what differs; whether it is just what is meant to."""
    for (where, field), (one, ours) in sorted(found.items()):
        reason = DELIBERATE.get((where, field))
        print(f"{'meant' if reason else 'WRONG'}  {where}: {field}: Python {one!r}, ours {ours!r}")
        if reason:
            print(f'       because {reason}')
    gone = sorted(set(DELIBERATE) - set(found))
    for where, field in gone:
        print(f'GONE   {where}: {field} is on the list of differences, and does not differ any more')
    unmeant = set(found) - set(DELIBERATE)
    print(f'{compared} fields compared, {len(found)} differ, {len(unmeant)} of them not on the list')
    return not gone and not unmeant


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('program')
    parser.add_argument('--url')
    args = parser.parse_args()
    program = str(Path(args.program).resolve())
    with tempfile.TemporaryDirectory() as folder:
        # Before the first import of one: it reads its settings from HOME when it is imported. One zone for both.
        os.environ.update(HOME=folder, USERPROFILE=folder, TQDM_DISABLE='1', TZ='Europe/Lisbon')
        sandbox = None
        try:
            url = args.url
            if url is None:
                words = [program, 'sandbox', '--listen', '127.0.0.1:0']
                sandbox = subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
                url = re.search(r'http://[\d.:]+', sandbox.stdout.readline()).group()
            before = today()
            found, compared = compare(url.rstrip('/'), program, Path(folder))
        finally:
            if sandbox:
                sandbox.terminate()
                sandbox.wait()
        if today() != before:
            sys.exit('midnight passed while it ran, so that the names of revisions are not comparable; run it again')
    sys.exit(0 if judge(found, compared) else 1)


if __name__ == '__main__':
    main()
