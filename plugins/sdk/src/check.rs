//! Checks of configuration values, worded alike for all plugins.
//!
//! Owns: the ranges that optimizers and stopping rules ask for again and again, and what is said when
//! a value is outside. Must not know: any key. A check that the JSON Schema cannot say, or that must
//! hold when no schema was looked at, stands in `new` of a plugin, made of these.

use crate::{Error, Result};

fn refuse<T>(key: &str, found: impl std::fmt::Display, range: &str) -> Result<T> {
    Err(Error::Config(format!("`{key}` is {found}; it is {range}")))
}

/// A number above 0, such as a learning rate.
///
/// # Errors
/// [`Error::Config`] for any other value, infinity and NaN included.
pub fn positive(key: &str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    refuse(key, value, "a number above 0")
}

/// A number from 0 on, such as a weight decay.
///
/// # Errors
/// [`Error::Config`] for any other value, infinity and NaN included.
pub fn not_negative(key: &str, value: f64) -> Result<()> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    refuse(key, value, "a number from 0 on")
}

/// A decay rate of a running mean: from 0 up to, but not including, 1.
///
/// # Errors
/// [`Error::Config`] for any other value, NaN included.
pub fn decay_rate(key: &str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    refuse(key, value, "from 0 up to, but not including, 1")
}

/// Any number that is finite.
///
/// # Errors
/// [`Error::Config`] for infinity and NaN.
pub fn finite(key: &str, value: f64) -> Result<()> {
    if value.is_finite() {
        return Ok(());
    }
    refuse(key, value, "a number")
}

/// A count of at least `least`.
///
/// # Errors
/// [`Error::Config`] for a smaller one.
pub fn at_least(key: &str, value: u64, least: u64) -> Result<()> {
    if value >= least {
        return Ok(());
    }
    refuse(key, value, &format!("at least {least}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_belong_where_the_words_say() {
        assert!(positive("x", f64::MIN_POSITIVE).is_ok() && not_negative("x", 0.0).is_ok());
        assert!(decay_rate("x", 0.0).is_ok() && finite("x", -1.0).is_ok());
        assert!(at_least("x", 2, 2).is_ok());
        for refused in [
            positive("x", 0.0),
            positive("x", f64::INFINITY),
            not_negative("x", -1e-9),
            not_negative("x", f64::NAN),
            decay_rate("x", 1.0),
            decay_rate("x", f64::NAN),
            finite("x", f64::NEG_INFINITY),
            at_least("x", 1, 2),
        ] {
            let text = refused.unwrap_err().to_string();
            assert!(text.starts_with("`x` is "), "{text}");
        }
    }
}
