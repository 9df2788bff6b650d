"""The Markdown page of a run."""

import statistics

# Peers that the subject's ratios are given against, in this order.
BASELINES = ("envoy", "haproxy")
# A measurement in which others had more of the proxies' core than this is named.
DISTURBED = 0.1
# A saturated case in which the proxies' core was less busy is named: load or origin was the limit.
SATURATED = 0.9


def number(value, digits):
    """With thousands separated."""
    return f"{value:,.{digits}f}"


def cell(spread, digits):
    """`median (low–high)`, or a dash."""
    if spread is None:
        return "–"
    return f"{number(spread.median, digits)} ({number(spread.low, digits)}–{number(spread.high, digits)})"


def ratio_cell(spread):
    """Two digits are more than the noise allows, but 0.04 and 0.06 must differ."""
    if spread is None:
        return "–"
    return f"**{spread.median:.2f}×** ({spread.low:.2f}–{spread.high:.2f})"


def page(results, cases, peers, *, subject, repetitions, quick, date, machine, versions, plot):
    """The whole page."""
    labels = {peer.name: peer.label for peer in peers}
    baselines = [name for name in BASELINES if name in labels and name != subject] if subject in labels else []
    lines = [f"# Comparison of {date}", ""]
    lines += [f"Machine: {machine}.  ", f"Versions: {', '.join(versions)}.  "]
    lines += [f"{repetitions} interleaved repetitions{', short ones (`--quick`)' if quick else ''}; median (low–high).  "]
    lines += _disturbance(results.disturbances)
    if results.held_back:
        named = sorted({f"{case} ({peer})" for case, peer, _, _ in results.held_back})
        lines[-1] += "  "
        lines += [
            "The load or the origin, not the proxies, limited the requests/s (not the CPU per request) of: "
            f"{', '.join(named)}."
        ]
    lines += ["", f"![medians and spread]({plot})", "", *_table(results, cases, peers, baselines, labels, subject)]
    lines += _goals(results, cases, subject, labels)
    lines += ["", "## Cases", "", *(f"- `{case.name}`: {case.about}" for case in cases)]
    if results.failures:
        lines += ["", "## Not measured", "", *(f"- {failure}" for failure in results.failures)]
    return "\n".join(lines) + "\n"


def _disturbance(disturbances):
    """How far the machine was the harness's alone."""
    if not disturbances:
        return []
    shares = [share for *_, share in disturbances]
    text = (
        f"Other work on the proxies' core: median {100 * statistics.median(shares):.0f} %, "
        f"at worst {100 * max(shares):.0f} % of a measurement's time"
    )
    disturbed = [entry for entry in disturbances if entry[-1] > DISTURBED]
    if disturbed:
        named = sorted({f"{case} ({peer})" for case, peer, _, _ in disturbed})
        text += (
            f"; {len(disturbed)} of {len(shares)} measurements had over {100 * DISTURBED:.0f} %, "
            f"do not trust their times: {', '.join(named)}"
        )
    return [text + "."]


def _table(results, cases, peers, baselines, labels, subject):
    head = ["", *(f"{peer.label}, {peer.hop} hop" for peer in peers)]
    head += [f"{labels[subject]} / {labels[name]}" for name in baselines]
    rows = [_row(head), _row(["---"] + ["---:"] * (len(head) - 1))]
    for case in cases:
        for metric in case.metrics:
            better = "↑" if metric.higher_is_better else "↓"
            cells = [f"{metric.title}, {metric.unit} {better}"]
            cells += [cell(results.spread(case, metric, peer.name), metric.digits) for peer in peers]
            cells += [ratio_cell(results.ratio(case, metric, subject, name)) for name in baselines]
            rows.append(_row(cells))
    return [*rows, "", "↑ more is better, ↓ less is better."]


def _goals(results, cases, subject, labels):
    from .summary import verdict

    rows = []
    for case in cases:
        for metric in case.metrics:
            for goal in metric.goals:
                if goal.against is None:
                    found, unit = results.spread(case, metric, subject), f" {metric.unit}"
                else:
                    found, unit = results.ratio(case, metric, subject, goal.against), "×"
                if found is None:
                    continue
                sign = "≥" if goal.at_least else "≤"
                rows.append(
                    _row(
                        [
                            metric.title,
                            labels.get(goal.against, "–"),
                            f"{sign} {goal.required:g}{unit}",
                            f"{sign} {goal.aim:g}{unit}",
                            f"{found.median:.3g}{unit} ({found.low:.3g}–{found.high:.3g})",
                            {"aim": "aim reached", "required": "reached", "missed": "**missed**"}[
                                verdict(found.median, goal)
                            ],
                        ]
                    )
                )
    if not rows or subject != "bowline":
        return []
    head = _row(["figure", "against", "required", "aim", "measured", ""])
    return ["", "## Goals", "", head, _row(["---"] * 6), *rows]


def _row(cells):
    return "| " + " | ".join(cells) + " |"
