"""Sessions and datasets on Alyx: the registration client of ONE, on the program alyx-registrar.

>>> from alyx_registrar import RegistrationClient
>>> with RegistrationClient(url='https://alyx.example.org', user='ana', password=password) as client:
...     session, datasets = client.register_session('/data/cortexlab/Subjects/KS014/2024-05-01/001')
"""

from alyx_registrar._alf import get_dataset_type
from alyx_registrar._process import find_program
from alyx_registrar.client import RegistrationClient
from alyx_registrar.errors import (
    AmbiguousSession,
    FileMissing,
    FileProblem,
    InvalidRequest,
    LoginRefused,
    MemberNotFound,
    ProcessDied,
    ProtectedDatasets,
    RegistrarError,
    RequestRefused,
    ServerBusy,
    ServerUnreachable,
    SubjectNotFound,
)

__all__ = [
    'AmbiguousSession',
    'FileMissing',
    'FileProblem',
    'InvalidRequest',
    'LoginRefused',
    'MemberNotFound',
    'ProcessDied',
    'ProtectedDatasets',
    'RegistrarError',
    'RegistrationClient',
    'RequestRefused',
    'ServerBusy',
    'ServerUnreachable',
    'SubjectNotFound',
    'find_program',
    'get_dataset_type',
]
