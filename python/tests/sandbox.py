"""A practice Alyx, and a folder of sessions."""

import os
import re
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from alyx_registrar import RegistrationClient, find_program

USER, PASSWORD = 'test_user', 'TapetesBloc18'


class Sandbox:
    """``alyx-registrar sandbox`` on a free port."""

    def __init__(self) -> None:
        self.program = subprocess.Popen(
            [find_program(), 'sandbox', '--listen', '127.0.0.1:0'],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        said = self.program.stdout.readline()
        found = re.search(r'http://[\d.:]+', said)
        assert found, said
        self.url = found[0]

    def close(self) -> None:
        self.program.send_signal(signal.SIGTERM)
        self.program.wait(20)
        self.program.stdout.close()


class SandboxTest(unittest.TestCase):
    """Tests that share a sandbox and a client; each has a subject's day of its own."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        # Neither the settings of this computer nor the marks of other programs count.
        for name in ('ALYX_REGISTRAR_CONFIG', 'ALYX_TOKEN', 'ALYX_PASSWORD', 'RUST_LOG'):
            os.environ.pop(name, None)
        os.environ['HOME'] = cls.folder.name
        os.environ['ALYX_REGISTRAR_MARKS'] = str(Path(cls.folder.name) / 'marks')
        cls.root = Path(cls.folder.name) / 'cortexlab' / 'Subjects'
        cls.root.mkdir(parents=True)
        cls.sandbox = Sandbox()
        cls.addClassCleanup(cls.sandbox.close)
        cls.client = cls.connect()
        cls.addClassCleanup(cls.client.close)

    @classmethod
    def connect(cls) -> RegistrationClient:
        return RegistrationClient(url=cls.sandbox.url, user=USER, password=PASSWORD)

    def session(self, name: str, *files: str) -> Path:
        """A session folder with files, such as ``KS014/2024-05-01/001``."""
        folder = self.root / name
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(file)
            # Files that are being written are waited for.
            os.utime(folder / file, (1, 1))
        return folder
