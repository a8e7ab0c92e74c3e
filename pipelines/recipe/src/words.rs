//! The words of a message: lists of names and "did you mean".
//!
//! Owns wording only. Must not know what is named.

/// The known name nearest to a misspelt one, if any is near.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    known
        .into_iter()
        .map(|name| {
            let lower = name.to_lowercase();
            let edits = strsim::normalized_damerau_levenshtein(&wrong, &lower);
            let begins = strsim::jaro_winkler(&wrong, &lower) - 0.25;
            (edits.max(begins), name)
        })
        .filter(|(near, _)| *near >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// "`a`, `b` and `c`", cut when long.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 24;
    let names: Vec<String> = names.into_iter().map(|n| format!("`{n}`")).collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        all if all.len() > MOST => {
            format!("{} and {} more", all[..MOST].join(", "), all.len() - MOST)
        }
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// "did you mean `x`?" when something is near, then what is known.
pub(crate) fn suggest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
    what: &str,
) -> String {
    let all = list(known.clone());
    match nearest(wrong, known) {
        Some(name) => format!("did you mean `{name}`? {what}: {all}"),
        None => format!("{what}: {all}"),
    }
}

/// Joins a path and a key.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
