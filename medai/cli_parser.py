"""A command line whose faults are one line."""

import argparse
from typing import NoReturn

from medai.core.error import MedaiError


class Parser(argparse.ArgumentParser):
    """As `argparse.ArgumentParser`, but a wrong command line is a MedaiError that names the help."""

    def error(self, message: str) -> NoReturn:
        raise MedaiError(f"{self.prog.removeprefix('medai ')}: {message} ({self.prog} --help)")
