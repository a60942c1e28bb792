"""Registers sessions with alyx-registrar as `init` configures it, and loads them with ONE.

Usage: python one_loads.py PROGRAM

PROGRAM is the built alyx-registrar, whose own sandbox is started. Each case configures a data root with `init`, drops one
flag, runs the program, and asks ONE in remote mode:
  * with the repository that the data root is, `list_datasets` lists every dataset, and `load_dataset` returns the very
    bytes through a local HTTP file server on the data root;
  * without a repository it lists nothing, and the log, `check`, `status` and `init` say so;
  * with `--not-served` it lists nothing until the file records say that the files exist.
HOME is temporary: no settings are read or left behind. Needs ONE-api, see requirements.txt.
"""
import argparse
import functools
import http.server
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.parse
from pathlib import Path

USER, PASSWORD = 'test_user', 'TapetesBloc18'
LAB, SUBJECT, REPOSITORY = 'cortexlab', 'KS014', 'flatiron_cortexlab'
NOT_FOUND, UNTIL_COPIED = 'ONE cannot find the registered files', 'not loadable until copied'


class FileServer(http.server.SimpleHTTPRequestHandler):
    """A file server on the data root, without the UUID of the dataset that Alyx adds to every name."""

    UUID = re.compile(r'\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=\.[^./]+$)')

    def translate_path(self, path):
        return self.UUID.sub('', super().translate_path(path))

    def log_message(self, *_):
        pass


def check(truth, *shown):
    if not truth:
        raise AssertionError(*shown)


def content():
    """The files of a session, by name, with a revision, a table and files outside of collections."""
    import numpy as np
    import pandas as pd

    def npy(array):
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    table = io.BytesIO()
    pd.DataFrame({'choice': [1, -1], 'feedbackType': [1., -1.]}).to_parquet(table)
    return {
        'alf/spikes.times.npy': npy(np.arange(5.)),
        'alf/#2024-07-02#/spikes.times.npy': npy(np.arange(7.)),
        'alf/probe00/spikes.clusters.npy': npy(np.arange(3)),
        'alf/_ibl_trials.table.pqt': table.getvalue(),
        'raw_behavior_data/_iblrig_codeFiles.raw.json': b'{"a": 1}',
        'wheel.position.npy': npy(np.linspace(0, 1, 4)),
    }


class Rig:
    """A configuration made by `init`, and its data root."""

    def __init__(self, program, folder, url, data, *answers):
        self.program, self.config = program, folder / 'config.yaml'
        self.env = {**os.environ, 'STATE_DIRECTORY': str(folder / 'state')}
        folder.mkdir()
        self.init = self.run('init', '--yes', '--data-root', data, '--url', url, '--user', USER, '--password-stdin',
                             *answers, stdin=PASSWORD)

    def run(self, command, *words, stdin=''):
        words = [self.program, command, '--config', self.config, *words]
        ended = subprocess.run(list(map(str, words)), env=self.env, input=stdin, capture_output=True, text=True)
        check(ended.returncode in (0, 69), words, ended)  # `status` without a daemon ends with 69.
        return ended.stdout + ended.stderr

    def says(self, text):
        """What is said once in the log of a scan and in `check`, `status` and the output of `init`."""
        for said in (self.init, self.run('check'), self.run('status')):
            check(text.lower() in said.lower(), text, said)
        reasons = json.loads(self.run('status', '--json'))['not_loadable']
        check(any(text in reason['text'] for reason in reasons), text, reasons)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('program')
    program = parser.parse_args().program
    with tempfile.TemporaryDirectory(prefix='one_loads_') as folder:
        folder = Path(folder)
        os.environ.update(HOME=str(folder), USERPROFILE=str(folder), TQDM_DISABLE='1')  # Before ONE is imported.
        data = folder / 'data'
        files = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(FileServer, directory=data))
        threading.Thread(target=files.serve_forever, daemon=True).start()
        data_server = f'http://127.0.0.1:{files.server_port}'
        seed = subprocess.run([program, 'sandbox', '--print-seed'], capture_output=True, text=True, check=True).stdout
        (folder / 'seed.yaml').write_text(seed.replace('https://server.example.org', data_server))
        sandbox = subprocess.Popen([program, 'sandbox', '--listen', '127.0.0.1:0', '--seed', folder / 'seed.yaml'],
                                   stdout=subprocess.PIPE, text=True)
        try:
            url = re.search(r'http://[0-9.:]+', sandbox.stdout.readline()).group()
            cases(program, folder, url, data, data_server)
        finally:
            sandbox.kill()
            sandbox.wait()
            files.shutdown()


