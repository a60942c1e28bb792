"""Compares the start that alyx-registrar reads from a recording of Open Ephys with what open-ephys-python-tools finds.

Usage: python open_ephys_referee.py PROGRAM DATA

PROGRAM is the built alyx-registrar, DATA the folder `tests/data` of the sources of open-ephys-python-tools: recordings of the
GUI 0.6.7 in each of its formats. To them come recordings that this script makes, in the layouts of the GUI from 0.4 to 1.0.
The tools find the recordings and open their streams; when each began is read beside them, where the GUI writes that: in
`sync_messages.txt` since 0.6, in the headers of the Open Ephys format, in NWB files. Of each session are compared: the start,
to the second, and the settings that it comes from, which must belong to a recording that began then.

The differences that are meant are in DELIBERATE, each with its reason. The script fails where there is another one, and
where one of these does not occur any more. HOME is temporary: no settings are read or left behind.
Needs open-ephys-python-tools, see requirements.txt.
"""
import contextlib
import datetime
import io
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from open_ephys.analysis import Session
from open_ephys.analysis.formats.helpers.oe_fast_loader import readHeader

from comparison import FAILS, described, judge

# Where and when the recordings of the tools were made.
ZONE = datetime.timezone(datetime.timedelta(hours=2))
DAY = datetime.datetime(2024, 5, 1)
CLOCK = 'Software Time (milliseconds since midnight Jan 1st 1970 UTC)'

DELIBERATE = {
    ('0.4: Open Ephys format', FAILS): 'the tools look for structure.openephys, which came with 0.6',
    ('without settings', 'start_time'): 'only settings.xml is read',
    ('without settings', 'source'): 'as its start',
}


def began(recording):
    """When a recording began, in local time; None where the GUI wrote no time of day."""
    folder = Path(recording.directory)
    if recording.format == 'nwb':
        written = recording.nwb['session_start_time'][()].decode()
        recording.nwb.close()
        return datetime.datetime.fromisoformat(written).replace(tzinfo=None)
    if recording.format == 'open-ephys':
        header = {key.strip(): text for key, text in readHeader(recording.continuous[0].files[0]).items()}
        return datetime.datetime.strptime(header['date_created'].strip("'").replace(':', ''), '%d-%b-%Y %H%M%S')
    found = re.search(re.escape(CLOCK) + r': (\d+)', (folder / 'sync_messages.txt').read_text())
    return found and datetime.datetime.fromtimestamp(int(found[1]) / 1000, ZONE).replace(tzinfo=None)


def referee(folder, data, made):
    """The start of the first recording, and the settings of those that began then; or that there is none."""
    starts = []
    session = Session(str(data))
    # Without record nodes the session itself is one.
    for node in getattr(session, 'recordnodes', None) or [session]:
        for recording in node.recordings:
            # An instance for each: the number of the experiment is that of the settings.
            number = recording.experiment_index + 1
            settings = 'settings.xml' if number == 1 else f'settings_{number}.xml'
            path = (Path(node.directory) / settings).relative_to(folder)
            if not all(len(stream.samples) for stream in recording.continuous):
                raise ValueError(f'{recording.directory} has no samples')
            starts.append((began(recording) or made[str(path.relative_to(data.relative_to(folder)))], str(path)))
    if not starts:
        return 'the tools find no recording'
    first = min(time for time, _ in starts).replace(microsecond=0)
    return {'start_time': first.isoformat(), 'source': {path for time, path in starts if time.replace(microsecond=0) == first}}


def ours(program, folder, home):
    """What the program reads, in the same form."""
    said = described(program, folder, home)
    start = said['fields']['start_time']
    source = {start['source'].removesuffix(': INFO/DATE')} if start['source'] else set()
    others = [field for field, found in said['fields'].items() if found['value'] is not None and field != 'start_time']
    return {'start_time': start['value'], 'source': source}, said['problems'] + said['missing'] + others


def same(field, theirs, mine):
    return theirs == mine if field == 'start_time' else bool(mine) and mine <= theirs


