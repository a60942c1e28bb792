"""The methods of the registration client, against the practice Alyx."""

import datetime
import json
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import ANY
from urllib.request import Request, urlopen
from uuid import UUID

from sandbox import PASSWORD, USER, SandboxTest

import alyx_registrar
from alyx_registrar import RegistrationClient


class Client(SandboxTest):
    def test_a_session_is_registered_with_its_files(self):
        folder = self.session('KS014/2024-05-01/001', 'alf/spikes.times.npy', 'alf/notes.txt')
        session, records = self.client.register_session(
            folder,
            users='rig_user',
            projects='practice',
            n_trials=7,
            json={'rig': 2},
            start_time=datetime.datetime(2024, 5, 1, 10, 30),
            task_protocol='protocol',
        )
        self.assertEqual(session['users'], ['rig_user'])
        self.assertEqual((session['projects'], session['n_trials'], session['json']), (['practice'], 7, {'rig': 2}))
        self.assertTrue(session['start_time'].startswith('2024-05-01T10:30:00'))
        UUID(session['url'][-36:])
        self.assertEqual([record['name'] for record in records], ['spikes.times.npy'])
        self.assertEqual(session['data_dataset_session_related'], records)
        again, none = self.client.register_session(str(folder), file_list=False)
        self.assertEqual((again['id'], none), (session['id'], None))
        # What the caller does not give stays as it is; Alyx adds the user who registers files.
        self.assertEqual((again['users'], again['n_trials']), (['rig_user', USER], 7))

    def test_the_folder_of_a_session_without_files_may_be_elsewhere(self):
        session, none = self.client.register_session('/elsewhere/cortexlab/Subjects/KS014/2024-05-02/1', file_list=False)
        self.assertEqual((session['number'], none), (1, None))

    def test_flags_become_sessions(self):
        flag = self.session('KS014/2024-05-03/001', 'alf/spikes.times.npy') / 'create_me.flag'
        lost = self.session('nobody/2024-05-03/001') / 'create_me.flag'
        flag.touch()
        paths, records = self.client.create_sessions(self.root, dry=True)
        self.assertEqual((paths, records), ([flag.parent], [None]))
        lost.touch()
        with self.assertRaises(alyx_registrar.RegistrarError) as raised:
            self.client.create_sessions(self.root)
        self.assertEqual((flag.exists(), lost.exists()), (False, True))
        self.assertEqual(sorted(raised.exception.paths), [flag.parent, lost.parent])
        self.assertEqual(sum(record is None for record in raised.exception.records), 1)
        lost.unlink()
        flag.touch()
        paths, records = self.client.create_sessions(str(self.root), register_files=True)
        self.assertEqual((paths, [record['subject'] for record in records]), ([flag.parent], ['KS014']))

    def test_a_new_session_has_the_next_number(self):
        path, eid = self.client.create_new_session('KS014', self.root, date='2024-05-04')
        self.assertEqual(path, self.root / 'KS014' / '2024-05-04' / '001')
        self.assertIsInstance(eid, UUID)
        path, eid = self.client.create_new_session(
            'KS014', str(self.root), date=datetime.date(2024, 5, 4), register=False
        )
        self.assertEqual((path.name, path.is_dir(), eid), ('002', True, None))
        with self.assertRaises(alyx_registrar.SubjectNotFound):
            self.client.create_new_session('nobody', self.root)

    def test_files_are_registered_in_their_order_with_gaps(self):
        folder = self.session(
            'KS014/2024-05-05/001', 'alf/spikes.times.npy', 'alf/nobody.knows.npy', 'alf/spikes.clusters.npy'
        )
        self.client.register_session(folder, file_list=False)
        files = [folder / 'alf' / name for name in ('spikes.times.npy', 'nobody.knows.npy', 'spikes.clusters.npy')]
        (request,) = self.client.register_files(files, dry=True, versions='1.0')
        self.assertEqual((request['path'], len(request['filenames'])), ('KS014/2024-05-05/001', 2))
        records = self.client.register_files(iter(files), versions=['1.0', '2.0', '3.0'], qc='pass')
        self.assertEqual([record and record['name'] for record in records], [files[0].name, None, files[2].name])
        one = self.client.register_files(str(files[0]))
        self.assertEqual(one['id'], records[0]['id'])
        self.assertEqual(self.client.register_files([]), [])
        status = self.client.check_protected_files(files[0])
        self.assertEqual((status['status_code'], status['shared_path']), (200, folder))
        self.assertEqual(status['files'], [Path('alf/spikes.times.npy')])
        (status,) = self.client.check_protected_files(files)
        self.assertEqual(status['status_code'], 200)
        with self.assertRaises(FileNotFoundError):
            self.client.register_files([folder / 'alf' / 'spikes.depths.npy'])

    def test_files_are_found_and_grouped(self):
        folder = self.session('KS014/2024-05-06/1', 'alf/spikes.times.npy', 'alf/._spikes.times.npy', 'a.txt')
        found = self.client.find_files(folder)
        self.assertEqual(next(found), folder / 'alf' / 'spikes.times.npy')
        self.assertEqual(list(found), [])
        grouped, versions, files, single = self.client.prepare_files(folder / 'alf' / 'spikes.times.npy', '1.0')
        self.assertEqual((grouped, versions), ({folder: [Path('alf/spikes.times.npy')]}, {folder: ['1.0']}))
        self.assertTrue(single and len(files) == 1)
        self.assertIn('.npy', self.client.file_extensions)
        self.assertEqual(self.client.dtypes[0].name, self.client.dtypes[0]['name'])
        self.assertTrue(all(self.client.registration_patterns))

    def test_names_are_looked_up(self):
        self.assertEqual(self.client.assert_exists('KS014', 'subjects')['nickname'], 'KS014')
        self.assertEqual(len(self.client.assert_exists(['test_user', 'rig_user'], 'users')), 2)
        self.assertEqual(self.client.assert_exists([], 'users'), [])
        with self.assertRaises(alyx_registrar.SubjectNotFound) as raised:
            self.client.assert_exists('ks014', 'subjects')
        self.assertIn("did you mean 'KS014'", str(raised.exception))
        for kind in (ValueError, AssertionError, alyx_registrar.RegistrarError):
            self.assertIsInstance(raised.exception, kind)
        with self.assertRaises(alyx_registrar.MemberNotFound):
            self.client.assert_exists('nowhere', 'repositories')
        with self.assertRaises(ValueError):
            self.client.assert_exists('mars', 'planets')

    def test_water_and_weight_are_recorded_once(self):
        session, _ = self.client.register_session(self.session('KS014/2024-05-07/001'), file_list=False)
        given = dict(date_time='2024-05-07T10:00:00', session=session, user='rig_user')
        water = self.client.register_water_administration('KS014', 1.23456, **given)
        self.assertEqual((water['water_administered'], water['session']), (1.235, session['id']))
        again = self.client.register_water_administration('KS014', 1.23456, **given)
        self.assertEqual(again['id'], water['id'])
        weight = self.client.register_weight('KS014', 21.34567, datetime.date(2024, 5, 7))
        self.assertEqual((weight['weight'], weight['user']), (21.35, USER))
        self.assertTrue(weight['date_time'].startswith('2024-05-07T00:00:00'))
        for wrong in (lambda: self.client.register_weight('KS014', 0), lambda: self.client.register_weight('nobody', 20)):
            with self.assertRaises(ValueError):
                wrong()
        with self.assertRaises(ValueError):
            self.client.register_water_administration('KS014', 0)

    def test_arguments_that_contradict_the_folder_are_refused(self):
        folder = self.session('KS014/2024-05-08/001')
        for wrong in (dict(lab='otherlab'), dict(start_time='2024-05-09'), dict(subject='KS015'), dict(number=2)):
            with self.assertRaises(ValueError, msg=str(wrong)):
                self.client.register_session(folder, **wrong)
        with self.assertRaises(AssertionError):
            self.client.register_session(folder, start_time='2024-05-09')
        with self.assertRaises(TypeError):
            self.client.register_session(folder, fly=True)
        with self.assertRaises(ValueError):
            self.client.register_session('/not/a/session', file_list=False)

    def test_the_login_of_one_is_used(self):
        body = json.dumps({'username': USER, 'password': PASSWORD}).encode()
        request = Request(self.sandbox.url + '/auth-token', body, {'Content-Type': 'application/json'})
        with urlopen(request) as answer:
            token = json.load(answer)
        alyx = SimpleNamespace(
            base_url=self.sandbox.url, user=USER, _token=token, is_logged_in=True, cache_dir=self.root / 'cache'
        )
        one = SimpleNamespace(alyx=alyx, offline=False)
        with RegistrationClient(one=one) as client:
            self.assertEqual((client.user, client.url), (USER, self.sandbox.url))
            path, _ = client.create_new_session('KS014', register=False, date='2024-05-10')
            self.assertEqual(path, self.root / 'cache' / 'KS014' / '2024-05-10' / '001')
        with self.assertRaises(ValueError):
            RegistrationClient(one=SimpleNamespace(alyx=alyx, offline=True))

    def test_a_refused_login_and_a_silent_server_are_told_apart(self):
        with self.assertRaises(alyx_registrar.LoginRefused) as raised:
            RegistrationClient(url=self.sandbox.url, user=USER, password='wrong')
        self.assertEqual((raised.exception.exit_code, raised.exception.response.status_code), (77, ANY))
        self.assertNotIn('wrong', raised.exception.message)
        with self.assertRaises(ConnectionError):
            RegistrationClient(url='http://127.0.0.1:9', user=USER, token='x')


