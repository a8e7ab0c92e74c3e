//! What differs between the kinds.

use ablate_host::Kind;

/// What differs between the kinds.
pub(super) struct Facts {
    pub rust: &'static str,
    pub c: &'static str,
    /// Macro of the extension id in C.
    pub api: &'static str,
    /// Letters of the article, for sentences.
    pub article: &'static str,
    /// What the template does, in one sentence.
    pub sentence: &'static str,
    /// The place in a recipe where it is named.
    pub key: &'static str,
}

pub(super) fn facts(kind: Kind) -> Option<Facts> {
    macro_rules! facts {
        ($name:literal, $api:literal, $article:literal, $key:literal, $sentence:literal) => {
            Facts {
                rust: include_str!(concat!("../../../templates/rust/", $name, ".rs")),
                c: include_str!(concat!("../../../templates/c/", $name, ".c")),
                api: $api,
                article: $article,
                sentence: $sentence,
                key: $key,
            }
        };
    }
    Some(match kind {
        Kind::Objective => facts!(
            "objective",
            "ABLATE_OBJECTIVE_API",
            "an",
            "objectives: [{NAME: {}}]",
            "Hides words and predicts each from the words around it."
        ),
        Kind::Optimizer => facts!(
            "optimizer",
            "ABLATE_OPTIMIZER_API",
            "an",
            "optimizer: {NAME: {learning_rate: 0.01}}",
            "Gradient descent with momentum and decoupled decay."
        ),
        Kind::Schedule => facts!(
            "schedule",
            "ABLATE_SCHEDULE_API",
            "a",
            "schedule: {NAME: {warmup_steps: 10}}",
            "A linear warm-up, then the inverse square root of the step."
        ),
        Kind::StoppingRule => facts!(
            "stopping",
            "ABLATE_STOPPING_API",
            "a",
            "stop: [{NAME: {rises: 3}}]",
            "Stops when the validation loss has risen several times in a row."
        ),
        Kind::Operator => facts!(
            "operator",
            "ABLATE_OPERATOR_API",
            "a",
            "data: {curate: [{NAME: {words: 5}}]}",
            "Keeps documents of at least some number of words."
        ),
        Kind::Unknown => return None,
    })
}
