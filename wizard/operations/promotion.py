"""The way of a site from development to production, one recorded step after the other.

    copy              a baseline of the development deployment, or a restore point of it
    test              another deployment begins with the copy, under a test domain
    check-test        the test deployment is examined as a careful visitor would
    production        the production deployment begins with the same copy: names point at it
    check-production  it is examined too
    end-test          the test deployment goes
    end-development   the development deployment goes, if that was agreed to

Each step is an operation that may be killed and run again; what is done is in a folder of the build
home, with all its events and the lock of who works on it. Until `production` has begun nothing that
visitors see has changed: all of it can be undone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import yaml

from wizard.answers import loader
from wizard.answers.model import Answers
from wizard.errors import HomeError
from wizard.home.files import make_folder, read_json, write_json
from wizard.home.home import DeploymentHome, Home

STEPS = {
    "copy": "copy the development deployment",
    "test": "deploy the copy under the test domain",
    "check-test": "examine the test deployment",
    "production": "deploy production; names point there from then on",
    "check-production": "examine production",
    "end-test": "take the test deployment away",
    "end-development": "take the development deployment away",
}
"""The steps in order, and in words."""
By = Literal["baseline", "backup"]
_VERSION = 1


@dataclass(frozen=True)
class Promotion:
    """A promotion as it is recorded. `answers` is production's document, `done` are the steps with
    what came of them, `begun` is the one that was begun last, `ends`: the development deployment
    is to go."""

    development: str
    production: str
    test: str
    test_domain: str
    by: By
    answers: str
    ends: bool = False
    begun: str = ""
    done: tuple[tuple[str, str], ...] = ()

    @property
    def steps(self) -> list[str]:
        """Return its steps, in order."""
        return [step for step in STEPS if step != "end-development" or self.ends]

    @property
    def ahead(self) -> list[str]:
        """Return the steps that are still to be done, in order."""
        done = dict(self.done)
        return [step for step in self.steps if step not in done]

    @property
    def stands_at_check(self) -> bool:
        """Say whether the next step is a check that found something, or was killed."""
        return self.begun.startswith("check-") and self.ahead[:1] == [self.begun]

    @property
    def can_be_undone(self) -> bool:
        """Say whether nothing that visitors see has changed yet."""
        return "production" in self.ahead and self.begun != "production"


def known(home: Home, development: str) -> Promotion | None:
    """Return the promotion of a deployment that has begun, if there is one. HomeError."""
    path = home.deployment(development).promotion_file
    values: Any = read_json(path)
    if values is None:
        return None
    try:
        if values.pop("version") != _VERSION:
            raise ValueError("another version of the program wrote it")
        done = tuple((str(step), str(what)) for step, what in values.pop("done"))
        return Promotion(**values, done=done)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HomeError(
            "the record of the promotion is damaged",
            where=str(path),
            why=str(error),
            cure="move it away and begin again: what exists is found",
        ) from error


def keep(home: Home, promotion: Promotion) -> Promotion:
    """Write a promotion down, and return it."""
    deployment = home.deployment(promotion.development)
    make_folders(deployment)
    write_json(deployment.promotion_file, {"version": _VERSION, **asdict(promotion)})
    return promotion


def make_folders(deployment: DeploymentHome) -> None:
    """Make the folder of a deployment's promotion."""
    make_folder(deployment.promotion.parent)
    make_folder(deployment.promotion)


def forget(home: Home, promotion: Promotion) -> None:
    """Forget a promotion; nothing of what it made is touched."""
    home.deployment(promotion.development).promotion_file.unlink(missing_ok=True)


# -- in words ------------------------------------------------------------------------------------


def title(promotion: Promotion) -> str:
    """Return what becomes what, and by which way."""
    return (
        f"{promotion.development} becomes {promotion.production}, by a {promotion.by}, through "
        f"{promotion.test} at {promotion.test_domain}:"
    )


def outline(promotion: Promotion) -> list[str]:
    """Return each step, and what came of it, in at most 76 columns where that is short."""
    done = dict(promotion.done)
    lines = []
    for step in promotion.steps:
        mark = "done" if step in done else "begun" if step == promotion.begun else ""
        if not mark and step == promotion.ahead[0]:
            mark = "next"
        came = done.get(step)
        if came and step == "copy" and promotion.by == "baseline":
            came = f"baseline {came.rpartition(' ')[2][:12]}"
        lines.append(f"{mark:<6}{step:<17}{came or STEPS[step]}")
    return lines


# -- answers -------------------------------------------------------------------------------------


def test_domain_of(answers: Answers) -> str:
    """Return where the test deployment is, unless another domain is named."""
    return f"test.{answers.domain.name.removeprefix('www.')}"


def production_answers(promotion: Promotion) -> Answers:
    """Return production's answers, beginning with the copy."""
    return _changed(promotion, {})


def test_answers(promotion: Promotion) -> Answers:
    """Return the answers of the test deployment: production's, but small, and under the test
    domain."""
    values = yaml.safe_load(promotion.answers)
    machines = dict(values.get("machines") or {})
    machines["sizes"] = {
        role: size for role, size in (machines.get("sizes") or {}).items() if role != "autoscaler"
    }
    new: dict[str, Any] = {
        "name": promotion.test,
        "mode": "development",
        "domain": {"name": promotion.test_domain},
        "machines": machines,
    }
    # a test deployment has one webserver, keeps no backups and publishes nothing
    gone = ("webserver", "scaling", "backups", "baselines", "notifications")
    return _changed(promotion, new, gone)


def _changed(promotion: Promotion, new: dict[str, Any], gone: tuple[str, ...] = ()) -> Answers:
    values = {k: v for k, v in yaml.safe_load(promotion.answers).items() if k not in gone}
    values |= new
    values["application"]["source"] = _source(promotion)
    return loader.loads(yaml.safe_dump(values), "the answers")


def _source(promotion: Promotion) -> dict[str, Any]:
    made = dict(promotion.done).get("copy", "")
    if promotion.by == "backup":
        point = {"kind": "backup", "period": "manual", "deployment": promotion.development}
        return {**point, **_code(promotion)}
    place, _, commit = made.rpartition(" ")
    return {
        "kind": "baseline",
        "repository": place or "/not/made/yet",
        **({"revision": commit} if commit else {}),
        **_code(promotion),
    }


def _code(promotion: Promotion) -> dict[str, Any]:
    """Return what production's answers say of what no copy holds: a release, or own code."""
    source = yaml.safe_load(promotion.answers)["application"].get("source", {})
    if source.get("kind") == "repository":
        return {"code": {key: value for key, value in source.items() if key != "kind"}}
    return {key: source[key] for key in ("release", "code") if source.get(key)}
