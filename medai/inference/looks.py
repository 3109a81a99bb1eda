"""How often somebody has looked at a cohort's test labels."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError


@dataclass(frozen=True)
class Looks:
    """The list of looks, beside the cohort. It is opened before the work, so that no look goes uncounted.

    Attributes:
        path: The file, a line a look.
    """

    path: Path

    @classmethod
    def open(cls, cohort: Cohort) -> "Looks":
        """The list of a cohort.

        Raises:
            MedaiError: it cannot be written.
        """
        path = cohort.path.parent / "looks" / f"{cohort.name}-{cohort.hash[:16]}.jsonl"
        try:
            path.parent.mkdir(exist_ok=True)
            path.touch()
        except OSError as error:
            what = f"the list of looks at the test labels, {path}, cannot be written ({error.strerror})"
            raise MedaiError(f"{what}; use a copy of the cohort") from None
        return cls(path)

    def count(self, candidate: str, kind: str) -> int:
        """Add a look; give their number.

        Args:
            candidate: Hash of what was evaluated.
            kind: What it is.
        """
        look = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "candidate": candidate, "kind": kind}
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(look) + "\n")
        return len(self.path.read_text(encoding="utf-8").splitlines())