def at(hour, minute=0, second=0, day=0):
    return DAY + datetime.timedelta(days=day, hours=hour, minutes=minute, seconds=second, milliseconds=640)


def settings(node, version, start, number):
    """As the GUI writes them: neither day nor hour are padded."""
    name = 'settings.xml' if number == 1 else f'settings_{number}.xml'
    date = f'{start.day} {start:%b %Y} {start.hour}:{start:%M:%S}'
    api = '' if version < '0.5' else '    <PLUGIN_API_VERSION>8</PLUGIN_API_VERSION>\n'
    node.mkdir(parents=True, exist_ok=True)
    node.joinpath(name).write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>\n\n<SETTINGS>\n  <INFO>\n    <VERSION>{version}</VERSION>\n{api}'
        f'    <DATE>{date}</DATE>\n    <OS>Windows 10</OS>\n    <MACHINE name="rig" cpu_num_cores="16"/>\n  </INFO>\n'
        '  <SIGNALCHAIN>\n    <PROCESSOR name="Record Node" nodeId="101"/>\n  </SIGNALCHAIN>\n</SETTINGS>\n')
    return {name: start}


def binary(node, version, experiments, streams=('probe-A',), recordings=1):
    """A record node in the binary format, with an experiment for each of these times."""
    made = {}
    for number, start in enumerate(experiments, 1):
        made |= settings(node, version, start, number)
        for recording in range(recordings):
            folder = node / f'experiment{number}' / f'recording{recording + 1}'
            structure = {'GUI version': version, 'continuous': [], 'events': [], 'spikes': []}
            for index, stream in enumerate(streams):
                name = f'Neuropix-PXI-100.{stream if version >= "0.6" else index}'
                structure['continuous'].append({
                    'folder_name': f'{name}/', 'sample_rate': 30000, 'stream_name': stream, 'num_channels': 2,
                    'source_processor_id': 100, 'source_processor_name': 'Neuropix-PXI', 'source_processor_sub_idx': index,
                    'source_processor_sub_dx': index, 'channels': [{'channel_name': f'CH{n}', 'bit_volts': 0.195} for n in (1, 2)]})
                data = folder / 'continuous' / name
                data.mkdir(parents=True)
                np.zeros((10, 2), 'int16').tofile(data / 'continuous.dat')
                np.save(data / ('sample_numbers.npy' if version >= '0.6' else 'timestamps.npy'), np.arange(10))
                if version >= '0.6':
                    np.save(data / 'timestamps.npy', np.arange(10) / 30000)
            folder.joinpath('structure.oebin').write_text(json.dumps(structure))
            time = start + datetime.timedelta(minutes=recording)
            clock = f'{CLOCK}: {int(time.replace(tzinfo=ZONE).timestamp() * 1000)}'
            folder.joinpath('sync_messages.txt').write_text(
                (clock if version >= '0.6' else 'Software time: 183840@2435904Hz') +
                '\nStart Time for Neuropix-PXI (100) - probe-A @ 30000 Hz: 0\n')
    return made


def open_ephys(node, version, experiments):
    """A record node in the Open Ephys format, with a stream of one channel."""
    made = {}
    for number, start in enumerate(experiments, 1):
        made |= settings(node, version, start, number)
        which = '' if number == 1 else f'_{number}'
        channel, times = f'100_example-data_CH1{which}.continuous', f'100_example-data{which}.timestamps'
        created = f'{start:%d-%b-%Y %H:%M:%S}' if version >= '0.6' else f'{start.day}-{start:%b-%Y %H%M%S}'
        header = f"header.format = 'Open Ephys Data Format'; \nheader.version = 0.4; \nheader.date_created = '{created}';\n"
        record = np.array([0], '<i8').tobytes() + np.array([1024, 0], '<u2').tobytes() + bytes(2048) + bytes([*range(9), 255])
        node.joinpath(channel).write_bytes(header.encode().ljust(1024) + record * 2)
        np.arange(2.0).tofile(node / times)
        node.joinpath(f'messages{which}.events').write_text(f'{int(start.timestamp() * 1000)}, {CLOCK}\n')
        structure = f'structure{which}.openephys' if version >= '0.6' else f'Continuous_Data{which}.openephys'
        node.joinpath(structure).write_text(
            f'<EXPERIMENT format_version="0.6" number="{number}"><RECORDING number="1"><STREAM name="example-data" '
            f'source_node_id="100" source_node_name="File Reader" sample_rate="30000.0"><CHANNEL name="CH1" bitVolts="0.195" '
            f'filename="{channel}" position="1024.0"/><TIMESTAMPS filename="{times}"/></STREAM></RECORDING></EXPERIMENT>\n')
    return made


