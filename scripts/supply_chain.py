"""What the pack brings into an environment: licences that go with its own, and no version with a known vulnerability.

Licences by pip-licenses, vulnerabilities by pip-audit, of what the pack and its extras install, with all that these
require, but for what ComfyUI needs itself. Without a vulnerability database in reach it says so, and that only.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent
PACK = "comfyui-imagdressing"
NOT_FOR_USERS = ("dev",)
HOST = ("torch", "torchvision", "torchaudio")  # and what they bring along are there with ComfyUI
STATED_ELSEWHERE = {"insightface": "MIT"}  # in its repository; the models that it offers are not free for every use
# Permissive, or weak copyleft of a library that is used as it is. The pack is Apache-2.0, its host GPL-3.0.
ALLOWED = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software|HPND|Zlib|CC0|Unlicense|MPL|Mozilla|LGPL|Lesser|Public Domain|CNRI"
)
REFUSED = re.compile(r"(?<!L)(?<!Lesser )A?GPL|Affero|Non.?Commercial|Proprietary|CC-BY-NC", re.IGNORECASE)


def required(extras: Iterable[str]) -> dict[str, str]:
    """Return the installed packages that the pack and these extras of it require, name to version."""
    found: dict[str, str] = {}
    waiting = [(PACK, ""), *((PACK, extra) for extra in extras)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen or name in HOST:
            continue
        seen.add((name, extra))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        if name != PACK:
            found[name] = distribution.version
        for line in distribution.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                inner = canonicalize_name(requirement.name)
                waiting += [(inner, ""), *((inner, wanted) for wanted in requirement.extras)]
    return found


def licence_problems(packages: dict[str, str]) -> list[str]:
    command = [
        sys.executable,
        "-m",
        "piplicenses",
        "--format=json",
        "--from=mixed",
        "--with-system",
        "--packages",
        *packages,
    ]
    listed: list[dict[str, str]] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    unknown = set(packages) - {canonicalize_name(entry["Name"]) for entry in listed}
    licences = {f"{e['Name']} {e['Version']}": STATED_ELSEWHERE.get(e["Name"], e["License"]) for e in listed}
    return [
        f"{package}: licence {licence}"
        for package, licence in licences.items()
        if not ALLOWED.search(licence) or REFUSED.search(licence)
    ] + [f"{name}: pip-licenses does not know it" for name in sorted(unknown)]


def vulnerabilities(packages: dict[str, str]) -> tuple[list[str], list[str]]:
    """Return what is known against these versions, and which of them could not be looked up."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pinned:
        # What comes before a "+" is what was published; the rest names a build of it.
        pinned.writelines(f"{name}=={version.partition('+')[0]}\n" for name, version in packages.items())
        pinned.flush()
        command = [sys.executable, "-m", "pip_audit", "--requirement", pinned.name, "--no-deps", "--disable-pip"]
        done = subprocess.run([*command, "--format=json"], capture_output=True, text=True, check=False)
    if not done.stdout.strip():
        return [], sorted(packages)
    entries: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    known = [
        f"{entry['name']} {entry['version']}: {found['id']}, fixed in {found['fix_versions'] or 'no version'}"
        for entry in entries
        for found in entry.get("vulns", ())
    ]
    return known, [entry["name"] for entry in entries if "skip_reason" in entry]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--strict", action="store_true", help="also fail where a package could not be looked up")
    strict = arguments.parse_args().strict
    extras = metadata.metadata(PACK).get_all("Provides-Extra", [])
    packages = required(extra for extra in extras if extra not in NOT_FOR_USERS)
    problems = licence_problems(packages)
    print(f"Licences of {len(packages)} packages: {'in order' if not problems else f'{len(problems)} are not'}.")
    known, unchecked = vulnerabilities(packages)
    checked = len(packages) - len(unchecked)
    print(f"Known vulnerabilities: {len(known)} in the {checked} packages that could be looked up.")
    if unchecked:
        print(
            f"NOT CHECKED for vulnerabilities: {len(unchecked)} of {len(packages)} packages, because no vulnerability "
            "database could be reached from here. Run this again where one can be."
        )
    problems += known
    if problems or (strict and unchecked):
        sys.exit("\n".join(problems) or "Nothing may be left unchecked with --strict.")


if __name__ == "__main__":
    main()
