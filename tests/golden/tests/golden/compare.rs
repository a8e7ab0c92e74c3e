//! Norm-wise errors.

/// `|a|`.
pub fn norm(a: &[f64]) -> f64 {
    a.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// `|a - b|`.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y));
    squares.sum::<f64>().sqrt()
}

/// `|a - b| / |b|`, for a `b` that is not zero.
pub fn relative(a: &[f64], b: &[f64]) -> f64 {
    distance(a, b) / norm(b)
}

pub fn to_f64(a: &[f32]) -> Vec<f64> {
    a.iter().map(|x| f64::from(*x)).collect()
}

/// Asserts `|found - wanted| / |wanted| <= tolerance`; NaN fails.
#[track_caller]
pub fn assert_close(what: &str, found: &[f64], wanted: &[f64], tolerance: f64) {
    let error = relative(found, wanted);
    assert!(
        error <= tolerance,
        "{what}: relative error {error:.2e}, allowed {tolerance:.0e}"
    );
}
