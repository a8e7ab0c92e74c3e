//! The C header: made from the Rust sources, and in step with them.
//!
//! `ABLATE_UPDATE_HEADER=1 cargo test -p ablate-abi --test header` writes it anew; every other run
//! compares. Compilers then see it as C11 and as C++17, and its layouts against Rust's.

mod compile;
mod docs;
mod generate;
mod layout;
mod source;

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn header() -> PathBuf {
    root().join("include/ablate_plugin.h")
}

#[test]
fn the_header_is_in_step_with_the_rust_sources() {
    let made = generate::header();
    if std::env::var_os("ABLATE_UPDATE_HEADER").is_some() {
        std::fs::write(header(), &made).unwrap();
    }
    let found = std::fs::read_to_string(header()).unwrap_or_default();
    let differs = made
        .lines()
        .zip(found.lines())
        .zip(1..)
        .find(|((made, found), _)| made != found);
    assert!(
        made == found,
        "include/ablate_plugin.h is not what the Rust sources say (first at {differs:?}); run \
         `ABLATE_UPDATE_HEADER=1 cargo test -p ablate-abi --test header` and look at the difference"
    );
}

/// The border's documentation says of each function on which thread it may be called.
#[test]
fn every_function_says_its_thread() {
    let mut functions = 0;
    for file in source::files() {
        for table in file.structs() {
            for (field, docs) in table.functions() {
                functions += 1;
                let said: Vec<&str> = source::THREADS
                    .into_iter()
                    .filter(|rule| {
                        [table.docs.as_str(), docs]
                            .iter()
                            .any(|text| text.replace('\n', " ").contains(rule))
                    })
                    .collect();
                assert_eq!(said.len(), 1, "{}.{field}: {said:?}", table.name);
            }
        }
    }
    assert!(functions > 60, "the sources were read: {functions}");
}
