"""The Python client and alyx-registrar create the same session in the same instant.

Usage: python same_instant.py PROGRAM

Both look the session up, and do not find it, before either creates it: a proxy in front of the built-in server holds each
creation until the other has arrived, and then lets them pass in one order or the other. The server cannot prevent the
second record, and the Python client does not notice it. So alyx-registrar has to: it registers no dataset in its own
record, deletes nothing, names both, keeps the flag and exits with 1.
Needs ONE-api, see requirements.txt.
"""
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from side_by_side import LAB, PASSWORD, SUBJECTS, USER, One

# Longer than a start of the program waits for requests of earlier ones.
AT_MOST = 120
FILES = ('alf/spikes.times.npy', 'alf/spikes.clusters.npy')


class Creations:
    """Lets two creations pass, in a given order, when both have arrived; neither is answered before both are made."""

    def __init__(self, order):
        self.order = order
        self.arrived, self.made = threading.Barrier(2), threading.Barrier(2)
        self.first_is_made = threading.Event()

    def make(self, who, forward):
        self.arrived.wait(AT_MOST)
        if who != self.order[0] and not self.first_is_made.wait(AT_MOST):
            raise TimeoutError(f'{self.order[0]} created nothing')
        answer = forward()
        self.first_is_made.set()
        self.made.wait(AT_MOST)
        return answer


def proxy(upstream, creations):
    """An HTTP proxy in front of a server."""

    class Forward(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def forward(self):
            body = self.rfile.read(int(self.headers.get('Content-Length') or 0))

            def pass_on():
                connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=AT_MOST)
                kept = {k: v for k, v in self.headers.items() if k.lower() not in ('host', 'connection')}
                connection.request(self.command, self.path, body, kept)
                answer = connection.getresponse()
                return answer.status, answer.getheaders(), answer.read()

            if self.command == 'POST' and self.path.rstrip('/') == '/sessions':
                who = 'python' if 'python' in self.headers.get('User-Agent', '') else 'ours'
                status, headers, content = creations.make(who, pass_on)
            else:
                status, headers, content = pass_on()
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ('content-length', 'transfer-encoding', 'connection', 'date'):
                    self.send_header(name, value)
            self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = forward

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Forward)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def scan(program, url, root, folder):
    """Registers what is flagged below a root; returns the exit code and the output."""
    config = folder / 'config.yaml'
    config.write_text(json.dumps({
        'alyx': {'url': url, 'username': USER, 'password_env': 'ALYX_PASSWORD', 'timeouts': {'request': '5 s'}},
        'data_roots': [str(root)], 'watch': {'settle': '0 s'}, 'state_dir': str(folder / 'state'),
    }))
    ended = subprocess.run([program, 'scan', '--json', '--config', str(config)], capture_output=True, text=True,
                           env={**os.environ, 'ALYX_PASSWORD': PASSWORD}, stdin=subprocess.DEVNULL, timeout=AT_MOST)
    return ended.returncode, ended.stdout + ended.stderr


def race(program, upstream, order, number, folder):
    """One session, created by both."""
    from one.webclient import AlyxClient
    root = folder / 'data'
    session = root / LAB / 'Subjects' / SUBJECTS['one'] / '2024-05-01' / f'{number:03}'
    for name in FILES:
        (session / name).parent.mkdir(parents=True, exist_ok=True)
        (session / name).write_text(name)
    (session / 'create_me.flag').touch()

    creations = Creations(order)
    server = proxy(upstream, creations)
    url = f'http://127.0.0.1:{server.server_address[1]}'
    python = One(url, folder)
    failed = []

    def register():
        try:
            python.register_session(session)
        except BaseException as error:  # reported by the main thread
            failed.append(error)

    other = threading.Thread(target=register)
    other.start()
    code, said = scan(program, url, root, folder)
    other.join(AT_MOST)
    server.shutdown()
    assert not failed, failed

    alyx = AlyxClient(base_url=upstream, username=USER, password=PASSWORD, silent=True, cache_rest=None)
    records = alyx.rest('sessions', 'list', subject=SUBJECTS['one'], date_range=['2024-05-01'] * 2, number=number)
    ids = [record['id'] for record in records]
    datasets = {eid: len(alyx.rest('datasets', 'list', session=eid)) for eid in ids}
    print(f'{order[0]} first: exit code {code}, datasets by session {datasets}')
    assert len(ids) == 2, f'the creations did not meet: {ids}\n{said}'
    assert sorted(datasets.values()) == [0, len(FILES)], f'{datasets}\n{said}'
    assert all(eid in said for eid in ids), f'{ids} are not both named:\n{said}'
    assert code == 1, f'exit code {code}\n{said}'
    assert (session / 'create_me.flag').exists(), f'the flag is gone\n{said}'


def main():
    program = str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        # Before the first import of one, which reads its settings from HOME.
        os.environ.update(HOME=folder, USERPROFILE=folder, TQDM_DISABLE='1')
        sandbox = subprocess.Popen([program, 'sandbox', '--listen', '127.0.0.1:0'], stdout=subprocess.PIPE,
                                   stdin=subprocess.DEVNULL, text=True)
        try:
            url = re.search(r'http://[\d.:]+', sandbox.stdout.readline()).group()
            orders = ('python', 'ours'), ('ours', 'python')
            for number, order in enumerate(orders, start=1):
                of_order = Path(folder) / order[0]
                of_order.mkdir()
                race(program, url, order, number, of_order)
            print(f'{len(orders)} races, each noticed')
        finally:
            sandbox.terminate()
            sandbox.wait()


if __name__ == '__main__':
    main()
