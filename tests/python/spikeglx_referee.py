"""Compares what alyx-registrar reads from the files of SpikeGLX with what the module `spikeglx` of ibl-neuropixel reads.

Usage: python spikeglx_referee.py PROGRAM

PROGRAM is the built alyx-registrar. The `.meta` files are the nine that ibllib ships for its own tests, each beside a recording
of the size that they name (a file with a hole), changed copies of them, and sessions of several probes. Of each session are
compared: the start, the end, the files that they come from, and the recordings whose size is not that of their `.meta`.

The differences that are meant are in DELIBERATE, each with its reason. The script fails where there is another one, and
where one of these does not occur any more. HOME is temporary: no settings are read or left behind.
Needs ibllib and ibl-neuropixel, see requirements.txt.
"""
import contextlib
import datetime
import logging
import sys
import tempfile
from pathlib import Path

import ibllib
import spikeglx

from comparison import FAILS, described, judge

SHIPPED = sorted((Path(ibllib.__file__).parent / 'tests' / 'fixtures').glob('**/*.meta'))
SAMPLES = {path.name.removeprefix('sample').removesuffix('.meta'): path for path in SHIPPED}
PROBE, NIDQ = SAMPLES['3B_g0_t0.imec1.ap'], SAMPLES['3B_g0_t0.nidq']
FIELDS = ('start_time', 'end_time')

DELIBERATE = {
    ('a line without a value', FAILS): 'other lines are read',
    ('a folder in another encoding', FAILS): 'the times are ASCII',
    ('a UUID in the name', 'start_time'): 'only an archive of IBL adds it, long after the registration',
    ('a UUID in the name', 'end_time'): 'as its start',
    ('a OneBox', 'start_time'): 'spikeglx looks for probes and NI-DAQ only',
    ('a OneBox', 'end_time'): 'as its start',
    ('an lf band alone', 'start_time'): 'spikeglx looks for lf beside ap only',
    ('an lf band alone', 'end_time'): 'as its start',
    ('one recording without a length', 'end_time'): 'it was cut off: the end of the others is not that of the session',
}


class Warnings(logging.Handler):
    """Keeps what spikeglx warns of."""

    def __init__(self):
        super().__init__()
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


def referee(folder):
    """What spikeglx reads, or why it fails."""
    warnings = Warnings()
    logger = logging.getLogger('ibllib')
    logger.handlers, logger.propagate = [warnings], False
    try:
        found = spikeglx.glob_ephys_files(folder, ext='meta')
        paths = {files[band] for files in found for band in ('ap', 'lf', 'nidq') if files.get(band)}
        starts, ends, unfit = {}, {}, []
        for path in paths:
            meta, name = spikeglx.read_meta_data(path), str(path.relative_to(folder))
            if 'fileCreateTime' not in meta:
                continue
            starts[name] = datetime.datetime.fromisoformat(meta['fileCreateTime'])
            if 'fileTimeSecs' in meta:
                ends[name] = starts[name] + datetime.timedelta(seconds=meta['fileTimeSecs'])
            recording = path.with_suffix('.bin')
            if recording.exists():
                warnings.texts.clear()
                # It warns, and then may not be able to map the file.
                with contextlib.suppress(ValueError):
                    spikeglx.Reader(recording).close()
                if any('filesize do not checkout' in text for text in warnings.texts):
                    unfit.append(str(recording.relative_to(folder)))
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    first, last = min(starts.values(), default=None), max(ends.values(), default=None)
    return {
        'start_time': (first and first.isoformat(), {name for name, time in starts.items() if time == first}),
        'end_time': (last and last.isoformat(), {name for name, time in ends.items() if time == last}),
        'unfit': sorted(unfit),
    }


def ours(program, folder, home):
    """What the program reads, in the same form."""
    said = described(program, folder, home)
    value = {'unfit': sorted(missing['what'] for missing in said['missing'])}
    for field in FIELDS:
        found = said['fields'][field]
        value[field] = found['value'], {found['source'].split(': ')[0]} if found['source'] else set()
    others = [field for field, found in said['fields'].items() if found['value'] is not None and field not in FIELDS]
    return value, said['problems'] + others


def same(field, theirs, mine):
    if field == 'unfit':
        return theirs == mine
    return theirs[0] == mine[0] and mine[1] <= theirs[1]


