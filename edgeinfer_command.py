"""Where the ``edgeinfer`` command begins: outside the package, whose import takes most of its start.

An interruption meanwhile would else end in a traceback.
"""


def main() -> int:
    """Run the command and return its exit status."""
    try:
        from edgeinfer.cli import main as command

        return command()
    except KeyboardInterrupt:
        return 130
