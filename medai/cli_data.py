"""Commands about data: `medai audit | cohort | deidentify`."""

import argparse
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from medai.cli_parser import Parser
from medai.core.error import MedaiError

POLICY = ("burned_in", "clean_descriptors")


def audit(arguments: list[str]) -> int:
    """`medai audit COHORT`: exit code 2 where something must not be used as it is."""
    parser = Parser(prog="medai audit", description="Leaks between splits, equal and nearly equal images, contradictions and shortcuts.")
    parser.add_argument("cohort", type=Path, help="the cohort: a folder that medai ingest has filled")
    parser.add_argument("--test-labels", action="store_true", help="open the test labels too: only where they may be read")
    parser.add_argument("--output", type=Path, help="folder of audit.html and audit.json (beside the cohort)")
    parser.add_argument("--images", action=argparse.BooleanOptionalAction, help="show the pairs' images in the page (of public data only)")
    parser.add_argument("--no-near", dest="near", action="store_false", help="leave out the search for near-duplicates")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    chosen = parser.parse_args(arguments)
    from medai.audit.audit import audit_cohort, default_folder
    from medai.audit.page import check_place, told, write_audit
    from medai.cohort.cohort import Cohort

    opened = Cohort.open(chosen.cohort)
    folder = chosen.output or default_folder(opened)
    check_place(folder)
    found = audit_cohort(opened, test_labels=chosen.test_labels, near=chosen.near, workers=chosen.workers)
    created = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    page = write_audit(found, folder, images=chosen.images, created=created)
    print("\n".join(told(found.findings)))
    print(f"\naudit        {page}")
    return 2 if found.errors else 0


def cohort(arguments: list[str]) -> int:
    """`medai cohort nifti COHORT CASE FILE` and `medai cohort refused COHORT SOURCE FILE`."""
    parser = Parser(prog="medai cohort", description="Look into a cohort.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="nifti|refused")
    nifti = verbs.add_parser("nifti", help="write a case as NIfTI with its affine, for any viewer")
    nifti.add_argument("cohort", type=Path, help="the cohort: a folder that medai ingest has filled")
    nifti.add_argument("case", help="the case's name, as cases.parquet has it")
    nifti.add_argument("file", type=Path, help="the file to write: .nii or .nii.gz")
    refused = verbs.add_parser("refused", help="name the files that an ingest refused, where the site's key is")
    refused.add_argument("cohort", type=Path, help="the cohort: a folder that medai ingest has filled")
    refused.add_argument("source", type=Path, help="what it was made from: a folder, a zip archive or a DICOMDIR")
    refused.add_argument("file", type=Path, help="the CSV file to write (path, code, reason), readable by you alone; outside every cohort")
    chosen = parser.parse_args(arguments)
    return _refused(chosen.cohort, chosen.source, chosen.file) if chosen.verb == "refused" else _nifti(chosen)


def _nifti(chosen: argparse.Namespace) -> int:
    from medai.cohort.cohort import Cohort
    from medai.store.nifti import write_case

    shape = write_case(Cohort.open(chosen.cohort), chosen.case, chosen.file)
    print(f"{chosen.file}  {' x '.join(map(str, shape))} (C, D, H, W)")
    return 0


def _refused(cohort: Path, source: Path, file: Path) -> int:
    from medai.cohort.cohort import Cohort
    from medai.source.refused import refused_files, write_refused

    found, unknown = refused_files(Cohort.open(cohort), source)
    write_refused(found, file)
    print(f"{file}  {len(found):,} refused files (it names files, and so perhaps patients: keep it here)")
    if unknown:
        print(f"{unknown:,} refused names are no files of {source}: rows of the label table, whole series, or files that are gone")
    return 0


def deidentify(arguments: list[str]) -> int:
    """`medai deidentify SOURCE TARGET`."""
    parser = Parser(
        prog="medai deidentify",
        description="Copies of DICOM files without what names a patient (PS3.15 Annex E); names and dates follow from the site's key.",
    )
    parser.add_argument("source", type=Path, help="a folder, a zip archive or a DICOMDIR")
    parser.add_argument("target", type=Path, help="the folder to fill, outside the source")
    parser.add_argument("--policy", type=Path, help="a YAML file with burned_in and clean_descriptors")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    parser.add_argument("--refused", type=Path, metavar="FILE.csv", help="write which files were refused, and why; readable by you alone")
    chosen = parser.parse_args(arguments)
    import polars as pl

    from medai.cohort.key import Keys, site_key
    from medai.dicom.deidentify.burned_in import BurnedIn
    from medai.dicom.deidentify.profile import Profile
    from medai.ingest.reason import reason
    from medai.source.deidentify import deidentify_files
    from medai.source.refused import write_refused

    policy = _policy(chosen.policy) if chosen.policy else {}
    profile, burned_in = Profile.of(policy.get("clean_descriptors") or {}), BurnedIn.of(policy.get("burned_in"))
    if chosen.refused and chosen.refused.resolve().is_relative_to(chosen.target.resolve()):
        raise MedaiError(f"--refused {chosen.refused} names the files as they are here; name a place outside of {chosen.target}")
    found = deidentify_files(chosen.source, chosen.target, Keys(site_key()), profile, burned_in, chosen.workers)
    refused = found.drop_nulls("code").rename({"item": "path"})
    written = len(found) - len(refused)
    print(f"{written:,} of {len(found):,} files written to {chosen.target}")
    for code, number in Counter(refused["code"].to_list()).most_common():
        print(f"  {number:>7,}  {code:<20} {reason(code)}")
    if chosen.refused:
        write_refused(
            refused.with_columns(pl.Series("reason", [reason(code) for code in refused["code"]], dtype=pl.String)), chosen.refused
        )
        print(f"refused      {chosen.refused}")
    return 0 if written else 2


def _policy(path: Path) -> dict[str, Any]:
    import yaml

    try:
        policy = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MedaiError(f"--policy {path} cannot be read ({str(error).splitlines()[0]})") from None
    unknown = sorted(set(policy) - set(POLICY)) if isinstance(policy, dict) else ["no mapping"]
    if unknown:
        raise MedaiError(f"--policy {path} has {unknown[0]!r}; allowed: {', '.join(POLICY)}")
    return dict(policy)


DATA: dict[str, Callable[[list[str]], int]] = {"audit": audit, "cohort": cohort, "deidentify": deidentify}