class Pure(unittest.TestCase):
    def test_times_are_iso_8601(self):
        iso = RegistrationClient.ensure_ISO8601
        self.assertEqual(iso(datetime.date(2024, 5, 1)), '2024-05-01T00:00:00')
        self.assertEqual(iso('2024-05-01'), '2024-05-01T00:00:00')
        self.assertEqual(iso(datetime.datetime(2024, 5, 1, 2)), '2024-05-01T02:00:00')
        self.assertEqual(iso(None)[:4], str(datetime.datetime.now().year))
        with self.assertRaises(ValueError):
            iso('yesterday')

    def test_revisions_have_letters(self):
        following = RegistrationClient._next_revision
        self.assertEqual(following('2020-01-01'), '2020-01-01a')
        self.assertEqual(following('2020-01-01', ['2020-01-01a', '2020-01-01b']), '2020-01-01c')
        with self.assertRaises(TypeError):
            following('2020-01-01', alpha='aa')
        with self.assertRaises(ValueError):
            following('2020-01-01', ['2020-01-01z'], alpha='z')

    def test_a_file_has_one_dataset_type(self):
        dtypes = [{'name': 'spikes.times', 'filename_pattern': ''}, {'name': 'raw', 'filename_pattern': '*.Raw.*'}]
        of = alyx_registrar.get_dataset_type
        self.assertEqual(of('a/_ibl_spikes.times.probe.npy', dtypes).name, 'spikes.times')
        self.assertEqual(of(Path('camera.RAW.mp4'), dtypes).name, 'raw')
        for name in ('spikes.depths.npy', 'a.txt'):
            with self.assertRaises(ValueError):
                of(name, dtypes)


if __name__ == '__main__':
    unittest.main()
