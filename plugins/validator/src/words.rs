//! Words for names that do not exist.

/// ` (did you mean ...?)` where a known name is near, else nothing.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known
        .map(|k| (strsim::damerau_levenshtein(name, k), k))
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, k)) if distance <= (name.chars().count() / 3).max(1) => {
            format!("; did you mean `{k}`?")
        }
        _ => String::new(),
    }
}
