//! How numbers and names are written for a reader.

use crate::statistics::Estimate;

/// What stands in a cell with nothing to say.
pub(crate) const NOTHING: &str = "–";

/// A metric's column in words: `mlm_loss` is "MLM loss".
pub(crate) fn measure(column: &str) -> String {
    match column.rsplit_once('_') {
        Some((objective, kind @ ("loss" | "accuracy"))) => {
            let objective = match objective {
                "mlm" | "nsp" | "sop" | "rtd" => objective.to_uppercase(),
                other => other.replace('_', " "),
            };
            format!("{objective} {kind}")
        }
        _ => column.replace('_', " "),
    }
}

/// A number with `decimals` places and a real minus sign.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let is_zero = !text.bytes().any(|b| (b'1'..=b'9').contains(&b));
    match text.strip_prefix('-') {
        Some(rest) if is_zero => rest.to_string(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

/// As [`fixed`], with a plus sign before positive numbers.
pub(crate) fn signed(value: f64, decimals: usize) -> String {
    let text = fixed(value, decimals);
    let is_zero = !text.bytes().any(|b| (b'1'..=b'9').contains(&b));
    if text.starts_with('−') || is_zero {
        text
    } else {
        format!("+{text}")
    }
}

/// "−0.120 [−0.150, −0.090]", or the mean alone when there is no interval.
pub(crate) fn estimate(e: &Estimate) -> String {
    match e.interval {
        Some(i) => format!(
            "{} [{}, {}]",
            signed(e.mean, 3),
            signed(i.lower, 3),
            signed(i.upper, 3)
        ),
        None => signed(e.mean, 3),
    }
}

/// A metric of the table of arms: accuracies as percent, losses with four places.
pub(crate) fn metric(column: &str, value: f64) -> String {
    if column.ends_with("accuracy") {
        format!("{} %", fixed(100.0 * value, 1))
    } else {
        fixed(value, 3)
    }
}

/// A count with three digits and a decimal prefix: "1.23 M".
pub(crate) fn count(value: f64) -> String {
    scaled(
        value,
        &[(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")],
    )
}

/// Floating-point operations: "1.23 TFLOP", where T is 10^12.
pub(crate) fn flops(value: f64) -> String {
    let text = scaled(
        value,
        &[
            (1e21, " ZFLOP"),
            (1e18, " EFLOP"),
            (1e15, " PFLOP"),
            (1e12, " TFLOP"),
            (1e9, " GFLOP"),
            (1e6, " MFLOP"),
        ],
    );
    if text.ends_with("FLOP") {
        text
    } else {
        format!("{text} FLOP")
    }
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    for &(unit, name) in units {
        if value.abs() >= unit {
            let v = value / unit;
            let decimals = if v >= 100.0 {
                0
            } else if v >= 10.0 {
                1
            } else {
                2
            };
            return format!("{}{name}", fixed(v, decimals));
        }
    }
    fixed(value, 0)
}

/// "42 s", "3 min 20 s", "2 h 5 min".
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{} s", fixed(seconds, 1));
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest} s"),
        (0, _) => format!("{minutes} min {rest} s"),
        _ => format!("{hours} h {minutes} min"),
    }
}

/// "a", "a and b", "a, b and c".
pub(crate) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// "1 trial", "2 trials".
pub(crate) fn plural(n: usize, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_a_reader_expects() {
        assert_eq!(fixed(-0.0001, 3), "0.000");
        assert_eq!(fixed(-1.25, 1), "−1.2");
        assert_eq!(signed(0.12, 2), "+0.12");
        assert_eq!(signed(-0.0001, 2), "0.00");
        assert_eq!(count(950.0), "950");
        assert_eq!(count(819_200.0), "819 k");
        assert_eq!(count(4_385_000.0), "4.38 M");
        assert_eq!(flops(3.4e14), "340 TFLOP");
        assert_eq!(flops(12.0), "12 FLOP");
        assert_eq!(duration(3.21), "3.2 s");
        assert_eq!(duration(200.2), "3 min 20 s");
        assert_eq!(duration(7500.0), "2 h 5 min");
        assert_eq!(measure("mlm_loss"), "MLM loss");
        assert_eq!(measure("span_order_accuracy"), "span order accuracy");
        assert_eq!(measure("loss"), "loss");
        assert_eq!(metric("nsp_accuracy", 0.9123), "91.2 %");
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