def cases(program, folder, url, data, data_server):
    # ONE's settings, as a user has them.
    settings, key = folder / '.one', urllib.parse.urlsplit(url).netloc.replace(':', '_')
    settings.mkdir()
    (settings / '.caches').write_text(json.dumps({'CLIENT_MAP': {key: str(folder / 'cache')}, 'DEFAULT': key}))
    (settings / f'.{key}').write_text(json.dumps({
        'ALYX_URL': url, 'ALYX_LOGIN': USER, 'HTTP_DATA_SERVER': data_server, 'HTTP_DATA_SERVER_LOGIN': None,
        'HTTP_DATA_SERVER_PWD': None}))
    from one.api import ONE
    one = ONE(base_url=url, username=USER, password=PASSWORD, silent=True, cache_rest=None)
    written = content()

    def register(name, date, *answers):
        """Registers one session of a new configuration; returns the rig, the log and the session's eid."""
        session = data / LAB / 'Subjects' / SUBJECT / date / '001'
        for file, bytes_ in written.items():
            (session / file).parent.mkdir(parents=True, exist_ok=True)
            (session / file).write_bytes(bytes_)
        (session / 'create_me.flag').touch()
        rig = Rig(program, folder / name, url, data, *answers)
        log = rig.run('scan')
        check(not (session / 'create_me.flag').exists(), log)
        eid, = one.search(subject=SUBJECT, date_range=[date, date], query_type='remote')
        return rig, log, str(eid)

    def loads(eid):
        listed = sorted(one.list_datasets(eid))
        check(listed == sorted(written), listed)
        for name, bytes_ in written.items():
            path = one.load_dataset(eid, name, download_only=True)
            check(path.read_bytes() == bytes_, name)
        latest = one.load_dataset(eid, 'spikes.times.npy', collection='alf')
        check(len(latest) == 7, latest)

    data.mkdir()
    # The default of `init` is the only repository that fits.
    rig, log, eid = register('served', '2024-07-01')
    loads(eid)
    for said in (rig.init, log, rig.run('check'), rig.run('status')):
        check('ONE does not' not in said and 'not loadable' not in said.lower(), said)

    rig, log, eid = register('no_repository', '2024-07-03', '--offline')
    check(len(one.list_datasets(eid)) == 0, one.list_datasets(eid))
    check(log.count(NOT_FOUND) == 1, log)
    rig.says(NOT_FOUND)

    rig, log, eid = register('not_served', '2024-07-04', '--repository', REPOSITORY, '--not-served')
    check(len(one.list_datasets(eid)) == 0, one.list_datasets(eid))
    check(log.count(UNTIL_COPIED) == 1, log)
    rig.says(UNTIL_COPIED)
    for dataset in one.alyx.rest('datasets', 'list', session=eid):
        copy, = (record for record in dataset['file_records'] if record['data_repository'] == REPOSITORY)
        one.alyx.rest('files', 'partial_update', id=copy['id'], data={'exists': True})
    loads(eid)
    print(f'{len(written)} datasets of 2 sessions loaded, and none of those that ONE must not find')


if __name__ == '__main__':
    sys.exit(main())
