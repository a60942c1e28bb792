"""Runs the tests of ONE's own registration client with the class of alyx_registrar in its place.

Usage: TEST_DB_CONFIG=dbs.json python one_registration_tests.py

Needs ONE-api with its folder one/tests, which its repository has and its wheel has not, a test Alyx that the JSON file names,
and the program, as alyx_registrar finds it. Exits with 1 unless exactly the tests of `DIFFERENT` fail.
"""
import logging
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / 'python'))

from one import registration
from one.tests import test_registration

import alyx_registrar

# The tests that cannot pass, and why.
DIFFERENT = {
    'test_exists': "ends by replacing ONE's HTTP client, which is not used; the lookups before that pass",
    'test_find_files': 'removes a dataset type from a list of the client; the program decides with those that Alyx has',
    'test_instantiation': 'expects a client without arguments to make a ONE; ours reads the settings without ONE',
    'test_register_files': 'expects an unchanged file of a protected dataset to move into a new revision; ours leaves it, and '
                           'moves a changed one',
    'test_register_session': 'registers empty files; an empty settings file of iblrig is broken, and the session is refused',
    'test_water_administration': "ends by replacing ONE's to_eid, which is not used; the administrations before that pass",
}


def main():
    registration.RegistrationClient = alyx_registrar.RegistrationClient
    registration.get_dataset_type = alyx_registrar.get_dataset_type
    # Its tests look into the log of its own module.
    logging.getLogger('alyx_registrar').parent = logging.getLogger('one.registration')
    tests = unittest.defaultTestLoader.loadTestsFromModule(test_registration)
    result = unittest.TextTestRunner(verbosity=2).run(tests)
    failed = {test.id().rsplit('.', 1)[-1] for test, _ in result.failures + result.errors}
    for name, why in DIFFERENT.items():
        print(f'{name}: {why}')
    print(f'{result.testsRun - len(failed)} of {result.testsRun} tests pass')
    if failed != set(DIFFERENT):
        print(f'unexpected: {sorted(failed ^ set(DIFFERENT))}')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
