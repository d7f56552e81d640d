"""What a step found, as it is said and as it is kept."""

import datetime
import json

PASSED, FAILED, NOT_RUN = "passed", "FAILED", "NOT RUN"


def passed(**facts):
    return {"result": PASSED, **facts}


def failed(why, **facts):
    return {"result": FAILED, "why": why, **facts}


def not_run(why, **facts):
    return {"result": NOT_RUN, "why": why, **facts}


def save(folder, step, outcome):
    """Writes STEP.json, with the date; the old one stays until the new one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{step}.json"
    part = path.with_suffix(".json.part")
    part.write_text(json.dumps({"date": datetime.date.today().isoformat(), **outcome}, indent=1) + "\n")
    part.replace(path)


def load(folder, step):
    """What was saved, or None."""
    path = folder / f"{step}.json"
    return json.loads(path.read_text()) if path.exists() else None


def sentence(step, outcome):
    """The line that is printed when a step is done."""
    about = outcome.get("why") or outcome.get("about", "")
    return f"{step}: {outcome['result']}" + (f": {about}" if about else "")
