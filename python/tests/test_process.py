"""The process behind the client: one login, ends, threads."""

import os
import pickle
import signal
import stat
import sys
import tempfile
import threading
import unittest
from pathlib import Path

from sandbox import SandboxTest

import alyx_registrar
from alyx_registrar._process import Process


class LongLived(SandboxTest):
    def test_one_process_answers_every_call(self):
        self.client.assert_exists('KS014', 'subjects')
        first = self.client._process._child.pid
        self.client.assert_exists('cortexlab', 'labs')
        self.assertEqual(self.client._process._child.pid, first)
        with open(f'/proc/{first}/cmdline', 'rb') as words:
            self.assertEqual(words.read().split(b'\0')[1:], [b'rpc', b''])

    def test_a_process_that_has_ended_is_started_again(self):
        with self.connect() as client:
            child = client._process._child
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            # Even a call that creates: nothing was sent.
            client.register_weight('KS014', 22, '2024-06-01T10:00:00')
            self.assertNotEqual(client._process._child.pid, child.pid)
        client.assert_exists('KS014', 'subjects')
        client.close()

    def test_threads_share_a_client(self):
        found, threads = [], []
        for name in ['KS014', 'nobody'] * 5:
            def look(name=name):
                try:
                    found.append(self.client.assert_exists(name, 'subjects')['nickname'])
                except alyx_registrar.SubjectNotFound:
                    found.append(None)
            threads.append(threading.Thread(target=look))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(map(str, found)), ['KS014'] * 5 + ['None'] * 5)

    def test_an_error_survives_a_pickle(self):
        with self.assertRaises(alyx_registrar.SubjectNotFound) as raised:
            self.client.register_weight('nobody', 20)
        copy = pickle.loads(pickle.dumps(raised.exception))
        self.assertEqual((str(copy), copy.kind), (str(raised.exception), 'Missing'))


class Dying(unittest.TestCase):
    """A program that ends in the middle of a request."""

    def process(self, script: str) -> Process:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        program = Path(folder.name) / 'program'
        program.write_text(f'#!{sys.executable}\nimport json, os, sys\ncount = {str(program.parent / "count")!r}\n{script}')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.count = program.parent / 'count'
        process = Process({}, str(program))
        self.addCleanup(process.close)
        return process

    DIES = '''
for line in sys.stdin:
    request = json.loads(line)
    if request["method"] == "connect":
        print(json.dumps({"id": request["id"], "exit_code": 0, "result": {}}), flush=True)
        continue
    open(count, "a").write("x")
    print("a last word", file=sys.stderr, flush=True)
    sys.exit(3)
'''

    def test_a_request_that_may_have_been_carried_out_is_not_sent_again(self):
        process = self.process(self.DIES)
        with self.assertRaises(ConnectionError) as raised:
            process.ask('water', {})
        self.assertTrue(raised.exception.maybe_done)
        self.assertIn('exit code 3', str(raised.exception))
        self.assertEqual(self.count.read_text(), 'x')

    def test_a_request_that_changes_nothing_is_sent_again_once(self):
        process = self.process(self.DIES)
        with self.assertRaises(alyx_registrar.ProcessDied):
            process.ask('exists', {})
        self.assertEqual(self.count.read_text(), 'xx')

    def test_what_is_no_answer_is_an_error(self):
        process = self.process('print("hello", flush=True)\nsys.stdin.read()')
        with self.assertRaises(alyx_registrar.ProcessDied):
            process.connect()

    def test_a_program_that_is_not_there_is_an_error_with_a_next_step(self):
        with self.assertRaises(alyx_registrar.ProcessDied) as raised:
            Process({}, '/nowhere/alyx-registrar').connect()
        self.assertIn('cannot be started', str(raised.exception))

    def test_an_interrupt_ends_the_request_and_the_next_one_has_its_own_answer(self):
        process = self.process('''
import time
for line in sys.stdin:
    request = json.loads(line)
    if request["method"] == "water":
        open(count, "a").write("x")
        time.sleep(60)
    print(json.dumps({"id": request["id"], "exit_code": 0, "result": {"method": request["method"]}}), flush=True)
''')
        process.connect()

        def interrupt():
            while not self.count.exists():
                threading.Event().wait(0.01)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with self.assertRaises(KeyboardInterrupt):
            process.ask('water', {})
        self.assertEqual(process.ask('exists', {}), {'method': 'exists'})


if __name__ == '__main__':
    unittest.main()
