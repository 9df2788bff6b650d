"""One SVG of all metrics: a panel each, a bar for each peer, the spread as a line across its end."""

from html import escape

_COLOURS = {"bowline": "#1b6ca8", "envoy": "#c0504d", "haproxy": "#6a9a3c", "nginx": "#8a6fb0"}
_OTHER = "#888888"
_COLUMNS, _WIDTH, _LABEL, _VALUE = 2, 520, 70, 80
_BAR, _GAP, _TITLE = 16, 4, 26


def svg(panels):
    """`panels`: (title, digits, [(peer name, label, Spread or None)]) each."""
    height = max((_TITLE + len(bars) * (_BAR + _GAP) + 14 for _, _, bars in panels), default=0)
    rows = -(-len(panels) // _COLUMNS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_COLUMNS * _WIDTH} {rows * height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for index, (title, digits, bars) in enumerate(panels):
        x, y = index % _COLUMNS * _WIDTH, index // _COLUMNS * height
        parts.append(f'<g transform="translate({x + 10} {y + 8})">')
        parts.append(f'<text y="12" font-weight="bold">{escape(title)}</text>')
        parts.extend(_bars(bars, digits))
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bars(bars, digits):
    most = max((spread.high for _, _, spread in bars if spread), default=0) or 1
    room = _WIDTH - 20 - _LABEL - _VALUE
    for place, (peer, label, spread) in enumerate(bars):
        y = _TITLE - 4 + place * (_BAR + _GAP)
        middle = y + _BAR / 2
        yield f'<text x="{_LABEL - 6}" y="{middle + 4}" text-anchor="end">{escape(label)}</text>'
        if spread is None:
            yield f'<text x="{_LABEL}" y="{middle + 4}" fill="#666666">not measured</text>'
            continue
        width, low, high = (room * value / most for value in (spread.median, spread.low, spread.high))
        yield f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{_COLOURS.get(peer, _OTHER)}"/>'
        yield (
            f'<path d="M{_LABEL + low:.1f} {middle}H{_LABEL + high:.1f}'
            f"M{_LABEL + low:.1f} {middle - 4}v8M{_LABEL + high:.1f} {middle - 4}v8"
            '" stroke="#222222" fill="none"/>'
        )
        yield f'<text x="{_LABEL + high + 6:.1f}" y="{middle + 4}">{spread.median:,.{digits}f}</text>'


_LINES = ("#1b6ca8", "#c0504d", "#6a9a3c", "#8a6fb0")


def lines(title, of_x, series):
    """A graph of `series`, by name: points (x, y) with y as a share; both axes begin at zero."""
    left, top, width, height = 60, 40, 560, 300
    points = [point for line in series.values() for point in line]
    most_x = max((x for x, _ in points), default=0) or 1
    most_y = max(1.0, max((y for _, y in points), default=0))
    place = lambda x, y: (left + x / most_x * width, top + height - y / most_y * height)  # noqa: E731
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 140} {top + height + 50}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{left}" y="20" font-weight="bold">{escape(title)}</text>',
        f'<text x="{left + width / 2}" y="{top + height + 40}" text-anchor="middle">{escape(of_x)}</text>',
    ]
    for tenth in range(0, int(most_y * 10) + 1, 2):
        _, y = place(0, tenth / 10)
        parts.append(f'<path d="M{left} {y:.1f}h{width}" stroke="#dddddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tenth * 10} %</text>')
    for half in range(int(most_x * 2) + 1):
        x, y = place(half / 2, 0)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{half / 2:g}×</text>')
    for (name, line), colour in zip(series.items(), _LINES, strict=False):
        placed = [place(x, y) for x, y in line]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
        parts.append(f'<path d="M{path}" stroke="{colour}" stroke-width="2" fill="none"/>')
        parts.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed)
        x, y = placed[-1]
        parts.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
