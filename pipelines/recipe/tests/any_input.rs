//! No file and no argument makes the reader fail in any other way than with a message.

mod support;

use proptest::prelude::*;
use support::{Folder, GOOD};

/// The good recipe with some characters and lines taken out, doubled or replaced.
fn damaged() -> impl Strategy<Value = String> {
    let edit = (
        any::<prop::sample::Index>(),
        0..4_u8,
        "[-:{}\\[\\]\"'+.#&*a0 \n]{0,3}",
    );
    prop::collection::vec(edit, 1..6).prop_map(|edits| {
        let mut text: Vec<char> = GOOD.chars().collect();
        for (at, kind, new) in edits {
            let at = at.index(text.len().max(1)).min(text.len());
            let end = (at + kind as usize * 3).min(text.len());
            text.splice(at..end, new.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_recipes(text in damaged(), set in "[a-z.+0-9]{0,12}(=[-0-9a-z\\[{}: ,]{0,8})?") {
        let folder = Folder::new();
        for sets in [&[][..], &[set.as_str()][..]] {
            if let Err(diagnostics) = folder.load(&text, sets) {
                prop_assert!(diagnostics.errors() > 0);
                // Every error can be drawn.
                prop_assert!(diagnostics.render(true).contains("-->"));
                for item in &diagnostics.items {
                    prop_assert!(item.position.is_none_or(|p| p.line > 0 && p.column > 0));
                    prop_assert!(item.file.ends_with("recipe.yaml") || item.file == "--set");
                }
            }
        }
    }

    #[test]
    fn any_path_can_be_asked_for(path in "(model|data|objectives|stop|bert|mlm|init|curate|source|split|experiment|0|1|9|x|layers|\\.|\\+){1,9}") {
        let folder = Folder::new();
        for value in ["1", "{}", "[{}]", ""] {
            if let Err(diagnostics) = folder.load(GOOD, &[&format!("{path}={value}")]) {
                prop_assert!(diagnostics.errors() > 0);
            }
        }
    }
}
