"""That the whole test matrix of logs is tested: each of its rows is marked at a test of these modules, or has a reason here."""

import ast
import glob
import os

ROWS = set(range(1, 46))
# What does not run here, and where it is looked at instead.
ELSEWHERE = {
    36: "a host that loses its power: `make loss` drops what was not synced (row `power cut`)",
}


def marked():
    """Numbers in pytest.mark.row(...) of all test modules."""
    found = set()
    for path in glob.glob(os.path.join(os.path.dirname(__file__), "test_*.py")):
        with open(path) as file:
            tree = ast.parse(file.read())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "row":
                found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return found


def test_each_row_has_a_test():
    found = marked()
    assert found <= ROWS
    assert found | set(ELSEWHERE) == ROWS
