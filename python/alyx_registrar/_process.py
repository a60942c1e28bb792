"""The process that does the work: ``alyx-registrar rpc``, with which one line of JSON is exchanged for another."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any, Deque, Dict, Mapping, Optional, Union

from alyx_registrar.errors import ProcessDied, error_of

_logger = logging.getLogger('alyx_registrar')

#: Requests that change nothing, and may be sent twice.
_READ_ONLY = frozenset({'connect', 'dataset-types', 'exists', 'find-files', 'metadata', 'check-protected'})

_LOG_LINE = re.compile(r'^\S+Z\s+(ERROR|WARN|INFO|DEBUG|TRACE)\s+(.*)$')
_LEVELS = {'ERROR': logging.ERROR, 'WARN': logging.WARNING, 'INFO': logging.INFO}


def find_program() -> str:
    """The program: that of ``ALYX_REGISTRAR``, the one beside this Python, or the first one on the ``PATH``."""
    named = os.environ.get('ALYX_REGISTRAR')
    beside = Path(sys.executable).parent / 'alyx-registrar'
    found = named or (str(beside) if os.access(beside, os.X_OK) else shutil.which('alyx-registrar'))
    if not found:
        raise ProcessDied(
            'the program alyx-registrar is not installed',
            kind='Program',
            next_step='install it, put its folder on the PATH, or name it in the variable ALYX_REGISTRAR',
            exit_code=74,
        )
    return found


class Process:
    """A long-lived child. It starts with the first request, and again when it has ended.

    Threads may share it; their requests are answered one after the other.
    """

    def __init__(self, connection: Mapping[str, str], program: Union[str, Path, None] = None) -> None:
        self._connection = dict(connection)
        self._program = program
        self._lock = threading.Lock()
        self._child: Optional[subprocess.Popen[bytes]] = None
        self._owner = 0
        self._sent = 0
        self._log: Deque[str] = deque(maxlen=20)
        #: What ``connect`` has answered.
        self.login: Dict[str, Any] = {}

    def __getstate__(self) -> Any:
        raise TypeError('a connection cannot be sent to another process; connect there')

    def ask(self, method: str, params: Optional[Mapping[str, Any]] = None) -> Dict[str, Any]:
        """The result of a request: a document of ``docs/json.md``.

        A request that may have been carried out is not sent again, unless it changes nothing.
        """
        params = dict(params or {})
        may_repeat = method in _READ_ONLY or bool(params.get('dry_run'))
        with self._lock:
            self._connect()
            try:
                return self._exchange(method, params)
            except ProcessDied as died:
                if died.maybe_done and not may_repeat:
                    raise
                _logger.info('the process of alyx-registrar has ended and is started again: %s', died.message)
            self._connect()
            return self._exchange(method, params)

    def connect(self) -> Dict[str, Any]:
        """Starts the process and logs in, unless that is done."""
        with self._lock:
            self._connect()
            return self.login

    def close(self) -> None:
        """Ends the process."""
        with self._lock:
            self._end()

    def _connect(self) -> None:
        # After a fork, the child belongs to the parent.
        if self._child is not None and self._owner == os.getpid() and self._child.poll() is None:
            return
        self._end()
        program = str(self._program or find_program())
        try:
            self._child = subprocess.Popen(
                [program, 'rpc'],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # Ctrl-C in a terminal must not reach the child in the middle of a request.
                start_new_session=True,
            )
        except OSError as error:
            raise ProcessDied(f'{program} cannot be started: {error}', kind='Program', exit_code=74) from error
        self._owner = os.getpid()
        self._log.clear()
        reader = threading.Thread(target=_read_log, args=(self._child.stderr, self._log), daemon=True)
        reader.start()
        try:
            self.login = self._exchange('connect', self._connection)
        except BaseException:
            self._end()
            raise

    def _exchange(self, method: str, params: Mapping[str, Any]) -> Dict[str, Any]:
        self._sent += 1
        number = self._sent
        line = json.dumps({'id': number, 'method': method, 'params': params}, allow_nan=False).encode() + b'\n'
        child = self._child
        assert child is not None and child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(line)
            child.stdin.flush()
        except OSError as error:
            # The end of the line was not read, so nothing was done.
            raise self._died(f'the request could not be sent: {error}', maybe_done=False) from error
        except BaseException:
            self._end()
            raise
        try:
            answered = child.stdout.readline()
        except BaseException:
            # An interrupt: the answer that is still to come would be taken for that of the next request.
            self._end()
            raise
        if not answered.endswith(b'\n'):
            raise self._died('it ended before it answered', maybe_done=True)
        try:
            answer = json.loads(answered)
        except ValueError as error:
            raise self._died('its answer is no JSON', maybe_done=True) from error
        if not isinstance(answer, dict) or answer.get('id') != number:
            raise self._died('its answer belongs to another request', maybe_done=True)
        if 'result' in answer:
            result: Dict[str, Any] = answer['result']
            return result
        raise error_of(
            answer.get('error') or {},
            exit_code=answer.get('exit_code', 1),
            errors=answer.get('errors') or (),
            missing=answer.get('missing') or (),
        )

    def _died(self, what: str, maybe_done: bool) -> ProcessDied:
        child = self._child
        self._end()
        code = child.returncode if child is not None else None
        last = f'; its last line: {self._log[-1]}' if self._log else ''
        step = 'check on Alyx what was done before you call it again' if maybe_done else 'call it again'
        error = ProcessDied(
            f'the process of alyx-registrar has died (exit code {code}): {what}{last}',
            kind='Program',
            next_step=step,
            exit_code=74,
        )
        error.maybe_done = maybe_done
        return error

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        for pipe in (child.stdin, child.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                pass
        if self._owner != os.getpid():
            return
        try:
            # At the end of its input it ends; a request that is on its way is ended with its records answered.
            child.wait(0.5)
        except subprocess.TimeoutExpired:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _read_log(stderr: Any, last: Deque[str]) -> None:
    for line in iter(stderr.readline, b''):
        text = line.decode(errors='replace').rstrip()
        if not text:
            continue
        last.append(text)
        found = _LOG_LINE.match(text)
        level = _LEVELS.get(found[1], logging.DEBUG) if found else logging.INFO
        _logger.log(level, '%s', found[2] if found else text)
    stderr.close()
