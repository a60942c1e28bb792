"""Compares what alyx-registrar reads from the files of an IBL rig with what ibllib would send to Alyx.

Usage: python metadata_referee.py PROGRAM

PROGRAM is the built alyx-registrar. The sessions are those that ibllib ships for its own tests, and changed copies of them.
`IBLRegistrationClient.register_session` runs against a stand-in that records what it is given.

The differences that are meant are in DELIBERATE, each with its reason. The script fails where there is another one, and
where one of these does not occur any more.
Needs ibllib, see requirements.txt.
"""
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

import ibllib
from ibllib.oneibl.registration import IBLRegistrationClient

from comparison import FAILS, described, judge

DATA = Path(ibllib.__file__).parent / 'tests'
SETTINGS = '_iblrig_taskSettings.raw.json'
TRIALS = '_iblrig_taskData.raw.jsonable'
FIELDS = ('users', 'location', 'procedures', 'projects', 'type', 'task_protocol', 'start_time', 'end_time', 'n_trials',
          'n_correct_trials', 'narrative', 'json')
SUBJECT_PROJECTS, RESPONSIBLE = ['projects of the subject'], 'responsible_user'

DELIBERATE = {
    ('session_training_lt5', FAILS): 'the trials are a part of a session: their number is unknown, the rest is known',
    ('cut off', 'users'): 'as in version 8',
    ('version 8', 'users'): 'ibllib drops ALYX_USER, because it has no id, and names the responsible user',
    ('version 8 without device_sound', FAILS): 'the sound device has no place on Alyx',
    ('versions that differ', FAILS): 'IBLRIG_VERSION counts',
    ('offset in the time', FAILS): 'a time with an offset is converted to local time',
    ('blank in the time', FAILS): 'a blank in place of T is read',
    ('no users', FAILS): 'it looks for the name of nobody when it registers water',
    ('chained protocols', 'users'): 'a user is named once',
    ('no task in the description', FAILS): 'the session must be on Alyx; whoever registers checks that',
    ('null lists in the description', FAILS): 'a list that is null is empty',
}


class Alyx:
    """Stands in for Alyx: every name exists, no session does; keeps what it is given."""
    user, cache_mode = 'login', None

    def __init__(self):
        self.sessions, self.weights, self.water = [], [], []

    def rest(self, endpoint, action, id=None, data=None, **_):
        if endpoint == 'subjects':
            return {'nickname': id, 'responsible_user': RESPONSIBLE, 'lab': 'lab', 'projects': SUBJECT_PROJECTS}
        if endpoint == 'users':
            return {'username': id}
        if (endpoint, action) == ('sessions', 'create'):
            self.sessions.append(data)
            return {'id': 'eid', 'url': 'url', 'wateradmin_session_related': []}
        kept = {'weighings': self.weights, 'water-administrations': self.water}[endpoint]
        kept.append(data)
        return data


def referee(folder):
    """What ibllib would send, or why it fails."""
    alyx = Alyx()
    one = mock.Mock(alyx=alyx)
    one.search.return_value = ([], [])
    client = IBLRegistrationClient.__new__(IBLRegistrationClient)
    client.one = one
    client.assert_exists = lambda member, endpoint, **_: alyx.rest(endpoint, 'read', id=member)
    no_cache = mock.patch('ibllib.oneibl.registration.no_cache')
    try:
        with no_cache:
            client.register_session(folder, file_list=False)
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    sent = {field: alyx.sessions[0][field] for field in FIELDS}
    sent['weight'] = [(float(w['weight']), w['date_time']) for w in alyx.weights][:1]
    sent['water'] = [(round(w['water_administered'], 6), str(w['date_time']).replace(' ', 'T'), w['water_type'])
                     for w in alyx.water]
    return sent


def ours(program, folder, home):
    said = described(program, folder, home)
    value = {field: said['fields'][field]['value'] for field in FIELDS}
    for field, fallback in (('users', [RESPONSIBLE]), ('projects', SUBJECT_PROJECTS)):
        if field in said['from_subject'] and not value[field]:
            value[field] = fallback
    value['weight'] = [(m['weight'], m['date_time']) for m in said['measurements'] if 'weight' in m]
    # Python's client keeps four significant figures.
    value['water'] = [(round(float(f"{m['water_administered']:.4g}"), 6), m['date_time'], m['water_type'])
                      for m in said['measurements'] if 'water_administered' in m]
    return value, said['problems']


def same(field, theirs, mine):
    if field in ('procedures', 'projects', 'users'):
        return sorted(theirs or []) == sorted(mine or [])
    if field in ('start_time', 'end_time', 'narrative'):
        return (theirs or None) == (mine or None)
    return json.dumps(theirs, sort_keys=True) == json.dumps(mine, sort_keys=True)


def change(collection, **keys):
    """Changes the settings in a collection; a key that is ... is removed."""
    def apply(folder):
        path = folder / collection / SETTINGS
        settings = json.loads(path.read_text())
        for key, value in keys.items():
            settings.pop(key, None) if value is ... else settings.update({key: value})
        path.write_text(json.dumps(settings))
    return apply


def trials(edit, collection='raw_behavior_data'):
    def apply(folder):
        path = folder / collection / TRIALS
        path.write_text(''.join(edit(path.read_text().splitlines(keepends=True))))
    return apply


