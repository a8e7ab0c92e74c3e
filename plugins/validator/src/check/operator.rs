//! Tests of data operators.

use ablate_host::{Fate, OperatorPlugin};

use super::bench::{fail, same, Bench, Stop};
use crate::border::{proxy, releases};

/// Documents of many sorts: copies, near copies, empty, long, other scripts, markup.
fn documents() -> Vec<(String, String)> {
    let mut texts: Vec<String> = vec![
        String::new(),
        " ".into(),
        "a".into(),
        "One sentence, and another one. ".repeat(3),
        "The same text twice.".into(),
        "The same text twice.".into(),
        "the same  text twice!".into(),
        "Größe, naïve, 東京は大きい都市です。, Привет, мир. 🙂 e\u{301}".into(),
        "<p>Markup &amp; an <a href=\"https://example.org/x?y=z\">address</a></p>".into(),
        "line\nline\r\n\n\ttab\u{0}null".into(),
        "word ".repeat(20_000),
        "1234567890 ".repeat(50),
        "!!!???".repeat(100),
        "mail@example.org +49 30 123456".into(),
    ];
    for i in 0..60 {
        texts.push(format!(
            "Document number {i} is about the topic {}. It has two sentences.",
            i % 7
        ));
    }
    texts
        .into_iter()
        .enumerate()
        .map(|(i, text)| (format!("document-{i}"), text))
        .collect()
}

fn borrowed(documents: &[(String, String)]) -> Vec<(&str, &str)> {
    documents
        .iter()
        .map(|(id, text)| (id.as_str(), text.as_str()))
        .collect()
}

/// The whole, in batches of at most `size` documents.
fn apply(
    operator: &mut OperatorPlugin,
    documents: &[(&str, &str)],
    size: usize,
) -> Result<Vec<Fate>, Stop> {
    let mut fates = Vec::new();
    for part in documents.chunks(size) {
        fates.extend(operator.apply(part)?);
    }
    Ok(fates)
}

pub(super) fn rows(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.proxied()?;
    let documents = documents();
    let borrowed = borrowed(&documents);
    let mut operator = bench.operator(&registry)?;
    bench.doing("the hook on 74 documents");
    // The host refuses answers that are neither yes nor no, and rows that it did not give.
    let fates = apply(&mut operator, &borrowed, usize::MAX)?;
    let damage = proxy::damage();
    if let Some(first) = damage.first() {
        return fail(first.clone());
    }
    if fates.len() != borrowed.len() {
        return fail(format!(
            "{} documents went in, {} answers came out",
            borrowed.len(),
            fates.len()
        ));
    }
    bench.doing("the hook on no documents");
    if !apply(&mut operator, &[], 1)?.is_empty() {
        return fail("answers came out where no document went in");
    }
    let count = |test: fn(&Fate) -> bool| fates.iter().filter(|f| test(f)).count();
    let removed = count(|f| *f == Fate::Remove);
    if removed == fates.len() {
        return fail("it removes every document of a mixed sample");
    }
    Ok(format!(
        "{} kept, {removed} removed, {} rewritten",
        count(|f| *f == Fate::Keep),
        count(|f| matches!(f, Fate::Rewrite(_)))
    ))
}

pub(super) fn batch_sizes(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let documents = documents();
    let borrowed = borrowed(&documents);
    let mut whole = bench.operator(&registry)?;
    bench.doing("the hook on one batch");
    let expected = apply(&mut whole, &borrowed, usize::MAX)?;
    for size in [1, 2, 5, 40] {
        let mut operator = bench.operator(&registry)?;
        bench.doing(format!("the hook on batches of {size}"));
        let found = apply(&mut operator, &borrowed, size)?;
        if let Some(at) = found.iter().zip(&expected).position(|(a, b)| a != b) {
            return fail(format!(
                "in batches of {size} the document `{}` is treated otherwise than in one batch",
                documents[at].0
            ));
        }
    }
    Ok("batches of 1, 2, 5, 40 and all".into())
}

pub(super) fn determinism(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.registry()?;
    let documents = documents();
    let borrowed = borrowed(&documents);
    let mut fates = Vec::new();
    for _ in 0..3 {
        let mut operator = bench.operator(&registry)?;
        bench.doing("the hook");
        fates.push(apply(&mut operator, &borrowed, usize::MAX)?);
    }
    same(&fates[0], &fates[1], "two instances on the same documents")?;
    same(&fates[0], &fates[2], "two instances on the same documents")?;
    Ok("three instances".into())
}

pub(super) fn release(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let registry = bench.proxied()?;
    let documents = documents();
    let borrowed = borrowed(&documents);
    for size in [usize::MAX, 9] {
        let mut operator = bench.operator(&registry)?;
        bench.doing("the hook, and the releases after it");
        apply(&mut operator, &borrowed, size)?;
        drop(operator);
    }
    match releases::problems().first() {
        None => Ok("every structure once".into()),
        Some(first) => fail(first.clone()),
    }
}
