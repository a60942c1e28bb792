"""What the comparisons of alyx-registrar's readers with those of other programs share."""
import json
import os
import subprocess

FAILS = 'the other program fails'


def described(program, folder, home):
    """What the built program reads of a session. HOME is temporary: no settings are read or left behind."""
    command = [program, 'metadata', str(folder), '--json']
    ended = subprocess.run(command, env={'PATH': os.defpath, 'HOME': str(home)}, capture_output=True, text=True)
    return json.loads(ended.stdout)


def judge(scenes, same, deliberate):
    """Compares field by field and prints what is wrong; the exit code.

    A scene is a name, what the other program says or why it fails, what ours says, and what else is wrong. Every difference
    must be deliberate, and every deliberate one must occur.
    """
    compared, found, failed = 0, set(), []
    for name, theirs, mine, problems in scenes:
        compared += 1
        failed += [f'{name}: {problem}' for problem in problems]
        if isinstance(theirs, str):
            differing = {FAILS: theirs}
        else:
            differing = {field: (theirs[field], mine[field]) for field in theirs if not same(field, theirs[field], mine[field])}
        for field, values in differing.items():
            found.add((name, field))
            if (name, field) not in deliberate:
                failed.append(f'{name}, {field}: {values}')
    failed += [f'does not differ any more: {name}' for name in deliberate if name not in found]
    print('\n'.join(failed) or f'{compared} sessions agree, but for {len(found)} differences that are meant')
    return 1 if failed else 0
