"""Runs the Python client's create_sessions against a server, and prints as JSON what the server then holds.

Usage: python one_client_on_sandbox.py URL [--subject NAME] [--lab NAME]

Makes a small tree in a temporary folder: two flagged sessions of one subject and one day with ALF files, a revision,
a file of an unknown type, and one session without flag. HOME is temporary too: no settings are read or left behind.
Needs ONE-api 3.6.1. The login is that of the shipped practice seed.
"""
import argparse
import json
import os
import sys
import tempfile
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('url')
    parser.add_argument('--subject', default='ZM_1743')
    parser.add_argument('--lab', default='mainenlab')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Before the first import of one: it reads its settings from HOME when it is imported.
        os.environ.update(HOME=folder, USERPROFILE=folder, TQDM_DISABLE='1')
        result = register(args.url.rstrip('/'), Path(folder), args.subject, args.lab)
    json.dump(result, sys.stdout, indent=1)
    print()


def register(url, folder, subject, lab):
    from one.api import ONE
    from one.registration import RegistrationClient

    root = folder / 'data' / lab / 'Subjects'
    files = {
        '001': ['alf/spikes.times.npy', 'alf/spikes.clusters.npy', 'alf/#2024-05-02#/spikes.times.npy',
                'raw_behavior_data/_iblrig_taskData.raw.jsonable', 'alf/unknown.type.npy'],
        '002': ['alf/trials.table.pqt', 'wheel.position.npy'],
        '003': ['alf/spikes.times.npy'],
    }
    for number, names in files.items():
        session = root / subject / '2024-05-01' / number
        for name in names:
            file = session / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(name)
        if number != '003':
            (session / 'create_me.flag').touch()

    one = ONE(base_url=url, username='test_user', password='TapetesBloc18', silent=True,
              cache_dir=folder / 'cache', cache_rest=None)
    client = RegistrationClient(one=one)
    paths, _ = client.create_sessions(root, register_files=True)
    eids, _ = one.search(subject=subject, date_range='2024-05-01', details=True, query_type='remote')
    held = {'created': sorted(p.name for p in paths), 'flags_left': len(list(root.rglob('create_me.flag'))),
            'sessions': []}
    for eid in eids:
        session = one.alyx.rest('sessions', 'read', id=eid)
        datasets = one.alyx.rest('datasets', 'list', session=eid)
        held['sessions'].append({
            'number': session['number'], 'subject': session['subject'], 'lab': session['lab'],
            'users': session['users'], 'start_time': session['start_time'],
            'datasets': sorted((describe(d) for d in datasets), key=lambda d: (d['path'], d['revision']))})
    held['sessions'].sort(key=lambda s: s['number'])
    return held


def describe(dataset):
    return {'path': '/'.join(filter(None, (dataset['collection'], dataset['name']))),
            'revision': dataset['revision'], 'type': dataset['dataset_type'], 'size': dataset['file_size'],
            'hash': dataset['hash'], 'default': dataset['default_dataset'],
            'repositories': sorted(r['data_repository'] for r in dataset['file_records'])}


if __name__ == '__main__':
    main()
