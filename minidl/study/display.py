"""What Jupyter shows of tensors, modules and records: plain HTML, no widgets."""

from html import escape

import numpy as np

from minidl.dtypes import is_floating

MOST = 8  # rows and columns of a tensor shown in full
BARS = 24  # of a histogram
HEADER = ("", "module", "op", "inputs", "output", "multiply-adds", "kept bytes", "forward", "backward", "kernels")
CELL = "padding:1px 6px;text-align:right;font-family:monospace;font-size:12px"


def tensor_html(x) -> str:
    """Shape, dtype and statistics; a vector or matrix as a table coloured by sign, anything as a histogram."""
    array = np.asarray(x.detach().cpu().array)
    facts = [f"shape {tuple(array.shape)}", str(array.dtype), str(x.device)]
    if x.requires_grad:
        facts.append(f"made by {x.op.name}" if x.op is not None else "requires a gradient")
    finite = array[np.isfinite(array)].astype(np.float64) if is_floating(array.dtype) else array.astype(np.float64).reshape(-1)
    if finite.size:
        facts.append(f"mean {finite.mean():.4g}, sd {finite.std():.4g}, from {finite.min():.4g} to {finite.max():.4g}")
    if finite.size < array.size:
        facts.append(f"<b>{array.size - finite.size} NaN or infinite</b>")
    parts = [f"<div style='font-size:12px'><b>tensor</b> {' · '.join(facts)}</div>"]
    if 0 < array.ndim <= 2 and array.size:
        parts.append(_matrix(np.atleast_2d(array)))
    if finite.size > MOST:
        parts.append(_histogram(finite))
    return "".join(parts)


def _matrix(matrix) -> str:
    limit = float(np.nanmax(np.abs(np.where(np.isfinite(matrix), matrix, 0)))) or 1.0
    rows = [[_cell(value, limit) for value in row[:MOST]] + ["<td>…</td>"] * (matrix.shape[1] > MOST) for row in matrix[:MOST]]
    if len(matrix) > MOST:
        rows.append(["<td>…</td>"])
    return "<table>" + "".join(f"<tr>{''.join(row)}</tr>" for row in rows) + "</table>"


def _cell(value, limit) -> str:
    """Red above 0 and blue below, deeper further off."""
    strength = min(1.0, abs(float(value)) / limit) * 0.6 if np.isfinite(value) else 0.0
    colour = f"rgba({'220,60,50' if value > 0 else '50,90,200'},{strength:.2f})"
    return f"<td style='{CELL};background:{colour}'>{value:.4g}</td>"


def _histogram(values) -> str:
    counts, edges = np.histogram(values, BARS)
    heights = 36 * counts / counts.max()
    bars = "".join(f"<rect x='{8 * i}' y='{38 - height:.1f}' width='7' height='{height:.1f}' fill='#2b6cb0'/>"
                   for i, height in enumerate(heights))
    return f"<svg width='{8 * BARS}' height='40' role='img'><title>{edges[0]:.4g} to {edges[-1]:.4g}</title>{bars}</svg>"


def module_html(module, name="") -> str:
    """A tree to unfold: each module with its parameters, their shapes and counts."""
    own = "".join(f"<div style='margin-left:20px;font-family:monospace;font-size:12px'>{escape(key)} {tuple(p.shape)}</div>"
                  for key, p in module._parameters.items() if p is not None)
    children = "".join(f"<div style='margin-left:20px'>{module_html(child, key)}</div>" for key, child in module.named_children())
    count = sum(p.numel() for p in module.parameters())
    extra = "" if children else module.extra_repr()
    title = (f"{escape(name) + ': ' if name else ''}<b>{escape(type(module).__name__)}</b>({escape(extra)})"
             + (f" <span style='color:gray'>{count:,} parameters</span>" if count else ""))
    if not own and not children:
        return f"<div>{title}</div>"
    return f"<details{'' if name else ' open'}><summary>{title}</summary>{own}{children}</details>"


def record_html(seen) -> str:
    """A table of the ops that ran: where, what, shapes, costs, kernels."""
    head = "".join(f"<th>{name}</th>" for name in HEADER)
    rows = ("".join(f"<td style='{CELL}'>{escape(str(value))}</td>" for value in _row(op)) for op in seen)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _row(op):
    back = "" if op.backward_seconds is None else f"{1e6 * op.backward_seconds:.0f} us"
    return (op.number, op.module, op.name, " ".join(str(tuple(x.shape)) for x in op.inputs), tuple(op.outputs[0].shape),
            f"{op.multiply_adds:,}", f"{op.kept_bytes:,}", f"{1e6 * op.seconds:.0f} us", back,
            ", ".join(f"{choice.kernel} ({choice.backend})" for choice in op.kernels))
