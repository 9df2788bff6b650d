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
