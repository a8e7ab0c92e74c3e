//! Affine maps as C expressions.
//!
//! Owns: which element a position reads, and whether it reads one at all. Must not know: what for.

use ablate_compiler::access::Axis;

/// Where the positions of some axes lie, and the condition under which they do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Elements from the start, without the sign in front; empty for zero.
    pub offset: String,
    /// False where the position reads zero instead of the buffer; empty for always true.
    pub guard: String,
}

/// The place of position `index` (a C expression) on axes that are flattened row-major.
pub fn place(axes: &[Axis], index: &str) -> Place {
    let mut terms: Vec<String> = vec![];
    let mut guards: Vec<String> = vec![];
    let mut inner: usize = axes.iter().map(|a| a.size).product();
    let total = inner;
    for axis in axes {
        inner /= axis.size;
        let digit = match (axis.size, axis.size * inner == total, inner) {
            (1, ..) => "0".to_string(),
            (_, true, 1) => index.to_string(),
            (_, true, _) => format!("{index} / {inner}"),
            (size, false, 1) => format!("{index} % {size}"),
            (size, false, _) => format!("{index} / {inner} % {size}"),
        };
        match axis.stride {
            0 => {}
            _ if axis.size == 1 => {}
            1 => terms.push(digit.clone()),
            stride => terms.push(format!("{digit} * {stride}")),
        }
        if axis.lo > 0 {
            guards.push(format!("{digit} >= {}", axis.lo));
        }
        if axis.hi < axis.size {
            guards.push(format!("{digit} < {}", axis.hi));
        }
    }
    Place {
        offset: terms.join(" + "),
        guard: guards.join(" && "),
    }
}

/// A sum of parts, some of which may be empty; `0` if all are.
pub fn sum(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|p| !p.is_empty()).collect();
    match parts.is_empty() {
        true => "0".into(),
        false => parts.join(" + "),
    }
}

/// A conjunction of parts, some of which may be empty; empty if all are.
pub fn both(a: &str, b: &str) -> String {
    let parts: Vec<&str> = [a, b].into_iter().filter(|p| !p.is_empty()).collect();
    parts.join(" && ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_axis_is_a_product() {
        assert_eq!(place(&[Axis::new(7, 3)], "c").offset, "c * 3");
        assert_eq!(place(&[Axis::new(7, 1)], "c").offset, "c");
        assert_eq!(place(&[Axis::new(7, 0)], "c"), Place::default());
        assert_eq!(place(&[], "c"), Place::default());
    }

    #[test]
    fn several_axes_are_digits() {
        let axes = [Axis::new(2, 60), Axis::new(3, 0), Axis::new(5, 1)];
        assert_eq!(place(&axes, "row").offset, "row / 15 * 60 + row % 5");
    }

    #[test]
    fn padding_is_a_guard() {
        let axis = Axis {
            size: 9,
            stride: 1,
            lo: 2,
            hi: 8,
        };
        let found = place(&[Axis::new(4, 6), axis], "c");
        assert_eq!(found.guard, "c % 9 >= 2 && c % 9 < 8");
    }
}