def nodes(*made):
    """Several record nodes: the number and what is made in its folder."""
    def apply(folder):
        return {f'Record Node {number}/{name}': time for number, write, *words in made
                for name, time in write(folder / f'Record Node {number}', *words).items()}
    return apply


def changed(make, change):
    """What is made, and then changed."""
    def apply(folder):
        times = make(folder)
        change(folder)
        return times
    return apply


def in_windows_text(folder):
    path = next(folder.rglob('settings.xml'))
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes().replace(b'\n', b'\r\n'))


ONE = nodes((101, binary, '0.6.7', [at(17, 30, 12)]))
MADE = {
    '0.4: binary': lambda folder: binary(folder, '0.4.6', [at(17, 30, 12)]),
    '0.4: Open Ephys format': lambda folder: open_ephys(folder, '0.4.6', [at(17, 30, 12)]),
    '0.5: binary': nodes((104, binary, '0.5.5', [at(9, 5, 1), at(10)], ('a', 'b'))),
    '0.6: binary': ONE,
    '0.6: two record nodes, of which the second began first': nodes(
        (101, binary, '0.6.7', [at(17, 30, 12)]), (110, binary, '0.6.7', [at(17, 30, 10)])),
    '0.6: three experiments of two recordings': nodes((101, binary, '0.6.4', [at(8), at(9), at(10)], ('a', 'b', 'c'), 2)),
    '0.6: two formats': nodes((101, open_ephys, '0.6.7', [at(14), at(15)]), (105, binary, '0.6.7', [at(13, 59, 59)])),
    '0.6: Open Ephys format': nodes((101, open_ephys, '0.6.7', [at(0, 0, 5), at(11)])),
    '1.0: binary': nodes((101, binary, '1.0.1', [at(23, 59, 59)], ('ProbeA-AP', 'ProbeA-LFP', 'NI-DAQ'), 2)),
    'an experiment after midnight': nodes((101, binary, '1.0.1', [at(23, 50), at(0, 20, day=1)])),
    'a byte order mark and Windows ends of lines': changed(ONE, in_windows_text),
    'without settings': changed(ONE, lambda folder: next(folder.rglob('settings.xml')).unlink()),
}


def shipped(source):
    def apply(folder):
        shutil.copytree(source, folder, dirs_exist_ok=True)
        return {}
    return apply


def sessions(program, recordings):
    """What both read of each session."""
    for name, make in [(source.name, shipped(source)) for source in recordings] + list(MADE.items()):
        with tempfile.TemporaryDirectory() as root:
            made = Path(root) / 'made'
            times = make(made)
            dates = [re.search('<DATE>([^:]*) ', path.read_text()) for path in made.rglob('settings.xml')]
            day = datetime.datetime.strptime(dates[0][1], '%d %b %Y') if dates else DAY
            folder = Path(root) / 'mouse' / f'{day:%Y-%m-%d}' / '001'
            recorded = folder / 'raw_ephys_data' / f'{day:%Y-%m-%d}_17-30-10'
            recorded.parent.mkdir(parents=True)
            made.rename(recorded)
            # The tools print what they do not find.
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                theirs = referee(folder, recorded, times)
            mine, problems = ours(program, folder, Path(root))
            yield name, theirs, mine, problems + printed.getvalue().splitlines()


def main(program, data):
    recordings = sorted(Path(data).iterdir())
    if len(recordings) < 3:
        sys.exit(f'{data} has {len(recordings)} recordings, not one of each format')
    return judge(sessions(program, recordings), same, DELIBERATE)


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