def write(name, text):
    return lambda folder: folder.joinpath(name).write_text(text)


def chain(folder):
    """A second task after the first."""
    folder.joinpath('raw_behavior_data').rename(folder / 'raw_task_data_00')
    shutil.copytree(folder / 'raw_task_data_00', folder / 'raw_task_data_01')
    change('raw_task_data_01', SESSION_DATETIME='2019-07-01T13:00:00', PYBPOD_PROTOCOL='second', POOP_COUNT=3)(folder)
    write('_ibl_experiment.description.yaml',
          'version: 1.0.0\nprojects: [p]\nprocedures: [q]\ntasks:\n- b: {collection: raw_task_data_01}\n'
          '- a: {collection: raw_task_data_00}\n')(folder)


RIG = 'raw_behavior_data'
EIGHT = dict(IBLRIG_VERSION='8.12.3', SESSION_START_TIME='2019-07-01T12:18:14.602640', RIG_NAME='rig', ALYX_USER='ana',
             SESSION_END_TIME='2019-07-01T12:50:00', SESSION_NUMBER=2, device_sound={'OUTPUT': 'harp'},
             IBLRIG_VERSION_TAG=...)
DESCRIBED = 'version: 1.0.0\nprojects: %s\nprocedures: %s\ntasks:\n- a: {collection: raw_behavior_data}\n'
# Changed copies of session_biased_ge5.
COPIES = {
    'version 3': [change(RIG, IBLRIG_VERSION_TAG='3.2.3', SESSION_DATETIME='2019-07-01 12:18:14.602640')],
    'version 4': [change(RIG, IBLRIG_VERSION_TAG='4.0.0')],
    'version 6': [change(RIG, IBLRIG_VERSION_TAG='6.6.4', IBLRIG_VERSION='6.6.4', IS_MOCK=True)],
    'version 7': [change(RIG, IBLRIG_VERSION_TAG='7.2.3', SESSION_DELAY_START=12.7, TASK_VERSION='1.0')],
    'version 8': [change(RIG, **EIGHT)],
    'version 8 without device_sound': [change(RIG, **{**EIGHT, 'device_sound': ...})],
    'versions that differ': [change(RIG, IBLRIG_VERSION='6.0.0', IBLRIG_VERSION_TAG='6.0.1')],
    'no version': [change(RIG, IBLRIG_VERSION_TAG='')],
    'a version that is none': [change(RIG, IBLRIG_VERSION_TAG='6.1.2 dirty')],
    'narrative': [write('narrative.txt', 'went well')],
    'no trials': [trials(lambda lines: [])],
    'no file of trials': [lambda folder: folder.joinpath(RIG, TRIALS).unlink()],
    'no weight': [change(RIG, SUBJECT_WEIGHT=None)],
    'no poop': [change(RIG, POOP_COUNT=None)],
    'no users': [change(RIG, PYBPOD_CREATOR=None)],
    'a user without an id': [change(RIG, PYBPOD_CREATOR=['somebody', ''])],
    'offset in the time': [change(RIG, SESSION_DATETIME='2019-07-01T12:18:14+00:00')],
    'blank in the time': [change(RIG, SESSION_DATETIME='2019-07-01 12:18:14')],
    'description': [write('_ibl_experiment.description.yaml', DESCRIBED % ('[p, q]', '[r]'))],
    'empty lists in the description': [write('_ibl_experiment.description.yaml', DESCRIBED % ('[]', '[]'))],
    'null lists in the description': [write('_ibl_experiment.description.yaml', DESCRIBED % ('', ''))],
    'old description': [write('_ibl_experiment.description.yaml', 'version: 0.0.1\ntasks: {a: {collection: raw_behavior_data}}\n')],
    'no task in the description': [write('_ibl_experiment.description.yaml', 'version: 1.0.0\ntasks: []\n')],
    'cut off': [change(RIG, **{**EIGHT, 'SESSION_END_TIME': None}), trials(lambda lines: [])],
    'trials cut off': [trials(lambda lines: lines[:3])],
    'chained protocols': [chain],
    'habituation': [change(RIG, PYBPOD_PROTOCOL='_iblrig_tasks_habituationChoiceWorld')],
}


def session_of(source, root):
    """A copy of a session of ibllib in a folder that its settings agree with."""
    settings = json.loads((source / RIG / SETTINGS).read_text())
    folder = root / 'lab' / 'Subjects' / settings['SUBJECT_NAME'] / settings['SESSION_DATE'] / settings['SESSION_NUMBER']
    shutil.copytree(source / RIG, folder / RIG)
    return folder


def sessions(program):
    """What ibllib would send for each session, and ours."""
    data = DATA / 'extractors' / 'data'
    scenes = [(source.name, source, []) for source in sorted(data.glob('session_*'))]
    scenes += [(name, data / 'session_biased_ge5', edits) for name, edits in COPIES.items()]
    for name, source, edits in scenes:
        with tempfile.TemporaryDirectory() as root:
            folder = session_of(source, Path(root))
            for edit in edits:
                edit(folder)
            yield name, referee(folder), *ours(program, folder, Path(root))


def main(program):
    logging.disable(logging.CRITICAL)
    return judge(sessions(program), same, DELIBERATE)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
