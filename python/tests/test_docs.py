"""The example of docs/python.md, which is executed as it is printed."""

import ast
import re
import unittest
from pathlib import Path

from sandbox import SandboxTest

MANUAL = Path(__file__).parents[2] / 'docs' / 'python.md'


class Manual(SandboxTest):
    def test_the_example_does_what_it_says(self):
        self.root.joinpath('rig').mkdir()
        cells = re.findall(r'^```python\n(.*?)^```$', MANUAL.read_text(encoding='utf-8'), re.DOTALL | re.MULTILINE)
        self.assertGreater(len(cells), 5)
        names = {}
        for cell in cells:
            cell = cell.replace('http://127.0.0.1:8000', self.sandbox.url).replace('/tmp/rig', str(self.root / 'rig'))
            *_, last = cell.strip().splitlines()
            code = ast.parse(cell)
            value = None
            if isinstance(code.body[-1], ast.Expr):
                value = ast.Expression(code.body.pop().value)
            exec(compile(code, str(MANUAL), 'exec'), names)
            if value is not None:
                value = eval(compile(value, str(MANUAL), 'eval'), names)
            if last.startswith('# '):
                self.assertEqual(repr(value), last[2:], cell)


if __name__ == '__main__':
    unittest.main()