def put(source, name=None, more=0, **keys):
    """Puts a `.meta` file into the session, with a recording that is `more` bytes larger than it says, or None. A key that is
    ... is removed."""
    def apply(folder):
        lines = source.read_bytes().splitlines(keepends=True)
        for key, value in keys.items():
            place = next(i for i, line in enumerate(lines) if line.startswith(key.encode() + b'='))
            lines[place] = b'' if value is ... else f'{key}={value}\n'.encode()
        path = folder / 'raw_ephys_data' / (name or source.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b''.join(lines))
        if more is not None:
            size = next(int(line.split(b'=')[1]) for line in lines if line.startswith(b'fileSizeBytes='))
            with open(path.with_suffix('.bin'), 'wb') as recording:
                recording.truncate(size + more)
    return apply


def edit(change):
    """Changes the bytes of the `.meta` file of the NI-DAQ."""
    def apply(folder):
        put(NIDQ, more=None)(folder)
        path = folder / 'raw_ephys_data' / NIDQ.name
        path.write_bytes(change(path.read_bytes()))
    return apply


LF = dict(snsApLfSy='0,384,1', fileTimeSecs='900.5')
SESSIONS = {
    'cut off': [put(PROBE, more=-770)],
    'cut off within a sample': [put(PROBE, more=-1)],
    'longer than it says': [put(NIDQ, more=4)],
    'no recording beside it': [put(PROBE, more=None)],
    'a probe and an NI-DAQ': [put(PROBE, 'probe00/a_g0_t0.imec0.ap.meta'), put(NIDQ, 'a_g0_t0.nidq.meta')],
    'two probes, one of them cut off': [put(PROBE, 'probe00/a.imec0.ap.meta', fileCreateTime='2019-08-15T17:37:19'),
                                        put(PROBE, 'probe01/a.imec1.ap.meta', more=-770)],
    'an lf band beside ap': [put(PROBE, 'a.imec0.ap.meta'), put(PROBE, 'a.imec0.lf.meta', more=None, **LF)],
    'an lf band alone': [put(PROBE, 'a.imec0.lf.meta', more=None, **LF)],
    'two runs': [put(NIDQ, 'a_g0_t0.nidq.meta'), put(NIDQ, 'a_g1_t0.nidq.meta', fileCreateTime='2019-08-15T19:00:00')],
    'a folder for each probe, as SpikeGLX makes them': [
        put(PROBE, f'a_g0/a_g0_imec{n}/a_g0_t0.imec{n}.ap.meta', fileCreateTime=f'2019-08-15T17:37:2{n}') for n in range(3)],
    'a UUID in the name': [put(PROBE, 'a.imec0.ap.dc21e80d-97d7-44ca-a729-a8e3f9b14305.meta', more=None)],
    'a OneBox': [put(NIDQ, 'a_g0_t0.obx0.obx.meta', more=None)],
    'a fraction of a second': [put(NIDQ, fileCreateTime='2019-08-15T17:37:20.25')],
    'a blank in the time': [put(NIDQ, fileCreateTime='2019-08-15 17:37:20')],
    'no time': [put(NIDQ, more=None, fileCreateTime=...)],
    'no length': [put(NIDQ, more=None, fileTimeSecs=...)],
    'one recording without a length': [put(NIDQ, more=None, fileTimeSecs=...), put(PROBE)],
    'a length of whole seconds': [put(NIDQ, more=None, fileTimeSecs='824')],
    'a length with many digits': [put(NIDQ, more=None, fileTimeSecs='824.46144561082450000001')],
    'Windows ends of lines': [edit(lambda text: text.replace(b'\n', b'\r\n'))],
    'no end of the last line': [edit(bytes.rstrip)],
    'a byte order mark': [edit(lambda text: b'\xef\xbb\xbf' + text)],
    'an equals sign in a folder': [put(NIDQ, fileName='D:/a=b/c.nidq.bin')],
    'a line without a value': [edit(lambda text: text + b'note\n')],
    'a folder in another encoding': [edit(lambda text: text.replace(b'Testing', b'T\xe4sting'))],
}


def sessions(program):
    """What both read of each session."""
    shipped = [(str(path.relative_to(path.parents[1])), [put(path)]) for path in SHIPPED]
    for name, edits in shipped + list(SESSIONS.items()):
        with tempfile.TemporaryDirectory() as root:
            made = Path(root) / 'made'
            for change in edits:
                change(made)
            lines = (line for path in made.rglob('*.meta') for line in path.read_bytes().splitlines())
            day = next((line[15:25].decode() for line in lines if line.startswith(b'fileCreateTime=')), '2019-08-15')
            folder = Path(root) / 'mouse' / day / '001'
            folder.parent.mkdir(parents=True)
            made.rename(folder)
            yield name, referee(folder), *ours(program, folder, Path(root))


def main(program):
    if len(SHIPPED) != 9:
        sys.exit(f'ibllib ships {len(SHIPPED)} files, not nine')
    return judge(sessions(program), same, DELIBERATE)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
